"""What the rivals hear: log-mel, deltas, MFCC, zero crossings, harmonic and percussive parts, of many clips at once.

The log-mel is the project's own (`features.LogMel`) with a rival's settings. The rest follows the textbook definitions
that librosa has too; the tests compare the two.

Shapes: M clips, L samples, F bands, K bins of the transform, T time steps, C coefficients.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import median_filter
from torch import Tensor

from avgan.features import FrontEndConfig, LogMel

BLOCK = 16
"""Clips transformed at once: spectra of a whole data set would not fit into memory."""


def log_mels(waveforms: np.ndarray, settings: FrontEndConfig, *, mirrored: bool = False) -> np.ndarray:
    """Waveforms (M, L) at the rate of the settings -> log-mel (M, F, T) float32, in dB or natural logarithms.

    Where `mirrored` the sound goes on mirrored at its ends, as librosa had it when the rivals were published; else in
    silence.
    """
    if mirrored:
        front_end = LogMel(settings.model_copy(update={"centre": False}))
        return _in_blocks(waveforms, lambda block: front_end(mirrored_ends(block, settings.n_fft // 2))[:, 0])
    front_end = LogMel(settings)
    return _in_blocks(waveforms, lambda block: front_end(block)[:, 0])


def mirrored_ends(waveforms: Tensor, num_samples: int) -> Tensor:
    """(M, L) -> (M, L + 2 * num_samples): mirrored at the first and the last sample, as often as it takes."""
    length = waveforms.shape[-1]
    places = torch.arange(-num_samples, length + num_samples)
    period = max(1, 2 * (length - 1))
    places = places.remainder(period)
    return waveforms[..., torch.minimum(places, period - places).clamp(max=length - 1)]


def energy_spectra(waveforms: np.ndarray, *, n_fft: int, hop_length: int) -> np.ndarray:
    """Waveforms (M, L) -> |STFT|^2 (M, K, T) float32 with Hann windows, mirrored at the ends. Large: mind M."""
    window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64)

    def transform(block: Tensor) -> Tensor:
        spectrum = torch.stft(
            mirrored_ends(block.double(), n_fft // 2),
            n_fft,
            hop_length,
            window=window,
            center=False,
            return_complex=True,
        )
        return spectrum.abs().square()

    return _in_blocks(waveforms, transform)


def limit_range(decibels: np.ndarray, top_db: float) -> np.ndarray:
    """(M, F, T) in dB: nothing lies more than `top_db` below the loudest of its clip."""
    loudest = decibels.max(axis=(-2, -1), keepdims=True)
    return np.maximum(decibels, loudest - top_db)


def lengthened(decibels: np.ndarray, num_steps: int) -> np.ndarray:
    """(M, F, T) in dB with at least `num_steps` time steps: each clip goes on with its quietest value."""
    lacking = num_steps - decibels.shape[-1]
    if lacking <= 0:
        return decibels
    quietest = decibels.min(axis=(-2, -1), keepdims=True)
    silence = np.broadcast_to(quietest, (*decibels.shape[:-1], lacking))
    return np.concatenate([decibels, silence], axis=-1)


def deltas(values: np.ndarray, *, width: int = 9) -> np.ndarray:
    """(..., T) -> slope (..., T) of the line through `width` steps around each; the end values are repeated."""
    half = width // 2
    lags = np.arange(-half, half + 1, dtype=np.float32)
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half, half)], mode="edge")
    num_steps = values.shape[-1]
    slope = np.zeros_like(values)
    for lag, weight in enumerate(lags / np.square(lags).sum()):
        slope += weight * padded[..., lag : lag + num_steps]
    return slope


def mfccs(decibels: np.ndarray, num_coefficients: int) -> np.ndarray:
    """Log-mel (M, F, T) in dB -> the first coefficients (M, C, T) of its orthonormal cosine transform along F."""
    num_bands = decibels.shape[-2]
    order = np.arange(num_coefficients)[:, None]
    basis = np.cos(np.pi / num_bands * (np.arange(num_bands) + 0.5) * order)
    basis *= np.where(order == 0, np.sqrt(1 / num_bands), np.sqrt(2 / num_bands))
    return np.matmul(basis.astype(decibels.dtype), decibels)


def zero_crossing_rates(waveforms: np.ndarray, *, frame_length: int = 2048, hop_length: int = 512) -> np.ndarray:
    """Waveforms (M, L) -> share (M, T) of the samples of each frame at which the sign changes."""
    half = frame_length // 2
    padded = np.pad(waveforms, [(0, 0), (half, half)], mode="edge")
    padded = np.where(np.abs(padded) <= 1e-10, 0.0, padded)  # noise of rounding has no sign
    crossings = np.signbit(padded[:, 1:]) != np.signbit(padded[:, :-1])
    # a frame's first sample has no neighbour within the frame
    framed = sliding_window_view(crossings, frame_length - 1, axis=1)[:, ::hop_length]
    return (framed.sum(-1) / frame_length).astype(np.float32)


def running_median(values: np.ndarray, width: int, *, axis: int = -1) -> np.ndarray:
    """Median of `width` neighbours (odd) along an axis, ends mirrored.

    All rows are laid end to end: the filter of one dimension is far faster than the general one.
    """
    rows = np.moveaxis(values, axis, -1)
    half = width // 2
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(half, half)], mode="symmetric")
    filtered = median_filter(padded.reshape(-1), size=width, mode="nearest")
    middle = filtered.reshape(padded.shape)[..., half : half + rows.shape[-1]]
    return np.moveaxis(middle, -1, axis)


def harmonic_percussive(magnitudes: np.ndarray, *, width: int = 31) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes (M, F, T) -> what lasts and what strikes, (M, F, T) each; their sum is the input.

    Median filters along time and along frequency, soft masks of power 2 (Fitzgerald 2010).
    """
    harmonic = np.square(running_median(magnitudes, width, axis=-1))
    percussive = np.square(running_median(magnitudes, width, axis=-2))
    both = harmonic + percussive
    share = np.divide(harmonic, both, out=np.full_like(both, 0.5), where=both > 0)
    return share * magnitudes, (1 - share) * magnitudes


def a_weights_db(frequencies_hz: np.ndarray) -> np.ndarray:
    """What the A curve of IEC 61672 adds at each frequency (K,), in dB; never less than -80."""
    squares = np.square(np.asarray(frequencies_hz, dtype=np.float64))
    poles = np.square(np.array([20.598997, 107.65265, 737.86223, 12_194.217]))
    with np.errstate(divide="ignore"):
        weights = 2.0 + 20.0 * (
            np.log10(poles[3])
            + 2 * np.log10(squares)
            - np.log10(squares + poles[3])
            - np.log10(squares + poles[0])
            - 0.5 * np.log10(squares + poles[1])
            - 0.5 * np.log10(squares + poles[2])
        )
    return np.maximum(weights, -80.0)


def _in_blocks(waveforms: np.ndarray, transform: Callable[[Tensor], Tensor]) -> np.ndarray:
    with torch.inference_mode():
        parts = [
            transform(torch.from_numpy(waveforms[start : start + BLOCK])).float().numpy()
            for start in range(0, len(waveforms), BLOCK)
        ]
    return np.concatenate(parts)
