"""How far the work is and how long it will take, in one line."""

import time

from avgan.archive.batch import Sink
from avgan.archive.sources import Recording, Say
from avgan.runtime.prediction import WindowPrediction
from avgan.runtime.wording import clock

EVERY_S = 0.1
LONG_S = 1.0  # of work: how far a recording is, is said of those that take longer


class Progress(Sink):
    """Says a few times a second where the work is; an empty line at the end takes that away."""

    def __init__(self, num_recordings: int, say: Say) -> None:
        self._num_recordings = num_recordings
        self._say = say
        self._started_s = time.monotonic()
        self._said_s = float("-inf")
        self._begun_s = 0.0
        self._num_begun = 0
        self._name = ""

    def begin(self, recording: Recording) -> None:
        self._num_begun += 1
        self._name = recording.name
        self._begun_s = time.monotonic()
        self._say_where(self._begun_s, 0.0)

    def window(self, window: WindowPrediction) -> None:
        self._say_where(time.monotonic(), window.end_s)

    def close(self) -> None:
        self._say("")

    def _say_where(self, now_s: float, heard_s: float) -> None:
        if now_s - self._said_s < EVERY_S:
            return
        self._said_s = now_s
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
            speed = heard_s / (now_s - self._begun_s)
            parts.append(f"{clock(round(heard_s))} heard, {speed:.0f} x real time")
        self._say("  ".join(parts))
