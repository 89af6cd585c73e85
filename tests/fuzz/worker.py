"""Decodes what it is given, one input after another, and says what that did to the process.

A process of its own, because a decoder in C can take its process with it. Each input on standard input is four bytes
of length (big-endian) and the bytes themselves; each answer on standard output is one line of JSON. Linux only.
"""

import json
import os
import resource
import struct
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from avgan.audio import AudioStream
from avgan.errors import AudioError

MAX_SAMPLES = 16_000 * 600
"""A few bytes of FLAC may hold hours of silence, rightly: hear ten minutes of it."""

MAX_ADDRESS_SPACE = 4 << 30


def decode(source: Path) -> dict[str, Any]:
    """What became of one input: its outcome is `sound`, `refused` or `broken`."""
    num_samples = 0
    try:
        stream = AudioStream(source)
        for block in stream:
            num_samples += len(block)
            if block.dtype != np.float32 or block.ndim != 1 or not np.isfinite(block).all():
                return {"outcome": "broken", "text": f"a block of {block.dtype} {block.shape}"}
            if num_samples > MAX_SAMPLES:
                break
    except AudioError as error:
        return {"outcome": "refused", "text": str(error), "num_samples": num_samples}
    except BaseException as error:
        return {"outcome": "broken", "text": f"{type(error).__name__}: {error}"}
    return {"outcome": "sound", "text": " ".join(stream.warnings), "num_samples": num_samples}


def peak_mib() -> float:
    """The largest memory of this process since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def num_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE))
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        source = Path(folder) / "recording"
        while len(head := sys.stdin.buffer.read(4)) == 4:
            source.write_bytes(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))
            printed.seek(0)
            printed.truncate()
            forget_peak()
            files, memory, began = num_files(), peak_mib(), time.process_time()
            found = decode(source)
            found["cpu_s"] = time.process_time() - began
            found["memory_mib"] = peak_mib() - memory
            found["files_left"] = num_files() - files
            printed.seek(0)
            found["printed"] = printed.read(2_000).decode(errors="replace")
            print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
