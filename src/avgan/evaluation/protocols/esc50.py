"""ESC-50 and ESC-10: the official five folds (Piczak 2015), each answered by who learnt from the other four."""

from pathlib import Path
from typing import Any

from avgan.checkpoint import Checkpoint
from avgan.data.datasets import find
from avgan.data.datasets.esc50 import CLIP_S
from avgan.data.manifest import Manifest
from avgan.errors import DataError
from avgan.evaluation.protocols.protocol import Protocol, Scored, divide
from avgan.metrics import shares_by
from avgan.scenes import ESC10_CLASSES

FOLDS = ("1", "2", "3", "4", "5")
HUMAN_SOURCE = "Piczak, ESC: Dataset for Environmental Sound Classification, 2015"


def esc50(data: Path, run: Checkpoint | None) -> Protocol:
    """All fifty classes."""
    return _protocol("esc50", "ESC-50", whole(find(data, "esc50")), human=81.3)


def esc10(data: Path, run: Checkpoint | None) -> Protocol:
    """The same five folds with the ten classes of ESC-10 alone."""
    sounds = whole(find(data, "esc50")).select(lambda clip: clip.label in ESC10_CLASSES)
    return _protocol("esc10", "ESC-10", sounds, human=95.7)


def _protocol(name: str, title: str, sounds: Manifest, *, human: float) -> Protocol:
    return Protocol(
        name=name,
        title=f"{title}, the official five folds",
        folds=divide(sounds, FOLDS),
        window_s=CLIP_S,
        human=human,
        human_source=HUMAN_SOURCE,
        measure=by_fold,
    )


def whole(sounds: Manifest) -> Manifest:
    """ESC-50 with all of its folds. Raises DataError where one is missing."""
    if missing := sorted(set(FOLDS) - {clip.fold for clip in sounds.clips}):
        raise DataError(
            f"{sounds.root}: has no clips of fold {missing[0]}; this protocol needs the five folds of ESC-50"
        )
    return sounds


def by_fold(scored: Scored) -> dict[str, Any]:
    """The share of right answers in each fold, with its interval."""
    return {"groups": {"fold": shares_by(scored.folds.tolist(), scored.correct, scored.sources)}}
