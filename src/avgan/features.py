"""The one front end: waveform (B, L) in, log-mel (B, 1, F, T) out.

Training, evaluation, export and service all use this module; its settings travel with every checkpoint and are
compiled into every bundle, so what the network hears can never drift from what it was trained on.

Decisions:
- each waveform is brought to one level (`level_db`), so that the gain of a recorder, the distance to a microphone or a
  quiet place change nothing; what is louder or quieter within it stays so;
- the mel filterbank is computed here (Slaney's and the HTK formula) and tested against librosa;
- `log` compresses as log(mel + floor), the convention of AudioSet networks; `db` as 10 log10(max(mel, floor));
- a fixed number of time steps is reached by averaging mel energies over equal spans: no sample is skipped
  (Sec. 3.2 wants 64 x 64 whatever the clip's length).

Shapes: B batch, L samples, F mel bands, T time steps, K spectral bins.
"""

import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from avgan.runtime.axes import hz_to_mel, mel_to_hz


class FrontEndConfig(BaseModel):
    """What the front end computes. Lengths in samples at `sample_rate_hz`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate_hz: int = Field(16_000, gt=0)
    level_db: float | None = Field(None, le=0)
    """Level that each waveform is brought to first, its RMS in dB of full scale; None leaves it as it is."""
    n_fft: int = Field(1024, gt=0)
    window_length: int = Field(1024, gt=0)
    symmetric_window: bool = False
    """A Hann window that ends in zeros on both sides, instead of a periodic one."""
    hop_length: int = Field(512, gt=0)
    num_mels: int = Field(64, gt=0)
    f_min_hz: float = Field(0.0, ge=0)
    f_max_hz: float = Field(8_000.0, gt=0)
    """May lie above half the rate where `native_rate_hz` is higher: such bands say silence."""
    mel_scale: Literal["slaney", "htk"] = "slaney"
    native_rate_hz: int | None = Field(None, gt=0)
    """Rate that a pretrained network heard at, where it is another: energies and pre-emphasis are of that rate."""
    pre_emphasis: float = Field(0.0, ge=0, lt=1)
    """a of x[t] - a x[t - 1] at the native rate, applied to the energies of the bins."""
    compression: Literal["db", "log"] = "db"
    floor: float = Field(1e-10, gt=0)
    """Smallest energy of `db`; constant added before the logarithm of `log`."""
    offset: float = 0.0
    """Added to the logarithm ..."""
    scale: float = Field(1.0, gt=0)
    """... before it is multiplied with this."""
    centre: bool = True
    """Pad the ends, so that step t is centred on sample t * hop."""
    padding: Literal["constant", "reflect"] = "constant"
    """With silence, or with what lies before the end mirrored."""
    num_time_steps: int | None = Field(None, gt=0)
    """Reduce to this many time steps; None keeps one per hop."""

    @model_validator(mode="after")
    def _consistent(self) -> "FrontEndConfig":
        if self.window_length > self.n_fft:
            raise ValueError(f"window_length {self.window_length} exceeds n_fft {self.n_fft}")
        highest_hz = max(self.sample_rate_hz, self.native_rate_hz or 0) / 2
        if self.f_max_hz > highest_hz or self.f_min_hz >= self.f_max_hz:
            raise ValueError(
                f"mel bands {self.f_min_hz} to {self.f_max_hz} Hz do not fit a rate of {self.sample_rate_hz} Hz"
            )
        return self


def mel_filterbank(config: FrontEndConfig) -> np.ndarray:
    """Triangular filters (F, K), K = n_fft // 2 + 1.

    Slaney's filters have unit area per Hz. HTK's have unit height and are drawn on the mel axis itself, as the
    networks trained on AudioSet had them.
    """
    bins_hz = np.linspace(0.0, config.sample_rate_hz / 2, config.n_fft // 2 + 1)
    low, high = hz_to_mel(np.array([config.f_min_hz, config.f_max_hz]), config.mel_scale)
    edges_mel = np.linspace(low, high, config.num_mels + 2)
    if config.mel_scale == "htk":
        axis, edges = hz_to_mel(bins_hz, "htk"), edges_mel
    else:
        axis, edges = bins_hz, mel_to_hz(edges_mel, "slaney")
    rising = (axis[None, :] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - axis[None, :]) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if config.mel_scale == "slaney":
        filters *= (2.0 / (edges[2:] - edges[:-2]))[:, None]
    else:
        filters[:, 0] = 0.0  # the constant part of the signal carries no sound
    return (filters * bin_gains(config, bins_hz)).astype(np.float32)


def bin_gains(config: FrontEndConfig, bins_hz: np.ndarray) -> np.ndarray:
    """By how much the energy of each bin (K,) is larger at the native rate, pre-emphasis included.

    A window of as many seconds has as many more samples, and sums as many more of them.
    """
    rate_hz = config.native_rate_hz or config.sample_rate_hz
    response = np.abs(1.0 - config.pre_emphasis * np.exp(-2j * np.pi * bins_hz / rate_hz))
    gains: np.ndarray = (response * rate_hz / config.sample_rate_hz) ** 2
    return gains


def averaging_matrix(num_frames: int, num_time_steps: int) -> Tensor:
    """(T_in, T_out) weights that average equal spans of frames; spans share a frame where they do not divide.

    Raises ValueError when there are fewer frames than time steps: stretching would invent sound.
    """
    if num_frames < num_time_steps:
        raise ValueError(f"{num_frames} frames cannot fill {num_time_steps} time steps: use a longer window")
    span = num_frames / num_time_steps
    starts = torch.arange(num_time_steps, dtype=torch.float64) * span
    frames = torch.arange(num_frames, dtype=torch.float64)[:, None]
    overlap = torch.minimum(frames + 1, starts + span) - torch.maximum(frames, starts)
    return (overlap.clamp(min=0) / span).float()


LEAST_RMS = 1e-6
"""-120 dB of full scale, the last step of 20 bits: what is quieter is not made louder any more."""


def level_gain(waveform: Tensor, level_db: float) -> Tensor:
    """waveform (B, L) -> (B, 1) what to multiply it with for an RMS of `level_db`; float64 keeps the sum exact."""
    rms = waveform.square().mean(1, keepdim=True).sqrt()
    return 10.0 ** (level_db / 20.0) / rms.clamp(min=LEAST_RMS)


def fourier_waves(n_fft: int, length: int) -> Tensor:
    """Cosines and sines (length, 2 K), K = n_fft // 2 + 1, float64: a product with them is the transform of a frame."""
    samples = torch.arange(length, dtype=torch.float64)[:, None]
    angles = samples * torch.arange(n_fft // 2 + 1) * (2.0 * math.pi / n_fft)
    return torch.cat((angles.cos(), angles.sin()), 1)


class LogMel(nn.Module):
    """Waveform (B, L) to log-mel (B, 1, F, T)."""

    window: Tensor
    filters: Tensor
    waves: Tensor

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__()
        self.config = config
        # in single precision the formula itself loses the window's ends
        window = torch.hann_window(config.window_length, periodic=not config.symmetric_window, dtype=torch.float64)
        self.register_buffer("window", window.float(), persistent=False)
        filters = torch.from_numpy(mel_filterbank(config))
        self.register_buffer("filters", filters, persistent=False)
        # the constant of `log` lies far above single precision's rounding of a loud tone (1e-5 of the result)
        self.by_product = config.compression == "log"
        if self.by_product:
            waves = fourier_waves(config.n_fft, config.window_length) * window[:, None]
            self.register_buffer("waves", waves.float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform (B, L) float in [-1, 1] -> (B, 1, F, T), in single precision whatever the caller computes in.

        Under autocast the products below would round decibels to quarters: training would hear what no one else does.
        """
        if torch.is_autocast_enabled(waveform.device.type):
            with torch.autocast(waveform.device.type, enabled=False):
                return self._log_mel(waveform)
        return self._log_mel(waveform)

    def _log_mel(self, waveform: Tensor) -> Tensor:
        config = self.config
        precision = torch.float32 if waveform.device.type == "mps" else torch.float64
        waveform = waveform.to(precision)
        if config.level_db is not None:
            waveform = waveform * level_gain(waveform, config.level_db)
        energy = self._energy_by_product(waveform) if self.by_product else self._energy(waveform)
        mel = torch.matmul(self.filters, energy)
        if config.num_time_steps is not None:
            weights = averaging_matrix(mel.shape[-1], config.num_time_steps).to(mel)
            mel = torch.matmul(mel, weights)
        if config.compression == "db":
            log_mel = 10.0 * torch.log10(mel.clamp(min=config.floor))
        else:
            log_mel = torch.log(mel + config.floor)
        return ((log_mel + config.offset) * config.scale)[:, None]

    def _energy(self, waveform: Tensor) -> Tensor:
        """Energies (B, K, T) by FFT, in the waveform's precision.

        In single precision the rounding of a loud tone's transform drowns the quiet bands beside it, and differs from
        one library to the next by 0.003 in the logarithm.
        """
        config = self.config
        spectrum = torch.stft(
            waveform,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            win_length=config.window_length,
            window=self.window.to(waveform),
            center=config.centre,
            pad_mode=config.padding,
            return_complex=True,
        )
        real, imaginary = torch.view_as_real(spectrum).unbind(-1)
        return (real.square() + imaginary.square()).float()

    def _energy_by_product(self, waveform: Tensor) -> Tensor:
        """Energies (B, K, T) by one product in single precision, which takes ONNX Runtime half of an FFT's time."""
        config = self.config
        waveform = waveform.float()
        if config.centre:
            side = config.n_fft // 2
            waveform = F.pad(waveform, (side, side), mode=config.padding)
        # an FFT's frames are longer than their windows, which stand in the middle
        margin = (config.n_fft - config.window_length) // 2
        last = waveform.shape[1] - (config.n_fft - config.window_length - margin)
        waveform = waveform[:, margin:last]
        frames = waveform.unfold(1, config.window_length, config.hop_length)
        real, imaginary = torch.matmul(frames, self.waves).chunk(2, -1)
        return (real.square() + imaginary.square()).transpose(1, 2)
