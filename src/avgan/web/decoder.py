"""The process that decodes what is not trusted: a file's bytes in, its sound at the model's rate out.

It talks over one socket and can open no other: no file, no address (`avgan.workers`). Each recording is decoded in a
fork of its own, so that the limits on time and memory start anew, and nothing of it stays behind for the next.

In: the number of bytes, how many seconds are wanted, then the bytes. Out, in frames: ready; blocks of float32 samples;
at the end what was noticed, or an error.
"""

import contextlib
import io
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from avgan.audio import AudioStream
from avgan.errors import AudioError
from avgan.workers import send_frame

READY, BLOCK, END, NOT_SOUND, TOO_LONG, NO_MEMORY = b"R", b"B", b"E", b"N", b"L", b"M"
ORDER = struct.Struct("!QdI")
"""How many bytes follow, how many seconds of sound are wanted, and of which track, 0 for the one that is chosen."""
CRASHED = 128
"""The exit status says that a recording ended its fork: this, plus the signal's number."""


@dataclass(frozen=True)
class Caps:
    """What a recording may cost."""

    rate_hz: int
    """The rate of the sound that comes out."""
    max_seconds: float
    """Of sound."""
    cpu_s: int
    memory_bytes: int
    """Beside what the process has when it starts."""


def decode_in_process(line: socket.socket, argument: str) -> int:
    """Decode one recording after another, within the caps in `argument`, as JSON.

    Ends when the service closes the socket, or a recording ends a fork.
    """
    caps = Caps(**json.loads(argument))
    with line.makefile("rb") as file:
        _warm_up(caps)
        _give_up_rights(caps)
        send_frame(line, READY)
        # Unbuffered, so that what follows the length is left for the fork.
        while len(order := line.recv(ORDER.size, socket.MSG_WAITALL)) == ORDER.size:
            num_bytes, wanted_s, track = ORDER.unpack(order)
            fork = os.fork()
            if not fork:
                _decode_and_exit(line, file, num_bytes, wanted_s, track or None, caps)
            _, status = os.waitpid(fork, 0)
            if status:  # what it was about to say may be cut off: this socket is useless now
                return CRASHED + os.WTERMSIG(status)
    return 0


def _decode_and_exit(
    line: socket.socket, file: BinaryIO, num_bytes: int, wanted_s: float, track: int | None, caps: Caps
) -> None:
    """In the fork: answer for one recording."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (caps.cpu_s, caps.cpu_s + 1))
        try:
            _decode(line, file.read(num_bytes), wanted_s, track, caps)
        except AudioError as error:
            send_frame(line, NOT_SOUND, str(error).encode())
        status = 0
    except MemoryError:
        send_frame(line, NO_MEMORY)
    finally:
        os._exit(status)


def _decode(line: socket.socket, content: bytes, wanted_s: float, track: int | None, caps: Caps) -> None:
    stream = AudioStream(content, target_rate_hz=caps.rate_hz, track=track)
    num_wanted = wanted_s * caps.rate_hz
    for block in stream:
        # The kernel counts by ticks, and misses a process that often waits.
        if time.process_time() > caps.cpu_s:
            signal.raise_signal(signal.SIGXCPU)
        if stream.level.duration_s > caps.max_seconds:
            send_frame(line, TOO_LONG)
            return
        send_frame(line, BLOCK, block.astype(np.float32, copy=False).tobytes())
        num_wanted -= len(block)
        if num_wanted <= 0:
            break
    began = stream.recorded_at
    noticed = {"level": asdict(stream.level), "warnings": stream.warnings, "recorded_at": began and began.isoformat()}
    send_frame(line, END, json.dumps(noticed).encode())


def _warm_up(caps: Caps) -> None:
    """Let both decoders and the resampler load what they load late: afterwards no file can be opened."""
    for rate_hz, kind in ((8_000, "WAV"), (48_000, "MP3")):
        file = io.BytesIO()
        soundfile.write(file, np.zeros(4_800, np.float32), rate_hz, format=kind)
        list(AudioStream(file.getvalue(), target_rate_hz=caps.rate_hz))
    with contextlib.suppress(AudioError):  # read by neither decoder, but tried by both
        list(AudioStream(b"no sound", target_rate_hz=caps.rate_hz))


def _give_up_rights(caps: Caps) -> None:
    os.nice(5)
    if sys.platform == "linux":  # elsewhere this limit is not kept, or what is in use not known
        num_pages = int(Path("/proc/self/statm").read_text().split()[0])
        in_use = num_pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + caps.memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # those that are open stay so
