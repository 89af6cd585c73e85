"""What a method answered on one fold, as a file that is whole or is not there, and what all of its answers amount to.

    OUT/settings.json                              what all answers below have in common
        answers/<method>/fold-<name>.json          of the first seed
        answers/<method>/fold-<name>.seed-<n>.json of the others

Shapes: M clips, N labels.
"""

import glob
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avgan import metrics
from avgan.errors import ConfigError, DataError
from avgan.files import write_whole

FORMAT = 1
DIGITS = 7
GIVEN = "given: "
"""How the identity of answers from elsewhere begins."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What makes the answers of one comparison comparable."""

    protocol: str
    seed: int
    budget_s: float | None
    """Of each fit; None: as long as it takes."""
    extra: str | None = None
    """The further recordings of methods that learn from some: name and hash."""

    def keep(self, out: Path) -> None:
        """Write them into `out`. Raises ConfigError where the answers that lie there were given under other ones."""
        path, ours = out / "settings.json", asdict(self)
        theirs = _read_object(path) if path.exists() and (out / "answers").exists() else ours
        for name, own in ours.items():
            if theirs.get(name) != own:
                raise ConfigError(
                    f"{out} holds a comparison with another setting ({name} is {theirs.get(name)} there "
                    f"and {own} here): choose another -o, or the same settings"
                )
        write_whole(path, json.dumps(ours, indent=2) + "\n")


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One method on one fold: what it answered, what that took, and what it is the answer of."""

    method: str
    fold: str
    labels: list[str]
    clip_ids: list[str]
    sources: list[str]
    targets: list[int]
    probabilities: list[list[float]]
    fitting_s: float | None = None
    """Wall time; None where the fit was begun earlier. What follows is None or 0 where nobody knows."""
    answering_s: float | None = None
    """Without reading the recordings."""
    num_epochs: int = 0
    num_epochs_wanted: int = 0
    """0 where the method knows no epochs."""
    num_parameters: int | None = None
    num_macs: int | None = None
    seed: int | None = None
    budget_s: float | None = None
    identity: str
    """Hash of what the method is."""
    data_sha256: str
    """Hash of both sides of the fold."""
    device: str = ""
    """What it ran on."""

    @property
    def correct(self) -> np.ndarray:
        """(M,) bool."""
        return np.asarray(self.probabilities).argmax(1) == np.asarray(self.targets)

    def among(self, labels: Sequence[str]) -> "Answers":
        """The same, chosen from some of the labels: the probabilities of these are brought to a sum of 1."""
        if list(labels) == self.labels:
            return self
        probabilities = np.asarray(self.probabilities)[:, [self.labels.index(label) for label in labels]]
        probabilities /= np.maximum(probabilities.sum(1, keepdims=True), np.finfo(float).tiny)
        targets = [list(labels).index(self.labels[target]) for target in self.targets]
        return replace(self, labels=list(labels), targets=targets, probabilities=probabilities.tolist())

    @property
    def is_given(self) -> bool:
        """Whether they were taken from elsewhere."""
        return self.identity.startswith(GIVEN)


def answers_path(out: Path, method: str, fold: str, *, seed: int | None = None) -> Path:
    """Where the answers of a method on a fold lie; `seed` where it is not that of the comparison."""
    again = "" if seed is None else f".seed-{seed}"
    return out / "answers" / method / f"fold-{fold}{again}.json"


def write_answers(answers: Answers, out: Path, *, seed: int | None = None) -> None:
    """Store answers, whole or not at all."""
    row = {"format": FORMAT} | asdict(answers)
    row["probabilities"] = np.round(answers.probabilities, DIGITS).tolist()
    write_whole(answers_path(out, answers.method, answers.fold, seed=seed), json.dumps(row) + "\n")


def read_answers(out: Path, method: str, fold: str, *, seed: int | None = None) -> Answers | None:
    """Stored answers, or None where there are none of this format. Raises DataError for a damaged file."""
    return _read(answers_path(out, method, fold, seed=seed))


def all_answers(out: Path, method: str, fold: str) -> list[Answers]:
    """Those of all seeds, that of the comparison first."""
    first = answers_path(out, method, fold)
    others = first.parent.glob(f"{glob.escape(first.stem)}.seed-*.json")
    found = (_read(path) for path in (first, *sorted(others)))
    return [answers for answers in found if answers is not None]


def stored_methods(out: Path) -> list[str]:
    """The methods that have answers."""
    return sorted(path.name for path in (out / "answers").glob("*") if path.is_dir())


def _read(path: Path) -> Answers | None:
    row = _read_object(path) if path.exists() else {}
    if row.pop("format", None) != FORMAT:
        return None
    try:
        return Answers(**row)
    except TypeError as error:
        raise DataError(f"{path}: {error}; remove this file, and it is made anew") from None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove it and start again") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}: holds no answers; remove it and start again")
    return row


@dataclass(frozen=True, eq=False)
class Outcome:
    """A method on all clips that it answered; of several seeds the mean."""

    folds: np.ndarray
    """(M,) name of the fold of each clip."""
    clip_ids: np.ndarray
    sources: np.ndarray
    right: np.ndarray
    """(M,) share of the seeds that named it rightly."""
    by_seed: tuple[float, ...]
    """Accuracy of each seed, over the folds that all seeds have answered; empty where there are none."""

    @classmethod
    def of(cls, answers: Sequence[Answers]) -> "Outcome":
        """Of the answers of one method."""
        folds: dict[str, dict[int | None, Answers]] = {}
        for one in answers:
            folds.setdefault(one.fold, {})[one.seed] = one
        first = [next(iter(fold.values())) for fold in folds.values()]
        seeds = sorted({one.seed for one in answers}, key=str)
        common = [fold for fold in folds.values() if len(fold) == len(seeds)]
        return cls(
            np.repeat(list(folds), [len(one.clip_ids) for one in first]),
            np.concatenate([one.clip_ids for one in first]),
            np.concatenate([one.sources for one in first]),
            np.concatenate([np.mean([one.correct for one in fold.values()], axis=0) for fold in folds.values()]),
            tuple(float(np.mean([fold[seed].correct.mean() for fold in common])) for seed in seeds if common),
        )

    @property
    def by_fold(self) -> dict[str, float]:
        return {str(fold): float(self.right[self.folds == fold].mean()) for fold in dict.fromkeys(self.folds.tolist())}

    @property
    def deviation_over_folds(self) -> float | None:
        return metrics.mean_and_deviation(list(self.by_fold.values()))[1]

    def share(self, inside: np.ndarray | None = None) -> dict[str, Any]:
        """Accuracy with its interval, of all clips or some (M,) bool."""
        chosen = np.ones(len(self.right), bool) if inside is None else inside
        right, sources, folds = self.right[chosen], self.sources[chosen], self.folds[chosen]
        return {
            "accuracy": metrics.mean_over_folds(right, folds),
            "interval_95": list(metrics.bootstrap_interval(right, sources, folds)),
            "num_clips": int(chosen.sum()),
        }
