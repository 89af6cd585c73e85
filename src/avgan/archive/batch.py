"""Many recordings: classify them, hand the windows on as they come, say what failed and why, and how far the work is.

A recording that cannot be read is reported in one line and never stops the others; nor does a place where results
cannot be written.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from avgan.archive.engines import Classification, Engine
from avgan.archive.sources import Recording, Say
from avgan.errors import AvganError
from avgan.runtime.prediction import Prediction, WindowPrediction
from avgan.runtime.timeline import Segment, segments
from avgan.runtime.wording import clock

PICTURE_SCALE = 2  # 256 px, large enough for a list of files
EVERY_S = 0.1  # faster than one can read, slow enough to cost nothing
LONGEST_STEM = 200  # bytes of a name: systems take 255, and numbers and endings follow
LONG_S = 1.0  # of work: how far a recording is, is said of those that take longer


class Sink:
    """Takes windows, segments and predictions as they come, and keeps no more of them than it must.

    For each recording in turn comes `begin`; then each `window` and each `segment` in order of time, a segment as soon
    as a window shows that it is over; then `end`, or `fail` where the recording could not be classified to its end.
    `close` comes once, also where the work was cut short, perhaps in the midst of a recording. All calls come from one
    thread.

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
        """It could not be classified to its end; `reason` is one line."""

    def close(self) -> None:
        """Nothing follows: write what must stand at the end."""


class PictureFolder(Sink):
    """Writes the picture of each recording, under the recording's name, or several (see `save_pictures`)."""

    def __init__(self, folder: Path, names: "FileNames | None" = None, *, num_pictures: int = 1) -> None:
        self._folder = folder
        self._names = names or FileNames()
        self._num_pictures = num_pictures

    def end(self, prediction: Prediction) -> None:
        name = self._names.of(prediction.path)
        save_pictures(prediction, self._folder, name, self._num_pictures)


def save_pictures(prediction: Prediction, folder: Path, name: str, count: int) -> None:
    """Write `count` pictures of a recording: NAME.png, NAME (2).png, NAME (3).png ..."""
    for number in range(count):
        file = f"{name} ({number + 1}).png" if number else f"{name}.png"
        prediction.save_picture(folder / file, PICTURE_SCALE, number=number)


class FileNames:
    """Names for files about recordings, in one folder: theirs without the suffix, no two alike.

    Where `recordings` are named beforehand, a name does not depend on which of them come, or come first.
    """

    def __init__(self, recordings: Iterable[str] = ()) -> None:
        self._used: set[str] = set()
        self._reserved = {recording: self._new(recording) for recording in recordings}

    def of(self, recording: str) -> str:
        """The name that was reserved for files about a recording, or else a new one each time."""
        return self._reserved.get(recording) or self._new(recording)

    def _new(self, recording: str) -> str:
        stem = Path(recording).stem.strip("<>- ") or "recording"
        while len(os.fsencode(stem)) > LONGEST_STEM:
            stem = stem[:-1]
        name, number = stem, 1
        while name.casefold() in self._used:  # x.wav and x.mp3, or x.wav in two folders
            number += 1
            name = f"{stem}-{number}"
        self._used.add(name.casefold())
        return name


@dataclass(frozen=True)
class Outcome:
    """Why recordings could not be classified, counted; and how many sinks could not write."""

    failed: Counter[str]
    num_lost_sinks: int

    @property
    def is_good(self) -> bool:
        return not self.failed and not self.num_lost_sinks


def classify_all(
    engine: Engine,
    recordings: Sequence[Recording],
    sinks: Iterable[Sink],
    *,
    on_error: Say,
    on_warning: Say | None = None,
) -> Outcome:
    """Classify every recording and hand windows, segments and predictions to every sink.

    `on_error` is called with what failed; `on_warning`, or else `on_error`, with the warnings of a recording.
    """
    failed: Counter[str] = Counter()
    all_sinks = _Sinks(sinks, on_error)
    try:
        with closing(engine(recordings)) as classifications:
            for recording, classification in zip(recordings, classifications, strict=True):
                all_sinks.call(Sink.begin, recording)
                try:
                    prediction = _hand_on(recording, classification, all_sinks)
                except _FailedError as error:
                    on_error(str(error))
                    failed[_in_short(str(error), recording.name)] += 1
                    all_sinks.call(Sink.fail, str(error))
                    continue
                for warning in prediction.warnings:
                    (on_warning or on_error)(f"{recording.name}: note: {warning}")
                all_sinks.call(Sink.end, prediction)
    finally:  # also when interrupted: what was finished is written
        all_sinks.call(Sink.close)
    return Outcome(failed, all_sinks.num_lost)


class _Sinks:
    """Several sinks, those that fail left out."""

    def __init__(self, sinks: Iterable[Sink], on_error: Say) -> None:
        self._sinks = list(sinks)
        self._on_error = on_error
        self.num_lost = 0

    def call(self, method: Callable[..., None], *arguments: object) -> None:
        """Call this method of each."""
        for sink in list(self._sinks):
            try:
                getattr(sink, method.__name__)(*arguments)
            except AvganError as error:  # said once; the other sinks go on
                self._on_error(str(error))
                self.num_lost += 1
                self._sinks.remove(sink)


class _FailedError(Exception):
    """A recording could not be classified; the text is one line for the user."""


def _hand_on(recording: Recording, classification: Classification, sinks: _Sinks) -> Prediction:
    prediction: Prediction | None = None

    def coming() -> Iterator[WindowPrediction]:
        nonlocal prediction
        with _failing(recording):
            prediction = yield from classification

    def handed_on() -> Iterator[WindowPrediction]:
        for window in coming():
            sinks.call(Sink.window, window)
            yield window

    for segment in segments(handed_on()):
        sinks.call(Sink.segment, segment)
    assert prediction is not None
    return prediction


@contextmanager
def _failing(recording: Recording) -> Iterator[None]:
    """Raise _FailedError for what goes wrong with a recording, apart from what goes wrong in a sink."""
    try:
        yield
    except AvganError as error:
        raise _FailedError(str(error)) from None
    except Exception as error:
        # A defect of ours or of a decoder; among ten thousand files it must not cost the others.
        reason = " ".join(str(error).split())
        raise _FailedError(
            f"{recording.name}: failed ({type(error).__name__}: {reason}); please report this"
        ) from error


def _in_short(reason: str, name: str) -> str:
    """What is the same in the lines about many recordings: "not a sound file that can be decoded"."""
    reason = reason.removeprefix(f"{name}: ").partition(";")[0]
    return re.sub(r" \(.*\)", "", reason)


class Progress(Sink):
    """Says a few times a second where the work is; an empty line at the end takes that away."""

    def __init__(self, num_recordings: int, say: Say) -> None:
        self._num_recordings = num_recordings
        self._say = say
        self._started_s = time.monotonic()
        self._shown_s = float("-inf")
        self._begun_s = 0.0
        self._num_begun = 0
        self._name = ""

    def begin(self, recording: Recording) -> None:
        self._num_begun += 1
        self._name = recording.name
        self._begun_s = time.monotonic()
        self._show(self._begun_s, 0.0)

    def window(self, window: WindowPrediction) -> None:
        self._show(time.monotonic(), window.end_s)

    def close(self) -> None:
        self._say("")

    def _show(self, now_s: float, done_s: float) -> None:
        if now_s - self._shown_s < EVERY_S:
            return
        self._shown_s = now_s
        parts = []
        num_done = self._num_begun - 1
        if self._num_recordings > 1:
            parts.append(f"{self._num_begun:,}/{self._num_recordings:,}")
        if num_done:
            rate = num_done / (now_s - self._started_s)
            parts.append(f"{rate:.3g} a second")
            parts.append(f"{clock(round((self._num_recordings - num_done) / rate))} left")
        parts.append(self._name)
        if now_s - self._begun_s > LONG_S:
            speed = done_s / (now_s - self._begun_s)
            parts.append(f"{clock(round(done_s))} done, {speed:.0f} x real time")
        self._say("  ".join(parts))
