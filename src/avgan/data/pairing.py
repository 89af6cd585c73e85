"""Which sound may be shown with which picture, and the draw of one for a training step.

Two kinds: `synchronous` (sound and frame of one clip) and `by_label` (any sound of a class with
any picture of its scene, where nobody recorded both). Every report names the kind.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError

PairingKind = Literal["by_label", "synchronous"]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Sounds, pictures, and for each sound the pictures it may be shown with."""

    kind: PairingKind
    sounds: tuple[Clip, ...]
    images: tuple[Clip, ...]
    image_choices: tuple[np.ndarray, ...]
    """image_choices[i]: int64, indices into `images` that sound i may be shown with; never empty."""

    def __post_init__(self) -> None:
        assert len(self.image_choices) == len(self.sounds)

    def pick(self, sounds: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """The picture at a share in [0, 1) of each sound's choices, both (B,)."""
        choices = [self.image_choices[sound] for sound in sounds.tolist()]
        rows = zip(choices, shares.tolist(), strict=True)
        return np.array([own[int(share * len(own))] for own, share in rows], dtype=np.int64)

    def draw(self, sound: int, rng: np.random.Generator) -> int:
        """Return the index of one picture for a sound, each of its choices equally likely."""
        choices = self.image_choices[sound]
        return int(choices[rng.integers(len(choices))])


def pair_by_label(
    sounds: Iterable[Clip], images: Iterable[Clip], scenes_of_label: Mapping[str, Sequence[str]]
) -> Pairing:
    """Pair every sound with all pictures of the scenes that show where its label is heard.

    Raises:
        DataError: a label has no scene, or none of its scenes a picture.
    """
    sounds, images = tuple(sounds), tuple(images)
    if not sounds or not images:
        lacking = "pictures" if sounds else "recordings"
        raise DataError(f"no {lacking} to pair; check the data folder with: avgan data check")
    images_of_scene: dict[str, list[int]] = {}
    for index, image in enumerate(images):
        images_of_scene.setdefault(image.label, []).append(index)
    choices: dict[str, np.ndarray] = {}
    for label in sorted({clip.label for clip in sounds}):
        if label not in scenes_of_label:
            raise DataError(f"{label!r} has no scene; add it to the map from labels to scenes")
        scenes = scenes_of_label[label]
        found = [index for scene in scenes for index in images_of_scene.get(scene, [])]
        if not found:
            raise DataError(
                f"no picture of the scene {scenes[0]!r}, which {label!r} needs; "
                "add pictures of it or map the label to another scene"
            )
        choices[label] = np.array(found)
    image_choices = tuple(choices[clip.label] for clip in sounds)
    return Pairing("by_label", sounds, images, image_choices)


def pair_synchronous(manifest: Manifest) -> Pairing:
    """Pair the sound of every clip with its own frame; clips that lack either are left out.

    Raises:
        DataError: no clip has both.
    """
    clips = tuple(clip for clip in manifest.clips if clip.audio_path and clip.image_path)
    if not clips:
        raise DataError(
            f"{manifest.name}: no clip has both sound and picture; give videos, or pair "
            "recordings and pictures by label"
        )
    choices = tuple(np.array([index]) for index in range(len(clips)))
    return Pairing("synchronous", clips, clips, choices)


def pair_within(manifest: Manifest) -> Pairing:
    """Pair the clips of one manifest: videos with themselves, else by label, label = scene.

    Videos beside labels that have none are paired by label like all the rest: no label is lost.

    Raises:
        DataError: there are only recordings or only pictures.
    """
    videos = {clip.label for clip in manifest.clips if clip.audio_path and clip.image_path}
    if videos and videos == {clip.label for clip in manifest.clips}:
        return pair_synchronous(manifest)
    sounds = [clip for clip in manifest.clips if clip.audio_path]
    images = [clip for clip in manifest.clips if clip.image_path]
    if not sounds or not images:
        lacking = "pictures" if sounds else "recordings"
        raise DataError(
            f"{manifest.name}: no {lacking} to pair with; put {lacking} into the same label folders, or give videos"
        )
    return pair_by_label(sounds, images, {label: (label,) for label in manifest.labels})


def shuffled(pairing: Pairing, scenes: Sequence[str], seed: int) -> Pairing:
    """Return the control: every sound gets the pictures of a sound of another scene, drawn by `seed`.

    `scenes`: of each sound.

    Raises:
        DataError: all sounds are of one scene.
    """
    names = np.array(scenes)
    others = {name: np.flatnonzero(names != name) for name in set(scenes)}
    if len(others) == 1:
        raise DataError("all recordings are of one scene: nothing else could be shown to them")
    rng = np.random.default_rng(seed)
    choices = tuple(pairing.image_choices[rng.choice(others[name])] for name in scenes)
    return replace(pairing, image_choices=choices)


def only_strong(pairing: Pairing, strong_labels: Collection[str]) -> Pairing:
    """Return the pairing with every picture allowed for sounds of which the label says little of the place."""
    anything = np.arange(len(pairing.images))
    choices = tuple(
        own if sound.label in strong_labels else anything
        for sound, own in zip(pairing.sounds, pairing.image_choices, strict=True)
    )
    return replace(pairing, image_choices=choices)
