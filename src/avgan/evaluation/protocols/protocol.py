"""What a protocol is: folds, parts of their test sides, and measures beyond the share of right answers.

The test side of a fold is kept as published; the training side gives up the few clips whose recording also stands in
the test.

Shapes: M clips, N labels.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avgan.data.manifest import Clip, Manifest
from avgan.data.splits import check_leakage, hold_out
from avgan.errors import DataError


@dataclass(frozen=True)
class Fold:
    """What is learnt from and what is answered; no source stands in both."""

    name: str
    train: Manifest
    """May hold pictures without sound."""
    test: Manifest

    @cached_property
    def sha256(self) -> str:
        """Hash of what is to be learnt and what is asked; the place of the files does not change it."""
        return hashlib.sha256((self.train.sha256() + self.test.sha256()).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Scored:
    """All clips that were answered, with what was answered."""

    clips: tuple[Clip, ...]
    folds: np.ndarray
    """(M,) the name of the fold of each."""
    targets: np.ndarray
    """(M,)"""
    probabilities: np.ndarray
    """(M, N)"""
    learnt_from: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Of each fold the sources of its training."""

    @property
    def correct(self) -> np.ndarray:
        """(M,) bool."""
        return self.probabilities.argmax(1) == self.targets

    @property
    def sources(self) -> np.ndarray:
        """(M,)"""
        return np.array([clip.source_id for clip in self.clips])


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Folds, each answered by a method that learnt from its other side, and what is measured."""

    name: str
    title: str
    """What is scored, in a line."""
    folds: tuple[Fold, ...]
    """A run is scored as it is where there is one; where there are several its recipe is trained for each."""
    window_s: float
    """How much of each clip is used."""
    images: str = "miniplaces"
    """Data set of the pictures that sounds are paired with; that of the sounds where they have their own."""
    human: float | None = None
    """Accuracy of people as published, in percent."""
    human_source: str = ""
    parts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Ids of test clips whose accuracy is also given by itself, such as those of an unseen city."""
    measure: Callable[[Scored], dict[str, Any]] = lambda scored: {}
    """What a report has beside accuracy, by key."""
    measure_run: Callable[[Path, Manifest], dict[str, Any]] | None = None
    """The same where the networks of a run are asked more than their answers: the run, and the test."""
    more_labels: tuple[str, ...] = ()
    """Labels that may be answered beside those of the folds."""
    choices: tuple[str, ...] = ()
    """The labels that an answer is chosen from, where others are learnt beside them."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, sorted: their places are the numbers that methods answer with."""
        learnt = {clip.label for fold in self.folds for clip in fold.train.clips if clip.audio_path}
        asked = {label for fold in self.folds for label in fold.test.labels}
        return tuple(sorted((learnt - {""}) | asked | set(self.more_labels)))

    @property
    def answered(self) -> tuple[str, ...]:
        """The labels that count as answers."""
        return self.choices or self.labels

    def numbers_of(self, side: Manifest) -> np.ndarray:
        """The label number of each clip (M,)."""
        number = {label: index for index, label in enumerate(self.labels)}
        return np.array([number[clip.label] for clip in side.clips], dtype=np.int64)

    @property
    def dataset(self) -> str:
        """Name of the data set of the sounds."""
        return self.folds[0].test.name


def check_fold(fold: Fold) -> None:
    """Refuse a fold that leaks, or that asks for what cannot be learnt. Raises LeakageError or DataError."""
    check_leakage(fold.train, fold.test)
    learnt = {clip.label for clip in fold.train.clips if clip.audio_path}
    if unknown := sorted(set(fold.test.labels) - learnt):
        raise DataError(f"fold {fold.name}: no recording of {unknown[0]!r} is left to learn from; add recordings of it")


def divide(sounds: Manifest, names: tuple[str, ...]) -> tuple[Fold, ...]:
    """Each fold held out in its turn (see `splits.hold_out`)."""
    return tuple(Fold(name, *hold_out(sounds, (name,))) for name in names)
