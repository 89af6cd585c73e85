"""The line of progress: few of them, and true."""

import pytest

from avgan.archive import batch as progress
from avgan.archive.batch import Progress
from avgan.archive.sources import Recording
from avgan.runtime import WindowPrediction


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now_s = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    return now_s


def test_rate_and_estimate(clock: list[float]) -> None:
    said: list[str] = []
    reporter = Progress(1_201, said.append)
    for number in range(1_001):
        reporter.begin(Recording(f"{number}.wav", b""))
        clock[0] += 1 / 32
    assert said[0] == "1/1,201  0.wav"
    assert said[-1] == "1,001/1,201  32 a second  0:06 left  1000.wav"
    assert len(said) == 1 + 1_000 // 4  # no more than ten a second
    reporter.close()
    assert said[-1] == ""


def test_how_far_a_long_recording_is(clock: list[float]) -> None:
    said: list[str] = []
    reporter = Progress(1, said.append)
    reporter.begin(Recording("day.wav", b""))
    for number in range(3_600):
        reporter.window(WindowPrediction(number, number + 5, "coast", None, 1.0))
        clock[0] += 0.01
    assert said[0] == "day.wav"
    assert said[-1].startswith("day.wav  59:5")
    assert said[-1].endswith(" done, 100 x real time")
