"""What a tagger is: sounds or pictures in, a weight for each of its labels out.

Shapes: B sounds or pictures of a batch, N labels, L samples, C channels, H W pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from avgan.curation.record import Tags

NUM_TAGS = 5
"""The paper looks at the first five (Sec. 4)."""

NUM_DIGITS = 4
"""Of a weight that is written down: single precision differs in the seventh from one machine to the next."""

MUSIC = ("Music", "Singing", "Song", "Background music")
"""Without "Musical instrument", which church bells are too."""
SPEECH = (
    "Speech",
    "Male speech, man speaking",
    "Female speech, woman speaking",
    "Conversation",
    "Narration, monologue",
)


@runtime_checkable
class Tagger(Protocol):
    """Names what is heard in sounds, or seen in pictures."""

    @property
    def name(self) -> str: ...

    @property
    def hears(self) -> bool:
        """Whether it is for sounds; otherwise it is for pictures."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The N names, in the spelling of those who published them."""

    @property
    def licence(self) -> str:
        """Of the weights, in one sentence."""

    @property
    def sha256(self) -> str:
        """Of the file of weights, for the data card."""

    def tag(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Weights (B, N) float32 in [0, 1].

        `batch`: sounds (L, C) float32 at `record.SOUND_RATE_HZ`, or pictures (H, W, 3) uint8 RGB; lengths and sizes may
        differ within a batch, and what else is in a batch does not matter for an answer.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkTagger:
    """A tagger made of two functions: one prepares a sound or a picture, one runs the network on a block of them."""

    name: str
    hears: bool
    labels: tuple[str, ...]
    licence: str
    sha256: str
    prepare: Callable[[np.ndarray], np.ndarray]
    """A sound (L, C) or a picture (H, W, 3) -> the input of the network, float32."""
    run: Callable[[np.ndarray], np.ndarray]
    """Inputs (b, ...) of one shape -> weights (b, N) in [0, 1]."""
    block: int
    """How many inputs the network is given at once: more cost memory, and on a processor save no time."""

    def tag(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Weights (B, N) float32 in [0, 1], see `Tagger`."""
        inputs = [self.prepare(item) for item in batch]
        weights = np.zeros((len(inputs), len(self.labels)), np.float32)
        for places in _blocks_of_one_shape(inputs, self.block):
            weights[places] = self.run(np.stack([inputs[place] for place in places]))
        return weights


def _blocks_of_one_shape(inputs: Sequence[np.ndarray], size: int) -> Iterator[list[int]]:
    """Positions of at most `size` arrays that can be stacked, in the order of their first."""
    of_shape: dict[tuple[int, ...], list[int]] = {}
    for place, item in enumerate(inputs):
        of_shape.setdefault(item.shape, []).append(place)
    for places in of_shape.values():
        yield from (places[start : start + size] for start in range(0, len(places), size))


def first_tags(labels: Sequence[str], weights: np.ndarray, num_tags: int = NUM_TAGS) -> Tags:
    """The heaviest of N labels with their weights (N,), rounded; of equal ones the first of the list."""
    order = np.argsort(-weights, kind="stable")[:num_tags]
    return tuple((labels[place], round(float(weights[place]), NUM_DIGITS)) for place in order)


def music_and_speech(labels: Sequence[str], weights: np.ndarray) -> tuple[float, float]:
    """How much music and how much speech is in a sound, in [0, 1], from its weights (N,); 0 where no label says so."""
    music, speech = (
        max((float(weights[labels.index(name)]) for name in names if name in labels), default=0.0)
        for names in (MUSIC, SPEECH)
    )
    return round(music, NUM_DIGITS), round(speech, NUM_DIGITS)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: the cores belong to processes, and results must not depend on how many there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
