"""Which part of a window made its answer: parts of its log-mel are made quiet, and the answer is asked for again.

No gradient is needed, so that any bundle can be asked. A network that hears patch by patch and averages (see
`bundle.Patch`) hears a change again in the one patch that it lies in, a fifth of the work for windows of five.

Shapes: F mel bands, T time steps, P patches in a window, C numbers that were heard, N labels, K changes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avgan.runtime.bundle import Card
from avgan.runtime.network import HEARD, LOG_MEL, WAVEFORM, Network

CELL_S, CELL_BANDS = 0.24, 16  # what is made quiet at a time, at most
OVERLAP = 2  # cells begin every half of their size
BATCH = 32


@dataclass(frozen=True, eq=False)
class Scene:
    """A window taken apart: its log-mel (F, T), and what was heard in each of its patches (P, C)."""

    log_mel: np.ndarray
    starts: tuple[int, ...]
    num_steps: int
    heard: np.ndarray
    border: np.ndarray
    """(C,) what was heard in the time steps that no patch covers; its maxima count."""


class Occlusion:
    """Asks a network what it would have answered had a part of a window been quiet."""

    def __init__(self, network: Network, card: Card) -> None:
        self._network = network
        self._card = card
        self._log_mel = network.part((WAVEFORM,), (LOG_MEL,))
        self._heard = network.part((WAVEFORM, LOG_MEL), (HEARD,))

    def take_apart(self, waveform: np.ndarray) -> Scene:
        """A window (L,) -> its log-mel, and what is heard in each of its patches."""
        log_mel = self._to_log_mel(waveform)
        size = self._patch_steps or log_mel.shape[1]
        num_patches = log_mel.shape[1] // size
        first = (log_mel.shape[1] - num_patches * size) // 2
        starts = tuple(first + size * index for index in range(num_patches))
        patches = np.stack([log_mel[:, start : start + size] for start in starts])
        heard = self._hear(patches)
        rest = np.concatenate((log_mel[:, :first], log_mel[:, starts[-1] + size :]), 1)
        if rest.shape[1]:  # as often as fills a patch: its maxima are the same
            rest = np.resize(rest.T, (size, rest.shape[0])).T
            border = self._hear(rest[None])[0]
        else:
            border = heard[0]
        return Scene(log_mel, starts, size, heard, border)

    def probabilities(self, scene: Scene) -> np.ndarray:
        """The answer for a window as it is, (N,)."""
        return self._answer(self._pool(scene, 0, scene.heard[:1]))[0]

    def saliency(self, scene: Scene, of: np.ndarray) -> np.ndarray:
        """How much the log-probability of the labels `of` (N,) falls where each point of the log-mel is quiet, (F, T).

        Negative where it rises: that part speaks against the answer.
        """
        before = _log_probability(self.probabilities(scene)[None], of)[0]
        falls = np.zeros_like(scene.log_mel, dtype=np.float64)
        counts = np.zeros_like(falls)
        num_bands = scene.log_mel.shape[0]
        length = min(scene.num_steps, self._cell_steps)
        cells = [
            (bands, steps)
            for bands in _spans(num_bands, min(CELL_BANDS, num_bands))
            for steps in _spans(scene.num_steps, length)
        ]
        for index, start in enumerate(scene.starts):
            patch = scene.log_mel[:, start : start + scene.num_steps]
            changed = np.repeat(patch[None], len(cells), 0)
            for row, (bands, steps) in zip(changed, cells, strict=True):
                row[bands, steps] = self._quiet[bands, None]
            answers = self._answer(self._pool(scene, index, self._hear(changed)))
            for (bands, steps), after in zip(cells, _log_probability(answers, of), strict=True):
                where = (bands, slice(start + steps.start, start + steps.stop))
                falls[where] += before - after
                counts[where] += 1
        return np.divide(falls, counts, out=np.zeros_like(falls), where=counts > 0)

    def without(self, scene: Scene, bands: slice, steps: slice) -> np.ndarray:
        """The answer (N,) had all of a rectangle of the log-mel been quiet."""
        log_mel = scene.log_mel.copy()
        log_mel[bands, steps] = self._quiet[bands, None]
        patches = np.stack([log_mel[:, s : s + scene.num_steps] for s in scene.starts])
        heard = self._hear(patches)
        return self._answer(
            self._pool(
                Scene(log_mel, scene.starts, scene.num_steps, heard, scene.border), 0, heard[:1]
            )
        )[0]

    @cached_property
    def _patch_steps(self) -> int | None:
        """Time steps of a patch."""
        patch = self._card.patch
        return self._to_log_mel(np.zeros(patch.num_samples)).shape[1] if patch else None

    @cached_property
    def _cell_steps(self) -> int:
        whole = self._to_log_mel(np.zeros(self._window))
        return max(1, round(CELL_S / self._card.window_s * whole.shape[1]))

    @cached_property
    def _quiet(self) -> np.ndarray:
        """The log-mel of silence, (F,)."""
        quiet: np.ndarray = self._to_log_mel(np.zeros(self._window)).mean(1)
        return quiet

    @property
    def _window(self) -> int:
        return round(self._card.window_s * self._card.sample_rate_hz)

    def _to_log_mel(self, waveform: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._log_mel.run(
            [LOG_MEL], {WAVEFORM: waveform[None].astype(np.float32)}
        )[0][0, 0]
        return found

    def _hear(self, patches: np.ndarray) -> np.ndarray:
        """Log-mels of patches (K, F, T) -> what is heard in each (K, C)."""
        patch = self._card.patch
        num_samples = patch.num_samples if patch else self._window
        heard = []
        for start in range(0, len(patches), BATCH):
            batch = np.ascontiguousarray(patches[start : start + BATCH, None], np.float32)
            silence = np.zeros((len(batch), num_samples), np.float32)  # read for its shape alone
            heard += list(self._heard.run([HEARD], {WAVEFORM: silence, LOG_MEL: batch})[0])
        return np.stack(heard)

    def _pool(self, scene: Scene, index: int, changed: np.ndarray) -> np.ndarray:
        """What is heard in a window of which patch `index` was changed in K ways, (K, C)."""
        others = np.delete(scene.heard, index, 0)
        num_averaged = self._card.patch.num_averaged if self._card.patch else changed.shape[1]
        mean = (others[:, :num_averaged].sum(0) + changed[:, :num_averaged]) / len(scene.starts)
        rest = np.concatenate((others[:, num_averaged:], scene.border[None, num_averaged:]))
        return np.concatenate((mean, np.maximum(changed[:, num_averaged:], rest.max(0))), 1)

    def _answer(self, heard: np.ndarray) -> np.ndarray:
        return self._network.answer(heard)[0]


def _spans(length: int, size: int) -> Iterable[slice]:
    """Spans of one size, each beginning half a size after the one before, that cover a length evenly."""
    count = 1 + int(np.ceil((length - size) / (size / OVERLAP)))
    return [
        slice(start, start + size)
        for start in np.linspace(0, length - size, count).round().astype(int)
    ]


def _log_probability(probabilities: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Answers (K, N) -> (K,) the logarithm of how probable the labels `of` (N,) are together."""
    return np.log(np.maximum(probabilities @ of, 1e-30))
