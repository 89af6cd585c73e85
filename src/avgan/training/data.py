"""What a run trains on: recordings, pictures and which may be shown together, with the held-out kept away.

Shapes: B batch, L samples.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avgan.config import DataSection
from avgan.data.datasets import DATASETS, find, locate
from avgan.data.datasets.curated import CURATED
from avgan.data.datasets.folder import FOLDER
from avgan.data.loading import ImageStore, WaveformStore
from avgan.data.manifest import Clip, Manifest
from avgan.data.pairing import Pairing, only_strong, pair_by_label, pair_within, shuffled
from avgan.data.splits import check_leakage, hold_out, split_by_source
from avgan.errors import DataError
from avgan.scenes import scene_of_label as known_scenes
from avgan.scenes import strong_labels

HAS_BOTH = ("tau_av_2021", CURATED.name, FOLDER.name)
"""Data sets whose pictures are their own."""


@dataclass(frozen=True)
class Recordings:
    """Labelled recordings with their waveforms."""

    clips: tuple[Clip, ...]
    waveforms: WaveformStore
    targets: np.ndarray
    """(number of clips,) index of each clip's label."""

    def __len__(self) -> int:
        return len(self.clips)


@dataclass(frozen=True)
class TrainingData:
    """All that the stages draw from."""

    labels: tuple[str, ...]
    scene_of_label: dict[str, str] | None
    """Where one would hear each label; None where the labels are scenes themselves."""
    train: Recordings
    validation: Recordings
    """Empty when the run keeps nothing aside."""
    pairing: Pairing
    """Of `train` with `images`."""
    images: ImageStore
    validation_images: ImageStore
    validation_scenes: tuple[str, ...]
    provenance: dict[str, Any]
    sources: tuple[str, ...] = ()
    """Of the recordings in `train`: what the run must never be scored on."""
    kept_aside: tuple[str, ...] = ()
    """Of the recordings in `validation`."""

    def describe(self) -> str:
        """What there is to learn from, in one line."""
        names = ", ".join(self.labels[:6]) + (", ..." if len(self.labels) > 6 else "")
        return (
            f"{len(self.labels)} labels ({names}); {len(self.train)} clips and {len(self.images)} pictures "
            f"to learn from, paired {self.pairing.kind.replace('_', ' ')}; {len(self.validation)} clips kept aside"
        )

    def spread_validation_images(self, start: int, stop: int) -> np.ndarray:
        """Indices of validation pictures in an order that visits all scenes early and is always the same."""
        order = np.random.default_rng(0).permutation(len(self.validation_images))
        return order[start:stop]


def resolve(config: DataSection, root: Path) -> DataSection:
    """Put names for `auto`: the first declared data set of sounds below `root`, else a folder of one's own.

    Raises DataError when there is neither.
    """
    if config.sounds != "auto":
        return config
    for name in ("esc50", "tau2019", *HAS_BOTH):
        if DATASETS[name].matches(locate(root, name)):
            images = name if name in HAS_BOTH else config.images
            return config.model_copy(update={"sounds": name, "images": images})
    raise DataError(
        f"{root}: no data set here; put recordings or videos into one folder for each label, or see `avgan data list`"
    )


def read_sounds(config: DataSection, root: Path) -> Manifest:
    """The manifest of the sounds; a folder of one's own is cut into clips of the length the generator hears."""
    return find(root, config.sounds, window_s=config.window_s)


def load(
    config: DataSection,
    root: Path,
    *,
    sample_rate_hz: int,
    seed: int,
    sounds: Manifest | None = None,
) -> TrainingData:
    """Read the manifests under `root`, split by source and pair; of the sounds only `sounds` where they are given.

    Raises DataError or LeakageError.
    """
    sounds = read_sounds(config, root) if sounds is None else sounds
    train, validation = divide(sounds, config, seed)
    scene_of_label = None
    if config.images == config.sounds:
        images = sounds
        pairing = pair_within(train)
        image_train = replace(train, clips=pairing.images)
        image_validation = validation.select(lambda clip: bool(clip.image_path))
    else:
        images = find(root, config.images)
        image_train, image_validation = divide_images(images)
        scene_of_label = known_scenes(config.sounds)
        pairing = pair_by_label(train.clips, image_train.clips, scene_of_label)
    pairing = as_asked(pairing, config, seed)
    labels = tuple(sorted({clip.label for clip in pairing.sounds}))
    check_labels(labels, train, validation)
    index = {label: number for number, label in enumerate(labels)}
    budget = int(config.cache_gb * 2**30)

    def recordings(clips: Iterable[Clip]) -> Recordings:
        heard = replace(train, clips=tuple(clip for clip in clips if clip.audio_path))
        store = WaveformStore(
            heard, rate_hz=sample_rate_hz, window_s=config.window_s, cache_bytes=budget
        )
        targets = np.array([index[clip.label] for clip in heard.clips], dtype=np.int64)
        return Recordings(heard.clips, store, targets)

    # a small data set may have no picture to spare: then the stages show training ones
    shown = image_validation if image_validation.clips else image_train
    return TrainingData(
        labels=labels,
        scene_of_label=scene_of_label,
        train=recordings(pairing.sounds),
        validation=recordings(validation.clips),
        pairing=pairing,
        images=ImageStore(image_train, cache_bytes=budget),
        validation_images=ImageStore(shown, cache_bytes=budget),
        validation_scenes=tuple(clip.label for clip in shown.clips),
        provenance={
            "sounds": f"{sounds.name} {sounds.sha256()}",
            "images": f"{images.name} {images.sha256()}",
            "pairing": pairing.kind + ("" if config.pairs == "matching" else f", {config.pairs}"),
        },
        sources=tuple(sorted({clip.source_id for clip in train.clips})),
        kept_aside=tuple(sorted({clip.source_id for clip in validation.clips})),
    )


def as_asked(pairing: Pairing, config: DataSection, seed: int) -> Pairing:
    """The pairing itself, or one of the two that ask what it is worth."""
    if config.pairs == "shuffled":
        return shuffled(pairing, seed)
    if config.pairs == "strong":
        return only_strong(pairing, strong_labels(config.sounds))
    return pairing


def check_labels(labels: tuple[str, ...], train: Manifest, validation: Manifest) -> None:
    """Raise DataError where a label that was found cannot be learnt, or only one can."""
    found = {clip.label for side in (train, validation) for clip in side.clips}
    if lost := sorted(found - set(labels)):
        raise DataError(
            f"{train.name}: no recording of {lost[0]!r} is left to learn from; add recordings of it or remove it"
        )
    if len(labels) < 2:
        raise DataError(f"{train.name}: only one label, {labels[0]!r}; a model needs two or more")


def divide(sounds: Manifest, config: DataSection, seed: int) -> tuple[Manifest, Manifest]:
    """Training and validation clips, by source; held-out folds and test clips are in neither.

    A data set that has a validation part of its own is not divided further.
    """
    rest = hold_out(sounds, config.held_out_folds)[0] if config.held_out_folds else sounds
    kept = rest.select(lambda clip: clip.split == "train" and bool(clip.label))
    if not kept.clips:
        raise DataError(f"{sounds.name}: no labelled recording is left to train on")
    if config.validation_fraction == 0:
        return kept, kept.select(lambda clip: False)
    own = rest.select(lambda clip: clip.split == "validation" and bool(clip.label))
    if own.clips:
        check_leakage(kept, own)
        return kept, own
    fractions = {"train": 1 - config.validation_fraction, "validation": config.validation_fraction}
    # recordings and pictures each by themselves, else a label's share could be pictures only
    clips: list[Clip] = []
    heard = kept.select(lambda clip: bool(clip.audio_path))
    for part in (heard, kept.select(lambda clip: not clip.audio_path)):
        if part.clips:
            clips += split_by_source(part, fractions=fractions, seed=seed).clips
    divided = replace(kept, clips=tuple(clips))
    train = divided.select(lambda clip: clip.split == "train")
    validation = divided.select(lambda clip: clip.split == "validation")
    check_leakage(train, validation)
    return train, validation


def divide_images(images: Manifest) -> tuple[Manifest, Manifest]:
    """Training and validation pictures by the data set's own split."""
    return (
        images.select(lambda clip: clip.split == "train"),
        images.select(lambda clip: clip.split == "validation"),
    )


def scenes_of(labels: tuple[str, ...], scene_of_label: Mapping[str, str] | None) -> tuple[str, ...]:
    """The scene of each label: its place, or itself."""
    return tuple((scene_of_label or {}).get(label, label) for label in labels)
