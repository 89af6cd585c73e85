"""A recording -> the embedding of each of its windows, sharing the work between windows that overlap.

What such windows share is embedded once, piece by piece, and the embedding of a window is made from the pieces that lie
in it: with windows of 10 s every second that is a tenth of the work. There are networks with two kinds of pieces.

- Steps (`bundle.Steps`): a stretch of them is embedded at once. What comes out for a step depends a little on its
  stretch (its level, and what the network excites by), so that a window at the seam of two is not to the last digit
  what it would be by itself.
- Patches (`bundle.Patch`), which are embedded each by itself and averaged. Those of a window lie a whole part of a hop
  apart rather than side by side; both lie centred in it.

Shapes: L samples, C numbers of an embedding, P pieces in a window, K numbers of a piece.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice

import numpy as np

from avgan.audio import SHORT_S, windows
from avgan.runtime.bundle import Card
from avgan.runtime.network import Network
from avgan.runtime.steadiness import band_levels, change_db

MAX_BATCH, BATCH_S = 8, 40.0
"""Windows that are embedded at once, and the most seconds of them: more are no faster, and take memory."""
BATCH_PATCHES = 16
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
    can_share = card.patch is not None or (card.steps is not None and not live)
    if hop_s is None or hop_s >= card.window_s or not can_share:
        yield from _embed_whole(network, card, blocks, hop_s, 1 if live else num_in_batch(card))
        return
    layout = _Layout.of(card, hop_s)
    rest, num_samples = iter(blocks), 0
    first: list[np.ndarray] = []
    least = max(layout.window, layout.num_at_once * layout.size)
    while num_samples < least and (block := next(rest, None)) is not None:
        first.append(block)
        num_samples += len(block)
    if num_samples < least:  # shorter than what is embedded at once: nothing to share
        yield from _embed_whole(network, card, first, hop_s, 1)
    else:
        yield from _embed_shared(network, card, layout, chain(first, rest), live)


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


@dataclass(frozen=True)
class _Layout:
    """Where windows lie, and the pieces that they share, in samples: piece i begins at `offset + floor(i * pitch)`."""

    window: int
    hop: int
    size: int
    """Of a piece."""
    pitch: Fraction
    num_at_once: int
    """Pieces that are embedded together, side by side."""
    in_steps: bool

    @classmethod
    def of(cls, card: Card, hop_s: float) -> "_Layout":
        window, hop = round(card.window_s * card.sample_rate_hz), max(1, round(hop_s * card.sample_rate_hz))
        if card.steps is not None:
            size = card.steps.num_samples
            return cls(window, hop, size, Fraction(size), card.steps.num, True)
        assert card.patch is not None
        size = card.patch.num_samples
        return cls(window, hop, size, Fraction(hop, max(1, round(hop / size))), 1, False)

    @property
    def num_in_window(self) -> int:
        return 1 + math.floor((self.window - self.size) / self.pitch)

    @property
    def covered(self) -> int:
        """What the pieces of a window cover of it."""
        return math.floor((self.num_in_window - 1) * self.pitch) + self.size

    @property
    def offset(self) -> int:
        return 0 if self.in_steps else (self.window - self.covered) // 2

    @property
    def reach(self) -> int:
        """How much of a window must be known: all of it, or up to the end of its last patch."""
        return self.window if self.in_steps else self.offset + self.covered

    def begin(self, piece: int) -> int:
        return self.offset + math.floor(piece * self.pitch)

    def first(self, start: int) -> int:
        """The first piece of the window that begins at `start`: the nearest."""
        return round(start / self.pitch)

    def last_start(self, num_pieces: int, num_samples: int) -> int:
        """Where the window begins that ends with the recording, or with its last whole patch."""
        if self.in_steps:
            return num_samples - self.window
        return self.begin(num_pieces - self.num_in_window) - self.offset


def _embed_shared(
    network: Network, card: Card, layout: _Layout, blocks: Iterable[np.ndarray], live: bool
) -> Iterator[EmbeddedWindow]:
    """Each piece once, and each window from its pieces."""
    rate_hz, window, hop = card.sample_rate_hz, layout.window, layout.hop
    num_samples = next_start = 0
    recent = _Recent(layout, rate_hz)

    def counted() -> Iterator[np.ndarray]:
        nonlocal num_samples
        for block in blocks:
            num_samples += len(block)
            yield block

    def windows_at(starts: Sequence[int], end: int | None = None) -> Iterator[EmbeddedWindow]:
        found = [recent.window(start) for start in starts]
        embeddings = _summarized(network, card, [pieces for pieces, _, _ in found])
        for start, embedding, (_, peak, levels) in zip(starts, embeddings, found, strict=True):
            end_s = (start + window if end is None else end) / rate_hz
            yield EmbeddedWindow(start / rate_hz, end_s, embedding, peak, change_db(levels))

    compute, batch = network.embed, 1 if live else BATCH_PATCHES
    if layout.in_steps:
        compute, batch = network.steps, BATCH_STRETCHES
    for stretch, found in network.ahead(compute, _stretches(counted(), layout), batch):
        recent.add(stretch, found)
        known = min(recent.end, num_samples)  # of the last stretch a part is no sound
        starts = range(next_start, known - layout.reach + 1, hop)
        yield from windows_at(starts)
        next_start += len(starts) * hop
        recent.forget(next_start - hop)
    if num_samples - (next_start - hop + window) >= SHORT_S * rate_hz:
        yield from windows_at([layout.last_start(recent.num, num_samples)], num_samples)


def _summarized(network: Network, card: Card, pieces: Sequence[np.ndarray]) -> Iterable[np.ndarray]:
    """The pieces (P, K) of some windows -> their embeddings (C,)."""
    if not pieces:
        return ()
    if card.steps is not None:
        return network.summarize(np.stack([rows.T for rows in pieces]))
    assert card.patch is not None
    num = card.patch.num_averaged
    return [np.concatenate((rows[:, :num].mean(0), rows[:, num:].max(0))) for rows in pieces]


def _stretches(blocks: Iterable[np.ndarray], layout: _Layout) -> Iterator[np.ndarray]:
    """What is embedded at once, as long as it is whole; of steps the rest as well, mirrored to its length."""
    size = layout.num_at_once * layout.size
    rest = np.empty(0, np.float32)
    at = piece = 0  # `rest` begins at sample `at`
    for block in blocks:
        rest = np.concatenate((rest, block))
        while (start := layout.begin(piece) - at) + size <= len(rest):
            yield rest[start : start + size]
            piece += layout.num_at_once
        kept = min(start, len(rest))
        rest, at = rest[kept:], at + kept
    if layout.in_steps and len(rest):
        yield np.pad(rest, (0, size - len(rest)), mode="symmetric")


class _Recent:
    """The latest pieces of a recording, as far back as a window still needs them."""

    def __init__(self, layout: _Layout, rate_hz: int) -> None:
        self._layout = layout
        self._rate_hz = rate_hz
        self.num = 0
        """Of all pieces so far."""
        # What the network made of each (K,), its largest sample; where each part of half a second counts, its bands.
        self._pieces: deque[tuple[np.ndarray, float]] = deque()
        self._levels: deque[tuple[float, np.ndarray]] = deque()

    @property
    def end(self) -> int:
        """Up to which sample pieces are known."""
        return self._layout.begin(self.num - 1) + self._layout.size

    def add(self, stretch: np.ndarray, found: np.ndarray) -> None:
        """The next pieces: their sound (L,), and what the network made of them: (K, P and more), or (K,) of one."""
        layout = self._layout
        begin = layout.begin(self.num)
        levels = band_levels(stretch, self._rate_hz)
        # a part of a stretch counts where its middle lies, all parts of a patch with the patch
        length = len(stretch) / max(len(levels), 1) if layout.in_steps else 0
        self._levels += [(begin + (index + 0.5) * length, row) for index, row in enumerate(levels)]
        peaks = np.abs(stretch).reshape(-1, layout.size).max(1).tolist()
        self._pieces += zip(np.atleast_2d(found.T), peaks, strict=False)
        self.num += layout.num_at_once

    def window(self, start: int) -> tuple[np.ndarray, float, np.ndarray]:
        """Of the window from `start` on: its pieces (P, K), their largest sample, levels of its parts (T, bands)."""
        layout, first = self._layout, self._layout.first(start)
        kept = first - (self.num - len(self._pieces))
        rows, peaks = zip(*islice(self._pieces, kept, kept + layout.num_in_window), strict=True)
        end = start + layout.window if layout.in_steps else layout.begin(first + layout.num_in_window - 1) + 1
        return np.stack(rows), max(peaks), np.array([row for at, row in self._levels if start <= at < end])

    def forget(self, before: int) -> None:
        """Drop what no window needs that begins at `before` or later."""
        while self.num - len(self._pieces) < self._layout.first(before) - 1:
            self._pieces.popleft()
        while self._levels and self._levels[0][0] < before:
            self._levels.popleft()
