"""Fixtures shared by all tests: where the real data is, small real recordings, one thread for torch."""

import os

# Before anything imports torch or onnxruntime: OpenMP threads that spin make a busy machine twenty
# times slower, and results should not depend on the number of cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings

# A busy machine is no defect (no deadline), and a failure should come back when the test is run again.
settings.register_profile("avgan", deadline=None, derandomize=True)
settings.load_profile("avgan")

CHECKOUT = Path(__file__).resolve().parents[1]


def find_data_root() -> Path | None:
    """The folder with the real data sets, or None.

    `$AVGAN_DATA` decides alone when it is set; else a data folder `shared/data` inside or beside
    the checkout.
    """
    named = os.environ.get("AVGAN_DATA")
    if named:
        return Path(named) if Path(named).is_dir() else None
    for folder in (CHECKOUT, CHECKOUT.parent):
        if (folder / "shared" / "data").is_dir():
            return folder / "shared" / "data"
    return None


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets; skips the test, saying why, where there is none."""
    root = find_data_root()
    if root is None:
        pytest.skip(
            "real data not found: set AVGAN_DATA to the folder that holds esc50/, miniplaces/"
        )
    return root


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Keep torch to one thread, in the tests that use torch at all (importing it here is slow)."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator that is the same for every test."""
    return np.random.default_rng(20_191_020)


@pytest.fixture
def make_tone() -> Callable[..., np.ndarray]:
    """A function that makes a sine: `(L,)` float32 at half of full scale."""

    def tone(
        *, frequency_hz: float = 440.0, duration_s: float = 1.0, rate_hz: int = 16_000
    ) -> np.ndarray:
        times = np.arange(round(duration_s * rate_hz)) / rate_hz
        return (0.5 * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32)

    return tone


@pytest.fixture
def tone_wav(tmp_path: Path, make_tone: Callable[..., np.ndarray]) -> Path:
    """A real WAV file: 2 s of a 440 Hz sine, 16 kHz, mono, 16 bit."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, make_tone(duration_s=2.0), 16_000, subtype="PCM_16")
    return path
