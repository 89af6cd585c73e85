"""How much a sound changes over time, which tells a hum or a hiss, the same throughout, from a place.

The energy of half-second parts in bands, in decibels: in noise made by a machine or a microphone it hardly changes
from part to part, and less than in rain, in a crowd or even in most engines.

Shapes: L samples, T parts, K bands.
"""

import numpy as np

PART_S = 0.5
MIN_PARTS = 4
"""With fewer parts nothing can be said about change."""
NUM_BANDS = 16
FRAME = 512
LOWEST_BIN = 3
"""Below are offsets and rumble of the recorder."""
FLOOR_SHARE = 1.7e-7
"""Share of the mean energy of a part's bins below which a band counts as empty, so that a recording is as steady at any
level; an energy of 1e-7 at -25 dB of full scale, where most recordings lie."""
NOTHING = 1e-12
"""Energy of silence, far below that of the last step of 16 bits (1e-8)."""

_WINDOW = np.hanning(FRAME).astype(np.float32)
_EDGES = np.unique(np.geomspace(LOWEST_BIN, FRAME // 2, NUM_BANDS + 1).round().astype(int))


def band_levels(waveform: np.ndarray, rate_hz: int) -> np.ndarray:
    """A waveform (L,) -> the level of each part in each band (T, K), in decibels; no parts where L is too short."""
    num_parts = max(1, round(len(waveform) / (PART_S * rate_hz)))
    num_frames = len(waveform) // num_parts // FRAME
    if num_frames == 0:
        return np.empty((0, len(_EDGES) - 1), np.float32)
    used = np.ascontiguousarray(waveform[: num_parts * num_frames * FRAME], np.float32)
    spectrum = np.fft.rfft(used.reshape(num_parts, num_frames, FRAME) * _WINDOW, axis=-1)
    power = (spectrum.real**2 + spectrum.imag**2).mean(1)
    sums = np.add.reduceat(power[..., : _EDGES[-1]], _EDGES[:-1], axis=-1) / np.diff(_EDGES)
    floor = FLOOR_SHARE * power[:, LOWEST_BIN:].mean(1, keepdims=True) + NOTHING
    levels: np.ndarray = 10 * np.log10(sums + floor)
    return levels.astype(np.float32)


def change_db(levels: np.ndarray) -> float:
    """How much a window (T, K) changes: the standard deviation over its parts, that of the middle band.

    Infinite where there are too few parts to tell.
    """
    if len(levels) < MIN_PARTS:
        return float("inf")
    return float(np.median(levels.std(0, ddof=1)))
