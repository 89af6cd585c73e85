"""Who hears recordings: this process, its threads, or a cluster. The answers are the same, and in order."""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from avgan.archive.sources import Recording
from avgan.audio import AudioStream
from avgan.errors import AudioError
from avgan.media.origin import in_name
from avgan.runtime.model import Listening, Model
from avgan.runtime.prediction import Prediction, WindowPrediction


class Answer(Protocol):
    """A recording that is heard while one iterates over its windows, once; then `conclude`.

    Either raises what went wrong: AvganError where the recording is at fault.
    """

    def __iter__(self) -> Iterator[WindowPrediction]: ...

    def conclude(self) -> Prediction: ...


Engine = Callable[[Sequence[Recording]], Generator[Answer, None, None]]
"""Gives an answer for each recording, in their order; each must be taken whole before the next. Closing ends all."""


@dataclass(frozen=True)
class Task:
    """How recordings are to be heard: every `hop_s` (None: side by side), with checksums of their files or without."""

    hop_s: float | None = None
    checksum: bool = False


class Hearing:
    """The answer of a model in this process."""

    def __init__(self, model: Model, recording: Recording, task: Task) -> None:
        self._model = model
        self._recording = recording
        self._task = task
        self._listening: Listening | None = None

    def __iter__(self) -> Iterator[WindowPrediction]:
        rate_hz = self._model.card.sample_rate_hz
        source, track = self._recording.source, self._recording.track
        stream = AudioStream(source, target_rate_hz=rate_hz, track=track)
        self._listening = self._model.listen(stream, hop_s=self._task.hop_s)
        yield from self._listening

    def conclude(self) -> Prediction:
        assert self._listening is not None, "conclude before the first window"
        prediction = self._listening.conclude()
        checksum = sha256(self._recording) if self._task.checksum else ""
        name = self._recording.name
        began = prediction.recorded_at or in_name(name)
        return replace(prediction, path=name, sha256=checksum, recorded_at=began)


def sha256(recording: Recording) -> str:
    """The SHA-256 of a recording's file, in hexadecimal; of a pipe, which cannot be read again, nothing.

    Raises AudioError where the file is gone.
    """
    source = recording.source
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if not isinstance(source, str | Path) or not os.path.isfile(source):
        return ""
    try:
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"{recording.name}: cannot be read again ({error.strerror})") from None
