"""Many recordings: find them, classify them one after another, hand the answers on.

A recording that cannot be read is reported in one line and never stops the others; nor does a place
where results cannot be written.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from avgan.audio import AudioSource
from avgan.errors import AudioError, AvganError
from avgan.runtime.model import Model
from avgan.runtime.prediction import Prediction

SUFFIXES = frozenset({
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".m4b",
    ".mka", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav", ".wave", ".wma",
    ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".webm", ".wmv",
})  # fmt: skip
PICTURE_SCALE = 2

Source = tuple[str, AudioSource]  # what it is called, and what is read
Say = Callable[[str], None]


class Sink(Protocol):
    """Takes answers as they come; `close` writes what must stand at the end."""

    def add(self, prediction: Prediction, source: AudioSource) -> None: ...

    def close(self) -> None: ...


class PictureFolder:
    """Writes the picture of each recording, under the recording's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: set[str] = set()

    def add(self, prediction: Prediction, source: AudioSource) -> None:
        stem = Path(prediction.path).stem.strip("<>- ") or "recording"
        name, number = stem, 1
        while name.casefold() in self._used:  # x.wav and x.mp3, or x.wav in two folders
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name.casefold())
        prediction.save_picture(self._folder / f"{name}.png", PICTURE_SCALE)

    def close(self) -> None:
        pass


def find_recordings(path: str | Path) -> list[Path]:
    """The recordings and videos in a folder and those below it, by name; a file is itself.

    Raises AudioError for a folder that holds none.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )
    if not found:
        raise AudioError(
            f"{path}: no recording in this folder; name one that holds sounds or videos"
        )
    return found


def find_sources(paths: Sequence[str], *, stdin: str, complain: Say) -> tuple[list[Source], int]:
    """What to classify, folders opened; and the number of folders that hold nothing.

    The path `stdin` stands for a recording on standard input.
    """
    sources: list[Source] = []
    num_failed = 0
    for path in paths:
        if path == stdin:
            sources.append((stdin, sys.stdin.buffer.read()))
            continue
        try:
            sources.extend((str(found), found) for found in find_recordings(path))
        except AvganError as error:
            complain(str(error))
            num_failed += 1
    return sources, num_failed


def classify_all(
    model: Model,
    sources: Sequence[Source],
    sinks: Iterable[Sink],
    *,
    complain: Say,
    progress: Say,
    hop_s: float | None = None,
) -> int:
    """Classify every source and give each answer to every sink. Returns the number of failures."""
    num_failed = 0
    open_sinks = list(sinks)
    try:
        for number, (name, source) in enumerate(sources, 1):
            progress(f"{number}/{len(sources)} {name}")
            prediction = _classify(model, name, source, complain, hop_s)
            if prediction is None:
                num_failed += 1
                continue
            for sink in list(open_sinks):
                try:
                    sink.add(prediction, source)
                except AvganError as error:  # said once; the other sinks go on
                    complain(str(error))
                    num_failed += 1
                    open_sinks.remove(sink)
    finally:  # also when interrupted: what was finished is written
        progress("")
        for sink in open_sinks:
            try:
                sink.close()
            except AvganError as error:
                complain(str(error))
                num_failed += 1
    return num_failed


def _classify(
    model: Model, name: str, source: AudioSource, complain: Say, hop_s: float | None
) -> Prediction | None:
    try:
        prediction = model.classify(source, hop_s=hop_s)
    except AvganError as error:
        complain(str(error))
        return None
    except Exception as error:
        # A defect of ours or of a decoder; among ten thousand files it must not cost the others.
        reason = " ".join(str(error).split())
        complain(f"{name}: failed ({type(error).__name__}: {reason}); please report this")
        return None
    for warning in prediction.warnings:
        complain(f"{name}: note: {warning}")
    return dataclasses.replace(prediction, path=name)
