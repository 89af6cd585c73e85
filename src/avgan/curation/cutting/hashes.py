"""Perceptual hashes: what looks alike or sounds alike shares most bits, whatever its size, codec, rate or loudness.

The hash of a picture is the signs of its lowest 64 cosine coefficients. The hash of a sound is, for 16 neighbouring
pairs of bands and 16 steps in time, whether the difference of their energies grows (Haitsma and Kalker, "A highly
robust audio fingerprinting system", ISMIR 2002), with a clip as one block. Two that have nothing in common share half
of their bits.

Shapes: H W pixels, L samples, T frames of a spectrum.
"""

from functools import cache

import numpy as np
from PIL import Image

LOOK_BITS = 64
VOICE_BITS = 256
SIDE_PX = 32
NUM_STEPS = 17
"""In time, and of bands: 16 differences of each."""
LOWEST_HZ, HIGHEST_HZ = 150.0, 3500.0  # what a telephone keeps, too
FFT_S = 0.064
FLOOR = 1e-8  # -80 dB: noise of a codec in silence makes no bits


def look_hash(luma: np.ndarray) -> str:
    """Of a picture (H, W) of luminance, 0 to 255: 16 hexadecimal digits."""
    small = Image.fromarray(luma.astype(np.float32)).resize(
        (SIDE_PX, SIDE_PX), Image.Resampling.BOX, reducing_gap=None
    )
    cosines = _cosines(SIDE_PX)
    coefficients = cosines[:9] @ np.asarray(small, np.float64) @ cosines[:9].T
    low = np.append(coefficients[:8, :8].ravel()[1:], coefficients[8, 0])  # without the mean
    return _hex(low > 0)


def voice_hash(sound: np.ndarray, *, rate_hz: int) -> str:
    """Of a sound (L,): 64 hexadecimal digits, all 0 for silence."""
    energies = np.log(_band_energies(sound, rate_hz) + FLOOR)
    edges = np.linspace(0, len(energies), NUM_STEPS + 2)
    # Steps overlap by half: a clip that begins a little later still has about the same ones.
    steps = np.array(
        [energies[int(a) : max(int(b), int(a) + 1)].mean(0) for a, b in zip(edges, edges[2:])]  # noqa: B905
    )
    slopes = np.diff(steps, axis=1)
    return _hex((np.diff(slopes, axis=0) > 1e-6).ravel())


def num_different_bits(one: str, other: str) -> int:
    """In how many bits two hashes of one kind differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def _band_energies(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    """(T, 17) mean power of logarithmic bands in overlapping windows; at least as many as there are steps."""
    size = int(FFT_S * rate_hz)
    hop = max(1, min(size // 2, (len(sound) - size) // (2 * NUM_STEPS)))
    sound = np.pad(sound, (0, max(0, size + 2 * NUM_STEPS * hop - len(sound))))
    windows = np.lib.stride_tricks.sliding_window_view(sound, size)[::hop]
    spectrum = np.fft.rfft(windows * np.hanning(size).astype(np.float32), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2) / size
    bins = np.geomspace(LOWEST_HZ, HIGHEST_HZ, NUM_STEPS + 1) * size / rate_hz
    edges = np.round(bins).astype(int)
    sums = np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)
    return sums / np.diff(edges)


@cache
def _cosines(size: int) -> np.ndarray:
    """(size, size) rows of the orthonormal discrete cosine transform (type II)."""
    k, n = np.arange(size)[:, None], np.arange(size)[None]
    rows = np.cos(np.pi * k * (n + 0.5) / size) * np.sqrt(2 / size)
    rows[0] /= np.sqrt(2)
    return rows


def _hex(bits: np.ndarray) -> str:
    return np.packbits(bits).tobytes().hex()
