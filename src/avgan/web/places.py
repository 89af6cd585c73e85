"""The places for those who listen live: one that sends no sound, or does not read, makes room for who comes."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress

LOOK_S = 2.0
LEAST_SHARE = 0.5
"""Of real time, that sound must come in; a microphone sends all of it."""


class Place:
    """One who listens. Its sound and its answers are noted by whoever serves it."""

    def __init__(self) -> None:
        self.is_cut = False
        self.is_complete = False
        """Whether all of its sound has come."""
        self.end: Callable[[], object] = lambda: None
        """What ends it, from the event loop."""
        self._sending: Future[None] | None = None
        self._sending_s = 0.0
        self._since_s = time.monotonic()
        self._sound_s = 0.0
        self._share = 1.0

    def heard(self, sound_s: float) -> None:
        """So much sound came."""
        self._sound_s += sound_s
        now_s = time.monotonic()
        if now_s - self._since_s >= LOOK_S:
            self._share = self._sound_s / (now_s - self._since_s)
            self._since_s, self._sound_s = now_s, 0.0

    def send(self, sending: "Future[None]", within_s: float) -> None:
        """Wait in a thread until an answer has gone out. Raises TimeoutError where it does not, or the place is cut."""
        self._sending, self._sending_s = sending, time.monotonic()
        if self.is_cut:
            sending.cancel()
        try:
            sending.result(within_s)
        except (TimeoutError, CancelledError, asyncio.CancelledError):
            sending.cancel()
            raise TimeoutError from None
        finally:
            self._sending = None

    def is_idle(self) -> bool:
        """Whether nothing goes out, or less sound comes than a microphone sends."""
        now_s = time.monotonic()
        if self._sending is not None and now_s - self._sending_s >= LOOK_S:
            return True
        spent_s = now_s - self._since_s
        share = self._sound_s / spent_s if spent_s >= LOOK_S else self._share
        return share < LEAST_SHARE and not self.is_complete

    def cut(self) -> None:
        """End it."""
        self.is_cut = True
        if (sending := self._sending) is not None:
            sending.cancel()
        with suppress(RuntimeError):
            self.end()


class LivePlaces:
    """At most so many places."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[Place] = set()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self) -> Place | None:
        """A place, perhaps that of one who is idle; None where all are in use."""
        if len(self._taken) >= self._most:
            idle = next((place for place in self._taken if place.is_idle()), None)
            if idle is None:
                return None
            self._taken.discard(idle)
            idle.cut()
        place = Place()
        self._taken.add(place)
        return place

    def leave(self, place: Place) -> None:
        """It is needed no more."""
        self._taken.discard(place)
