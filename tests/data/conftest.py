"""Small real media, made for the tests of the data layer."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "curation"))  # for films.py and video_site.py

from films import film

RATE_HZ = 16_000

COLOURS = ((220, 30, 30), (30, 200, 30), (30, 30, 220))


def sine(hz: float, seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A tone at half of full scale, (L,) float32."""
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def write_tone(path: Path, *, seconds: float = 1.0, hz: float = 440.0, rate_hz: int = RATE_HZ) -> Path:
    """A recording of one tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sine(hz, seconds, rate_hz), rate_hz)
    return path


def write_picture(path: Path, colour: tuple[int, int, int] = COLOURS[0], size_px: int = 128) -> Path:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size_px, size_px), colour).save(path)
    return path


def write_video(path: Path, *, seconds_each: float = 2.0, hz: tuple[float, ...] = (400.0, 800.0, 1600.0)) -> Path:
    """A video whose colour and tone change together: COLOURS[i] sounds like hz[i]."""
    return film(
        path,
        seconds=seconds_each * len(hz),
        pictures=[np.full((64, 64, 3), colour, np.uint8) for colour in COLOURS[: len(hz)]],
        sound=np.concatenate([sine(tone_hz, seconds_each) for tone_hz in hz]),
        rate_hz=RATE_HZ,
        fps=10,
        size=(64, 64),
        codec="mpeg4",
    )


def loudest_hz(waveform: np.ndarray, rate_hz: int = RATE_HZ) -> float:
    """The frequency that holds most of a waveform's power."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float(np.argmax(power) * rate_hz / len(waveform))


@pytest.fixture
def tone() -> Callable[..., Path]:
    return write_tone


@pytest.fixture
def picture() -> Callable[..., Path]:
    return write_picture


@pytest.fixture
def video() -> Callable[..., Path]:
    return write_video


@pytest.fixture
def pitch() -> Callable[..., float]:
    return loudest_hz
