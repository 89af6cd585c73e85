"""Live sound: the same answers as for the file, nothing lost that could wait, everything lost counted."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgan.audio import AudioStream, Block
from avgan.errors import AudioError
from avgan.live.stream import MAX_WAITING_S, PCM, LiveSource, SampleFormat, listen_live
from avgan.runtime import Model, load

RATE_HZ = 16_000
SECOND = np.zeros((RATE_HZ, 1), np.float32)


@pytest.fixture(scope="module")
def model(toy_bundle: Path) -> Model:
    return load(toy_bundle)


def feed(source: LiveSource, samples: np.ndarray, size: int) -> threading.Thread:
    """Put samples (L, C) on a thread of their own, so many at a time, then close."""

    def run() -> None:
        for start in range(0, len(samples), size):
            source.put(samples[start : start + size])
        source.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def mixture(rng: np.random.Generator, rate_hz: int, duration_s: float, channels: int) -> np.ndarray:
    """Silence, hiss and rumble one after another: (L, C) float32."""
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    sounds = [0 * times_s, rng.uniform(-0.3, 0.3, len(times_s)), 0.5 * np.sin(400 * times_s)]
    mono = np.choose((times_s / duration_s * 3).astype(int), sounds)
    return (mono[:, None] * np.linspace(1, 0.5, channels)).astype(np.float32)


@pytest.mark.parametrize(
    ("rate_hz", "num_channels", "size"),
    [(8_000, 1, 80), (11_025, 2, 1_001), (16_000, 1, 7_777), (44_100, 2, 441), (96_000, 8, 50_000)],
)
@pytest.mark.parametrize("hop_s", [0.5, None])
def test_answers_are_those_of_the_file(
    model: Model, rng: np.random.Generator, rate_hz: int, num_channels: int, size: int, hop_s: float | None
) -> None:
    samples = mixture(rng, rate_hz, 6.3, num_channels)
    source = LiveSource(rate_hz, waits=True, max_waiting_s=0.5)
    thread = feed(source, samples, size)
    live = list(listen_live(model, source, hop_s=hop_s))
    thread.join()
    expected = model.classify(samples, rate_hz, hop_s=hop_s).windows
    assert [answer.window.scene for answer in live] == [window.scene for window in expected]
    for answer, window in zip(live, expected, strict=True):
        assert answer.window.start_s == pytest.approx(window.start_s)
        assert answer.window.end_s == pytest.approx(window.end_s)
        assert answer.window.probability == pytest.approx(window.probability, abs=1e-3)
        assert answer.latency_s >= 0
        assert (answer.num_gaps, answer.gap_s) == (0, 0)
        assert next(iter(answer.scenes.values())) == pytest.approx(window.probability, abs=1e-3)
        assert sum(answer.scenes.values()) == pytest.approx(1, abs=1e-5)
    assert len({answer.window.scene for answer in live}) > 1
    assert source.num_dropped == 0


def test_a_source_that_waits_holds_no_more_than_it_may(rng: np.random.Generator) -> None:
    source = LiveSource(RATE_HZ, waits=True, max_waiting_s=0.5)
    samples = rng.normal(size=(20 * RATE_HZ, 2)).astype(np.float32)
    thread = feed(source, samples, 999)
    received = []
    for block, _ in source:
        assert source.waiting_s <= 0.5
        received.append(block)
    thread.join()
    np.testing.assert_array_equal(np.concatenate(received), samples)
    assert (source.num_dropped, source.dropped_s) == (0, 0)


@pytest.mark.parametrize("size", [160, 1_000, 20 * RATE_HZ])
def test_a_source_that_cannot_wait_keeps_the_newest_and_counts_the_rest(size: int) -> None:
    samples = np.arange(20 * RATE_HZ, dtype=np.float32)[:, None]
    source = LiveSource(RATE_HZ)
    feed(source, samples, size).join()
    assert source.waiting_s == pytest.approx(MAX_WAITING_S, abs=0.25)
    received = np.concatenate([block for block, _ in source])
    np.testing.assert_array_equal(received, samples[-len(received) :])
    assert len(received) <= MAX_WAITING_S * RATE_HZ
    assert source.dropped_s == pytest.approx(20 - len(received) / RATE_HZ)
    assert source.num_dropped >= (20 - MAX_WAITING_S) / 0.25


class Slow:
    """A network that does not answer before it may go on."""

    def __init__(self, model: Model) -> None:
        self._embed = model.network.embed
        self.goes_on = threading.Event()
        self.has_stopped = threading.Event()

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        self.has_stopped.set()
        assert self.goes_on.wait(60)
        return self._embed(waveforms)


def test_what_a_slow_network_misses_is_a_gap(
    model: Model, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    slow = Slow(model)
    monkeypatch.setattr(model.network, "embed", slow)
    source = LiveSource(RATE_HZ, max_waiting_s=2.0)
    answers = listen_live(model, source, hop_s=1.0)  # windows of 1 s
    found = []
    thread = threading.Thread(target=lambda: found.extend(answers))
    thread.start()
    hiss = rng.uniform(-0.3, 0.3, (RATE_HZ // 10, 1)).astype(np.float32)
    for _ in range(10):
        source.put(hiss)
    assert slow.has_stopped.wait(60)  # the first second is being embedded
    for _ in range(54):
        source.put(hiss)  # 5.4 s come, of which 2 s stay
    assert source.dropped_s == pytest.approx(3.4)
    assert source.num_dropped == 34
    started_s = time.monotonic()
    time.sleep(0.05)
    slow.goes_on.set()
    source.close()
    thread.join()
    times = [(answer.window.start_s, answer.window.end_s) for answer in found]
    assert np.array(times) == pytest.approx(np.array([(0, 1), (4.4, 5.4), (5.4, 6.4)]))
    assert found[0].latency_s > 0.05
    assert found[0].latency_s < time.monotonic() - started_s + 60
    assert all(answer.num_gaps == 0 for answer in found)  # the gap is between two windows
    assert all(answer.window.scene == "beach" for answer in found)


class Scripted(LiveSource):
    """Does one thing each time that it is asked for a block, before it gives it."""

    steps: Iterator[Callable[[], object]]

    def __next__(self) -> Block:
        next(self.steps)()
        return super().__next__()


def test_a_window_over_a_gap_says_so(model: Model) -> None:
    source = Scripted(RATE_HZ, max_waiting_s=0.75)
    quarter = np.zeros((RATE_HZ // 4, 1), np.float32)

    def put_too_much() -> None:
        for _ in range(6):
            source.put(quarter)

    def put_the_last() -> None:
        source.put(quarter, after_loss=True)
        source.close()

    def nothing() -> None:
        pass

    put_two = partial(source.put, np.concatenate((quarter, quarter)))
    source.steps = iter([put_two, nothing, put_too_much, nothing, nothing, put_the_last, nothing, nothing])
    first, second = listen_live(model, source, hop_s=0.5)
    assert (source.num_dropped, source.dropped_s, source.num_lost) == (3, 0.75, 1)
    assert (first.window.start_s, first.window.end_s) == (0, 1.75)
    assert (first.num_gaps, first.gap_s) == (1, 0.75)
    assert (second.window.start_s, second.window.end_s) == (1.25, 2.25)
    assert (second.num_gaps, second.gap_s) == (1, 0)


def test_a_device_that_falls_silent_is_given_up() -> None:
    source = LiveSource(RATE_HZ, name="Mic 3", patience_s=0.1)
    source.put(SECOND)
    for _ in range(4):
        next(source)
    with pytest.raises(AudioError, match=r"Mic 3: no sound has come for 0\.1 s"):
        next(source)


def test_the_end(model: Model) -> None:
    source = LiveSource(RATE_HZ)
    source.put(SECOND)
    source.close(AudioError("the microphone is gone"))
    assert not source.put(SECOND)
    answers = listen_live(model, source)
    assert next(answers).window.reason == "silent"  # what came before is answered
    with pytest.raises(AudioError, match="is gone"):
        next(answers)
    empty = LiveSource(RATE_HZ, name="standard input")
    empty.close()
    with pytest.raises(AudioError, match="standard input: holds no sound"):
        list(listen_live(model, empty))


def test_closing_wakes_who_waits_for_room() -> None:
    source = LiveSource(RATE_HZ, waits=True, max_waiting_s=0.5)
    thread = feed(source, np.zeros((10 * RATE_HZ, 1), np.float32), RATE_HZ)
    while source.waiting_s < 0.5:
        time.sleep(0.001)
    source.close()
    thread.join(60)
    assert not thread.is_alive()


def test_meter() -> None:
    source = LiveSource(RATE_HZ)
    source.put(SECOND + np.float32(0.5))
    assert source.peak == 0.5
    source.put(SECOND)
    assert source.peak == pytest.approx(0.05)  # 20 dB in a second
    source.put(SECOND + np.float32(np.nan))
    assert source.peak == 1.0


@given(
    content=st.binary(max_size=200),
    cuts=st.lists(st.integers(0, 200), max_size=8),
    num_channels=st.integers(1, 8),
    sample_format=st.sampled_from(["s16le", "f32le"]),
)
def test_raw_samples_may_be_cut_anywhere(
    content: bytes, cuts: list[int], num_channels: int, sample_format: SampleFormat
) -> None:
    whole = PCM(num_channels, sample_format).decode(content)
    pcm = PCM(num_channels, sample_format)
    edges = [0, *sorted(cuts), len(content)]
    parts = [pcm.decode(content[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    frame = num_channels * (2 if sample_format == "s16le" else 4)
    assert whole.shape == (len(content) // frame, num_channels)
    assert whole.dtype == np.float32


def test_raw_samples_keep_their_values() -> None:
    content = np.array([-32_768, 0, 16_384, 32_767], "<i2").tobytes()
    expected = [[-1, 0], [0.5, 32_767 / 32_768]]
    np.testing.assert_array_equal(PCM(2, "s16le").decode(content), expected)
    floats = np.array([[0.25, -3.0]], "<f4")
    np.testing.assert_array_equal(PCM(2, "f32le").decode(floats.tobytes()), floats)


def test_blocks_state_their_own_rate() -> None:
    with pytest.raises(AudioError, match="rate"):
        AudioStream(iter([(SECOND, 16_000)]), rate_hz=8_000)
    with pytest.raises(AudioError, match="hertz"):
        list(AudioStream(iter([(SECOND, 48)])))
    (first, second) = AudioStream(iter([(SECOND, 16_000.0), (SECOND + 1, 16_000.0)]))
    np.testing.assert_array_equal(np.stack((first, second))[:, 0], [0, 1])
