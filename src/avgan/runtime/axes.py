"""What the two axes of a log-mel mean: the time of each step, the frequencies of each band.

Shapes: F mel bands, T time steps.
"""

from typing import Any

import numpy as np

from avgan.runtime.bundle import Card


def hz_to_mel(frequency_hz: np.ndarray, scale: str) -> np.ndarray:
    """Frequencies in Hz to mel: HTK's logarithm, or Slaney's scale, linear below 1 kHz and logarithmic above."""
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + frequency_hz / 700.0)
    linear = frequency_hz * 3.0 / 200.0
    log_step = np.log(6.4) / 27.0
    return np.where(frequency_hz < 1000.0, linear, 15.0 + np.log(np.maximum(frequency_hz, 1.0) / 1000.0) / log_step)


def mel_to_hz(mel: np.ndarray, scale: str) -> np.ndarray:
    """Inverse of `hz_to_mel`."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    log_step = np.log(6.4) / 27.0
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp(log_step * (mel - 15.0)))


def step_times(card: Card, num_steps: int) -> np.ndarray:
    """The middle of each time step of a window, (T,) in seconds from its beginning."""
    front_end = _front_end(card)
    if front_end.get("num_time_steps") or not front_end:  # equal spans of the window
        return (np.arange(num_steps) + 0.5) * card.window_s / num_steps
    middle = 0.0 if front_end["centre"] else front_end["n_fft"] / 2
    times: np.ndarray = (np.arange(num_steps) * front_end["hop_length"] + middle) / card.sample_rate_hz
    return times


def band_edges(card: Card, num_bands: int) -> np.ndarray:
    """Where each band ends and the next begins, (F + 1,) in Hz: half-way, in mel, between the middles of two bands.

    A bundle that does not say what its bands are has them spread evenly.
    """
    front_end = _front_end(card)
    if not front_end:
        return np.linspace(0.0, card.sample_rate_hz / 2, num_bands + 1)
    scale = front_end["mel_scale"]
    limits = np.array([front_end["f_min_hz"], front_end["f_max_hz"]])
    # The triangles of neighbouring bands overlap by half: F of them need F + 2 corners.
    low, high = hz_to_mel(limits, scale)
    corners = np.linspace(low, high, num_bands + 2)
    return mel_to_hz((corners[:-1] + corners[1:]) / 2, scale)


def _front_end(card: Card) -> dict[str, Any]:
    """The front end's configuration as it was trained with; empty where the bundle does not say."""
    found = card.trained.get("front_end", {})
    return found if isinstance(found, dict) else {}
