"""A folder of one's own or a curated set, cut by source into up to five folds of like labels."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from avgan.checkpoint import Checkpoint
from avgan.data.datasets import find, locate
from avgan.data.datasets.curated import CURATED
from avgan.data.datasets.folder import FOLDER, check_labels
from avgan.data.manifest import Manifest
from avgan.data.splits import split_by_source
from avgan.errors import DataError
from avgan.evaluation.protocols.esc50 import by_fold
from avgan.evaluation.protocols.protocol import Protocol, divide

WINDOW_S = 5.0
NUM_FOLDS = 5


def folder(data: Path, run: Checkpoint | None) -> Protocol:
    """Up to five folds by source of a folder for each label, or of what `avgan curate` made.

    Clips are as long as the run's windows, else 5 s; those of a curated set are used in full. Pictures without sound
    are never answered and stand in every training side. Raises DataError for a label that has one source only.
    """
    declared = CURATED if CURATED.matches(locate(data, CURATED.name)) else FOLDER
    window_s = WINDOW_S if run is None else run.window_s
    everything = find(data, declared.name, window_s=window_s)
    check_labels(everything)
    everything = everything.select(lambda clip: bool(clip.label))
    lengths_s = [clip.end_s - clip.start_s for clip in everything.clips if clip.end_s is not None]
    sounds = everything.select(lambda clip: bool(clip.audio_path))
    pictures = tuple(clip for clip in everything.clips if not clip.audio_path)
    names = tuple(str(number + 1) for number in range(fewest_sources(everything)))
    divided = split_by_source(sounds, fractions=dict.fromkeys(names, 1 / len(names)), seed=0)
    sounds = replace(sounds, clips=tuple(replace(clip, fold=clip.split, split="train") for clip in divided.clips))
    folds = tuple(
        replace(fold, train=replace(fold.train, clips=fold.train.clips + pictures)) for fold in divide(sounds, names)
    )
    return Protocol(
        name="folder",
        title=f"{len(names)} folds by source, made by avgan",
        folds=folds,
        window_s=max(lengths_s) if declared is CURATED else window_s,
        images=declared.name,
        measure=by_fold,
    )


def fewest_sources(everything: Manifest) -> int:
    """How many folds every label can stand in: 2 to 5. Raises DataError where a label cannot be divided."""
    sources: dict[str, set[str]] = defaultdict(set)
    for clip in everything.clips:
        sources[clip.label].update([clip.source_id] if clip.audio_path else [])
    poorest = min(sources, key=lambda label: (len(sources[label]), label))
    if (num := len(sources[poorest])) < 2:
        raise DataError(
            f"{everything.root}: {poorest!r} has {'1 recording' if num else 'no recordings'}; to learn from one and "
            "answer another takes two files"
        )
    return min(NUM_FOLDS, len(sources[poorest]))
