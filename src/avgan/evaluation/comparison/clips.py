"""A fold's recordings as a rival is given them: waveforms at any rate, pictures to learn with, no answers to copy.

Who answers sees neither targets nor pictures: a picture drawn by label would tell the label.

Shapes: M clips, L samples.
"""

import gc
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avgan.baselines.rival import Clips
from avgan.data.datasets import DATASETS, find
from avgan.data.loading import CACHE_BYTES, ImageStore, WaveformStore
from avgan.data.manifest import Manifest
from avgan.data.pairing import Pairing, pair_by_label, pair_within
from avgan.errors import DataError
from avgan.evaluation.comparison.folds import Fold, Protocol
from avgan.training.data import divide_images

UNKNOWN = -1
"""The target of a clip that is to be answered."""
NUM_RATES = 2
"""Whose decoded waveforms are kept; a method reads at one or two."""


class Sounds:
    """The waveforms of all clips of a protocol, decoded once for each of the rates asked for last.

    They are kept as integers and turned into float32 as they are read, so that memory stays below NUM_RATES caches
    beside what a method itself holds.
    """

    def __init__(self, protocol: Protocol, *, cache_bytes: int = CACHE_BYTES) -> None:
        clips = {
            clip.id: clip
            for fold in protocol.folds
            for side in (fold.train, fold.test)
            for clip in side.clips
            if clip.audio_path
        }
        self._manifest = replace(protocol.folds[0].train, clips=tuple(clips.values()))
        self._row = {clip_id: row for row, clip_id in enumerate(clips)}
        self._window_s = protocol.window_s
        self._cache_bytes = cache_bytes
        self._stores: OrderedDict[int, WaveformStore] = OrderedDict()
        self.seconds = 0.0
        """Spent on reading so far; what a method needs itself is the rest."""

    def rows(self, clip_ids: tuple[str, ...]) -> np.ndarray:
        """Where clips stand, (M,)."""
        return np.array([self._row[clip_id] for clip_id in clip_ids], dtype=np.int64)

    def read(self, rate_hz: int, rows: np.ndarray) -> np.ndarray:
        """Waveforms (M, L) float32 in [-1, 1]; short clips end in silence."""
        began = time.monotonic()
        waveforms = self._store(rate_hz).get(rows)
        self.seconds += time.monotonic() - began
        return waveforms

    def _store(self, rate_hz: int) -> WaveformStore:
        if rate_hz not in self._stores:
            self._stores[rate_hz] = WaveformStore(
                self._manifest,
                rate_hz=rate_hz,
                window_s=self._window_s,
                cache_bytes=self._cache_bytes,
            )
        self._stores.move_to_end(rate_hz)
        while len(self._stores) > NUM_RATES:
            self._stores.popitem(last=False)
            gc.collect()  # a store and its cache know each other: nothing else would free them soon
        return self._stores[rate_hz]


class Pictures:
    """The pictures that sounds are paired with."""

    def __init__(self, protocol: Protocol, data: Path) -> None:
        """Of photographs the training ones only. Raises DataError where there are none below the data's folder."""
        self._protocol = protocol
        self._photographs: Manifest | None = None
        if protocol.images != protocol.folds[0].train.name:
            self._photographs = divide_images(find(data, protocol.images))[0]
            self._store = ImageStore(self._photographs)

    def pair(self, sounds: Manifest) -> "Pairs":
        """Pairs of the sounds of a training side with pictures. Raises DataError where a label has none."""
        if self._photographs is None:
            pairing = pair_within(sounds)
            return Pairs(pairing, ImageStore(replace(sounds, clips=pairing.images)))
        scenes = DATASETS[sounds.name].photographs_of_label
        heard = [clip for clip in sounds.clips if clip.audio_path]
        return Pairs(pair_by_label(heard, self._photographs.clips, scenes), self._store)


@dataclass(frozen=True)
class Pairs:
    """A pairing with its pictures."""

    pairing: Pairing
    store: ImageStore

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A picture for each sound, (M, 3, 128, 128) uint8."""
        return self.store.get(
            [self.pairing.draw(sound, rng) for sound in range(len(self.pairing.sounds))]
        )


def clips_to_learn_from(
    fold: Fold, protocol: Protocol, sounds: Sounds, *, data: Path, pictures: Pictures | None
) -> Clips:
    """The training side of a fold, with pictures where there are some for all of it."""
    number = {label: index for index, label in enumerate(protocol.labels)}
    heard = fold.train.select(lambda clip: bool(clip.audio_path))
    known = _clips(heard, protocol, sounds, data)
    targets = np.array([number[clip.label] for clip in heard.clips], dtype=np.int64)
    draw = None
    if pictures is not None:
        try:
            pairs = pictures.pair(fold.train)
        except DataError:
            pairs = None
        if pairs and tuple(clip.id for clip in pairs.pairing.sounds) == known.ids:
            draw = pairs.draw
    return replace(known, targets=targets, draw=draw)


def clips_to_answer(fold: Fold, protocol: Protocol, sounds: Sounds, *, data: Path) -> Clips:
    """The test side of a fold without what it is asked for."""
    return _clips(fold.test, protocol, sounds, data)


def _clips(side: Manifest, protocol: Protocol, sounds: Sounds, data: Path) -> Clips:
    ids = tuple(clip.id for clip in side.clips)
    rows = sounds.rows(ids)
    return Clips(
        ids,
        tuple(clip.source_id for clip in side.clips),
        np.full(len(ids), UNKNOWN, dtype=np.int64),
        len(protocol.labels),
        protocol.window_s,
        lambda rate_hz: sounds.read(rate_hz, rows),
        folder=data,
        read_rows=lambda rate_hz, some: sounds.read(rate_hz, rows[some]),
    )
