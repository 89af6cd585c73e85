"""A fold's recordings as a method is given them: waveforms at any rate, pictures to learn with, no answers to copy.

Who answers sees neither targets nor pictures: a picture sampled by label would give the label away.

Shapes: M clips, L samples.
"""

import gc
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from avgan.baselines.method import Clips
from avgan.config import DataSection
from avgan.data.datasets import find
from avgan.data.loading import CACHE_BYTES, ImageStore, WaveformStore
from avgan.data.manifest import Manifest
from avgan.data.splits import check_leakage
from avgan.errors import DataError
from avgan.evaluation.protocols import Fold, Protocol
from avgan.training.data import NO_SOUND, divide_images, pair, read_sounds, resolve

UNKNOWN = -1
"""The target of a clip that is to be answered."""
NUM_RATES = 2
"""Whose decoded waveforms are kept; a method reads at one or two."""


class Sounds:
    """The waveforms of recordings below one root, decoded once for each of the rates asked for last.

    They are kept as integers and turned into float32 as they are read, so that memory stays below NUM_RATES caches
    beside what a method itself holds.
    """

    def __init__(self, manifest: Manifest, window_s: float, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._manifest = manifest
        self._row = {clip.id: row for row, clip in enumerate(manifest.clips)}
        self._window_s = window_s
        self._cache_bytes = cache_bytes
        self._stores: OrderedDict[int, WaveformStore] = OrderedDict()
        self.seconds = 0.0
        """Spent on reading so far; what a method needs itself is the rest."""

    @classmethod
    def of(cls, protocol: Protocol, *, cache_bytes: int = CACHE_BYTES) -> "Sounds":
        """Those of all clips of a protocol."""
        everything = (clip for fold in protocol.folds for clip in (*fold.train.clips, *fold.test.clips))
        clips = {clip.id: clip for clip in everything if clip.audio_path}
        manifest = replace(protocol.folds[0].train, clips=tuple(clips.values()))
        return cls(manifest, protocol.window_s, cache_bytes=cache_bytes)

    def rows(self, clip_ids: tuple[str, ...]) -> np.ndarray:
        """Where clips stand, (M,)."""
        return np.array([self._row[clip_id] for clip_id in clip_ids], dtype=np.int64)

    def read(self, rate_hz: int, rows: np.ndarray) -> np.ndarray:
        """Waveforms (M, L) float32 in [-1, 1]; short clips are repeated."""
        began = time.monotonic()
        if rate_hz not in self._stores:
            self._stores[rate_hz] = WaveformStore(
                self._manifest, rate_hz=rate_hz, window_s=self._window_s, cache_bytes=self._cache_bytes
            )
        self._stores.move_to_end(rate_hz)
        while len(self._stores) > NUM_RATES:
            self._stores.popitem(last=False)
            gc.collect()  # a store and its cache know each other: nothing else would free them soon
        waveforms = self._stores[rate_hz].get(rows)
        self.seconds += time.monotonic() - began
        return waveforms


class Pictures:
    """The pictures that sounds are paired with."""

    def __init__(self, protocol: Protocol, data: Path) -> None:
        """Of photographs the training ones only. Raises DataError where there are none below the data's folder."""
        self._section = DataSection(sounds=protocol.dataset, images=protocol.images)
        self._own = protocol.images == protocol.dataset
        self._images = NO_SOUND if self._own else divide_images(find(data, protocol.images))[0]
        self._store = ImageStore(self._images)

    def pair(self, sounds: Manifest) -> tuple[tuple[str, ...], Callable[[np.random.Generator], np.ndarray]]:
        """The ids of the sounds that have pictures, and a function that samples one for each, (M, 3, 128, 128) uint8.

        Raises DataError where a label has none.
        """
        pairing = pair(sounds, self._images, self._section, seed=0)
        store = ImageStore(replace(sounds, clips=pairing.images)) if self._own else self._store

        def sample(rng: np.random.Generator) -> np.ndarray:
            return store.get([pairing.draw(sound, rng) for sound in range(len(pairing.sounds))])

        return tuple(clip.id for clip in pairing.sounds), sample


class Extra:
    """Further labelled recordings, from a folder of their own, for methods that learn from some."""

    def __init__(self, folder: Path, protocol: Protocol) -> None:
        """Raises DataError where none has a label of the protocol."""
        everything = read_sounds(resolve(DataSection(window_s=protocol.window_s), folder), folder)
        self.manifest = everything.select(lambda clip: bool(clip.audio_path) and clip.label in protocol.labels)
        if not self.manifest.clips:
            raise DataError(
                f"{folder}: no recording has a label of {protocol.name}, such as {protocol.labels[0]!r}; give a set "
                "with its labels"
            )
        self.name = f"{everything.name} {self.manifest.sha256()}"
        self._folder, self._protocol = folder, protocol
        self._sounds = Sounds(self.manifest, protocol.window_s)

    def of(self, fold: Fold) -> Clips:
        """Those that a method may learn from for a fold. Raises DataError where none is left."""
        kept = unrelated(self.manifest, fold)
        if not kept.clips:
            raise DataError(
                f"{self._folder}: all further recordings are of sources or cities that fold {fold.name} answers"
            )
        return _clips(kept, self._protocol, self._sounds, self._folder, labelled=True)


def unrelated(further: Manifest, fold: Fold) -> Manifest:
    """The further clips that say nothing of a test side.

    Left out are those of its sources, of the very same files, and of places (such as cities) that the test has and the
    training side has not: they are asked about as unseen places.
    """
    sources = {clip.source_id for clip in fold.test.clips}
    files = {clip.audio_sha256 for clip in fold.test.clips} - {""}
    unseen = {clip.place for clip in fold.test.clips} - {clip.place for clip in fold.train.clips} - {""}
    kept = further.select(
        lambda clip: clip.source_id not in sources and clip.audio_sha256 not in files and clip.place not in unseen
    )
    check_leakage(kept, fold.test)
    return kept


def clips_to_learn_from(
    fold: Fold, protocol: Protocol, sounds: Sounds, *, data: Path, pictures: Pictures | None, extra: Extra | None = None
) -> Clips:
    """The training side of a fold, with pictures where there are some for all of it, and further recordings."""
    recordings = fold.train.select(lambda clip: bool(clip.audio_path))
    clips = _clips(recordings, protocol, sounds, data, labelled=True)
    sample = None
    if pictures is not None:
        with suppress(DataError):
            ids, sample_of_ids = pictures.pair(fold.train)
            sample = sample_of_ids if ids == clips.ids else None
    further = None if extra is None else extra.of(fold)
    return replace(clips, sample_pictures=sample, extra=further, manifest=fold.train)


def clips_to_answer(fold: Fold, protocol: Protocol, sounds: Sounds, *, data: Path) -> Clips:
    """The test side of a fold without what it is asked for."""
    asked = tuple(replace(clip, label="", labels=()) for clip in fold.test.clips)
    return replace(_clips(fold.test, protocol, sounds, data), manifest=replace(fold.test, clips=asked))


def _clips(side: Manifest, protocol: Protocol, sounds: Sounds, data: Path, *, labelled: bool = False) -> Clips:
    ids = tuple(clip.id for clip in side.clips)
    rows = sounds.rows(ids)
    targets = protocol.numbers_of(side) if labelled else np.full(len(ids), UNKNOWN)
    return Clips(
        ids,
        tuple(clip.source_id for clip in side.clips),
        targets,
        protocol.labels,
        protocol.window_s,
        lambda rate_hz, some: sounds.read(rate_hz, rows[some]),
        folder=data,
    )
