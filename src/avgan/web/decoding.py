"""The service's side of decoding: a pool of processes that are fed recordings, watched, and replaced where they die.

Clients are served in turns, by their address: a client that sends many recordings keeps no other waiting.

Shapes: L samples.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from avgan.audio import AudioStream, Level
from avgan.web import decoder
from avgan.web.decoder import ORDER, Caps
from avgan.web.settings import RefusedError
from avgan.workers import WorkerProcess

START_S = 60  # a start takes a second, on an overrun machine twenty
STALL_S = 30
"""How long nothing may come: a block takes milliseconds, on a machine that is not overrun."""
SLACK_S = 60
"""How much longer than allowed the sound may be when a block is the last straw."""
T = TypeVar("T")
RECENT_S = 60.0
"""For so long after others have asked, one worker is kept from a client that holds all the rest."""


@dataclass(frozen=True)
class _Noticed:
    """What the decoder noticed about a recording as a whole."""

    level: Level
    warnings: tuple[str, ...]
    recorded_at: datetime | None


_NOTICED = TypeAdapter(_Noticed)


class Decoder:
    """A process that decodes one recording after another; see `avgan.web.decoder`.

    `on_kill` is called with a word that says why, each time that the process had to be killed or died.
    """

    def __init__(self, caps: Caps, on_kill: Callable[[str], None] = lambda reason: None) -> None:
        self._caps = caps
        self._on_kill = on_kill
        target = f"{decoder.__name__}:{decoder.decode_in_process.__name__}"
        self._worker = WorkerProcess(target, json.dumps(asdict(caps)), confined=True)
        self._ready = self._speaking = self._given_up = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._worker.process.pid

    def decode(
        self, content: bytes | bytearray, wanted_s: float = float("inf"), track: int | None = None
    ) -> "DecodedStream":
        """The sound of a recording, or its first seconds, decoded while one iterates over it.

        `track`: which sound track of a video, from 1; None: the default one. Iterating raises RefusedError where it
        cannot be decoded within the caps.
        """
        return DecodedStream(self._frames(content, wanted_s, track), self._caps)

    def kill(self) -> None:
        """Give the recording up that is being decoded, from another thread: its iteration raises RefusedError."""
        self._given_up = True
        self._worker.kill()

    def close(self) -> None:
        """End the process and what belongs to it."""
        self._worker.close()

    def _make_ready(self) -> None:
        """Have a process that waits for a recording, in place of one that has died or was not read to the end."""
        if self._speaking or self._worker.process.poll() is not None:
            self._replace()
        try:
            if not self._ready:
                self._worker.receive(START_S)
                self._ready = True
        except (OSError, EOFError):
            self._replace()
            raise RefusedError(503, "no_decoder", "the decoder cannot be started; try again", retry_after_s=5) from None

    def _frames(self, content: bytes | bytearray, wanted_s: float, track: int | None) -> Iterator[tuple[bytes, bytes]]:
        """What the process says about a recording. Raises RefusedError where it dies over it."""
        self._make_ready()
        line = self._worker.line
        line.settimeout(STALL_S)
        self._speaking = True
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.sendall(ORDER.pack(len(content), wanted_s, track or 0))
                line.sendall(content)
            kind = decoder.BLOCK
            while kind == decoder.BLOCK:
                kind, payload = self._worker.receive(STALL_S)
                # Short of memory it may not even have listened to the end.
                self._speaking = kind in {decoder.BLOCK, decoder.NO_MEMORY}
                yield kind, payload
        except (OSError, EOFError) as error:
            refusal = self._lost(stalled=isinstance(error, TimeoutError))
            self._replace()
            raise refusal from None

    def _lost(self, stalled: bool) -> RefusedError:
        """Why the process was lost, as the answer to the one whose recording it was."""
        if not stalled:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._worker.process.wait(STALL_S)
        died_of = (self._worker.process.returncode or 0) - decoder.CRASHED
        if self._given_up:
            reason, refusal = "given_up", RefusedError(503, "stopped", "the service is stopping")
        elif stalled or died_of == signal.SIGXCPU:
            reason, refusal = "time", too_expensive("time")
        elif died_of == signal.SIGKILL:  # by the system, when memory is short
            reason, refusal = "memory", too_expensive("memory")
        else:
            reason, refusal = "crash", crashed()
        self._on_kill(reason)
        return refusal

    def _replace(self) -> None:
        self._worker.close()
        self._worker.start()
        self._ready = self._speaking = self._given_up = False


class DecodedStream(AudioStream):
    """A recording that another process decodes."""

    def __init__(self, frames: Iterator[tuple[bytes, bytes]], caps: Caps) -> None:
        self.name = "the recording"
        self.level = Level()
        self._warnings: tuple[str, ...] = ()
        self._recorded_at: datetime | None = None
        self._frames = frames
        self._caps = caps

    def __iter__(self) -> Iterator[np.ndarray]:
        # What is said by a process that a recording may have taken over is not trusted either.
        num_left = (self._caps.max_seconds + SLACK_S) * self._caps.rate_hz
        for kind, payload in self._frames:
            if kind == decoder.BLOCK:
                num_left -= len(payload) // 4
                if len(payload) % 4 or num_left < 0:
                    raise crashed()
                yield np.frombuffer(payload, np.float32)
            elif kind == decoder.END:
                try:
                    noticed = _NOTICED.validate_json(payload)
                except ValidationError:
                    raise crashed() from None
                self.level, self._warnings = noticed.level, noticed.warnings
                self._recorded_at = noticed.recorded_at
            else:
                raise self._refusal(kind, payload)

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._warnings

    @property
    def notes(self) -> tuple[str, ...]:
        return ()  # they come with the warnings, at the end

    @property
    def recorded_at(self) -> datetime | None:
        return self._recorded_at

    def _refusal(self, kind: bytes, payload: bytes) -> RefusedError:
        if kind == decoder.NOT_SOUND:
            return RefusedError(400, "not_sound", payload.decode(errors="replace"))
        if kind == decoder.TOO_LONG:
            most = f"{self._caps.max_seconds:g} s"
            line = f"the recording is longer than {most}, the most that is taken here; cut it"
            return RefusedError(413, "too_long", line)
        return too_expensive("memory")


def too_expensive(what: str) -> RefusedError:
    """The refusal of a recording that costs more time or memory than it may."""
    line = f"the recording takes more {what} to decode than it is given here; convert it to WAV or FLAC, or cut it"
    return RefusedError(413, f"decoding_{what}", line)


def crashed() -> RefusedError:
    """The refusal of a recording that ended the decoder."""
    line = "the recording made the decoder crash; convert it to WAV or FLAC and try again"
    return RefusedError(400, "decoder_crash", line)


class _Turn(NamedTuple):
    """A client that waits for a decoder."""

    client: str
    decoder: "asyncio.Future[Decoder]"


class DecoderPool:
    """Runs a job for each decoder at a time; `max_waiting` more may wait."""

    def __init__(self, decoders: list[Decoder], max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._decoders = decoders
        self._idle = list(decoders)
        self._waiting: list[_Turn] = []
        """The first is next; whoever is served goes, with all else that he waits for, behind the others."""
        self._held: Counter[str] = Counter()
        """Client -> workers that work for it."""
        self._asked_s: dict[str, float] = {}
        self._threads = ThreadPoolExecutor(len(decoders), thread_name_prefix="decode")

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_busy(self) -> int:
        return len(self._decoders) - len(self._idle)

    def check_room(self, client: str = "") -> _Turn | None:
        """Raise RefusedError where the queue is full, and no other client has more in it than this one.

        Gives the turn that would have to be taken from another, if any.
        """
        self._note(client)
        if self._may_start(client) or self.num_waiting < self._max_waiting:
            return None
        counts = Counter(turn.client for turn in self._waiting)
        longest, most = max(counts.items(), key=lambda item: item[1], default=("", 0))
        if most <= counts[client] + 1:
            raise _busy()
        return next(turn for turn in reversed(self._waiting) if turn.client == longest)

    async def run(self, job: Callable[[Decoder], T], client: str = "") -> T:
        """Run a job of a client in a thread, with a decoder that is its own until it returns.

        Raises RefusedError where it may not wait, or has to make room for a client with fewer that wait. When this is
        cancelled the decoder is killed, which ends the job soon.
        """
        decoder = await self._turn(client)
        try:
            working = asyncio.get_running_loop().run_in_executor(self._threads, job, decoder)
            try:
                return await asyncio.shield(working)
            except asyncio.CancelledError:
                decoder.kill()
                with suppress(Exception):
                    await working
                raise
        finally:
            self._give_back(decoder, client)

    async def _turn(self, client: str) -> Decoder:
        """Wait for a decoder."""
        if (taken := self.check_room(client)) is not None:
            self._waiting.remove(taken)
            if not taken.decoder.done():
                taken.decoder.set_exception(_busy())
        turn = _Turn(client, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        self._serve()
        try:
            return await turn.decoder
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.decoder.cancelled() and turn.decoder.exception() is None:
                self._give_back(turn.decoder.result(), client)
            raise

    def _serve(self) -> None:
        """Give idle decoders to waiting clients."""
        while turn := next((one for one in self._waiting if self._may_start(one.client)), None):
            self._waiting.remove(turn)
            self._waiting.sort(key=lambda one: one.client == turn.client)  # which keeps the order of the others
            if not turn.decoder.done():
                self._held[turn.client] += 1
                turn.decoder.set_result(self._idle.pop())

    def _give_back(self, decoder: Decoder, client: str) -> None:
        self._idle.append(decoder)
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        self._serve()

    def _may_start(self, client: str) -> bool:
        """Whether there is a worker for a client now."""
        if not self._idle:
            return False
        is_last = len(self._idle) == 1 and self._held[client] == len(self._decoders) - 1 > 0
        return not (is_last and any(other != client for other in self._asked_s))

    def _note(self, client: str) -> None:
        """Note that a client asks, and forget clients that have not for RECENT_S."""
        now_s = time.monotonic()
        self._asked_s.pop(client, None)
        self._asked_s[client] = now_s
        while now_s - self._asked_s[first := next(iter(self._asked_s))] > RECENT_S:
            del self._asked_s[first]

    def close(self) -> None:
        """End all jobs and processes."""
        for each in self._decoders:
            each.kill()
        self._threads.shutdown(cancel_futures=True)
        for each in self._decoders:
            each.close()


def _busy() -> RefusedError:
    line = "the service is busy; try again in a moment"
    return RefusedError(429, "queue_full", line, retry_after_s=1)
