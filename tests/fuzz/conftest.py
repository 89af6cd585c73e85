"""A decoder in a process of its own, real recordings to damage, and what no input may do."""

import json
import os
import runpy
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PATIENCE_S = 240
MAX_MEMORY_MIB = 150
MAX_CPU_S = 3.0
MIN_SPEED = 20
"""Seconds of sound to be decoded in a second, beyond the first `MAX_CPU_S`."""


class Decoder:
    """Answers for each input what decoding it did; lives through the death of the process that decodes."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, content: bytes) -> dict[str, Any]:
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(struct.pack(">I", len(content)) + content)
            process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
        line = process.stdout.readline() if ready else b""
        if line:
            return json.loads(line)
        self.close()
        return {"outcome": f"died of {process.returncode}" if ready else "hung", "text": ""}

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, HERE / "worker.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def _find_problems(answer: dict[str, Any]) -> list[str]:
    """What an answer has that no answer may have: the property that all of these tests are about."""
    if answer["outcome"] not in ("sound", "refused"):
        return [f"{answer['outcome']}: {answer['text']}"]
    problems = []
    text = answer["text"]
    if "\n" in text or "<_io." in text or len(text) > 400:
        problems.append(f"no line for a user: {text!r}")
    if answer["outcome"] == "refused" and not text:
        problems.append("refused without a reason")
    if answer["outcome"] == "sound" and not answer["num_samples"]:
        problems.append("a sound without a sample")
    if answer["printed"]:
        problems.append(f"printed {answer['printed']!r}")
    if answer["files_left"]:
        problems.append(f"left {answer['files_left']} files open")
    if answer["memory_mib"] > MAX_MEMORY_MIB:
        problems.append(f"took {answer['memory_mib']:.0f} MiB")
    if answer["cpu_s"] > MAX_CPU_S + answer["num_samples"] / 16_000 / MIN_SPEED:
        problems.append(f"took {answer['cpu_s']:.1f} s for {answer['num_samples']} samples")
    return problems


@pytest.fixture(scope="session")
def decoder() -> Iterator[Decoder]:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the decoding process is watched through /proc, which only Linux has")
    decoder = Decoder()
    yield decoder
    decoder.close()


@pytest.fixture(scope="session")
def find_problems() -> Callable[[dict[str, Any]], list[str]]:
    return _find_problems


@pytest.fixture(scope="session")
def problems(decoder: Decoder) -> Callable[[bytes], list[str]]:
    """A function: what decoding some bytes does that it must not."""
    return lambda content: _find_problems(decoder.decode(content))


class Seeds(dict[str, bytes]):
    """Recordings by name; a failing test would print them all."""

    def __repr__(self) -> str:
        return f"{len(self)} recordings"


@pytest.fixture(scope="session")
def seeds() -> dict[str, bytes]:
    """Small real recordings by name, one for each container and codec that can be written here."""
    return Seeds(runpy.run_path(str(HERE / "seeds.py"))["recordings"]())
