"""The service's side of decoding: a process that is fed recordings, watched, and replaced where it had to be killed.

Shapes: L samples.
"""

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np
from pydantic import TypeAdapter, ValidationError

from avgan.audio import AudioStream, Level
from avgan.web import decoder
from avgan.web.decoder import ORDER, Caps
from avgan.web.refusal import RefusedError
from avgan.workers import WorkerProcess

START_S = 60
STALL_S = 30
"""How long nothing may come: a block takes milliseconds, on a machine that is not overrun."""
SLACK_S = 60
"""How much longer than allowed the sound may be when a block is the last straw."""


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

    def decode(self, content: bytes | bytearray, wanted_s: float = float("inf")) -> "DecodedStream":
        """The sound of a recording, or its first seconds, decoded while one iterates over it.

        Iterating raises RefusedError where it cannot be decoded within the caps.
        """
        return DecodedStream(self._frames(content, wanted_s), self._caps)

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
            raise RefusedError(
                503, "no_decoder", "the decoder cannot be started; try again", retry_after_s=5
            ) from None

    def _frames(self, content: bytes | bytearray, wanted_s: float) -> Iterator[tuple[bytes, bytes]]:
        """What the process says about a recording. Raises RefusedError where it dies over it."""
        self._make_ready()
        line = self._worker.line
        line.settimeout(STALL_S)
        self._speaking = True
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.sendall(ORDER.pack(len(content), wanted_s))
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
            reason, refusal = "time", too_dear("time")
        elif died_of == signal.SIGKILL:  # by the system, when memory is short
            reason, refusal = "memory", too_dear("memory")
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
    def recorded_at(self) -> datetime | None:
        return self._recorded_at

    def _refusal(self, kind: bytes, payload: bytes) -> RefusedError:
        if kind == decoder.NOT_SOUND:
            return RefusedError(400, "not_sound", payload.decode(errors="replace"))
        if kind == decoder.TOO_LONG:
            most = f"{self._caps.max_seconds:g} s"
            line = f"the recording is longer than {most}, the most that is taken here; cut it"
            return RefusedError(413, "too_long", line)
        return too_dear("memory")


def too_dear(what: str) -> RefusedError:
    """The refusal of a recording that costs more time or memory than it may."""
    line = f"the recording takes more {what} to decode than it is given here; convert it to WAV or FLAC, or cut it"
    return RefusedError(413, f"decoding_{what}", line)


def crashed() -> RefusedError:
    """The refusal of a recording that ended the decoder."""
    line = "the recording made the decoder crash; convert it to WAV or FLAC and try again"
    return RefusedError(400, "decoder_crash", line)
