"""Field recordings: the ten scenes of DCASE, named by who never heard the recording, its collection or its world.

- `places`: five folds by recording. All other recordings, of every scene and folder, may be learnt from.
- `places_collections`: the same by collection, so that no recorder or hand is met again.
- `places_worlds`: each folder of recordings answered by who learnt from the others alone.

The folders beside `places` widen what is learnt from in the first two and are answered in the third only. The most
probable of the ten scenes counts as the answer.

Shapes: M clips, N labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avgan.checkpoint import Checkpoint
from avgan.data.datasets import find
from avgan.data.datasets.places import CLIP_S
from avgan.data.manifest import Clip, Manifest
from avgan.data.splits import split_by_source
from avgan.evaluation.protocols.protocol import Fold, Protocol, Scored
from avgan.metrics import Share, class_average, share, shares_by
from avgan.scenes import DCASE_SCENES, SCENES

HOME = "places"
"""The folder whose recordings are answered in the five folds."""
NAMES = ("1", "2", "3", "4", "5")


def by_recording(data: Path, run: Checkpoint | None) -> Protocol:
    """Five folds by recording. Raises DataError where there are no such recordings."""
    return _protocol("places", "five folds by recording", data, lambda clip: clip.source_id)


def by_collection(data: Path, run: Checkpoint | None) -> Protocol:
    """Five folds by collection. Raises DataError where there are no such recordings."""
    return _protocol("places_collections", "five folds by collection", data, _collection)


def by_world(data: Path, run: Checkpoint | None) -> Protocol:
    """Each folder left out. Raises DataError where there are no such recordings."""
    sounds = _labelled(find(data, "places"))
    fold_of = {clip.id: clip.fold for clip in sounds.clips}
    worlds = sorted(set(fold_of.values()))
    folds = [_fold(sounds, world, fold_of, lambda clip: clip.fold) for world in worlds]
    return _of_folds("places_worlds", "each folder by who never heard it", tuple(folds), sounds)


def _collection(clip: Clip) -> str:
    """What a clip was found in; one that does not say stands for itself."""
    return clip.origin or clip.source_id


def _protocol(name: str, how: str, data: Path, unit: Callable[[Clip], str]) -> Protocol:
    sounds = _labelled(find(data, "places"))
    homes = {clip.fold for clip in sounds.clips}
    asked = sounds.select(lambda clip: clip.label in DCASE_SCENES and (clip.fold == HOME or HOME not in homes))
    units = replace(asked, clips=tuple(replace(clip, source_id=unit(clip)) for clip in asked.clips))
    divided = split_by_source(units, fractions=dict.fromkeys(NAMES, 1 / len(NAMES)), seed=0)
    fold_of = {clip.id: clip.split for clip in divided.clips}
    folds = [_fold(sounds, number, fold_of, unit) for number in NAMES]
    return _of_folds(name, how, tuple(folds), sounds)


def _labelled(sounds: Manifest) -> Manifest:
    return sounds.select(lambda clip: bool(clip.label))


def _fold(sounds: Manifest, name: str, fold_of: Mapping[str, str], unit: Callable[[Clip], str]) -> Fold:
    """The clips of the ten scenes in a fold, and all that shares no unit with them."""
    test = sounds.select(lambda clip: fold_of.get(clip.id) == name and clip.label in DCASE_SCENES)
    units = {unit(clip) for clip in test.clips}
    return Fold(name, sounds.select(lambda clip: unit(clip) not in units), test)


def _of_folds(name: str, how: str, folds: tuple[Fold, ...], sounds: Manifest) -> Protocol:
    return Protocol(
        name=name,
        title=f"Ten scenes of field recordings, {how}",
        folds=folds,
        window_s=CLIP_S,
        images="photographs",
        measure=partial(among_the_ten, sounds.labels),
    )


def among_the_ten(labels: tuple[str, ...], scored: Scored) -> dict[str, Any]:
    """Shares of clips, of recordings (by their mean probabilities), of scenes on average, and of the three groups.

    `labels`: those that probabilities (M, N) are of.
    """
    numbers = np.array([labels.index(scene) for scene in DCASE_SCENES if scene in labels])
    answers = numbers[scored.probabilities[:, numbers].argmax(1)]
    right = answers == scored.targets
    groups = np.array([SCENES[label].group if label in SCENES else "" for label in labels])
    in_group = groups[answers] == groups[scored.targets]
    sources, folds = scored.sources, scored.folds.tolist()
    ten: dict[str, Share] = {
        "clips": share(right, sources),
        "recordings": _by_recording(scored, numbers),
        "groups of scenes": share(in_group, sources),
    }
    return {
        "groups": {
            "ten scenes": ten,
            "label": shares_by([clip.label for clip in scored.clips], right, sources),
            "fold": shares_by(folds, right, sources),
            "group of scenes, by fold": shares_by(folds, in_group, sources),
        },
        "class_average": class_average(scored.targets, right),
    }


def _by_recording(scored: Scored, numbers: np.ndarray) -> Share:
    """Whether the mean over a recording's clips is right."""
    sources = scored.sources
    names = np.unique(sources)
    right = []
    for name in names:
        own = sources == name
        mean = scored.probabilities[own][:, numbers].mean(0)
        right.append(numbers[mean.argmax()] == np.bincount(scored.targets[own]).argmax())
    return share(np.array(right), names)
