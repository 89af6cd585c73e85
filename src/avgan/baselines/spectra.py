"""What the rivals are given: log-mel, deltas, MFCC, zero crossings, harmonic and percussive parts, of many clips.

The log-mel is the project's own (`features.LogMel`) with a rival's settings. The rest follows the textbook definitions
that librosa has too; the tests compare the two.

Shapes: M clips, L samples, C channels, F bands, K bins of the transform, T time steps.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.signal
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import median_filter

from avgan.baselines.method import Clips
from avgan.data.loading import INT16_PEAK
from avgan.features import FrontEndConfig, LogMel


@torch.inference_mode()
def log_mels(waveforms: np.ndarray, settings: FrontEndConfig) -> np.ndarray:
    """Waveforms (M, L) at the rate of the settings -> log-mel (M, F, T) float32, in dB or natural logarithms."""
    return LogMel(settings)(torch.from_numpy(waveforms))[:, 0].numpy()


def log_mels_of(clips: Clips, settings: FrontEndConfig) -> np.ndarray:
    """The same of clips."""
    return clips.in_blocks(settings.sample_rate_hz, lambda waveforms: log_mels(waveforms, settings))


def int16_samples(clips: Clips, rate_hz: int) -> np.ndarray:
    """Waveforms (M, L) int16, half of what they take otherwise; INT16_PEAK is 1."""
    return clips.in_blocks(rate_hz, lambda block: np.rint(block.clip(-1, 1) * INT16_PEAK).astype(np.int16))


@dataclass(frozen=True, eq=False)
class BandStatistics:
    """Mean and standard deviation of each band of some spectra, (..., F, 1) float32 each."""

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, spectra: np.ndarray) -> "BandStatistics":
        """Of spectra (M, ..., F, T)."""
        mean = spectra.mean(axis=(0, -1), dtype=np.float64)[..., None]
        # of squares, clip by clip: a difference of the whole would double the memory
        squares = sum(np.square(row.astype(np.float64) - mean).mean(-1, keepdims=True) for row in spectra)
        spread = np.sqrt(np.asarray(squares) / len(spectra)).clip(min=1e-5)
        return cls(mean.astype(np.float32), spread.astype(np.float32))

    def standardise(self, spectra: np.ndarray) -> np.ndarray:
        """Spectra (M, ..., F, T) with mean 0 and deviation 1 in each band, in place."""
        spectra -= self.mean
        spectra /= self.spread
        return spectra


@torch.inference_mode()
def energy_spectra(waveforms: np.ndarray, *, n_fft: int, hop_length: int) -> np.ndarray:
    """Waveforms (M, L) -> |STFT|^2 (M, K, T) float32 with Hann windows, mirrored at the ends. Large: mind M."""
    window = torch.hann_window(n_fft, dtype=torch.float64)
    samples = torch.from_numpy(waveforms).double()
    spectrum = torch.stft(samples, n_fft, hop_length, window=window, pad_mode="reflect", return_complex=True)
    return spectrum.abs().square().float().numpy()


def limit_range(decibels: np.ndarray, top_db: float) -> np.ndarray:
    """(M, F, T) in dB: nothing lies more than `top_db` below the loudest of its clip."""
    return np.maximum(decibels, decibels.max(axis=(-2, -1), keepdims=True) - top_db)


def lengthened(decibels: np.ndarray, num_steps: int) -> np.ndarray:
    """(M, F, T) in dB with at least `num_steps` time steps: each clip goes on with its quietest value."""
    lacking = num_steps - decibels.shape[-1]
    if lacking <= 0:
        return decibels
    quietest = decibels.min(axis=(-2, -1), keepdims=True)
    return np.concatenate([decibels, np.broadcast_to(quietest, (*decibels.shape[:-1], lacking))], axis=-1)


def averaged_to(decibels: np.ndarray, num_steps: int) -> np.ndarray:
    """(M, F, T) -> (M, F, num_steps): time steps averaged, or repeated in very short clips."""
    return torch.nn.functional.adaptive_avg_pool1d(torch.from_numpy(decibels), num_steps).numpy()


def deltas(values: np.ndarray, *, width: int = 9) -> np.ndarray:
    """(..., T) -> slope (..., T) of the line through `width` steps around each; the end values are repeated."""
    slope: np.ndarray = scipy.signal.savgol_filter(values, width, polyorder=1, deriv=1, mode="nearest")
    return slope


def mfccs(decibels: np.ndarray, num_coefficients: int) -> np.ndarray:
    """Log-mel (M, F, T) in dB -> the first coefficients (M, num_coefficients, T) of its cosine transform along F."""
    coefficients: np.ndarray = scipy.fft.dct(decibels, axis=-2, norm="ortho")[:, :num_coefficients]
    return coefficients


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
    poles = np.square([20.598997, 107.65265, 737.86223, 12_194.217])
    gains = poles[3] * squares**2 / ((squares + poles[0]) * (squares + poles[3]))
    gains /= np.sqrt((squares + poles[1]) * (squares + poles[2]))
    return np.maximum(2.0 + 20.0 * np.log10(np.maximum(gains, 1e-9)), -80.0)
