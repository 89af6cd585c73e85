"""The channels of a recording -> one, by what they are and by what is in them.

A mono or stereo recording gives the mean of its channels. Departures from it, each with a note:

- Where the layout is known and has more than two channels, the centre counts in full, the front pair by its mean, all
  others by their mean and 3 dB less (ITU-R BS.775), LFE not at all, unless it is all there is.
- A channel that holds no sound beside the others is left out: a mean with it would be quieter, not truer.
- A channel of reversed polarity is turned round: a mean with it would cancel what both recorded.

The last two are decided by votes over the audible sound so far, and only where the block at hand agrees: a moment of
sound on one side leaves a stereo recording as it is. The first seconds are held until there are votes enough. Where
a block would be all but silent, it decides by itself.

Shapes: L samples, C channels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from avgan.media import Block

LOOK_S = 5.0  # of sound before the first vote counts: as long as a window, and as the shortest recordings
HELD_VALUES = 1 << 21  # 8 MB, 22 s of stereo at 48 kHz: what is held at most for it
MEMORY_S = 60.0  # after about 90 s without a cable a channel that had sound for long counts as dead
MOST = 0.75  # of the audible time, for a vote to win
DEAD_SHARE = 1e-3  # 30 dB below the loudest: what it adds is hiss, and real microphones side by side differ less
SILENT_POWER = 1e-9  # -90 dB of full scale: the noise of a 16 bit input where nothing is plugged in
REVERSED = -0.8  # correlation: microphones apart come nowhere near, for anything but one tone
OPPOSITE, ALIKE = (-0.98, 0.5)  # correlation, and share of power, from which on a mean loses 14 dB and more
FADE_SAMPLES = 512  # from one choice to the next, without a click
BEHIND = 0.7071  # 3 dB less, for what is not in front

_FRONT = {"FL", "FR", "DL", "DR"}
_LOW = {"LFE", "LFE2"}
_AROUND = frozenset("BL BR BC SL SR FLC FRC WL WR SDL SDR TC TFL TFC TFR TBL TBC TBR TSL TSR BFC BFL BFR".split())


@dataclass(frozen=True, eq=False)
class _Facts:
    """What a block shows of its channels (C,): which are dead, and which are reversed against the first that is not."""

    is_audible: bool
    dead: np.ndarray
    reversed: np.ndarray
    opposite: np.ndarray
    """Those of the reversed that leave next to nothing of it, whatever was before: a recording may be cut together."""
    is_plain: bool
    """Whether there is nothing to choose: no channel is dead, none is reversed."""

    @classmethod
    def of(cls, samples: np.ndarray) -> "_Facts":
        """Of samples (L, C)."""
        columns = samples.take(_looked_at(len(samples)), 0).T.copy()
        columns -= columns.mean(1, keepdims=True)  # an offset is no sound
        # Not by matrix product, whose threads a decoder with bounded memory cannot start.
        power = np.einsum("cl,cl->c", columns, columns) / max(columns.shape[1], 1)
        loudest = float(power.max(initial=0))
        dead = power < max(loudest * DEAD_SHARE, SILENT_POWER)
        reference = int(np.argmin(dead))  # the first that is not
        shared = np.einsum("cl,l->c", columns, columns[reference]) / max(columns.shape[1], 1)
        both = np.sqrt(power * power[reference])
        turned = (shared < REVERSED * both) & ~dead
        alike = (power > ALIKE * power[reference]) & (power < power[reference] / ALIKE)
        opposite = turned & (shared < OPPOSITE * both) & alike
        is_plain = not (dead.any() or turned.any())
        return cls(loudest >= SILENT_POWER, dead, turned, opposite, is_plain)


@lru_cache(maxsize=16)
def _looked_at(num_samples: int) -> np.ndarray:
    """The places in a block that its facts are computed from: one in eight, uneven, so that no tone is missed."""
    numbers = np.arange(-(-num_samples // 8), dtype=np.uint64)
    # Fibonacci hashing (Knuth): as uneven as chance, without a generator, whose modules are loaded late.
    uneven = (numbers * np.uint64(0x9E37_79B9_7F4A_7C15)) >> np.uint64(61)
    return np.minimum(8 * numbers + uneven, num_samples - 1).astype(np.intp)


class Mixer:
    """Brings blocks to one channel while they come. `waits` is false where an answer must not be held up (live)."""

    def __init__(self, *, waits: bool = True) -> None:
        self.waits = waits
        self._left_out: set[int] = set()
        self._turned: set[int] = set()
        self._layouts: dict[tuple[str, ...], None] = {}
        self._num_channels = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each choice that was made."""
        found = []
        for layout in self._layouts:
            low = ", LFE is left out" if _LOW & set(layout) else ""
            found.append(f"{len(layout)} channels ({' '.join(layout)}): the centre counts in full{low}")
        live = set(range(self._num_channels)) - self._left_out
        if self._left_out and live and len(live) < len(self._left_out):
            found.append(f"{_channels(live, self._num_channels)}: used alone, for no other holds sound")
        elif self._left_out:
            found.append(f"{_channels(self._left_out, self._num_channels)}: left out where there is no sound in it")
        if self._turned:
            found.append(f"{_channels(self._turned, self._num_channels)}: turned round, for its polarity is reversed")
        return tuple(found)

    def mix(self, blocks: Iterable[Block]) -> Iterator[tuple[np.ndarray, float]]:
        """Blocks of samples (L, C) -> (L,) with their rates."""
        stretch: _Stretch | None = None
        for block in blocks:
            num_channels = block.samples.shape[1]
            kind = (num_channels, block.rate_hz, block.layout)
            if stretch is None or stretch.kind != kind:
                if stretch is not None:
                    yield from stretch.finish()
                stretch = _Stretch(self, kind)
            if num_channels == 1:
                yield block.samples[:, 0], block.rate_hz
            else:
                yield from stretch.add(block.samples)
        if stretch is not None:
            yield from stretch.finish()

    def note(self, out: np.ndarray, turned: np.ndarray) -> None:
        """Note which channels (C,) were left out and inverted."""
        self._num_channels = len(out)
        self._left_out.update(np.flatnonzero(out).tolist())
        self._turned.update(np.flatnonzero(turned).tolist())

    def note_layout(self, layout: tuple[str, ...]) -> None:
        """Note that channels were mixed by their layout."""
        self._layouts[layout] = None


class _Stretch:
    """Blocks of the same channels and rate: those that are held, and the votes."""

    def __init__(self, mixer: Mixer, kind: tuple[int, float, tuple[str, ...]]) -> None:
        self.kind = kind
        self._mixer = mixer
        num_channels, self._rate_hz, layout = kind
        self._layout = layout if num_channels > 2 and is_known(layout) else ()
        self._held: list[tuple[np.ndarray, _Facts]] = []
        self._num_held = 0
        self._is_open = not mixer.waits
        self._audible_s = 0.0
        self._dead_s = np.zeros(num_channels)
        self._reversed_s = np.zeros(num_channels)
        none = np.zeros(num_channels, bool)
        self._weights = self._plain = weights_of(self._layout, none, none)
        self._has_begun = False

    def add(self, samples: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
        """Take a block; gives what need not be held."""
        facts = _Facts.of(samples)
        self._vote(facts, len(samples) / self._rate_hz)
        self._held.append((samples, facts))
        self._num_held += samples.size
        if self._is_open or self._audible_s >= LOOK_S or self._num_held >= HELD_VALUES:
            self._is_open = True
            yield from self.finish()

    def finish(self) -> Iterator[tuple[np.ndarray, float]]:
        """What is held."""
        held, self._held, self._num_held = self._held, [], 0
        for samples, facts in held:
            yield self._mixed(samples, facts), self._rate_hz

    def _vote(self, facts: _Facts, seconds: float) -> None:
        if facts.is_audible:
            left = np.exp(-seconds / MEMORY_S)
            self._audible_s = self._audible_s * left + seconds
            self._dead_s = self._dead_s * left + seconds * facts.dead
            self._reversed_s = self._reversed_s * left + seconds * facts.reversed

    def _mixed(self, samples: np.ndarray, facts: _Facts) -> np.ndarray:
        before = self._weights
        if facts.is_audible and (self._mixer.waits or self._audible_s >= LOOK_S):
            self._weights = self._plain if facts.is_plain else self._chosen(facts)
            if self._layout:
                self._mixer.note_layout(self._layout)
        mono = weighted(samples, self._weights)
        if self._has_begun and self._weights is not before:
            start = samples[:FADE_SAMPLES]
            share = np.linspace(0, 1, len(start), dtype=np.float32)
            if not np.array_equal(before, self._weights):
                mono[: len(start)] += (1 - share) * (weighted(start, before) - mono[: len(start)])
        self._has_begun = True
        return mono

    def _chosen(self, facts: _Facts) -> np.ndarray:
        """The weights (C,) by the audible sound so far and by this block."""
        needed_s = MOST * self._audible_s
        out = facts.dead & (self._dead_s >= needed_s)
        turned = facts.opposite | facts.reversed & (self._reversed_s >= needed_s)
        if not (out.any() or turned.any()):
            return self._plain
        self._mixer.note(out, turned)
        return weights_of(self._layout, out, turned)


def weights_of(layout: tuple[str, ...], out: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """What each channel counts (C,) float32, where some are left `out` and some `turned` round."""
    live = ~out
    found = _of_layout(layout, live) if layout else live / max(live.sum(), 1)
    return np.where(turned, -found, found).astype(np.float32)


def is_known(layout: tuple[str, ...]) -> bool:
    """Whether it says of each channel where it stands."""
    return bool(layout) and all(name in _FRONT | _LOW | _AROUND | {"FC"} or name.startswith("AMBI") for name in layout)


def weighted(samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Samples (L, C) and weights (C,) -> (L,); equal weights give the mean, to the last bit the same as ever."""
    num_channels = samples.shape[1]
    # Column by column: twenty times as fast as numpy's mean, which is made for long rows.
    if (weights == np.float32(1 / num_channels)).all():
        mono: np.ndarray = samples[:, 0] + samples[:, 1]
        for channel in range(2, num_channels):
            mono += samples[:, channel]
        mono /= np.float32(num_channels)
        return mono
    mono = np.zeros(len(samples), np.float32)
    for channel in np.flatnonzero(weights).tolist():
        mono += weights[channel] * samples[:, channel]
    return mono


def _of_layout(layout: tuple[str, ...], live: np.ndarray) -> np.ndarray:
    """The weights (C,) of channels by their places; dead ones weigh nothing."""
    names = np.array(layout)
    if names[0].startswith("AMBI"):  # the first is omnidirectional, the others are directions
        return (names == "AMBI0").astype(np.float64)
    groups = [np.isin(names, list(group)) & live for group in ({"FC"}, _FRONT, _AROUND)]
    if not any(group.any() for group in groups):
        groups = [np.isin(names, list(_LOW)) & live]
    in_front = any(group.any() for group in groups[:2])
    weights = np.zeros(len(names))
    for group, share in zip(groups, (1.0, 1.0, BEHIND if in_front else 1.0), strict=False):
        weights += share * group / max(group.sum(), 1)
    return weights


def _channels(numbers: set[int], total: int) -> str:
    named = ", ".join(str(number + 1) for number in sorted(numbers))
    return f"channel{'s' if len(numbers) > 1 else ''} {named} of {total}"
