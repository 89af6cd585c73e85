"""Which part of a window made its answer: cells of its log-mel are made quiet, and the answer is asked for again.

No gradient is needed, so that any bundle can be asked. A network that hears patch by patch and averages (see
`bundle.Patch`) hears a change again in the one patch that it lies in, a fifth of the work for windows of five.

Shapes: L samples, F mel bands, T time steps, P patches in a window, S time steps in a patch, C numbers that were heard,
N labels, K changes.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from avgan.runtime.bundle import Card
from avgan.runtime.network import HEARD, LOG_MEL, WAVEFORM, Network

BATCH = 32
BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16
LEAST = 1e-12
"""A probability below it is noise of the arithmetic."""


@dataclass(frozen=True)
class CellSize:
    """What is made quiet at a time."""

    length_s: float
    num_bands: int


SIZES = (CellSize(0.24, 16), CellSize(0.48, 32))
OVERLAP = 2
SPREAD = 0.35
"""Standard deviation, in sizes of a cell, with which what a cell did is spread around its middle."""
QUIET_PERCENT = 10
"""Of a window, a band is as quiet as this."""


@dataclass(frozen=True, eq=False)
class Parts:
    """A window taken apart into the patches that the network hears."""

    log_mel: np.ndarray
    """(F, T)"""
    quiet: np.ndarray
    """(F,) what a silenced band is left with: the recording's own background, for silence sounds like something."""
    starts: tuple[int, ...]
    """P time steps at which patches begin."""
    size: int
    """S"""
    heard: np.ndarray
    """(P, C) what is heard in each patch."""
    border: np.ndarray
    """(C,) what is heard in the time steps that no patch covers, of which only the maxima count."""

    @property
    def patches(self) -> np.ndarray:
        """(P, F, S)"""
        return np.stack([self.log_mel[:, start : start + self.size] for start in self.starts])


class Occlusion:
    """Asks a network what it would have answered had a part of a window been quiet."""

    def __init__(self, network: Network, card: Card) -> None:
        self._network = network
        self._card = card
        self._log_mel = network.part((WAVEFORM,), (LOG_MEL,))
        self._heard = network.part((WAVEFORM, LOG_MEL), (HEARD,))

    def take_apart(self, waveform: np.ndarray) -> Parts:
        """A window (L,) -> its log-mel, and what is heard in each of its patches."""
        log_mel = self._to_log_mel(waveform)
        quiet = np.maximum(np.percentile(log_mel, QUIET_PERCENT, axis=1), self._silence)
        return self._take_apart(log_mel, quiet.astype(np.float32))

    def probabilities(self, parts: Parts) -> np.ndarray:
        """The answer for a window as it is, (N,)."""
        return self._answer(parts, 0, parts.heard[:1])[0]

    def without(self, parts: Parts, bands: slice, steps: slice) -> np.ndarray:
        """The answer (N,) had some bands been quiet for some time steps."""
        log_mel = parts.log_mel.copy()
        log_mel[bands, steps] = parts.quiet[bands, None]
        return self.probabilities(self._take_apart(log_mel, parts.quiet))

    def saliency(self, parts: Parts, of: np.ndarray) -> np.ndarray:
        """How much each point of the log-mel speaks for the labels `of` (N,): (F, T), negative where it speaks against.

        It is the fall of their log-odds where the point's surroundings are quiet, more of it where the point rises out
        of the quiet. Log-odds, since of a sure answer the probability hardly moves.
        """
        rise = np.sqrt(_smooth(np.abs(parts.log_mel - parts.quiet[:, None])))
        falls = [self._falls(parts, of, size) for size in SIZES]
        saliency: np.ndarray = np.mean(falls, axis=0) * rise / max(float(rise.max()), 1e-6)
        return saliency

    def _falls(self, parts: Parts, of: np.ndarray, size: CellSize) -> np.ndarray:
        """What cells of one size did, spread over the log-mel (F, T)."""
        num_bands, num_steps = parts.log_mel.shape
        length = round(size.length_s / self._card.window_s * num_steps)
        bands = _cells(num_bands, size.num_bands)
        steps = _cells(parts.size, length)
        before = _log_odds(self.probabilities(parts)[None], of)
        falls = []
        for index, patch in enumerate(parts.patches):
            changed = np.repeat(patch[None], len(bands) * len(steps), 0)
            for row, (band, step) in zip(changed, product(bands, steps), strict=True):
                row[band, step] = parts.quiet[band, None]
            after = _log_odds(self._answer(parts, index, self._hear(changed)), of)
            falls.append((before - after).reshape(len(bands), len(steps)))
        in_window = [
            slice(start + step.start, start + step.stop) for start in parts.starts for step in steps
        ]
        over_bands, over_steps = _nearness(num_bands, bands), _nearness(num_steps, in_window)
        found: np.ndarray = over_bands @ np.concatenate(falls, 1) @ over_steps.T
        return found

    def _take_apart(self, log_mel: np.ndarray, quiet: np.ndarray) -> Parts:
        num_steps = log_mel.shape[1]
        size = self._patch_steps or num_steps
        first = num_steps % size // 2
        starts = tuple(range(first, num_steps - size + 1, size))
        heard = self._hear(np.stack([log_mel[:, start : start + size] for start in starts]))
        border = heard[0]
        rest = np.concatenate((log_mel[:, :first], log_mel[:, starts[-1] + size :]), 1)
        if rest.shape[1]:  # repeated until it fills a patch: its maxima stay the same
            border = self._hear(rest[None, :, np.arange(size) % rest.shape[1]])[0]
        return Parts(log_mel, quiet, starts, size, heard, border)

    @cached_property
    def _patch_steps(self) -> int | None:
        """Time steps of a patch; None where the network hears a window as a whole."""
        patch = self._card.patch
        return self._to_log_mel(np.zeros(patch.num_samples)).shape[1] if patch else None

    @cached_property
    def _silence(self) -> np.ndarray:
        """The log-mel of silence, (F,)."""
        silence: np.ndarray = self._to_log_mel(np.zeros(self._num_samples))[:, 0]
        return silence

    @property
    def _num_samples(self) -> int:
        """Of a window."""
        return round(self._card.window_s * self._card.sample_rate_hz)

    def _to_log_mel(self, waveform: np.ndarray) -> np.ndarray:
        """(L,) -> (F, T)"""
        waveforms = waveform[None].astype(np.float32)
        log_mel: np.ndarray = self._log_mel.run([LOG_MEL], {WAVEFORM: waveforms})[0][0, 0]
        return log_mel

    def _hear(self, patches: np.ndarray) -> np.ndarray:
        """Log-mels of patches (K, F, S) -> what is heard in each (K, C)."""
        patch = self._card.patch
        num_samples = patch.num_samples if patch else self._num_samples
        heard = []
        for start in range(0, len(patches), BATCH):
            log_mels = np.ascontiguousarray(patches[start : start + BATCH, None], np.float32)
            waveforms = np.zeros((len(log_mels), num_samples), np.float32)  # their shape is read
            heard.append(self._heard.run([HEARD], {WAVEFORM: waveforms, LOG_MEL: log_mels})[0])
        return np.concatenate(heard)

    def _answer(self, parts: Parts, index: int, changed: np.ndarray) -> np.ndarray:
        """The answers (K, N) for a window of which patch `index` sounded in K other ways (K, C)."""
        patch = self._card.patch
        num_averaged = patch.num_averaged if patch else changed.shape[1]
        others = np.delete(parts.heard, index, 0)
        mean = (others.sum(0) + changed)[:, :num_averaged] / len(parts.starts)
        maxima = np.maximum(changed, np.vstack((others, parts.border)).max(0))[:, num_averaged:]
        return self._network.answer(np.concatenate((mean, maxima), 1))[0]


def _cells(length: int, size: int) -> list[slice]:
    """Cells of one size that cover a length evenly, each beginning half a cell after the one before."""
    size = min(max(size, 1), length)
    count = 1 + math.ceil((length - size) * OVERLAP / size)
    starts = np.linspace(0, length - size, count).round().astype(int).tolist()
    return [slice(start, start + size) for start in starts]


def _nearness(length: int, cells: list[slice]) -> np.ndarray:
    """How near each point of a length is to the middle of each cell: (length, number of cells), rows sum to 1."""
    middles = np.array([(cell.start + cell.stop - 1) / 2 for cell in cells])
    deviation = SPREAD * (cells[0].stop - cells[0].start)
    squares = ((np.arange(length)[:, None] - middles) / deviation) ** 2
    weights = np.exp((squares.min(1, keepdims=True) - squares) / 2)  # some cell is always near
    near: np.ndarray = weights / weights.sum(1, keepdims=True)
    return near


def _smooth(values: np.ndarray) -> np.ndarray:
    """Values (F, T), each averaged with its neighbours."""
    for axis in (0, 1):
        padded = np.pad(values, [(2, 2) if axis == each else (0, 0) for each in (0, 1)], "edge")
        length = values.shape[axis]
        shifted = [np.take(padded, range(at, at + length), axis) for at in range(5)]
        values = np.tensordot(BINOMIAL, shifted, 1)
    return values


def _log_odds(probabilities: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Answers (K, N) -> (K,) the log-odds that it is one of the labels `of` (N,).

    From the sum of the others rather than from 1: of a sure answer, single precision keeps only that.
    """
    together = np.stack((probabilities @ of, probabilities @ (1 - of)), -1)
    logarithms = np.log(np.maximum(together.astype(np.float64), LEAST))
    odds: np.ndarray = logarithms[:, 0] - logarithms[:, 1]
    return odds
