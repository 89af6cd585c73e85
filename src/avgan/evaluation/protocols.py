"""Protocols: what is trained on which folds, and scored on which.

- `esc50`: the official five folds. For each, the run's recipe is trained anew without it, from the last ancestor that
  learnt from nothing of the data set (photographs, or videos of another one), then scored on it. A run that already
  holds a fold out serves as that fold.
- `holdout`: the run itself, on the folds it held out, or on what it kept aside for validation.
- `test`: the run itself on what its data set leaves for a test, as curated ones do.
- `pictures`: what the run imagines for those folds, by a judge of scenes and for the eye (see `pictures`).
- `tau2019`, `tau_av_2021`: the run itself on the publisher's test part, in cities it has heard and in others.
- `tau2019_cities`: ten runs, each without a city, scored in it (see `tau` for all three).

A protocol can be interrupted anywhere; the same command goes on.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from avgan import __version__, checkpoint
from avgan.checkpoint import Checkpoint
from avgan.config import Recipe
from avgan.data.datasets import find
from avgan.data.datasets.tau import city_of
from avgan.data.manifest import Manifest
from avgan.data.splits import check_leakage, hold_out
from avgan.errors import ConfigError, DataError
from avgan.evaluation import metrics, tau
from avgan.evaluation.groups import share
from avgan.evaluation.page import Answered, write_page
from avgan.evaluation.pictures.imagined import BATCH, draw_chosen, imagine
from avgan.evaluation.pictures.page import write_picture_page
from avgan.evaluation.pictures.protocol import evaluate_pictures
from avgan.evaluation.report import write_report
from avgan.files import write_whole
from avgan.model import AVGAN
from avgan.training.data import read_sounds
from avgan.training.recipe import ancestors, recipe_of, train

PROTOCOLS = ("esc50", "holdout", "test", "pictures", "tau2019", "tau2019_cities", "tau_av_2021")
ESC50_FOLDS = ("1", "2", "3", "4", "5")
DATASET_OF = {
    "tau2019": "tau2019",
    "tau2019_cities": "tau2019",
    "tau_av_2021": "tau_av_2021",
}
"""Where a protocol has a data set of its own; else it is the run's."""


@dataclass(frozen=True)
class Scored:
    """Answers on the clips of one held-out fold."""

    fold: str
    clip_ids: list[str]
    sources: list[str]
    targets: list[int]
    probabilities: list[list[float]]

    @property
    def answers(self) -> np.ndarray:
        return np.asarray(self.probabilities).argmax(1)


def evaluate(
    run: Path,
    *,
    protocol: str,
    data: Path,
    out: Path | None = None,
    rival: Path | None = None,
) -> dict[str, Any]:
    """Score a run. Writes report.json with tables and plots into `out` (RUN/<protocol>), returns the report.

    `rival` is a folder of another method's pictures, which `pictures` scores and shows beside the run's.

    Raises ConfigError for an unknown protocol, LeakageError when a source was both trained on and scored.
    """
    if rival and protocol != "pictures":
        raise ConfigError("a rival's pictures are scored by the protocol pictures alone")
    if protocol not in PROTOCOLS:
        raise ConfigError(
            f"no protocol is called {protocol!r}: choose one of {', '.join(PROTOCOLS)}"
        )
    described = checkpoint.describe(run)
    out = out or run / protocol
    if protocol == "pictures":
        report = evaluate_pictures(run, data=data, out=out, rival=rival)
        write_picture_page(report, out)
        return report
    own_data = DATASET_OF.get(protocol)
    sounds = find(data, own_data) if own_data else read_sounds(described.config.stage.data, data)
    if folds := folds_of(protocol, described, sounds):
        out.mkdir(parents=True, exist_ok=True)
        scored = [score_fold(run, described, fold, sounds, data=data, out=out) for fold in folds]
        more = measure_folds(scored) if protocol == "esc50" else measure_tau(scored, sounds)
    elif protocol == "holdout":
        scored, more = [score_held_out(run, sounds)], {}
    elif protocol == "test":
        scored, more = [score_test(run, sounds)], {}
    else:
        scored, more = score_tau(run, sounds, frames=protocol == "tau_av_2021")
    report = summarise(protocol, described, scored, sounds) | more
    out.mkdir(parents=True, exist_ok=True)
    for fold in () if folds else scored:
        write_answers(fold, recipe_of(described), out)
    write_report(report, out)
    runs = {fold: run_of_fold(run, described, fold, sounds, out) for fold in folds}
    show(report, scored, sounds, out=out, run=run, runs=runs)
    return report


def show(
    report: dict[str, Any],
    scored: list[Scored],
    sounds: Manifest,
    *,
    out: Path,
    run: Path,
    runs: dict[str, Path],
) -> None:
    """Write report.html into `out`, with what the runs of the folds (else the run) imagine for what they mistake."""
    ids = [clip_id for fold in scored for clip_id in fold.clip_ids]
    answered = Answered.of(
        sounds,
        ids,
        np.concatenate([np.asarray(fold.targets) for fold in scored]),
        np.concatenate([np.asarray(fold.probabilities) for fold in scored]),
    )
    fold_of = [fold.fold for fold in scored for _ in fold.clip_ids]

    def draw(numbers: Sequence[int]) -> list[np.ndarray | None]:
        clips = tuple(answered.clips[number] for number in numbers)
        chosen = Manifest(sounds.name, sounds.root, clips)
        names = [fold_of[number] for number in numbers]
        return draw_chosen({name: runs.get(name, run) for name in names}, names, chosen)

    write_page(report, answered, out, draw=draw, sheet=run / "pictures" / "contact_sheet.jpg")


def folds_of(protocol: str, described: Checkpoint, sounds: Manifest) -> tuple[str, ...]:
    """The folds that are trained anew; none where the run itself is scored. Raises ConfigError for other data."""
    if protocol == "esc50":
        if not set(ESC50_FOLDS) <= {clip.fold for clip in sounds.clips}:
            raise ConfigError(
                f"{sounds.root}: has not the five folds of ESC-50; use --protocol holdout"
            )
        return ESC50_FOLDS
    if protocol == "tau2019_cities":
        if described.config.stage.data.sounds != sounds.name:
            raise ConfigError(
                f"{protocol} trains runs like this one on {sounds.name}; give a run of that data set"
            )
        return tau.cities_of(sounds)
    return ()


def run_of_fold(run: Path, described: Checkpoint, fold: str, sounds: Manifest, out: Path) -> Path:
    """Where the run without a fold lies: the run itself, if it holds out that fold and is finished."""
    own = described.finished and recipe_of(described) == fold_recipe(described, fold, sounds)
    return run if own else out / f"fold-{fold}"


def fold_recipe(described: Checkpoint, fold: str, sounds: Manifest) -> Recipe:
    """The recipe of a run with one fold held out and nothing else kept aside: the schedule is settled."""
    recipe = recipe_of(described)
    learns = tuple(
        kind for kind in recipe.kinds if getattr(recipe, kind).data.sounds == sounds.name
    )
    return recipe.with_data(learns, held_out_folds=(fold,), validation_fraction=0.0)


def last_without(run: Path, sounds: Manifest) -> Path | None:
    """The last ancestor of a run that, like all of its own, learnt from none of these sounds; None: there is none."""
    known = {clip.source_id for clip in sounds.clips}
    found = None
    for ancestor in ancestors(run):
        if known & checkpoint.describe(ancestor).sources:
            break
        found = ancestor
    return found


def score_fold(
    run: Path, described: Checkpoint, fold: str, sounds: Manifest, *, data: Path, out: Path
) -> Scored:
    """Train without a fold where that is still to be done, and score on it.

    Answers on disk are taken when this recipe gave them. Raises ConfigError when the fold's run has another one.
    """
    recipe = fold_recipe(described, fold, sounds)
    own = run_of_fold(run, described, fold, sounds, out)
    answers = out / f"fold-{fold}.json"
    stored = json.loads(answers.read_text()) if answers.exists() else None
    if stored and stored.pop("config_sha256", None) == config_sha256(recipe):
        return Scored(**stored)
    if own != run:
        train(recipe, data=data, out=own, parent=last_without(run, sounds))
    networks, trained = checkpoint.load_finished(own)
    scored = score(networks, trained, held_out(sounds, (fold,)), name=fold)
    write_answers(scored, recipe, out)
    return scored


def write_answers(scored: Scored, config: BaseModel, out: Path) -> None:
    """Keep the answers of a fold as OUT/fold-<name>.json, with the configuration that gave them."""
    text = json.dumps(scored.__dict__ | {"config_sha256": config_sha256(config)})
    write_whole(out / f"fold-{scored.fold}.json", text)


def config_sha256(config: BaseModel) -> str:
    """Hash of all settings: tells whether answers were given by a run like this one."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def held_out(sounds: Manifest, folds: tuple[str, ...]) -> Manifest:
    """The clips of the folds. Raises LeakageError when another fold has one of their recordings by another name."""
    rest, test = hold_out(sounds, folds)
    check_leakage(rest, test)
    return test


def score_held_out(run: Path, sounds: Manifest) -> Scored:
    """Score a run on the folds it held out, or on the recordings it kept aside for validation."""
    networks, trained = checkpoint.load_finished(run)
    folds = trained.config.stage.data.held_out_folds
    if folds:
        return score(networks, trained, held_out(sounds, folds), name=",".join(folds))
    aside = set(trained.origin.kept_aside)
    if missing := sorted(aside - {clip.source_id for clip in sounds.clips}):
        raise DataError(
            f"{sounds.root}: misses {missing[0]!r}, which the run kept aside ({len(missing)} such of {len(aside)}); "
            "give the --data that it was trained on"
        )
    test = sounds.select(lambda clip: clip.source_id in aside and bool(clip.audio_path))
    if not test.clips:
        raise DataError(
            f"{run}: this run kept nothing aside; train with --set data.validation_fraction=0.2"
        )
    return score(networks, trained, test, name="validation")


def score_test(run: Path, sounds: Manifest) -> Scored:
    """Score a run on the part of its data set that is called test."""
    networks, trained = checkpoint.load_finished(run)
    test = sounds.select(lambda clip: clip.split == "test" and bool(clip.audio_path))
    if not test.clips:
        raise DataError(f"{sounds.root}: leaves nothing for a test; use --protocol holdout")
    return score(networks, trained, test, name="test")


def score_tau(run: Path, sounds: Manifest, *, frames: bool) -> tuple[list[Scored], dict[str, Any]]:
    """Score a run on the test part of a TAU set; with `frames` also what it imagines, beside the real frames."""
    networks, trained = checkpoint.load_finished(run)
    test = tau.in_part(sounds, "test")
    check_never_heard(trained, test)
    features = imagine(networks, trained, test)
    scored = [answer(networks, trained, test, features, name="1")]
    more = measure_tau(scored, sounds, cities_heard={city_of(source) for source in trained.sources})
    if frames:
        seen = tau.score_frames(networks, trained, sounds, features)
        more["groups"]["picture"] = seen.pop("picture")
        more |= seen
    return scored, more


def measure_tau(
    scored: list[Scored], sounds: Manifest, *, cities_heard: Collection[str] = ()
) -> dict[str, Any]:
    """The measures of `tau` over all folds together; no city was heard where each is left out in its turn."""
    clip_of = {clip.id: clip for clip in sounds.clips}
    return tau.measures(
        [clip_of[clip_id] for fold in scored for clip_id in fold.clip_ids],
        np.concatenate([np.asarray(fold.targets) for fold in scored]),
        np.concatenate([np.asarray(fold.probabilities) for fold in scored]),
        cities_heard,
    )


def measure_folds(scored: list[Scored]) -> dict[str, Any]:
    """The share of right answers in each fold, with its interval."""
    shares = {
        fold.fold: share(fold.answers == np.asarray(fold.targets), fold.sources) for fold in scored
    }
    return {"groups": {"fold": shares}}


def score(networks: AVGAN, trained: Checkpoint, test: Manifest, *, name: str) -> Scored:
    """Probabilities for all clips of `test`. Raises LeakageError when a source of theirs was trained on."""
    check_never_heard(trained, test)
    return answer(networks, trained, test, imagine(networks, trained, test), name=name)


def check_never_heard(trained: Checkpoint, test: Manifest) -> None:
    """Raise LeakageError when a source of the test was trained on, DataError when a label was never taught."""
    check_leakage(test.select(lambda clip: clip.source_id in trained.sources), test)
    if unknown := sorted({clip.label for clip in test.clips} - set(trained.labels)):
        raise DataError(
            f"{test.name}: the run was never taught {unknown[0]!r}; train on recordings of every label"
        )


@torch.inference_mode()
def answer(
    networks: AVGAN, trained: Checkpoint, test: Manifest, features: Tensor, *, name: str
) -> Scored:
    """Answers read from the imagined features (M, D, 16, 16) of `test`."""
    index = {label: number for number, label in enumerate(trained.labels)}
    probabilities: list[list[float]] = []
    for part in features.split(BATCH):
        probabilities += torch.softmax(networks.classifier(part).double(), 1).tolist()
    return Scored(
        fold=name,
        clip_ids=[clip.id for clip in test.clips],
        sources=[clip.source_id for clip in test.clips],
        targets=[index[clip.label] for clip in test.clips],
        probabilities=probabilities,
    )


def summarise(
    protocol: str, described: Checkpoint, scored: list[Scored], sounds: Manifest
) -> dict[str, Any]:
    """The report: accuracy with its spread over folds and over sources, and the confusion matrix."""
    targets = np.concatenate([np.asarray(fold.targets) for fold in scored])
    answers = np.concatenate([fold.answers for fold in scored])
    sources = np.concatenate([np.asarray(fold.sources) for fold in scored])
    by_fold = {
        fold.fold: metrics.accuracy(np.asarray(fold.targets), fold.answers) for fold in scored
    }
    mean, deviation = metrics.mean_and_deviation(list(by_fold.values()))
    counts = metrics.confusion(targets, answers, len(described.labels))
    report = {
        "protocol": protocol,
        "avgan": __version__,
        "preset": described.config.preset,
        "classifier": described.classifier.mode,
        "seed": described.config.loop.seed,
        "accuracy": mean,
        "deviation_over_folds": None if len(scored) == 1 else deviation,
        "interval_95": metrics.bootstrap_interval(targets == answers, sources),
        "by_fold": by_fold,
        "num_clips": len(targets),
        "data": {sounds.name: sounds.sha256()},
        "labels": list(described.labels),
        "confusion": counts.tolist(),
        "config": recipe_of(described).model_dump(mode="json"),
    }
    scene_of_label = described.scene_of_label
    if scene_of_label:
        report["scene_accuracy"] = scene_accuracy(scored, described.labels, scene_of_label)
    return report


def scene_accuracy(
    scored: list[Scored], labels: tuple[str, ...], scene_of_label: dict[str, str]
) -> float:
    """Accuracy of the place: the scene with the largest sum of its labels' probabilities."""
    scenes = sorted(set(scene_of_label.values()))
    of_label = np.array([scenes.index(scene_of_label[label]) for label in labels])
    sums = np.zeros((len(labels), len(scenes)))
    sums[np.arange(len(labels)), of_label] = 1.0
    hits = [
        (np.asarray(fold.probabilities) @ sums).argmax(1) == of_label[np.asarray(fold.targets)]
        for fold in scored
    ]
    return float(np.concatenate(hits).mean())
