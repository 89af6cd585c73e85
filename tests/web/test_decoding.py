"""The process that decodes: the same samples as here, and nothing that a recording does to it outlives it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from avgan.audio import AudioStream
from avgan.web import decoding
from avgan.web.decoder import Caps
from avgan.web.decoding import Decoder
from avgan.web.settings import RefusedError
from sounds import encoded

RATE_HZ = 16_000
CAPS = Caps(rate_hz=RATE_HZ, max_seconds=600, cpu_s=60, memory_bytes=256 * 2**20)
MakeDecoder = Callable[[Caps], Decoder]


@pytest.fixture
def kills() -> list[str]:
    """Why decoders were lost."""
    return []


@pytest.fixture
def make_decoder(kills: list[str]) -> Iterator[MakeDecoder]:
    made: list[Decoder] = []

    def make(caps: Caps) -> Decoder:
        made.append(Decoder(caps, kills.append))
        return made[-1]

    yield make
    for decoder in made:
        decoder.close()


@pytest.fixture
def decoder(make_decoder: MakeDecoder) -> Decoder:
    return make_decoder(CAPS)


def fork_of(decoder: Decoder) -> int:
    """The process that decodes the present recording."""
    children = Path(f"/proc/{decoder.pid}/task/{decoder.pid}/children")
    while not (found := children.read_text().split()):
        time.sleep(0.01)
    return int(found[0])


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG", "M4A"])
def test_sound_is_the_same_as_without_a_process(decoder: Decoder, rng: np.random.Generator, kind: str) -> None:
    samples = rng.uniform(-0.5, 0.5, 2 * 48_000).astype(np.float32)
    content = encoded(samples, 48_000, kind)
    here, there = AudioStream(content, target_rate_hz=RATE_HZ), decoder.decode(content)
    assert np.array_equal(np.concatenate(list(there)), np.concatenate(list(here)))
    assert there.level == here.level
    assert there.warnings == here.warnings


def test_what_is_noticed_comes_across(decoder: Decoder) -> None:
    stream = decoder.decode(encoded(np.zeros(RATE_HZ // 2)))
    list(stream)
    assert stream.level.duration_s == 0.5
    assert any("silent" in warning for warning in stream.warnings)


def test_only_the_wanted_beginning_is_decoded(decoder: Decoder, bomb: bytes) -> None:
    num_samples = sum(map(len, decoder.decode(bomb, wanted_s=5.0)))
    assert 5 * RATE_HZ <= num_samples < 8 * RATE_HZ


@pytest.mark.parametrize("content", [b"", b"not a sound " * 100, b"RIFF\x00\x00"])
def test_what_is_no_sound_is_refused_and_the_process_lives(decoder: Decoder, kills: list[str], content: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        list(decoder.decode(content))
    assert refused.value.status == 400
    assert kills == []
    good = encoded(np.ones(100))
    assert sum(map(len, decoder.decode(good))) == 100


def test_a_tiny_file_of_hours_is_refused(decoder: Decoder, bomb: bytes) -> None:
    assert len(bomb) < 2**20
    with pytest.raises(RefusedError, match="longer than 600 s") as refused:
        list(decoder.decode(bomb))
    assert refused.value.status == 413


def test_time_to_decode_is_limited(make_decoder: MakeDecoder, kills: list[str], bomb: bytes) -> None:
    decoder = make_decoder(Caps(192_000, max_seconds=1e6, cpu_s=1, memory_bytes=2**28))
    with pytest.raises(RefusedError, match="more time") as refused:
        for _ in decoder.decode(bomb):  # half a billion samples are more than a second's work
            pass
    assert refused.value.status == 413
    assert kills == ["time"]


def test_memory_to_decode_is_limited(make_decoder: MakeDecoder, hiss_wav: bytes) -> None:
    decoder = make_decoder(Caps(RATE_HZ, max_seconds=600, cpu_s=60, memory_bytes=40 * 2**20))
    with pytest.raises(RefusedError, match="more memory") as refused:
        list(decoder.decode(b"RIFF" * 2**24))
    assert refused.value.status == 413
    assert sum(map(len, decoder.decode(hiss_wav))) == 3 * RATE_HZ


@pytest.mark.parametrize(
    ("number", "status", "reason"), [(signal.SIGSEGV, 400, "crash"), (signal.SIGKILL, 413, "memory")]
)
def test_a_decoder_that_dies_is_replaced(
    decoder: Decoder, kills: list[str], bomb: bytes, hiss_wav: bytes, number: int, status: int, reason: str
) -> None:
    blocks = iter(decoder.decode(bomb))
    next(blocks)
    os.kill(fork_of(decoder), number)
    with pytest.raises(RefusedError) as refused:
        list(blocks)
    assert refused.value.status == status
    assert kills == [reason]
    assert sum(map(len, decoder.decode(hiss_wav))) == 3 * RATE_HZ


def test_a_decoder_that_hangs_is_replaced(
    decoder: Decoder, kills: list[str], bomb: bytes, hiss_wav: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "STALL_S", 1)
    blocks = iter(decoder.decode(bomb))
    next(blocks)
    os.kill(fork_of(decoder), signal.SIGSTOP)
    with pytest.raises(RefusedError, match="more time"):
        list(blocks)
    assert kills == ["time"]
    monkeypatch.undo()
    assert sum(map(len, decoder.decode(hiss_wav))) == 3 * RATE_HZ


def test_a_recording_that_is_given_up_leaves_nothing_for_the_next(
    decoder: Decoder, bomb: bytes, hiss_wav: bytes
) -> None:
    abandoned = iter(decoder.decode(bomb))
    next(abandoned)
    there = np.concatenate(list(decoder.decode(hiss_wav)))
    assert np.array_equal(there, np.concatenate(list(AudioStream(hiss_wav))))


def test_it_can_be_killed_from_another_thread(decoder: Decoder, kills: list[str], bomb: bytes) -> None:
    blocks = iter(decoder.decode(bomb))
    next(blocks)
    os.kill(fork_of(decoder), signal.SIGSTOP)
    threading.Timer(0.2, decoder.kill).start()
    with pytest.raises(RefusedError):
        list(blocks)
    assert kills == ["given_up"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks Linux what a process may do")
def test_a_decoder_can_open_nothing_and_knows_no_secret(
    monkeypatch: pytest.MonkeyPatch, make_decoder: MakeDecoder, hiss_wav: bytes
) -> None:
    monkeypatch.setenv("AVGAN_TOKEN", "a secret of the service")
    decoder = make_decoder(CAPS)
    list(decoder.decode(hiss_wav))  # it has started
    process = Path(f"/proc/{decoder.pid}")
    limits = process.joinpath("limits").read_text()
    for name in ("Max open files", "Max file size", "Max core file size"):
        line = next(line for line in limits.splitlines() if line.startswith(name))
        assert line.removeprefix(name).split()[:2] == ["0", "0"]
    assert b"AVGAN_TOKEN" not in process.joinpath("environ").read_bytes()
    open_files = {os.readlink(path) for path in process.joinpath("fd").iterdir()}
    assert {name.split(":")[0] for name in open_files} == {"socket", os.devnull}
