"""Field recordings: the ten scenes of DCASE, in recordings, collections or worlds that were not learnt from.

- `places`: five folds by recording. All other recordings, of every scene and folder, may be learnt from.
- `places_collections`: the same by collection, so that no recorder or hand is met again.
- `places_worlds`: each folder of recordings answered by who learnt from the others alone.

The folders beside `places` widen what is learnt from in the first two and are answered in the third only. The most
probable of the ten scenes counts as the answer.

Shapes: M clips, N labels.
"""

from collections.abc import Callable, Mapping, Sequence
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
from avgan.metrics import Share, mean_over_folds, share, shares_by
from avgan.scenes import DCASE_SCENES, SCENES

HOME = "places"
"""The folder whose recordings are answered in the five folds."""
NAMES = ("1", "2", "3", "4", "5")


def by_recording(data: Path, run: Checkpoint | None) -> Protocol:
    """Five folds by recording. Raises DataError where there are no such recordings."""
    return _five_folds("places", "recording", data, lambda clip: clip.source_id)


def by_collection(data: Path, run: Checkpoint | None) -> Protocol:
    """Five folds by what a clip was found in, where it says so, else by recording.

    Raises DataError where there are no such recordings.
    """
    return _five_folds("places_collections", "collection", data, lambda clip: clip.origin or clip.source_id)


def by_world(data: Path, run: Checkpoint | None) -> Protocol:
    """Each folder left out. Raises DataError where there are no such recordings."""
    sounds = _labelled(data)
    fold_of = {clip.id: clip.fold for clip in sounds.clips}
    names = sorted(set(fold_of.values()))
    return _protocol(
        "places_worlds", "each folder by a model trained on the others", names, fold_of, sounds, lambda clip: clip.fold
    )


def _five_folds(name: str, of: str, data: Path, unit: Callable[[Clip], str]) -> Protocol:
    sounds = _labelled(data)
    homes = {clip.fold for clip in sounds.clips}
    asked = sounds.select(lambda clip: clip.label in DCASE_SCENES and (clip.fold == HOME or HOME not in homes))
    units = replace(asked, clips=tuple(replace(clip, source_id=unit(clip)) for clip in asked.clips))
    divided = split_by_source(units, fractions=dict.fromkeys(NAMES, 1 / len(NAMES)), seed=0)
    fold_of = {clip.id: clip.split for clip in divided.clips}
    return _protocol(name, f"five folds by {of}", NAMES, fold_of, sounds, unit)


def _labelled(data: Path) -> Manifest:
    return find(data, "places").select(lambda clip: bool(clip.label))


def _protocol(
    name: str, how: str, names: Sequence[str], fold_of: Mapping[str, str], sounds: Manifest, unit: Callable[[Clip], str]
) -> Protocol:
    """Each fold against all that shares no unit with the clips of the ten scenes in it."""

    def fold(name: str) -> Fold:
        test = sounds.select(lambda clip: fold_of.get(clip.id) == name and clip.label in DCASE_SCENES)
        units = {unit(clip) for clip in test.clips}
        return Fold(name, sounds.select(lambda clip: unit(clip) not in units), test)

    ten = tuple(sorted(set(DCASE_SCENES) & set(sounds.labels)))
    return Protocol(
        name=name,
        title=f"Ten scenes of field recordings, {how}",
        folds=tuple(map(fold, names)),
        window_s=CLIP_S,
        images="photographs",
        choices=ten,
        measure=partial(by_scene, ten),
    )


def by_scene(labels: tuple[str, ...], scored: Scored) -> dict[str, Any]:
    """Shares of clips, of recordings (by their mean probabilities), of scenes on average, and of the three groups.

    `labels`: those that probabilities (M, N) are of.
    """
    answers, right = scored.probabilities.argmax(1), scored.correct
    groups = np.array([SCENES[label].group for label in labels])
    in_group = groups[answers] == groups[scored.targets]
    sources, folds = scored.sources, scored.folds.tolist()
    names = np.unique(sources)
    means = np.stack([scored.probabilities[sources == name].mean(0) for name in names])
    truths = [np.bincount(scored.targets[sources == name]).argmax() for name in names]
    ten: dict[str, Share] = {
        "clips": share(right, sources),
        "recordings": share(means.argmax(1) == truths, names),
        "groups of scenes": share(in_group, sources),
    }
    return {
        "groups": {
            "ten scenes": ten,
            "label": shares_by([clip.label for clip in scored.clips], right, sources),
            "fold": shares_by(folds, right, sources),
            "group of scenes, by fold": shares_by(folds, in_group, sources),
        },
        "class_average": mean_over_folds(right, scored.targets),
    }
