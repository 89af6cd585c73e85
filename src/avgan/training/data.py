"""What a run trains on: recordings, pictures and which may be shown together, with the held-out kept away.

Shapes: B batch, L samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgan.config import DataSection
from avgan.data.datasets import find
from avgan.data.loading import ImageStore, WaveformStore
from avgan.data.manifest import Clip, Manifest
from avgan.data.pairing import Pairing, pair_by_label, pair_synchronous
from avgan.data.splits import check_leakage, hold_out, split_by_source
from avgan.errors import DataError
from avgan.scenes import PLACES_OF_DATASET
from avgan.scenes import scene_of_label as known_scenes


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
    provenance: dict[str, str]

    def spread_validation_images(self, start: int, stop: int) -> np.ndarray:
        """Indices of validation pictures in an order that visits all scenes early and is always the same."""
        order = np.random.default_rng(0).permutation(len(self.validation_images))
        return order[start:stop]


def load(
    config: DataSection, root: Path, *, sample_rate_hz: int, seed: int
) -> TrainingData:
    """Read the manifests under `root`, split by source and pair. Raises DataError or LeakageError."""
    sounds = find(root, config.sounds)
    train, validation = divide(sounds, config, seed)
    labels = train.labels
    scene_of_label = known_scenes(config.sounds) if config.sounds in PLACES_OF_DATASET else None
    synchronous = all(clip.image_path for clip in train.clips)
    images = train if synchronous else find(root, config.images)
    image_train, image_validation = divide_images(images, validation if synchronous else None, seed)
    if synchronous:
        pairing = pair_synchronous(train)
    else:
        scenes = scene_of_label or {label: label for label in labels}
        pairing = pair_by_label(train.clips, image_train.clips, scenes)
    budget = int(config.cache_gb * 2**30)
    index = {label: number for number, label in enumerate(labels)}

    def recordings(manifest: Manifest) -> Recordings:
        store = WaveformStore(
            manifest,
            rate_hz=sample_rate_hz,
            window_s=config.window_s,
            cache_bytes=budget,
        )
        targets = np.array([index[clip.label] for clip in manifest.clips], dtype=np.int64)
        return Recordings(manifest.clips, store, targets)

    return TrainingData(
        labels=labels,
        scene_of_label=scene_of_label,
        train=recordings(train),
        validation=recordings(validation),
        pairing=pairing,
        images=ImageStore(image_train, cache_bytes=budget),
        validation_images=ImageStore(image_validation, cache_bytes=budget),
        validation_scenes=tuple(clip.label for clip in image_validation.clips),
        provenance={
            "sounds": f"{sounds.name} {sounds.sha256()}",
            "images": f"{images.name} {images.sha256()}",
            "pairing": pairing.kind,
        },
    )


def divide(sounds: Manifest, config: DataSection, seed: int) -> tuple[Manifest, Manifest]:
    """Training and validation recordings, by source; held-out folds and test clips are in neither."""
    rest = hold_out(sounds, config.held_out_folds)[0] if config.held_out_folds else sounds
    kept = rest.select(lambda clip: clip.split != "test" and bool(clip.label and clip.audio_path))
    if not kept.clips:
        raise DataError(f"{sounds.name}: no labelled recording is left to train on")
    if config.validation_fraction == 0:
        return kept, kept.select(lambda clip: False)
    fractions = {"train": 1 - config.validation_fraction, "validation": config.validation_fraction}
    divided = split_by_source(kept, fractions=fractions, seed=seed)
    train = divided.select(lambda clip: clip.split == "train")
    validation = divided.select(lambda clip: clip.split == "validation")
    check_leakage(train, validation)
    return train, validation


def divide_images(
    images: Manifest, validation: Manifest | None, seed: int
) -> tuple[Manifest, Manifest]:
    """Training and validation pictures: the data set's own split, that of the clips, or one in ten by source."""
    if validation is not None:
        return images, validation if validation.clips else images
    own = images.select(lambda clip: clip.split in ("val", "validation"))
    if own.clips:
        return images.select(lambda clip: clip.split == "train"), own
    divided = split_by_source(images, fractions={"train": 0.9, "validation": 0.1}, seed=seed)
    return (
        divided.select(lambda clip: clip.split == "train"),
        divided.select(lambda clip: clip.split == "validation"),
    )


def scenes_of(labels: tuple[str, ...], scene_of_label: Mapping[str, str] | None) -> tuple[str, ...]:
    """The scene of each label: its place, or itself."""
    return tuple((scene_of_label or {}).get(label, label) for label in labels)
