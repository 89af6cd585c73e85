"""A recording -> what was heard in each of its windows, sharing the work between windows that overlap.

A network that goes step by step (see `Steps`) embeds one stretch after the other, and a window is made from the steps
that lie in it, of one stretch or two: with windows of 10 s every second that is a tenth of the work. What a step says
depends a little on its stretch (its level, and what the network excites by), so that a window at the seam of two is not
to the last digit what it would be by itself.

A network that hears patch by patch and averages (see `Patch`) needs to hear each patch once, however many windows it
lies in: with windows of 5 s every second that is a fifth of the work. The patches of a window then lie a whole part of
a hop apart rather than side by side; both lie centred in it.

Shapes: L samples, C numbers that were heard, P patches in a window.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from avgan.audio import SHORT_S, windows
from avgan.runtime.bundle import Card, Patch, Steps
from avgan.runtime.network import Network
from avgan.runtime.steadiness import band_levels, change_db

MAX_BATCH, BATCH_S = 8, 40.0
"""Windows that are embedded at once, and the most seconds of them: more are no faster, and take memory."""
BATCH_PATCHES = 16
BATCH_STRETCHES = 2


@dataclass(frozen=True, eq=False)
class HeardWindow:
    """What was heard in a window: (C,) numbers, the largest sample, which tells silence, and how much it changes."""

    start_s: float
    end_s: float
    heard: np.ndarray
    peak: float
    change_db: float = float("inf")
    """See `steadiness.change_db`."""

    @classmethod
    def of(cls, start_s: float, end_s: float, waveform: np.ndarray, heard: np.ndarray, rate_hz: int) -> "HeardWindow":
        """With what its waveform (L,) says; it may be padded beyond `end_s`."""
        sound = waveform[: round((end_s - start_s) * rate_hz)]
        peak = float(np.abs(sound).max(initial=0.0))
        return cls(start_s, end_s, heard, peak, change_db(band_levels(sound, rate_hz)))


def hear_windows(
    network: Network, card: Card, blocks: Iterable[np.ndarray], *, hop_s: float | None = None, live: bool = False
) -> Iterator[HeardWindow]:
    """Hear a recording, given as blocks (L,) at the card's rate, window by window, every `hop_s` (None: side by side).

    `live` answers each window as soon as its last sample is there, at the price of batches of one.
    """
    is_shared = card.patch is not None or (card.steps is not None and not live)
    if hop_s is None or hop_s >= card.window_s or not is_shared:
        yield from _hear_whole(network, card, blocks, hop_s, 1 if live else num_in_batch(card))
        return
    least = round(card.window_s * card.sample_rate_hz)
    if card.steps is not None:
        least = max(least, card.steps.num * card.steps.num_samples)
    first, rest = _first_seconds(blocks, least)
    if rest is None:  # shorter than what is heard at once: nothing to share
        yield from _hear_whole(network, card, first, hop_s, 1)
        return
    if card.steps is not None:
        yield from _hear_steps(network, card, card.steps, chain(first, rest), hop_s)
        return
    assert card.patch is not None
    grid = _Grid.of(card, card.patch, hop_s)
    batch = 1 if live else BATCH_PATCHES
    yield from _hear_patches(network, card, grid, chain(first, rest), batch)


def num_in_batch(card: Card) -> int:
    """Windows that are embedded at once."""
    return max(1, min(MAX_BATCH, round(BATCH_S / card.window_s)))


def _hear_whole(
    network: Network, card: Card, blocks: Iterable[np.ndarray], hop_s: float | None, batch: int
) -> Iterator[HeardWindow]:
    """Each window by itself, as the network was trained."""
    cut = windows(blocks, rate_hz=card.sample_rate_hz, window_s=card.window_s, hop_s=hop_s, fill=card.short_clip_fill)
    # Batches hold windows of this recording alone: with others beside them the arithmetic could
    # differ in its last bits, and an answer would depend on what else was asked.
    times: deque[tuple[float, float]] = deque()

    def waveforms() -> Iterator[np.ndarray]:
        for window in cut:
            times.append((window.start_s, window.end_s))
            yield window.waveform

    for group, heard in _hear_ahead(network, waveforms(), batch):
        for waveform, row in zip(group, heard, strict=True):
            yield HeardWindow.of(*times.popleft(), waveform, row, card.sample_rate_hz)


def _hear_ahead(
    network: Network, waveforms: Iterable[np.ndarray], size: int
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Waveforms (L,) in batches, each with what was heard in it (B, C); batches of one wait for no other."""
    rest = iter(waveforms)
    batches = iter(lambda: list(islice(rest, size)), [])
    if size == 1:
        return ((batch, network.hear(np.stack(batch))) for batch in batches)
    return network.ahead(network.hear, batches)


def _hear_steps(
    network: Network, card: Card, steps: Steps, blocks: Iterable[np.ndarray], hop_s: float
) -> Iterator[HeardWindow]:
    """Each stretch once, and each window from its steps."""
    rate_hz, size = card.sample_rate_hz, steps.num_samples
    window, hop = round(card.window_s * rate_hz), max(1, round(hop_s * rate_hz))
    num_in_window = window // size
    recent = _Recent(size)
    next_start = 0
    counted = _Counted(blocks)
    stretches = _stretches(counted, steps)
    batches = iter(lambda: list(islice(stretches, BATCH_STRETCHES)), [])

    def windows_at(starts: Sequence[int]) -> Iterator[HeardWindow]:
        said = [recent.steps(start, num_in_window) for start in starts]
        heard = network.summarize(np.stack(said)) if said else ()
        for start, row in zip(starts, heard, strict=True):
            peak, levels = recent.sound(start, window, num_in_window)
            end_s = (start + window) / rate_hz
            yield HeardWindow(start / rate_hz, end_s, row, peak, change_db(levels))

    for group, said in network.ahead(network.steps, batches):
        for stretch, rows in zip(group, said, strict=True):
            recent.add(stretch, rows[:, : steps.num], rate_hz)
            end = min(recent.end, counted.num_samples)  # of the last stretch a part is no sound
            starts = range(next_start, end - window + 1, hop)
            yield from windows_at(starts)
            next_start += len(starts) * hop
            recent.forget(next_start - hop)
    if counted.num_samples - (next_start - hop + window) >= SHORT_S * rate_hz:
        yield from windows_at([counted.num_samples - window])


def _stretches(blocks: Iterable[np.ndarray], steps: Steps) -> Iterator[np.ndarray]:
    """Stretches of `steps.num` steps one after the other; the last, where sound is left, mirrored to its length."""
    size = steps.num * steps.num_samples
    rest = np.empty(0, np.float32)
    for block in blocks:
        rest = np.concatenate((rest, block))
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    if len(rest):
        yield np.pad(rest, (0, size - len(rest)), mode="symmetric")


class _Recent:
    """What is known of the steps of a recording, as far back as a window still needs it. Times are in samples."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._first = 0  # number of the first step that is kept
        self._said: deque[np.ndarray] = deque()  # (K,) of each step
        self._peaks: deque[float] = deque()
        self._levels: deque[tuple[float, np.ndarray]] = deque()  # middle of each part, its bands

    @property
    def end(self) -> int:
        """Up to which time steps are known."""
        return (self._first + len(self._said)) * self._size

    def add(self, stretch: np.ndarray, said: np.ndarray, rate_hz: int) -> None:
        """What is said of the next steps (K, S), and their sound (S * size,)."""
        levels = band_levels(stretch, rate_hz)
        length = len(stretch) / max(len(levels), 1)
        self._levels += [(self.end + (index + 0.5) * length, row) for index, row in enumerate(levels)]
        self._peaks += np.abs(stretch).reshape(-1, self._size).max(1).tolist()
        self._said += list(said.T)

    def _index(self, start: int, num: int) -> int:
        """Of the first of `num` steps that lie nearest to a window from `start` on."""
        return min(round(start / self._size) - self._first, len(self._said) - num)

    def steps(self, start: int, num: int) -> np.ndarray:
        """What is said of the steps of a window (K, num)."""
        first = self._index(start, num)
        return np.stack(list(islice(self._said, first, first + num)), 1)

    def sound(self, start: int, window: int, num: int) -> tuple[float, np.ndarray]:
        """The largest sample of a window's steps, and the levels of its parts (T, bands)."""
        first = self._index(start, num)
        levels = [row for middle, row in self._levels if start <= middle < start + window]
        return max(islice(self._peaks, first, first + num)), np.array(levels)

    def forget(self, before: int) -> None:
        """Drop what ends a step or more before a time."""
        while self._said and (self._first + 2) * self._size <= before:
            self._said.popleft()
            self._peaks.popleft()
            self._first += 1
        while self._levels and self._levels[0][0] < before - self._size:
            self._levels.popleft()


@dataclass(frozen=True)
class _Grid:
    """Where patches and windows lie, in samples: patch i starts at `offset + i * hop // num_per_hop`."""

    hop: int
    num_per_hop: int
    size: int
    num_in_window: int
    offset: int

    @classmethod
    def of(cls, card: Card, patch: Patch, hop_s: float) -> "_Grid":
        window = round(card.window_s * card.sample_rate_hz)
        hop = max(1, round(hop_s * card.sample_rate_hz))
        size = patch.num_samples
        num_per_hop = max(1, round(hop / size))
        num_in_window = 1 + (window - size) * num_per_hop // hop
        covered = (num_in_window - 1) * hop // num_per_hop + size
        return cls(hop, num_per_hop, size, num_in_window, (window - covered) // 2)

    def start(self, index: int) -> int:
        return self.offset + index * self.hop // self.num_per_hop


def _hear_patches(
    network: Network, card: Card, grid: _Grid, blocks: Iterable[np.ndarray], batch: int
) -> Iterator[HeardWindow]:
    """Each patch once, and each window from its patches."""
    assert card.patch is not None
    rate_hz = card.sample_rate_hz
    latest: deque[_HeardPatch] = deque(maxlen=grid.num_in_window)
    counted = _Counted(blocks)
    cut = _patches(counted, grid)
    index = -1
    for group, heard in _hear_ahead(network, cut, batch):
        for patch, row in zip(group, heard, strict=True):
            index += 1
            peak = float(np.abs(patch).max())
            latest.append(_HeardPatch(row, peak, band_levels(patch, rate_hz)))
            first = index - grid.num_in_window + 1
            if first >= 0 and first % grid.num_per_hop == 0:
                start_s = (first // grid.num_per_hop) * grid.hop / rate_hz
                yield _window(latest, card.patch, start_s, start_s + card.window_s)
    # What no window has reached yet, where the hop is long enough to leave a second or more.
    first = index - grid.num_in_window + 1
    reached = (first // grid.num_per_hop) * grid.hop + round(card.window_s * rate_hz)
    if counted.num_samples - reached >= SHORT_S * rate_hz:
        start_s = (grid.start(first) - grid.offset) / rate_hz
        yield _window(latest, card.patch, start_s, counted.num_samples / rate_hz)


@dataclass(frozen=True, eq=False)
class _HeardPatch:
    """What was heard in a patch: (C,) numbers, the largest sample and the levels of its parts (T, K)."""

    heard: np.ndarray
    peak: float
    levels: np.ndarray


def _window(patches: Iterable[_HeardPatch], patch: Patch, start_s: float, end_s: float) -> HeardWindow:
    """What was heard in a window: the average over its patches, and the maxima of what is a maximum."""
    rows = np.stack([one.heard for one in patches])
    averaged, maxima = rows[:, : patch.num_averaged], rows[:, patch.num_averaged :]
    heard = np.concatenate((averaged.mean(0), maxima.max(0)))
    peak = max(one.peak for one in patches)
    change = change_db(np.concatenate([one.levels for one in patches]))
    return HeardWindow(start_s, end_s, heard, peak, change)


def _patches(blocks: Iterable[np.ndarray], grid: _Grid) -> Iterator[np.ndarray]:
    """The patches (grid.size,) of a recording, as long as they are whole."""
    rest = np.empty(0, np.float32)
    at = 0  # where `rest` begins, in samples
    index = 0
    for block in blocks:
        rest = np.concatenate((rest, block))
        while (start := grid.start(index)) + grid.size <= at + len(rest):
            yield rest[start - at : start - at + grid.size]
            index += 1
        keep = min(grid.start(index), at + len(rest))
        rest, at = rest[keep - at :], keep


class _Counted:
    """Blocks, and how many samples they had."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._blocks = blocks
        self.num_samples = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self.num_samples += len(block)
            yield block


def _first_seconds(
    blocks: Iterable[np.ndarray], num_samples: int
) -> tuple[list[np.ndarray], Iterator[np.ndarray] | None]:
    """The first blocks, enough for so many samples, and those that follow; None where there are not so many."""
    first: list[np.ndarray] = []
    rest = iter(blocks)
    for block in rest:
        first.append(block)
        if sum(map(len, first)) >= num_samples:
            return first, rest
    return first, None
