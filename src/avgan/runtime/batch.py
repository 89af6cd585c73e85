"""Many recordings: find them, classify them one after another, hand the answers on.

A recording that cannot be read is reported in one line and never stops the others; nor does a place
where results cannot be written.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avgan.audio import AudioSource
from avgan.errors import AudioError, AvganError
from avgan.runtime.model import Model
from avgan.runtime.prediction import Prediction, WindowPrediction
from avgan.runtime.timeline import Segment, segments

SUFFIXES = frozenset({
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".m4b",
    ".mka", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav", ".wave", ".wma",
    ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".webm", ".wmv",
})  # fmt: skip
PICTURE_SCALE = 2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recording:
    """What is to be heard: its name in answers and messages, and where it is read from, once or again."""

    name: str
    source: AudioSource


class Sink:
    """Takes what is heard while it is heard, and keeps no more of it than it must.

    For each recording in turn comes `begin`; then each `window` and each `segment` in order of time, a segment right
    after its last window; then `end`, or `fail` where the recording could not be heard to its end. `close` comes once,
    also where the work was cut short, perhaps in the midst of a recording. All calls come from one thread.

    A sink that cannot write raises AvganError, from any of these; it is then left out, and the others go on.
    """

    def begin(self, recording: Recording) -> None:
        """A recording follows."""

    def window(self, window: WindowPrediction) -> None:
        """A window of it, with its codes."""

    def segment(self, segment: Segment) -> None:
        """A stretch of one scene, with the codes of its surest window."""

    def end(self, prediction: Prediction) -> None:
        """The answer for all of it; `prediction.windows` is empty, they have been here."""

    def fail(self, reason: str) -> None:
        """It could not be heard to its end, as `reason` says in one line."""

    def close(self) -> None:
        """Nothing follows: write what must stand at the end."""


class PictureFolder(Sink):
    """Writes the picture of each recording, under the recording's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: set[str] = set()

    def end(self, prediction: Prediction) -> None:
        stem = Path(prediction.path).stem.strip("<>- ") or "recording"
        name, number = stem, 1
        while name.casefold() in self._used:  # x.wav and x.mp3, or x.wav in two folders
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name.casefold())
        prediction.save_picture(self._folder / f"{name}.png", PICTURE_SCALE)


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


def find_sources(paths: Sequence[str], *, stdin: str, complain: Say) -> tuple[list[Recording], int]:
    """What to classify, folders opened; and the number of folders that hold nothing.

    The path `stdin` stands for a recording on standard input.
    """
    recordings: list[Recording] = []
    num_failed = 0
    for path in paths:
        if path == stdin:
            recordings.append(Recording(stdin, sys.stdin.buffer.read()))
            continue
        try:
            recordings.extend(Recording(str(found), found) for found in find_recordings(path))
        except AvganError as error:
            complain(str(error))
            num_failed += 1
    return recordings, num_failed


def classify_all(
    model: Model,
    recordings: Sequence[Recording],
    sinks: Iterable[Sink],
    *,
    complain: Say,
    progress: Say,
    hop_s: float | None = None,
) -> int:
    """Classify every recording and hand what is heard to every sink. Returns the number of failures."""
    num_failed = 0
    all_sinks = _All(sinks, complain)
    try:
        for number, recording in enumerate(recordings, 1):
            progress(f"{number}/{len(recordings)} {recording.name}")
            all_sinks.begin(recording)
            reason = _classify(model, recording, all_sinks, complain, hop_s)
            if reason:
                complain(reason)
                all_sinks.fail(reason)
                num_failed += 1
    finally:  # also when interrupted: what was finished is written
        progress("")
        all_sinks.close()
    return num_failed + all_sinks.num_failed


class _All(Sink):
    """Several sinks as one, those that fail left out."""

    def __init__(self, sinks: Iterable[Sink], complain: Say) -> None:
        self._sinks = list(sinks)
        self._complain = complain
        self.num_failed = 0

    def begin(self, recording: Recording) -> None:
        self._each(lambda sink: sink.begin(recording))

    def window(self, window: WindowPrediction) -> None:
        self._each(lambda sink: sink.window(window))

    def segment(self, segment: Segment) -> None:
        self._each(lambda sink: sink.segment(segment))

    def end(self, prediction: Prediction) -> None:
        self._each(lambda sink: sink.end(prediction))

    def fail(self, reason: str) -> None:
        self._each(lambda sink: sink.fail(reason))

    def close(self) -> None:
        self._each(lambda sink: sink.close())

    def _each(self, call: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                call(sink)
            except AvganError as error:  # said once; the other sinks go on
                self._complain(str(error))
                self.num_failed += 1
                self._sinks.remove(sink)


def _classify(
    model: Model, recording: Recording, sink: Sink, complain: Say, hop_s: float | None
) -> str:
    """Hand what is heard to the sink; returns why it could not be heard, or nothing."""

    def passed_on(windows: Iterable[WindowPrediction]) -> Iterator[WindowPrediction]:
        for window in windows:
            sink.window(window)
            yield window

    try:
        listening = model.listen(recording.source, hop_s=hop_s)
        for segment in segments(passed_on(listening)):
            sink.segment(segment)
        prediction = dataclasses.replace(listening.conclude(), path=recording.name)
    except AvganError as error:
        return str(error)
    except Exception as error:
        # A defect of ours or of a decoder; among ten thousand files it must not cost the others.
        reason = " ".join(str(error).split())
        return f"{recording.name}: failed ({type(error).__name__}: {reason}); please report this"
    for warning in prediction.warnings:
        complain(f"{recording.name}: note: {warning}")
    sink.end(prediction)
    return ""
