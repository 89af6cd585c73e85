"""Clips that are nearly the same clip: another copy of a video, made by other software at another quality.

Two clips are alike where both their pictures and their sounds are, by the distance of perceptual hashes: one camera
on a square gives a thousand alike pictures with sounds of their own, and those are a thousand clips.

Of clips that are alike the first by its id is kept, so that their order does not matter. What is dropped is alike to
one that is kept, and no two that are kept are alike.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from avgan.curation.record import Candidate
from avgan.errors import ConfigError

LOOK_BITS = 64
VOICE_BITS = 256


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How many bits two hashes may differ in, of things that are alike."""

    look_bits: int = 7
    """Of the 64 of a picture. Measured: copies in another codec at another size up to 7, unlike pictures from 16."""
    voice_bits: int = 64
    """Of the 256 of a sound. Measured: copies up to 40, cut 0.1 s later up to 64; unlike sounds from 90."""

    def __post_init__(self) -> None:
        if not 0 <= self.look_bits < LOOK_BITS // 2 or not 0 <= self.voice_bits < VOICE_BITS:
            raise ConfigError(
                f"likeness of {self.look_bits} and {self.voice_bits} bits: 0 to {LOOK_BITS // 2 - 1} bits "
                f"of a picture and 0 to {VOICE_BITS - 1} of a sound may differ"
            )


@dataclass(frozen=True, slots=True)
class _Hashed:
    id: str
    look: int
    voice: int


def find_duplicates(clips: Iterable[Candidate], likeness: Likeness | None = None) -> dict[str, str]:
    """{id of a clip: id of the clip that it repeats}, without those that are to be kept.

    Each clip is compared with those kept before it that its picture may be alike to, not with all: see `_Index`.
    """
    likeness = likeness or Likeness()
    index = _Index(likeness.look_bits)
    repeated: dict[str, str] = {}
    for clip in sorted(clips, key=lambda clip: clip.id):
        hashed = _Hashed(clip.id, int(clip.measures.look, 16), int(clip.measures.voice, 16))
        first = min(_alike(hashed, index, likeness), default="")
        if first:
            repeated[clip.id] = first
        else:
            index.add(hashed)
    return repeated


def _alike(clip: _Hashed, index: "_Index", likeness: Likeness) -> Iterator[str]:
    """Ids of the clips of the index that are alike to this one; an id may come several times."""
    for other in index.near(clip.look):
        if (clip.look ^ other.look).bit_count() <= likeness.look_bits and (
            clip.voice ^ other.voice
        ).bit_count() <= likeness.voice_bits:
            yield other.id


class _Index:
    """Finds all hashes of pictures within a distance, and few others.

    The hash is cut into bands, half as many as bits may differ, and one. Of two hashes within the distance, one band
    then differs in at most one bit: it is enough to look into each band's bucket and those a bit beside it. Of random
    hashes, 7 bits apart, that is 1 in 960: 4 bands of 16 bits, 17 buckets each.
    """

    def __init__(self, max_bits: int) -> None:
        num_bands = max_bits // 2 + 1
        edges = [LOOK_BITS * band // num_bands for band in range(num_bands + 1)]
        self._bands = [(low, high - low) for low, high in pairwise(edges)]
        self._beside = 1 if max_bits else 0
        self._buckets: dict[tuple[int, int], list[_Hashed]] = defaultdict(list)

    def add(self, clip: _Hashed) -> None:
        for low, width in self._bands:
            self._buckets[low, _band(clip.look, low, width)].append(clip)

    def near(self, look: int) -> Iterator[_Hashed]:
        for low, width in self._bands:
            own = _band(look, low, width)
            beside = [own ^ (1 << bit) for bit in range(width)] if self._beside else []
            for key in (own, *beside):
                yield from self._buckets.get((low, key), ())


def _band(look: int, low: int, width: int) -> int:
    return (look >> low) & ((1 << width) - 1)
