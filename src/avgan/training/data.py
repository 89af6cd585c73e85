"""What a stage trains on: recordings, pictures and which may be shown together, without what is held out.

Shapes: B batch, L samples.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from avgan.config import DataSection, StageSection
from avgan.data.datasets import DATASETS, Dataset, find, locate
from avgan.data.datasets.folder import FOLDER
from avgan.data.datasets.folder import check_labels as check_folder
from avgan.data.datasets.miniplaces import MINIPLACES
from avgan.data.loading import ImageStore, WaveformStore
from avgan.data.manifest import Clip, Manifest
from avgan.data.pairing import Pairing, only_strong, pair_by_label, pair_within, shuffled
from avgan.data.splits import check_leakage, hold_out, split_by_source
from avgan.errors import DataError

NO_SOUND = Manifest("nothing", Path(), ())


@dataclass(frozen=True)
class Recordings:
    """Recordings with their waveforms."""

    clips: tuple[Clip, ...]
    waveforms: WaveformStore
    targets: np.ndarray
    """(number of clips,) index of each clip's label; -1 where it has none."""

    def __len__(self) -> int:
        return len(self.clips)


@dataclass(frozen=True)
class TrainingData:
    """All that a stage is given. Stage 1 has pictures alone, stage 3 sounds alone: the rest is empty there."""

    labels: tuple[str, ...]
    scene_of_label: dict[str, str] | None
    """Where one would hear each label; None where the labels are scenes themselves."""
    scene_of_clip: dict[str, str]
    """Scene of the photographs that each clip is paired with, by clip id; its source where nothing names one."""
    train: Recordings
    validation: Recordings
    """Empty when all is learnt from."""
    pairing: Pairing
    """Of `train` with `images`."""
    images: ImageStore
    image_scenes: tuple[str, ...]
    """Of each picture in `images`; empty where nobody has said."""
    validation_images: ImageStore
    validation_scenes: tuple[str, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    """Of what is learnt from: what the run must never be scored on."""
    validation_sources: tuple[str, ...] = ()
    """Of the recordings in `validation`."""
    left_out: str = ""
    """What of the folders is not used and why, in one line."""

    def describe(self) -> str:
        """What there is to learn from, in one line."""
        parts = []
        if self.labels:
            names = ", ".join(self.labels[:6]) + (", ..." if len(self.labels) > 6 else "")
            parts.append(f"{len(self.labels)} labels ({names})")
        if len(self.train):
            parts.append(f"{len(self.train)} clips to learn from, {len(self.validation)} to validate on")
        if len(self.images):
            parts.append(f"{len(self.images)} pictures")
        if self.pairing.sounds:
            parts.append(f"paired {self.pairing.kind.replace('_', ' ')}")
        return "; ".join(parts)


def resolve(config: DataSection, root: Path) -> DataSection:
    """Put names for `auto`: the first declared data set of sounds below `root`, a folder of one's own last.

    Raises DataError when there is none.
    """
    if config.sounds == "auto":
        known = sorted(DATASETS.values(), key=lambda dataset: dataset is FOLDER)
        found = (
            dataset.name for dataset in known if dataset.has_sounds and dataset.matches(locate(root, dataset.name))
        )
        sounds = next(found, None)
        if sounds is None:
            raise DataError(
                f"{root}: no data set here; put recordings or videos into one folder for each label, "
                "or see `avgan data list`"
            )
        config = config.changed(sounds=sounds)
    if config.images == "auto":
        declared = DATASETS.get(config.sounds)
        own = declared is not None and declared.has_pictures
        config = config.changed(images=config.sounds if own else MINIPLACES.name)
    return config


def read_sounds(config: DataSection, root: Path) -> Manifest:
    """The manifest of the sounds; a folder of one's own is cut into clips of the length the generator takes."""
    return find(root, config.sounds, window_s=config.window_s)


def load(
    stage: StageSection, root: Path, *, sample_rate_hz: int = 16_000, seed: int, sounds: Manifest | None = None
) -> TrainingData:
    """Read what a stage needs below `root`, split by source and pair; of the sounds only `sounds` where given.

    Raises DataError or LeakageError.
    """
    config = stage.data
    parts = read_parts(stage, root, seed, sounds)
    pairing, images = Pairing("by_label", (), (), ()), parts.images
    clips = () if stage.kind == "vqvae" else tuple(clip for clip in parts.train.clips if clip.audio_path)
    if stage.kind in ("imagination", "sampler"):
        pairing = pair(parts.train, images, config, seed)
        clips, images = pairing.sounds, replace(images, clips=pairing.images)
        parts.provenance["pairing"] = pairing.kind + ("" if config.pairs == "matching" else f", {config.pairs}")
    labels = tuple(sorted({clip.label for clip in clips if clip.label}))
    if stage.kind == "classifier":
        check_labels(labels, parts.train, parts.validation)
    budget = int(config.cache_gb * 2**30)

    def recordings(clips: Iterable[Clip]) -> Recordings:
        chosen = replace(parts.train, clips=tuple(clip for clip in clips if clip.audio_path))
        store = WaveformStore(chosen, rate_hz=sample_rate_hz, window_s=config.window_s, cache_bytes=budget)
        targets = [labels.index(clip.label) if clip.label in labels else -1 for clip in chosen.clips]
        return Recordings(chosen.clips, store, np.array(targets, dtype=np.int64))

    declared = DATASETS.get(config.sounds)
    # a small data set may have no picture to spare: then the stages show training ones
    shown = parts.validation_images if parts.validation_images.clips else images
    own = config.images == config.sounds
    return TrainingData(
        labels=labels,
        scene_of_label=declared.scene_of_label if labels and declared and declared.label_kind != "scene" else None,
        scene_of_clip=scenes_of_clips((*clips, *parts.validation.clips), declared, own),
        train=recordings(clips),
        validation=recordings(parts.validation.clips),
        pairing=pairing,
        images=ImageStore(images, cache_bytes=budget),
        image_scenes=tuple(clip.label for clip in images.clips),
        validation_images=ImageStore(shown, cache_bytes=budget),
        validation_scenes=tuple(clip.label for clip in shown.clips),
        provenance=parts.provenance,
        sources=tuple(sorted({clip.source_id for clip in parts.train.clips})),
        validation_sources=tuple(sorted({clip.source_id for clip in parts.validation.clips})),
        left_out=parts.train.left_out or parts.images.left_out,
    )


@dataclass(frozen=True)
class Parts:
    """The clips of a stage: sounds and pictures, to learn from and to watch with."""

    train: Manifest
    """What is learnt from, but for photographs: of stage 1 the clips whose pictures are."""
    validation: Manifest
    images: Manifest
    validation_images: Manifest
    provenance: dict[str, Any]


def read_parts(stage: StageSection, root: Path, seed: int, sounds: Manifest | None) -> Parts:
    """The manifests of a stage, divided; what it does not need is empty. Raises DataError or LeakageError."""
    config = stage.data
    own_pictures = config.images == config.sounds
    train = validation = images = validation_images = NO_SOUND
    provenance = {}
    if stage.kind != "vqvae" or own_pictures:
        everything = read_sounds(config, root) if sounds is None else sounds
        labelled = stage.kind == "classifier" or not own_pictures
        train, validation = divide(everything, config, seed, labelled=labelled)
        provenance["sounds"] = f"{everything.name} {everything.sha256()}"
    if stage.kind != "classifier" and own_pictures:
        images, validation_images = (part.select(lambda clip: bool(clip.image_path)) for part in (train, validation))
    elif stage.kind != "classifier":
        everything = find(root, config.images)
        images, validation_images = divide_images(everything)
        provenance["images"] = f"{everything.name} {everything.sha256()}"
    if stage.kind == "vqvae":
        train, validation = images if own_pictures else NO_SOUND, NO_SOUND
    return Parts(train, validation, images, validation_images, provenance)


def pair(sounds: Manifest, images: Manifest, config: DataSection, seed: int) -> Pairing:
    """Sounds with the pictures they are shown with, or one of the two pairings that ask what that is worth."""
    declared, own = DATASETS[config.sounds], config.images == config.sounds
    if own:
        pairing = pair_within(sounds)
    else:
        clips = [clip for clip in sounds.clips if clip.audio_path]
        pairing = pair_by_label(clips, images.clips, declared.photographs_of_label)
    if config.pairs == "shuffled":
        scenes = scenes_of_clips(pairing.sounds, declared, own)
        return shuffled(pairing, [scenes[clip.id] for clip in pairing.sounds], seed)
    if config.pairs == "strong":
        if not declared.places:
            raise DataError(f"{sounds.name}: every label is a place, none says little of it; set data.pairs=matching")
        return only_strong(pairing, declared.strong_labels)
    return pairing


def scenes_of_clips(clips: Iterable[Clip], declared: Dataset | None, own_pictures: bool) -> dict[str, str]:
    """The scene of each clip's pictures, by clip id: its label's, or the label, or its source where it has none."""
    places = {} if declared is None or own_pictures else declared.places
    return {
        clip.id: places[clip.label].scene if clip.label in places else clip.label or clip.source_id for clip in clips
    }


def check_labels(labels: tuple[str, ...], train: Manifest, validation: Manifest) -> None:
    """Raise DataError where a label that was found cannot be learnt, or only one can."""
    found = {clip.label for side in (train, validation) for clip in side.clips}
    if lost := sorted(found - set(labels)):
        raise DataError(
            f"{train.name}: no recording of {lost[0]!r} is left to learn from; add recordings of it or remove it"
        )
    if len(labels) < 2:
        raise DataError(f"{train.name}: only one label, {labels[0]!r}; a model needs two or more")


def divide(sounds: Manifest, config: DataSection, seed: int, *, labelled: bool = True) -> tuple[Manifest, Manifest]:
    """Training and validation clips, by source; held-out folds and test clips are in neither.

    A data set that has a validation part of its own is not divided further. `labelled`: only clips with a label.
    """
    rest = hold_out(sounds, config.held_out_folds)[0] if config.held_out_folds else sounds
    usable = rest.select(lambda clip: bool(clip.label) or not labelled)
    kept = usable.select(lambda clip: clip.split == "train")
    if labelled and sounds.name == FOLDER.name:
        check_folder(sounds)
    if not kept.clips:
        kind = "labelled " if labelled else ""
        raise DataError(f"{sounds.name}: no {kind}recording is left to train on")
    if config.validation_fraction == 0:
        return kept, kept.select(lambda clip: False)
    own = usable.select(lambda clip: clip.split == "validation")
    if own.clips:
        check_leakage(kept, own)
        return kept, own
    fractions = {"train": 1 - config.validation_fraction, "validation": config.validation_fraction}
    clips: list[Clip] = []
    heard = kept.select(lambda clip: bool(clip.audio_path))
    # recordings and pictures each by themselves, else a label's share could be pictures only
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
    return (images.select(lambda clip: clip.split == "train"), images.select(lambda clip: clip.split == "validation"))
