"""What was left for a test: by a data set that has a test part, or by a run that held something out of its training.

- `test`: the test part of a data set, as curated ones leave it.
- `holdout`: the folds that a run held out, else what it was watched with. For runs alone.
"""

from pathlib import Path

from avgan.checkpoint import Checkpoint
from avgan.config import DataSection
from avgan.data.manifest import Manifest
from avgan.data.splits import check_leakage, hold_out
from avgan.errors import ConfigError, DataError
from avgan.evaluation.protocols.protocol import Fold, Protocol
from avgan.training.data import read_sounds, resolve

WATCHED = "validation"
"""The fold of what a run was watched with while it was trained."""


def test_part(data: Path, run: Checkpoint | None) -> Protocol:
    """The data set of the run, else the first that is found. Raises DataError where it leaves nothing for a test."""
    section = resolve(DataSection(), data) if run is None else run.config.stage.data
    sounds = read_sounds(section, data).select(lambda clip: bool(clip.label))
    test = sounds.select(lambda clip: clip.split == "test" and bool(clip.audio_path))
    if not test.clips:
        raise DataError(f"{sounds.root}: leaves nothing for a test; use --protocol holdout")
    fold = Fold("test", sounds.select(lambda clip: clip.split == "train"), test)
    return _protocol("test", f"{sounds.name}, its test part", fold, section)


def holdout(data: Path, run: Checkpoint | None) -> Protocol:
    """What the run held out. Raises ConfigError without a run, DataError where it held out nothing."""
    if run is None:
        raise ConfigError(
            "holdout is what one run kept from its training, which others may have heard: use avgan evaluate, "
            "or another protocol"
        )
    section = run.config.stage.data
    sounds = read_sounds(section, data).select(lambda clip: bool(clip.label))
    fold = held_out_folds(sounds, section.held_out_folds) or watched_with(sounds, run)
    return _protocol("holdout", f"{sounds.name}, what was held out", fold, section)


def held_out_folds(sounds: Manifest, names: tuple[str, ...]) -> Fold | None:
    """The folds of these names against the rest, None where none is named.

    Raises LeakageError when another fold has one of their recordings by another name.
    """
    if not names:
        return None
    rest, test = hold_out(sounds, names)
    check_leakage(rest, test)
    return Fold(",".join(names), rest, test.select(lambda clip: bool(clip.audio_path)))


def watched_with(sounds: Manifest, run: Checkpoint) -> Fold:
    """What a run was watched with. Raises DataError where that is nothing, or not here."""
    watched = set(run.origin.validation_sources)
    if missing := sorted(watched - {clip.source_id for clip in sounds.clips}):
        raise DataError(
            f"{sounds.root}: misses {missing[0]!r}, which the run held out ({len(missing)} such of {len(watched)}); "
            "give the --data that it was trained on"
        )
    test = sounds.select(lambda clip: clip.source_id in watched and bool(clip.audio_path))
    if not test.clips:
        raise DataError("this run held nothing out; train with --set data.validation_fraction=0.2")
    return Fold(WATCHED, sounds.select(lambda clip: clip.source_id not in watched), test)


def _protocol(name: str, title: str, fold: Fold, section: DataSection) -> Protocol:
    return Protocol(name=name, title=title, folds=(fold,), window_s=section.window_s, images=section.images)
