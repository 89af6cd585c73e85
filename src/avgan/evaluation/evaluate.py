"""A run is scored: a comparison with one method, and a report of what it answered.

    OUT/answers/run/fold-<name>.json    what was answered, kept as in a comparison
        runs/run/fold-<name>/           where the recipe of the run is trained for each fold
        report.html, report.json, per_class.md, confusion.png

By a protocol of one fold the run itself is scored. By one of several its recipe is trained anew for each, from the last
ancestor that learnt from nothing of the data set (photographs, or videos of another one), but for a fold that the run
has held out already. What a run imagines is scored by `pictures`. All can be interrupted; the same command goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from avgan import __version__, checkpoint
from avgan.baselines.method import Card, Method
from avgan.checkpoint import Checkpoint
from avgan.config import Recipe
from avgan.data.datasets import find
from avgan.data.manifest import Manifest
from avgan.errors import ConfigError, DataError
from avgan.evaluation.comparison import ours
from avgan.evaluation.comparison.answers import Answers, Outcome, Settings
from avgan.evaluation.comparison.clips import Sounds
from avgan.evaluation.comparison.compare import Entry, Task, run_all
from avgan.evaluation.page import write_page, write_picture_page
from avgan.evaluation.pictures.judge import pictures_by_fold
from avgan.evaluation.pictures.protocol import evaluate_pictures
from avgan.evaluation.protocols import PROTOCOLS, Fold, Protocol, read_protocol
from avgan.evaluation.protocols.held_out import WATCHED
from avgan.evaluation.protocols.protocol import Scored
from avgan.evaluation.report import write_report
from avgan.training.recipe import recipe_of
from avgan.training.run import ancestors, weights_sha256

PICTURES = "pictures"
RUN = "run"
"""What the one method is called."""


def evaluate(
    run: Path,
    *,
    protocol: str,
    data: Path,
    out: Path | None = None,
    rival: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Score a run. Writes report.json with tables and plots into `out` (RUN/<protocol>), returns the report.

    `rival` is a folder of another method's pictures, which `pictures` scores and shows beside the run's.

    Raises ConfigError for an unknown protocol, LeakageError when a source was both trained on and scored.
    """
    if rival and protocol != PICTURES:
        raise ConfigError("a rival's pictures are scored by the protocol pictures alone")
    if protocol not in (*PROTOCOLS, PICTURES):
        known = ", ".join((*PROTOCOLS, PICTURES))
        raise ConfigError(f"no protocol is called {protocol!r}: choose one of {known}")
    described = checkpoint.describe_finished(run)
    out = out or run / protocol
    if protocol == PICTURES:
        report = evaluate_pictures(run, data=data, out=out, rival=rival)
        write_picture_page(report, out)
        return report
    scoring = Scoring(run, described, protocol_for(described, protocol, data), out)
    folds = scoring.protocol.folds
    task = Task(
        protocol=scoring.protocol,
        settings=Settings(protocol=protocol, seed=described.config.loop.seed, budget_s=None),
        data=data,
        out=out,
        sounds=Sounds.of(scoring.protocol, cache_bytes=0),  # each is read once
        say=say if len(folds) > 1 else lambda line: None,  # one fold trains nothing
    )
    run_all([scoring.entry], folds, task)
    return scoring.report(task)


def protocol_for(described: Checkpoint, name: str, data: Path) -> Protocol:
    """The protocol as a run is scored by it: with clips as long as its windows.

    Raises ConfigError where its recipe would have to learn another data set, DataError where it lacks a label.
    """
    protocol = replace(read_protocol(name, data, described), window_s=described.window_s)
    if len(protocol.folds) > 1:
        if described.config.stage.data.sounds != protocol.dataset:
            raise ConfigError(
                f"{name} trains runs like this one on {protocol.dataset}; give a run of that data set, or use "
                "--protocol holdout"
            )
        return protocol
    (fold,) = protocol.folds
    if unknown := sorted(set(fold.test.labels) - set(described.labels)):
        raise DataError(
            f"{protocol.dataset}: the run was never taught {unknown[0]!r}; train on recordings of every label"
        )
    return replace(protocol, more_labels=described.labels)


@dataclass(frozen=True)
class Scoring:
    """A run, and the protocol that it is scored by into `out`."""

    run: Path
    described: Checkpoint
    protocol: Protocol
    out: Path

    @property
    def entry(self) -> Entry:
        """The run as the one method of a comparison."""
        weights = f"weights {weights_sha256(self.run)}"
        trained = f"{__version__} {ours.config_sha256(self.recipe)}"
        seeds = (self.described.config.loop.seed,)
        return Entry(self.card, lambda fold, seed: weights if self.serves(fold) else trained, self.method, seeds)

    @cached_property
    def card(self) -> Card:
        """The run's preset: where choices about it were made."""
        preset = self.described.config.preset
        known = [ours.CARDS[name].chosen_on for name, own in ours.PRESETS.items() if own == preset]
        return Card(name=RUN, title=preset, source="", chosen_on=known[0] if known else {})

    @cached_property
    def recipe(self) -> Recipe:
        """The run's, with nothing held out of what the folds are made of: the schedule is settled."""
        recipe = recipe_of(self.described)
        learns = [kind for kind in recipe.kinds if getattr(recipe, kind).data.sounds == self.protocol.dataset]
        return recipe.with_data(tuple(learns), held_out_folds=(), validation_fraction=0.0)

    def method(self, fold: Fold, seed: int) -> Method:
        """The run, or its recipe to be trained without the fold."""
        if self.serves(fold):
            return ours.Trained(self.card, self.run)
        parent, shared = last_without(self.run, fold), self.out / "runs"
        return ours.Ours(self.card, self.run_of(fold), recipe=self.recipe, shared=shared, parent=parent)

    def serves(self, fold: Fold) -> bool:
        """Whether the run itself answers a fold: where it is the only one, or the run learnt just its training side."""
        if len(self.protocol.folds) == 1:
            return True
        origin, asked = self.described.origin, {clip.source_id for clip in fold.test.clips}
        learnt = set(origin.sources) == {clip.source_id for clip in fold.train.clips} and not origin.validation_sources
        return learnt and not self.described.sources & asked

    def run_of(self, fold: Fold) -> Path:
        """Where the networks lie that answer a fold."""
        return self.run if self.serves(fold) else self.out / "runs" / RUN / f"fold-{fold.name}"

    def report(self, task: Task) -> dict[str, Any]:
        """What was answered, summed up and written, with what the runs of the folds imagine for what they mistake."""
        protocol = self.protocol
        sounds = find(task.data, protocol.dataset, window_s=protocol.window_s)
        answers = task.answers_of(RUN)
        scored = self.scored(answers)
        report = summarise(protocol, self.described, answers, scored, sounds)
        # what a run was watched with is a choice, too
        seen = {*self.card.chosen_on.get(protocol.dataset, ()), WATCHED}
        report["chosen_on"] = [fold.name for fold in protocol.folds if seen & {*fold.name.split(","), fold.name}]
        report |= protocol.measure(scored)
        if protocol.measure_run:
            more = protocol.measure_run(self.run, protocol.folds[0].test)
            report["groups"] |= more.pop("groups", {})
            report |= more
        self.out.mkdir(parents=True, exist_ok=True)
        write_report(report, self.out)
        runs = {fold.name: self.run_of(fold) for fold in protocol.folds}

        def imagine(numbers: Sequence[int]) -> list[np.ndarray | None]:
            clips = tuple(scored.clips[number] for number in numbers)
            folds = [str(scored.folds[number]) for number in numbers]
            return pictures_by_fold(runs, folds, Manifest(sounds.name, sounds.root, clips))

        sheet = self.run / PICTURES / "contact_sheet.jpg"
        write_page(report, scored, self.out, root=sounds.root, imagine=imagine, sheet=sheet)
        return report

    def scored(self, answers: Sequence[Answers]) -> Scored:
        """All answers as one table."""
        folds = self.protocol.folds
        clip_of = {clip.id: clip for fold in folds for clip in fold.test.clips}
        return Scored(
            tuple(clip_of[clip_id] for one in answers for clip_id in one.clip_ids),
            np.repeat([one.fold for one in answers], [len(one.clip_ids) for one in answers]),
            np.concatenate([one.targets for one in answers]),
            np.concatenate([one.probabilities for one in answers]),
            {
                fold.name: self.described.sources
                if self.serves(fold)
                else {clip.source_id for clip in fold.train.clips}
                for fold in folds
            },
        )


def last_without(run: Path, fold: Fold) -> Path | None:
    """The last ancestor of a run that, like all of its own, learnt from none of the sounds; None: there is none."""
    known = {clip.source_id for side in (fold.train, fold.test) for clip in side.clips}
    found = None
    for ancestor in ancestors(run):
        if known & checkpoint.describe(ancestor).sources:
            break
        found = ancestor
    return found


def summarise(
    protocol: Protocol, described: Checkpoint, answers: Sequence[Answers], scored: Scored, sounds: Manifest
) -> dict[str, Any]:
    """The report: accuracy with its spread over folds and over sources, and the confusion matrix."""
    labels, outcome = protocol.answered, Outcome.of(answers)
    counts = confusion_matrix(scored.targets, scored.probabilities.argmax(1), labels=range(len(labels)))
    report = {
        "protocol": protocol.name,
        "avgan": __version__,
        "preset": described.config.preset,
        "classifier": described.classifier.mode,
        "seed": described.config.loop.seed,
        **outcome.share(),
        "deviation_over_folds": outcome.deviation_over_folds,
        "by_fold": outcome.by_fold,
        "num_sources": len(set(outcome.sources.tolist())),
        "data": {sounds.name: sounds.sha256()},
        "labels": list(labels),
        "confusion": counts.tolist(),
        "config": recipe_of(described).model_dump(mode="json"),
    }
    if described.scene_of_label:
        right = right_scenes(scored, labels, described.scene_of_label)
        places = replace(outcome, right=right).share()
        report |= {"scene_accuracy": places["accuracy"], "scene_interval_95": places["interval_95"]}
    return report


def right_scenes(scored: Scored, labels: tuple[str, ...], scene_of_label: dict[str, str]) -> np.ndarray:
    """Whether the place is right, (M,) bool: the scene with the largest sum of its labels' probabilities."""
    of_label = [scene_of_label.get(label, label) for label in labels]
    scenes = sorted(set(of_label))
    number = np.array([scenes.index(scene) for scene in of_label])
    sums = np.eye(len(scenes))[number]
    right: np.ndarray = (scored.probabilities @ sums).argmax(1) == number[scored.targets]
    return right
