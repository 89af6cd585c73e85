"""Small real media, made for the tests of the data layer."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

RATE_HZ = 16_000
FPS = 10

COLOURS = ((220, 30, 30), (30, 200, 30), (30, 30, 220))


def write_tone(path: Path, *, seconds: float = 1.0, hz: float = 440.0, rate_hz: int = RATE_HZ) -> Path:
    """A recording of one tone at half of full scale."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    soundfile.write(path, (0.5 * np.sin(2 * np.pi * hz * times)).astype(np.float32), rate_hz)
    return path


def write_picture(path: Path, colour: tuple[int, int, int] = COLOURS[0], size_px: int = 128) -> Path:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size_px, size_px), colour).save(path)
    return path


def write_video(path: Path, *, seconds_each: float = 2.0, hz: tuple[float, ...] = (400.0, 800.0, 1600.0)) -> Path:
    """A video whose colour and tone change together: COLOURS[i] sounds like hz[i]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), mode="w") as container:
        picture = container.add_stream("mpeg4", rate=FPS)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        picture.bit_rate = 400_000
        sound = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for colour in COLOURS[: len(hz)]:
            pixels = np.full((64, 64, 3), colour, np.uint8)
            for _ in range(round(seconds_each * FPS)):
                container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(picture.encode(None))
        num_samples = round(seconds_each * RATE_HZ)
        tones = [0.5 * np.sin(2 * np.pi * f * np.arange(num_samples) / RATE_HZ) for f in hz]
        samples = np.concatenate(tones).astype(np.float32)[None]
        for start in range(0, samples.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, start : start + 1024]), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


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
