"""Train, validation and test: always by source, never by clip.

Two clips of one recording are nearly the same clip, so a source never stands on both sides;
`check_leakage` refuses to go on where one does.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from avgan.data.manifest import Clip, Manifest
from avgan.errors import ConfigError, DataError, LeakageError


def split_by_source(manifest: Manifest, *, fractions: Mapping[str, float], seed: int) -> Manifest:
    """Return the manifest with `split` set to a name of `fractions`, by source and seed.

    Stratified by label: each label's clips are divided close to the fractions, and a label with at
    least as many sources as there are splits stands in all of them. Neither the order of the clips
    nor the other labels change where a source goes.

    Raises:
        ConfigError: fractions that are not positive or do not add up to 1.
        DataError: too few sources, so that a split would be empty.
    """
    if any(share <= 0 for share in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-6:
        raise ConfigError(f"fractions {dict(fractions)}: must be positive and add up to 1")
    clips_of_source: dict[str, list[Clip]] = defaultdict(list)
    for clip in manifest.clips:
        clips_of_source[clip.source_id].append(clip)
    sources_of_label: dict[str, dict[str, int]] = defaultdict(dict)
    for source, its_clips in sorted(clips_of_source.items()):
        sources_of_label[_main_label(its_clips)][source] = len(its_clips)

    split_of_source: dict[str, str] = {}
    for label in sorted(sources_of_label):
        rng = np.random.default_rng([seed, *label.encode()])
        split_of_source |= _divide(sources_of_label[label], fractions, rng)
    empty = set(fractions) - set(split_of_source.values())
    if empty:
        raise DataError(
            f"{manifest.name}: {len(clips_of_source)} sources are too few to give each label a "
            f"{min(empty)} part; add recordings or do without this part"
        )
    clips = tuple(replace(clip, split=split_of_source[clip.source_id]) for clip in manifest.clips)
    return replace(manifest, clips=clips)


def hold_out(manifest: Manifest, folds: Collection[str]) -> tuple[Manifest, Manifest]:
    """Return (rest, held out): the folds in full, and the clips that share no source with them.

    Official folds are kept as published for the test side, so that scores compare; it is the
    training side that gives up the few clips whose source also stands in a held-out fold.

    Raises:
        DataError: the manifest has no such fold.
    """
    known = {clip.fold for clip in manifest.clips}
    if unknown := sorted(set(folds) - known):
        folds_there = ", ".join(sorted(known - {""})) or "none"
        raise DataError(f"{manifest.name}: has no fold {unknown[0]!r} to hold out; its folds: {folds_there}")
    held_out = manifest.select(lambda clip: clip.fold in folds)
    sources = {clip.source_id for clip in held_out.clips}
    rest = manifest.select(lambda clip: clip.source_id not in sources)
    return rest, held_out


def check_leakage(train: Manifest, test: Manifest) -> None:
    """Refuse to go on where a source, or the very same file, stands on both sides.

    Raises:
        LeakageError: naming a shared source and how many there are.
    """
    shared = {clip.source_id for clip in train.clips} & {clip.source_id for clip in test.clips}
    if shared:
        raise LeakageError(
            f"source {min(shared)!r} stands in training and test ({len(shared)} such sources); "
            "split by source or drop its clips from training"
        )
    files = {clip.audio_sha256: clip.id for clip in train.clips if clip.audio_sha256}
    for clip in test.clips:
        if clip.audio_sha256 in files:
            raise LeakageError(
                f"test clip {clip.id!r} has the same sound as training clip "
                f"{files[clip.audio_sha256]!r}; drop one of them"
            )


def _main_label(clips: list[Clip]) -> str:
    """The most frequent label of a source's clips; of equals the first in the alphabet."""
    counts = Counter(clip.label for clip in clips)
    return min(counts, key=lambda label: (-counts[label], label))


def _divide(num_clips: Mapping[str, int], fractions: Mapping[str, float], rng: np.random.Generator) -> dict[str, str]:
    """{source: split} for the sources of one label: each goes where most clips are lacking."""
    names = list(num_clips)
    sources = [names[index] for index in rng.permutation(len(names))]
    sources.sort(key=lambda source: -num_clips[source])  # large ones first, the rest evens out
    lacking = {split: share * sum(num_clips.values()) for split, share in fractions.items()}
    empty = set(fractions) if len(sources) >= len(fractions) else set()
    result: dict[str, str] = {}
    for position, source in enumerate(sources):
        must_fill = len(sources) - position <= len(empty)
        split = max(empty if must_fill else fractions, key=lambda name: (lacking[name], name))
        result[source] = split
        lacking[split] -= num_clips[source]
        empty.discard(split)
    return result
