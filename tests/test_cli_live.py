"""`avgan listen` as people meet it: real pipes, fast and slow, cut anywhere; a microphone that is made up."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avgan import cli
from avgan.runtime.network import Network

RATE_HZ = 16_000
SUMMARY = "avgan: listened "

FAKE_SOUNDDEVICE = '''
"""A microphone of hiss, in blocks of 100 ms; after `seconds` it is unplugged."""
import os, threading, time, types
import numpy as np

class PortAudioError(Exception): pass

default = types.SimpleNamespace(device=(1, 0))

def query_hostapis(number): return {"name": "Fake"}

def query_devices():
    def device(name, inputs):
        return dict(name=name, hostapi=0, max_input_channels=inputs, default_samplerate=48000.0)
    return [device("Speaker", 0), device("Built-in", 1), device("USB", 8)]

class InputStream:
    def __init__(self, *, device, samplerate, channels, dtype, callback, finished_callback):
        self.block = (int(samplerate) // 10, channels)
        self.callback, self.finished = callback, finished_callback

    def start(self):
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        rng = np.random.default_rng(0)
        buffer = np.empty(self.block, np.float32)
        for number in range(int(float(os.environ["SECONDS"]) * 10)):
            buffer[:] = rng.uniform(-0.3, 0.3, self.block)
            flags = types.SimpleNamespace(input_overflow=number == 15)
            self.callback(buffer, len(buffer), None, flags)
            buffer[:] = 9.0  # PortAudio uses its buffer again
            time.sleep(0.02)
        self.finished()

    def close(self): pass
'''


def pcm(samples: np.ndarray, encoding: str = "s16le") -> bytes:
    """Samples (L, C) as raw bytes."""
    if encoding == "f32le":
        return samples.astype("<f4").tobytes()
    return (samples * 32_767).astype("<i2").tobytes()


def mixture(seconds: float, rate_hz: int = RATE_HZ, num_channels: int = 1) -> np.ndarray:
    """Hiss, then silence: (L, C)."""
    mono = np.random.default_rng(0).uniform(-0.3, 0.3, round(seconds * rate_hz))
    mono[len(mono) // 2 :] = 0
    return np.repeat(mono[:, None], num_channels, 1)


@pytest.fixture
def listen(toy_bundle: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start `avgan listen` with a pipe on each side."""

    def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "avgan", "listen", *arguments, "--model", toy_bundle]
        return subprocess.Popen(
            list(map(str, command)),
            stdin=options.pop("stdin", subprocess.PIPE),
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            bufsize=0,  # else a line that was read takes others away from `communicate`
            # a job started in the background ignores Ctrl-C, and its children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            **options,
        )

    return start


def rows(out: bytes | str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """A pipe in the place of standard input, which a thread writes to; then it is closed."""
    readable, writable = os.pipe()
    threads = []

    def write(content: bytes) -> None:
        with suppress(BrokenPipeError), os.fdopen(writable, "wb", buffering=0) as file:
            for start in range(0, len(content), 65_537):  # what a pipe holds, and one byte more
                file.write(content[start : start + 65_537])

    def start(content: bytes) -> None:
        threads.append(threading.Thread(target=write, args=(content,)))
        threads[0].start()

    with os.fdopen(readable, "rb") as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield start
    threads[0].join()


@pytest.fixture
def listen_here(toy_bundle: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `avgan listen` in this process; returns status, output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main(["listen", *map(str, arguments), "--model", str(toy_bundle)])
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("rate_hz", "num_channels", "encoding"), [(8_000, 1, "f32le"), (44_100, 2, "s16le"), (96_000, 8, "s16le")]
)
def test_a_pipe_of_odd_chunks_loses_nothing(
    standard_input: Callable[[bytes], None],
    listen_here: Callable[..., tuple[int, str, str]],
    rate_hz: int,
    num_channels: int,
    encoding: str,
) -> None:
    standard_input(pcm(mixture(6.0, rate_hz, num_channels), encoding) + b"\1")  # a frame cut short
    options = ("--channels", num_channels, "--encoding", encoding, "--hop", 0.5)
    status, out, err = listen_here("-", "--rate", rate_hz, *options)
    assert status == 0
    answers = rows(out)
    starts = [answer["start_s"] for answer in answers]
    assert starts == pytest.approx(np.arange(11) * 0.5, abs=1e-6)
    assert answers[0]["scene"] == "beach"
    assert answers[-1]["scene"] == "unknown"
    assert answers[-1]["reason"] == "silent"
    assert all(answer["num_dropped"] == answer["num_gaps"] == 0 for answer in answers)
    assert all(answer["latency_s"] >= 0 for answer in answers)
    lines = err.splitlines()
    assert lines[0].startswith(SUMMARY + "0:06: ")
    assert "beach 0:03" in lines[0]
    assert "dropped 0 blocks" in lines[-1]


def test_real_time(listen: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Answers come while it sounds, not at the end."""
    process = listen("-", "--rate", RATE_HZ, "--hop", 0.5, "--live")
    content = pcm(mixture(3.0))
    assert process.stdin is not None
    assert process.stdout is not None
    started_s = time.monotonic()
    for number, start in enumerate(range(0, len(content), 3_201)):
        time.sleep(max(0.0, started_s + 0.1 * number - time.monotonic()))
        process.stdin.write(content[start : start + 3_201])
        process.stdin.flush()
        if start > len(content) * 3 // 4:
            break
    first = json.loads(process.stdout.readline())  # the pipe is still open: else it would hang here
    assert first["end_s"] == 1.0
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert rows(out)[-1]["num_dropped"] == 0


@pytest.mark.parametrize("live", [True, False])
def test_a_network_too_slow_drops_only_what_cannot_wait(
    monkeypatch: pytest.MonkeyPatch,
    standard_input: Callable[[bytes], None],
    listen_here: Callable[..., tuple[int, str, str]],
    live: bool,
) -> None:
    embed = Network.embed

    def embed_slowly(network: Network, waveforms: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        return embed(network, waveforms)

    monkeypatch.setattr(Network, "embed", embed_slowly)
    monkeypatch.setattr("avgan.live.stream.MAX_WAITING_S", 1.0)
    standard_input(pcm(mixture(20.0)))
    status, out, err = listen_here("-", "--rate", RATE_HZ, "--format", "jsonl", *["--live"] * live)
    assert status == 0
    answers = rows(out)
    if live:
        assert 0 < len(answers) < 19
        assert answers[-1]["num_dropped"] > 0
        dropped_s = answers[-1]["dropped_s"]
        assert answers[-1]["end_s"] > 19  # times are those of the sound, gaps counted in
        heard_s = sum(answer["end_s"] - answer["start_s"] - answer["gap_s"] for answer in answers)
        assert heard_s + dropped_s == pytest.approx(20, abs=1.0)
        assert f"({dropped_s:.1f} s)" in err
    else:
        assert len(answers) == 20
        assert answers[-1]["num_dropped"] == 0


def test_a_writer_that_is_killed(listen: Callable[..., subprocess.Popen[bytes]]) -> None:
    program = "import sys, time\nsys.stdout.buffer.write(bytes(64_001)); sys.stdout.buffer.flush(); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as writer:
        process = listen("-", "--rate", RATE_HZ, stdin=writer.stdout)
        assert process.stdout is not None
        first = process.stdout.readline()
        writer.kill()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert [row["scene"] for row in rows(first + out)] == ["unknown"] * 2
    assert b"unknown 0:02" in err


def test_interrupt(listen: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = listen("-", "--rate", RATE_HZ)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pcm(mixture(2.5)))
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0  # while standard input is still open
    assert process.stderr is not None
    lines = process.stderr.read().decode().splitlines()
    assert lines[0].startswith(SUMMARY + "0:02: ")
    assert len(lines) == 3


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_on_a_terminal(listen: Callable[..., subprocess.Popen[bytes]]) -> None:
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environment.pop("NO_COLOR", None)
    process = listen("-", "--rate", RATE_HZ, stdout=theirs, env=environment)
    os.close(theirs)
    assert process.stdin is not None
    process.stdin.write(pcm(mixture(5.0)[: 2 * RATE_HZ]))
    sent = b""
    while b"beach" not in sent:
        sent += os.read(ours, 65_536)
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # what a pseudo-terminal says at its end
        while part := os.read(ours, 65_536):
            sent += part
    os.close(ours)
    assert process.wait(60) == 0
    assert "▀".encode() in sent
    assert b"\x1b[38;2;" in sent
    assert sent.rindex(b"\x1b[?25h") > sent.rindex(b"\x1b[?25l")  # the cursor is shown again
    assert process.stderr is not None
    assert process.stderr.read().decode().startswith(SUMMARY)


def test_a_reader_that_goes_away(listen: Callable[..., subprocess.Popen[bytes]]) -> None:
    """avgan listen - | head -1"""
    process = listen("-", "--rate", RATE_HZ, "--hop", 0.1)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pcm(mixture(1.0)))
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(pcm(mixture(2.0)))
    process.stdin.close()
    assert process.wait(60) == 1
    assert process.stderr is not None
    assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "content", "status", "expected"),
    [
        (["-"], b"", 2, "name it, such as --rate 48000"),
        (["a.wav"], b"", 2, "recordings are for classify"),
        (["--live"], b"", 2, "a microphone is always live"),
        (["-", "--rate", "10"], b"", 2, "--rate"),
        (["-", "--rate", "16000"], b"", 1, "standard input: holds no sound"),
        (["-", "--rate", "16000"], b"RIFF0000WAVE", 1, "a WAV file, not raw samples"),
        (["-", "--rate", "16000"], b"fLaC" + bytes(99_999), 1, "a FLAC file, not raw samples"),
    ],
)
def test_what_is_no_live_sound(
    standard_input: Callable[[bytes], None],
    listen_here: Callable[..., tuple[int, str, str]],
    arguments: list[str],
    content: bytes,
    status: int,
    expected: str,
) -> None:
    standard_input(content)
    found, out, err = listen_here(*arguments)
    assert (found, out) == (status, "")
    assert err.count("\n") == 1
    assert expected in err


@pytest.fixture
def microphone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A made-up microphone, of which this is the program."""
    path = tmp_path / "sounddevice.py"
    path.write_text(FAKE_SOUNDDEVICE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SECONDS", "3.2")
    yield path
    sys.modules.pop("sounddevice", None)


def test_a_microphone_until_it_is_unplugged(listen_here: Callable[..., tuple[int, str, str]], microphone: Path) -> None:
    status, out, err = listen_here("--device", "built")
    assert status == 1
    answers = rows(out)
    assert [(row["start_s"], row["end_s"]) for row in answers] == [(0, 1), (1, 2), (2, 3)]
    assert [row["scene"] for row in answers] == ["beach"] * 3
    assert [row["num_gaps"] for row in answers] == [0, 1, 0]  # what the device itself lost
    lines = err.splitlines()
    assert lines[0].startswith(SUMMARY + "0:03: beach 0:03")
    assert "1 times the device lost some" in lines[-2]
    assert lines[-1] == "avgan: Built-in: the microphone is gone; plug it in again"


def test_ctrl_c_at_the_microphone(
    listen: Callable[..., subprocess.Popen[bytes]], microphone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDS", "600")
    process = listen()
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert err.decode().startswith(SUMMARY)


def test_devices_are_listed(listen_here: Callable[..., tuple[int, str, str]], microphone: Path) -> None:
    status, out, err = listen_here("--list-devices")
    assert out.splitlines() == [
        "  1  Built-in  1 channels, 48000 Hz, Fake, the default",
        "  2  USB       8 channels, 48000 Hz, Fake",
    ]
    assert (status, err) == (0, "")
    del sys.modules["sounddevice"]
    microphone.write_text("raise OSError('PortAudio library not found')")
    status, out, err = listen_here()
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "apt install libportaudio2" in err
