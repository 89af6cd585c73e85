"""Protocols: what is trained on which folds, and scored on which.

- `esc50`: the official five folds. For each, generator and classifier are trained anew without it (the VQ-VAE has
  never heard a sound and is shared), then scored on it. A run that already holds a fold out serves as that fold.
- `holdout`: the run itself, on the folds it held out, or on what it kept aside for validation.
- `pictures`: what the run imagines for those folds, by a judge of scenes and for the eye (see `pictures`).

A protocol can be interrupted anywhere; the same command goes on.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avgan import __version__, checkpoint
from avgan.checkpoint import Checkpoint
from avgan.config import RunConfig
from avgan.data.loading import WaveformStore
from avgan.data.manifest import Manifest
from avgan.data.splits import check_leakage, hold_out
from avgan.errors import CheckpointError, ConfigError, DataError
from avgan.evaluation import metrics
from avgan.evaluation.pictures import evaluate_pictures
from avgan.evaluation.report import write_report
from avgan.model import AVGAN
from avgan.training.data import read_sounds
from avgan.training.run import NAMES, train

PROTOCOLS = ("esc50", "holdout", "pictures")
ESC50_FOLDS = ("1", "2", "3", "4", "5")
BATCH = 32


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
    start_from: Path | None = None,
) -> dict[str, Any]:
    """Score a run. Writes report.json with tables and plots into `out` (RUN/<protocol>), returns the report.

    `start_from` is the `out` of another run of the same protocol, whose folds give the stages both train alike.

    Raises ConfigError for an unknown protocol, LeakageError when a source was both trained on and scored.
    """
    if protocol not in PROTOCOLS:
        raise ConfigError(
            f"no protocol is called {protocol!r}: choose one of {', '.join(PROTOCOLS)}"
        )
    path = checkpoint.newest(run)
    if path is None:
        raise DataError(f"{run}: no checkpoint here; give a run folder made by `avgan train`")
    described = checkpoint.read(path)
    out = out or run / protocol
    if protocol == "pictures":
        return evaluate_pictures(run, data=data, out=out)
    sounds = read_sounds(described.config.data, data)
    if protocol == "esc50":
        if not set(ESC50_FOLDS) <= {clip.fold for clip in sounds.clips}:
            raise ConfigError(
                f"{sounds.root}: has not the five folds of ESC-50; use --protocol holdout"
            )
        out.mkdir(parents=True, exist_ok=True)
        scored = [
            score_fold(run, described, fold, sounds, data=data, out=out, start_from=start_from)
            for fold in ESC50_FOLDS
        ]
    else:
        scored = [score_held_out(run, sounds)]
        out.mkdir(parents=True, exist_ok=True)
    report = summarise(protocol, described, scored, sounds)
    write_report(report, out)
    return report


def fold_config(config: RunConfig, fold: str) -> RunConfig:
    """The configuration with one fold held out and nothing else kept aside: the schedule is settled."""
    section = config.data.model_copy(update={"held_out_folds": (fold,), "validation_fraction": 0.0})
    return config.model_copy(update={"data": section})


def score_fold(
    run: Path,
    described: Checkpoint,
    fold: str,
    sounds: Manifest,
    *,
    data: Path,
    out: Path,
    start_from: Path | None,
) -> Scored:
    """Train without a fold where that is still to be done, and score on it.

    Answers on disk are taken when this configuration gave them. Raises ConfigError when the fold's run has another one.
    """
    config = fold_config(described.config, fold)
    finished = described.position.finished == NAMES
    own = run if finished and described.config == config else out / f"fold-{fold}"
    answers = out / f"fold-{fold}.json"
    stored = json.loads(answers.read_text()) if answers.exists() else None
    # answers without a hash are older than the hash and taken at their word
    if stored and stored.pop("config_sha256", config_sha256(config)) == config_sha256(config):
        return Scored(**stored)
    if own != run:
        train(config, data=data, out=own, start_from=start_from / own.name if start_from else run)
    networks, trained = checkpoint.load_networks(own)
    scored = score(networks, trained, held_out(sounds, (fold,)), name=fold)
    temporary = answers.with_suffix(".tmp")
    temporary.write_text(json.dumps(scored.__dict__ | {"config_sha256": config_sha256(config)}))
    os.replace(temporary, answers)
    return scored


def config_sha256(config: RunConfig) -> str:
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
    networks, trained = checkpoint.load_networks(run)
    if trained.position.finished != NAMES:
        raise CheckpointError(
            f"{run}: its training is unfinished; go on with the command that began it (avgan train ... -o {run})"
        )
    folds = trained.config.data.held_out_folds
    if folds:
        return score(networks, trained, held_out(sounds, folds), name=",".join(folds))
    aside = set(trained.kept_aside)
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


@torch.inference_mode()
def score(networks: AVGAN, trained: Checkpoint, test: Manifest, *, name: str) -> Scored:
    """Probabilities for all clips of `test`. Raises LeakageError when a source of theirs was trained on."""
    config = trained.config
    trained_on = set(trained.sources)
    check_leakage(test.select(lambda clip: clip.source_id in trained_on), test)
    index = {label: number for number, label in enumerate(trained.labels)}
    if unknown := sorted({clip.label for clip in test.clips} - index.keys()):
        raise DataError(
            f"{name}: the run was never taught {unknown[0]!r}; train on recordings of every label"
        )
    store = WaveformStore(
        test,
        rate_hz=config.front_end.sample_rate_hz,
        window_s=config.data.window_s,
        cache_bytes=0,
    )
    probabilities: list[list[float]] = []
    for start in range(0, len(test.clips), BATCH):
        rows = np.arange(start, min(start + BATCH, len(test.clips)))
        features = networks.generator(networks.log_mel(torch.from_numpy(store.get(rows))))
        logits = networks.classifier(features)
        probabilities += torch.softmax(logits.double(), 1).tolist()
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
        "classifier": described.config.classifier.mode,
        "seed": described.config.loop.seed,
        "accuracy": mean,
        "deviation_over_folds": None if len(scored) == 1 else deviation,
        "interval_95": metrics.bootstrap_interval(targets == answers, sources),
        "by_fold": by_fold,
        "num_clips": len(targets),
        "data": {sounds.name: sounds.sha256()},
        "labels": list(described.labels),
        "confusion": counts.tolist(),
        "config": described.config.model_dump(mode="json"),
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
