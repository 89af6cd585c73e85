"""Protocols of a comparison: which recordings are learnt from and which are answered, fold by fold.

- `esc50`: the official five folds (Piczak 2015).
- `esc10`: the same folds with the ten classes of ESC-10 alone.
- `folder`: a folder of one's own, cut by source into folds of like labels.
- `tau2019`, `tau2019_cities`, `tau_av_2021`: see `tau`.

The test side is kept as published; the training side gives up the few clips whose recording also stands in the test.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

from avgan.data.datasets import find, locate
from avgan.data.datasets.curated import CURATED
from avgan.data.datasets.folder import FOLDER, check_labels
from avgan.data.manifest import Clip, Manifest
from avgan.data.splits import check_leakage, hold_out, split_by_source
from avgan.errors import ConfigError, DataError
from avgan.scenes import ESC10_CLASSES

PROTOCOLS: dict[str, str] = {
    "esc50": "comparison.folds:esc50",
    "esc10": "comparison.folds:esc10",
    "folder": "comparison.folds:folder",
    "tau2019": "tau:tau2019",
    "tau2019_cities": "tau:tau2019_cities",
    "tau_av_2021": "tau:tau_av_2021",
}
"""Name on the command line -> "module:function" that reads it from the folder of the data."""

ESC50_FOLDS = ("1", "2", "3", "4", "5")
ESC50_WINDOW_S = FOLDER_WINDOW_S = 5.0
NUM_FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """What is learnt from and what is answered; no source stands in both."""

    name: str
    train: Manifest
    """May hold pictures without sound."""
    test: Manifest


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The folds of a comparison, each answered by a method that learnt from its other side."""

    name: str
    title: str
    """What is scored, in a line."""
    folds: tuple[Fold, ...]
    window_s: float
    """How much of each clip is heard."""
    images: str = "miniplaces"
    """Data set of the pictures that sounds are paired with; that of the sounds where they lie beside them."""
    human: float | None = None
    """Accuracy of people as published, in percent."""
    human_source: str = ""
    parts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Ids of test clips whose accuracy is also given by itself, such as those of an unseen city."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, sorted: their places are the numbers that methods answer with."""
        return tuple(sorted({label for fold in self.folds for label in fold.test.labels}))


def read_protocol(name: str, data: Path) -> Protocol:
    """The protocol of that name on the data below a folder.

    Raises ConfigError where there is no such protocol, DataError where its data are missing or incomplete.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"no protocol is called {name!r}: choose one of {', '.join(PROTOCOLS)}")
    module, _, function = PROTOCOLS[name].partition(":")
    read: Callable[[Path], Protocol] = getattr(
        import_module(f"avgan.evaluation.{module}"), function
    )
    protocol = read(data)
    for fold in protocol.folds:
        check_fold(fold)
    return protocol


def check_fold(fold: Fold) -> None:
    """Refuse a fold that leaks, or that asks for what cannot be learnt. Raises LeakageError or DataError."""
    check_leakage(fold.train, fold.test)
    heard = {clip.label for clip in fold.train.clips if clip.audio_path}
    if unknown := sorted(set(fold.test.labels) - heard):
        raise DataError(
            f"fold {fold.name}: no recording of {unknown[0]!r} is left to learn from; add recordings of it"
        )


def select_folds(protocol: Protocol, names: tuple[str, ...]) -> tuple[Fold, ...]:
    """The folds of those names, all where none is named. Raises ConfigError for a fold that is not there."""
    known = {fold.name: fold for fold in protocol.folds}
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{protocol.name} has no fold {name!r}: choose among {', '.join(known)}"
            )
    return tuple(known[name] for name in dict.fromkeys(names)) if names else protocol.folds


def divide(sounds: Manifest, names: tuple[str, ...]) -> tuple[Fold, ...]:
    """Each fold held out in its turn (see `splits.hold_out`)."""
    return tuple(Fold(name, *hold_out(sounds, (name,))) for name in names)


def esc50(data: Path) -> Protocol:
    """The official five folds of ESC-50."""
    sounds = find(data, "esc50")
    return Protocol(
        name="esc50",
        title="ESC-50, the official five folds",
        folds=divide(whole(sounds), ESC50_FOLDS),
        window_s=ESC50_WINDOW_S,
        human=81.3,
        human_source="Piczak, ESC: Dataset for Environmental Sound Classification, 2015",
    )


def esc10(data: Path) -> Protocol:
    """The same five folds with the clips of ESC-10 alone."""
    sounds = whole(find(data, "esc50")).select(lambda clip: clip.label in ESC10_CLASSES)
    return Protocol(
        name="esc10",
        title="ESC-10, the official five folds",
        folds=divide(sounds, ESC50_FOLDS),
        window_s=ESC50_WINDOW_S,
        human=95.7,
        human_source="Piczak, ESC: Dataset for Environmental Sound Classification, 2015",
    )


def whole(sounds: Manifest) -> Manifest:
    """ESC-50 with all of its folds. Raises DataError where one is missing."""
    if missing := sorted(set(ESC50_FOLDS) - {clip.fold for clip in sounds.clips}):
        raise DataError(
            f"{sounds.root}: has no clips of fold {missing[0]}; a comparison needs the five folds of ESC-50"
        )
    return sounds


def folder(data: Path) -> Protocol:
    """A folder for each label, or what `avgan curate` made, cut by source into five folds, or as many as there can be.

    Pictures without sound are never answered and stand in every training side. Raises DataError for a label that has
    one source only.
    """
    declared = CURATED if CURATED.matches(locate(data, CURATED.name)) else FOLDER
    everything = find(data, declared.name, window_s=FOLDER_WINDOW_S)
    check_labels(everything)
    everything = everything.select(lambda clip: bool(clip.label))
    # A folder is cut for us; a clip of a curated set is heard in full.
    lengths_s = [clip.end_s - clip.start_s for clip in everything.clips if clip.end_s is not None]
    sounds = everything.select(lambda clip: bool(clip.audio_path))
    pictures = tuple(clip for clip in everything.clips if not clip.audio_path)
    names = tuple(str(number + 1) for number in range(fewest_sources(everything)))
    divided = split_by_source(sounds, fractions=dict.fromkeys(names, 1 / len(names)), seed=0)
    sounds = replace(sounds, clips=tuple(_as_fold(clip) for clip in divided.clips))
    folds = tuple(
        replace(fold, train=replace(fold.train, clips=fold.train.clips + pictures))
        for fold in divide(sounds, names)
    )
    return Protocol(
        name="folder",
        title=f"{len(names)} folds by source, made by avgan",
        folds=folds,
        window_s=max(lengths_s) if declared is CURATED else FOLDER_WINDOW_S,
        images=declared.name,
    )


def fewest_sources(everything: Manifest) -> int:
    """How many folds every label can stand in: 2 to 5. Raises DataError where a label cannot be divided."""
    sources: dict[str, set[str]] = defaultdict(set)
    for clip in everything.clips:
        sources[clip.label].update([clip.source_id] if clip.audio_path else [])
    poorest = min(sources, key=lambda label: (len(sources[label]), label))
    if len(sources[poorest]) < 2:
        raise DataError(
            f"{everything.root}: {poorest!r} has {len(sources[poorest]) or 'no'} recording"
            f"{'' if len(sources[poorest]) else 's'}; to learn from one and answer another takes two files"
        )
    return min(NUM_FOLDS, len(sources[poorest]))


def _as_fold(clip: Clip) -> Clip:
    return replace(clip, fold=clip.split, split="train")
