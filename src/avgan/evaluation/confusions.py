"""Which mistakes to show: the pairs of labels confused most often, and of each the recordings to hear.

Shapes: M clips, N labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_CLIPS = 40
PER_PAIR = 4


@dataclass(frozen=True)
class Confusion:
    """A label that was taken for another."""

    truth: int
    answer: int
    count: int
    """How many clips of `truth` were answered so."""
    num_of_truth: int
    clips: tuple[int, ...]
    """Numbers of those to show, the surest first."""


def worst_confusions(
    targets: np.ndarray,
    probabilities: np.ndarray,
    sources: Sequence[str],
    *,
    num_clips: int = NUM_CLIPS,
    per_pair: int = PER_PAIR,
) -> list[Confusion]:
    """The pairs confused most often, until `num_clips` clips are shown.

    targets (M,), probabilities (M, N). Of equally frequent pairs the one answered more surely comes first. A source
    gives a pair a second clip only where there is no other.
    """
    answers = probabilities.argmax(1)
    sure = probabilities.max(1)
    wrong = np.flatnonzero(answers != targets)
    pairs: dict[tuple[int, int], list[int]] = {}
    for clip in wrong[np.argsort(-sure[wrong], kind="stable")]:
        pairs.setdefault((int(targets[clip]), int(answers[clip])), []).append(int(clip))

    def weight(pair: tuple[int, int]) -> tuple[int, float]:
        return -len(pairs[pair]), -float(sure[pairs[pair]].mean())

    found: list[Confusion] = []
    room = num_clips
    for pair in sorted(pairs, key=weight):
        if room <= 0:
            break
        chosen = _of_different_sources(pairs[pair], sources)[: min(per_pair, room)]
        room -= len(chosen)
        found.append(
            Confusion(*pair, len(pairs[pair]), int((targets == pair[0]).sum()), tuple(chosen))
        )
    return found


def _of_different_sources(clips: list[int], sources: Sequence[str]) -> list[int]:
    """The same clips, the first of every source before any second one."""
    seen: dict[str, int] = {}
    rank = []
    for clip in clips:
        rank.append(seen.get(sources[clip], 0))
        seen[sources[clip]] = rank[-1] + 1
    return [clips[place] for place in np.argsort(rank, kind="stable")]
