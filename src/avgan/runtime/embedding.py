"""A recording -> the embedding of each of its windows, sharing the work between windows that overlap.

Where a network embeds step by step (`bundle.Steps`), a stretch of steps is embedded once, and the embedding of a window
is made from the steps that lie in it: with windows of 10 s every second that is a tenth of the work. What comes out for
a step depends a little on its stretch (its level, and what the network excites by), so that a window at the seam of two
is not to the last digit what it would be by itself.

Shapes: L samples, C numbers of an embedding, P steps in a window, K numbers of a step.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from avgan.audio import SHORT_S, windows
from avgan.runtime.bundle import Card, Steps
from avgan.runtime.network import Network
from avgan.runtime.steadiness import band_levels, change_db

MAX_BATCH, BATCH_S = 8, 40.0
"""Windows that are embedded at once, and the most seconds of them: more are no faster, and take memory."""
BATCH_STRETCHES = 2


@dataclass(frozen=True, eq=False)
class EmbeddedWindow:
    """A window: its embedding (C,), the largest sample, which tells silence, and how much it changes."""

    start_s: float
    end_s: float
    embedding: np.ndarray
    peak: float
    change_db: float = float("inf")
    """See `steadiness.change_db`."""

    @classmethod
    def of(
        cls, start_s: float, end_s: float, waveform: np.ndarray, embedding: np.ndarray, rate_hz: int
    ) -> "EmbeddedWindow":
        """With what its waveform (L,) says; it may be padded beyond `end_s`."""
        sound = waveform[: round((end_s - start_s) * rate_hz)]
        peak = float(np.abs(sound).max(initial=0.0))
        return cls(start_s, end_s, embedding, peak, change_db(band_levels(sound, rate_hz)))


def embed_windows(
    network: Network, card: Card, blocks: Iterable[np.ndarray], *, hop_s: float | None = None, live: bool = False
) -> Iterator[EmbeddedWindow]:
    """Embed a recording, given as blocks (L,) at the card's rate, window by window, every `hop_s` (None: side by side).

    `live` gives each window as soon as its last sample is there, at the price of batches of one.
    """
    if card.steps is None or live or hop_s is None or hop_s >= card.window_s:
        yield from _embed_whole(network, card, blocks, hop_s, 1 if live else num_in_batch(card))
        return
    rest, num_samples = iter(blocks), 0
    first: list[np.ndarray] = []
    least = card.steps.num * card.steps.num_samples
    while num_samples < least and (block := next(rest, None)) is not None:
        first.append(block)
        num_samples += len(block)
    if num_samples < least:  # shorter than what is embedded at once: nothing to share
        yield from _embed_whole(network, card, first, hop_s, 1)
    else:
        yield from _embed_shared(network, card, card.steps, hop_s, chain(first, rest))


def num_in_batch(card: Card) -> int:
    """Windows that are embedded at once."""
    return max(1, min(MAX_BATCH, round(BATCH_S / card.window_s)))


def _embed_whole(
    network: Network, card: Card, blocks: Iterable[np.ndarray], hop_s: float | None, batch: int
) -> Iterator[EmbeddedWindow]:
    """Each window by itself, as the network was trained."""
    cut = windows(blocks, rate_hz=card.sample_rate_hz, window_s=card.window_s, hop_s=hop_s, fill=card.short_clip_fill)
    # Batches hold windows of this recording alone: with others beside them the arithmetic could
    # differ in its last bits, and an answer would depend on what else was asked.
    times: deque[tuple[float, float]] = deque()

    def waveforms() -> Iterator[np.ndarray]:
        for window in cut:
            times.append((window.start_s, window.end_s))
            yield window.waveform

    for waveform, embedding in network.ahead(network.embed, waveforms(), batch):
        yield EmbeddedWindow.of(*times.popleft(), waveform, embedding, card.sample_rate_hz)


def _embed_shared(
    network: Network, card: Card, steps: Steps, hop_s: float, blocks: Iterable[np.ndarray]
) -> Iterator[EmbeddedWindow]:
    """Each step once, and each window from its steps."""
    rate_hz = card.sample_rate_hz
    window, hop = round(card.window_s * rate_hz), max(1, round(hop_s * rate_hz))
    num_samples = next_start = 0
    recent = _Recent(steps, window, rate_hz)

    def counted() -> Iterator[np.ndarray]:
        nonlocal num_samples
        for block in blocks:
            num_samples += len(block)
            yield block

    def windows_at(starts: range, end: int | None = None) -> Iterator[EmbeddedWindow]:
        if not starts:
            return
        found = [recent.window(start) for start in starts]
        embeddings = network.summarize(np.stack([rows for rows, _, _ in found]))
        for start, embedding, (_, peak, levels) in zip(starts, embeddings, found, strict=True):
            end_s = (start + window if end is None else end) / rate_hz
            yield EmbeddedWindow(start / rate_hz, end_s, embedding, peak, change_db(levels))

    stretches = _stretches(counted(), steps.num * steps.num_samples)
    for stretch, found in network.ahead(network.steps, stretches, BATCH_STRETCHES):
        recent.add(stretch, found)
        known = min(recent.end, num_samples)  # of the last stretch a part is no sound
        starts = range(next_start, known - window + 1, hop)
        yield from windows_at(starts)
        next_start += len(starts) * hop
        recent.forget(next_start - hop)
    if num_samples - (next_start - hop + window) >= SHORT_S * rate_hz:
        last = num_samples - window
        yield from windows_at(range(last, last + 1), num_samples)


def _stretches(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Stretches (size,) side by side; what is left at the end mirrored to that length."""
    rest = np.empty(0, np.float32)
    for block in blocks:
        rest = np.concatenate((rest, block))
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    if len(rest):
        yield np.pad(rest, (0, size - len(rest)), mode="symmetric")


class _Recent:
    """The latest steps of a recording, as far back as a window still needs them."""

    def __init__(self, steps: Steps, window: int, rate_hz: int) -> None:
        self._steps = steps
        self._window = window
        self._rate_hz = rate_hz
        self._num_added = 0
        # What the network made of each step (K,), its largest sample; where each part of half a second counts, its
        # bands.
        self._rows: deque[tuple[np.ndarray, float]] = deque()
        self._levels: deque[tuple[float, np.ndarray]] = deque()

    @property
    def end(self) -> int:
        """Up to which sample steps are known."""
        return self._num_added * self._steps.num_samples

    def add(self, stretch: np.ndarray, found: np.ndarray) -> None:
        """The next steps: their sound (L,), and what the network made of them: (K, P or more)."""
        levels = band_levels(stretch, self._rate_hz)
        length = len(stretch) / max(len(levels), 1)  # a part counts where its middle lies
        self._levels += [(self.end + (index + 0.5) * length, row) for index, row in enumerate(levels)]
        peaks = np.abs(stretch).reshape(-1, self._steps.num_samples).max(1).tolist()
        self._rows += zip(found.T, peaks, strict=False)
        self._num_added += self._steps.num

    def window(self, start: int) -> tuple[np.ndarray, float, np.ndarray]:
        """Of the window from `start` on: its steps (K, P), their largest sample, levels of its parts (T, bands)."""
        first = self._first(start) - (self._num_added - len(self._rows))
        num = self._window // self._steps.num_samples
        rows, peaks = zip(*islice(self._rows, first, first + num), strict=True)
        levels = [row for at, row in self._levels if start <= at < start + self._window]
        return np.stack(rows, 1), max(peaks), np.array(levels)

    def forget(self, before: int) -> None:
        """Drop what no window needs that begins at `before` or later."""
        while self._num_added - len(self._rows) < self._first(before) - 1:
            self._rows.popleft()
        while self._levels and self._levels[0][0] < before:
            self._levels.popleft()

    def _first(self, start: int) -> int:
        """The first step of the window that begins at `start`: the nearest."""
        return round(start / self._steps.num_samples)
