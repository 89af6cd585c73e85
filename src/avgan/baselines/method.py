"""What a method is: it learns from clips, answers for others, and says how near it is to the original.

Rivals and AVGAN itself are methods alike.

Shapes: M clips, B clips of a block, L samples, N labels, H W pixels.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from avgan.data.manifest import Manifest

BLOCK = 16
"""Clips transformed at once: spectra of a whole data set would not fit into memory."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Where a method comes from, what it reached there, and what is the same here."""

    name: str
    title: str
    source: str
    """Who published it, where."""
    published: float | None = None
    """Accuracy on the five folds of ESC-50 as published, in percent."""
    published_on: Mapping[str, float] = field(default_factory=dict)
    """The same by other protocols, such as {"esc10": 72.7}."""
    published_by_fold: Mapping[str, float] = field(default_factory=dict)
    """The same on single folds of ESC-50, where its authors gave them: {"1": 62.25, ...}."""
    pretrained_on: str = ""
    """What its weights were trained on before; nothing where empty."""
    takes_extra: bool = False
    """Whether it learns from `Clips.extra` too."""
    chosen_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Folds that a choice about the method was made with in sight, by data set: {"esc50": ("1",)}."""
    follows: tuple[str, ...] = ()
    """What is as in the original."""
    differs: tuple[str, ...] = ()
    """What is not, and why."""


@dataclass(frozen=True)
class Cost:
    """How large a trained method is, and how much it works for one clip, front end left out."""

    num_parameters: int
    num_macs: int
    """Multiply-adds."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.num_parameters + other.num_parameters, self.num_macs + other.num_macs)

    def times(self, num: int) -> "Cost":
        """Of so many passes for each clip."""
        return Cost(self.num_parameters, self.num_macs * num)


@dataclass(frozen=True, eq=False)
class Clips:
    """Labelled recordings of one length; `targets` are unknown to whoever answers."""

    ids: tuple[str, ...]
    sources: tuple[str, ...]
    """What each was cut from: the unit of every split within."""
    targets: np.ndarray
    """(M,) label numbers."""
    labels: tuple[str, ...]
    """What the N label numbers mean."""
    window_s: float
    read_rows: Callable[[int, np.ndarray], np.ndarray] = field(repr=False)
    """A rate in Hz and numbers of clips (B,) -> waveforms (B, L) float32 in [-1, 1]."""
    sample_pictures: Callable[[np.random.Generator], np.ndarray] | None = field(default=None, repr=False)
    """A picture (M, 3, H, W) uint8 for each, as the project's pairing samples them; None where there are none."""
    folder: Path | None = None
    """Where the data sets lie, and downloaded weights beside them."""
    extra: "Clips | None" = field(default=None, repr=False)
    """Further recordings with the same labels, from another data set, for methods that learn from them too."""
    manifest: Manifest | None = field(default=None, repr=False)
    """The rows of the clips, with all pictures to learn from, or without labels to answer. A selection has none."""

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, rate_hz: int) -> np.ndarray:
        """The waveforms of all clips, (M, L) float32."""
        return self.read_rows(rate_hz, np.arange(len(self)))

    def in_blocks(self, rate_hz: int, transform: Callable[[np.ndarray], np.ndarray], size: int = BLOCK) -> np.ndarray:
        """What `transform` makes of all waveforms, (M, ...), of which it is given (B, L) at a time."""
        rows = np.arange(len(self))
        blocks = (rows[start : start + size] for start in range(0, len(self), size))
        return np.concatenate([transform(self.read_rows(rate_hz, block)) for block in blocks])

    def select(self, indices: np.ndarray) -> "Clips":
        """The clips with these numbers (K,), in that order; `extra` stays what it is."""
        sample = self.sample_pictures
        return replace(
            self,
            ids=tuple(self.ids[index] for index in indices),
            sources=tuple(self.sources[index] for index in indices),
            targets=self.targets[indices],
            read_rows=lambda rate_hz, rows: self.read_rows(rate_hz, indices[rows]),
            sample_pictures=None if sample is None else lambda rng: sample(rng)[indices],
            manifest=None,
        )


@dataclass
class Budget:
    """How long a fit may take, and what came of it."""

    seconds: float | None = None
    """None: as long as it takes."""
    say: Callable[[str], None] = field(default=lambda line: None, repr=False)
    """Takes a line about the progress, a few times a minute."""
    num_planned: int = 0
    num_wanted: int = 0
    """Of epochs: what there was time for, and what the original trains for."""
    resumed: bool = False
    """The fit was begun by an earlier call: how long all of it took is not known."""
    _began: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        return float("inf") if self.seconds is None else self._began + self.seconds - time.monotonic()

    def share(self, share: float = 1.0) -> "Budget":
        """A budget of a share of what is left, for one of several fits."""
        seconds = None if self.seconds is None else share * max(self.seconds_left, 0.0)
        return Budget(seconds, self.say)

    def count(self, parts: Sequence["Budget"]) -> None:
        """The epochs are those of these parts."""
        self.num_planned = sum(part.num_planned for part in parts)
        self.num_wanted = sum(part.num_wanted for part in parts)

    def plan(self, num_wanted: int, seconds_of_one: float) -> int:
        """How many of the wanted epochs there is time for, at least one: a schedule needs to know its length."""
        self.num_wanted = num_wanted
        affordable = self.seconds_left / max(seconds_of_one, 1e-9)
        self.num_planned = max(1, min(num_wanted, int(min(affordable, 1e9))))
        return self.num_planned


class Method(Protocol):
    """Learns once and answers; a new one is made for each fold."""

    card: Card

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        """Learn from clips and nothing else, within the budget; the same from the same `rng`."""
        ...

    def predict(self, clips: Clips) -> np.ndarray:
        """Probabilities (M, N) float64, rows sum to 1. The clips have neither targets nor pictures."""
        ...

    def cost(self) -> Cost:
        """Of what was fitted."""
        ...
