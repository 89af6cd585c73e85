"""The windows of a recording of any length in the room of a few hundred: enough to picture it.

While they are few, all are kept. When they are too many, neighbours are merged, and what most of them say stands for
them: first pairs, later four, eight and so on.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from itertools import pairwise

from avgan.runtime.prediction import WindowPrediction
from avgan.runtime.timeline import Segment, segments

MOST_KEPT = 1_500
SCENES_REMEMBERED = 4
"""In a stretch of merged windows, so that the second of several stretches may become the first of all of them."""


class Thinning:
    """Takes windows in order of time and keeps at most `most` of what they say, in constant memory."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most + most % 2
        self._groups: list[_Group] = []
        self._size = 1  # windows in a group

    def add(self, window: WindowPrediction) -> None:
        """Add the window that follows."""
        group = _Group(window)
        if self._groups and self._groups[-1].num_windows < self._size:
            self._groups[-1].absorb(group)
            return
        if len(self._groups) == self._most:
            self._groups = _by(2, self._groups)
            self._size *= 2
        self._groups.append(group)

    def windows(self, most: int | None = None) -> list[WindowPrediction]:
        """At most `most` windows that stand for all. Their codes are those of the surest of the scene that is given."""
        num = len(self._groups)
        size = -(-num // most) if most else 1
        return [group.window() for group in (_by(size, self._groups) if size > 1 else self._groups)]


def spans(windows: Sequence[WindowPrediction], duration_s: float) -> list[tuple[float, float]]:
    """The stretch from start to end in s for which each window speaks: to the middle between it and the next.

    They lie side by side from 0 to `duration_s`.
    """
    between = [(a.end_s + b.start_s) / 2 for a, b in pairwise(windows)]
    edges = [0.0, *between, max(duration_s, between[-1] if between else 0.0)]
    return list(pairwise(edges))


def whole_segments(windows: Sequence[WindowPrediction], duration_s: float) -> list[Segment]:
    """The segments of windows, side by side from 0 to `duration_s`."""
    found = list(segments(windows))
    if not found:
        return []
    found[0] = replace(found[0], start_s=0.0)
    found[-1] = replace(found[-1], end_s=max(duration_s, found[-1].start_s))
    return found


class _Group:
    """Neighbouring windows: for each of their answers how many there were, their certainty, and the surest."""

    def __init__(self, first: WindowPrediction) -> None:
        self.num_windows = 1
        self._start_s, self._end_s = first.start_s, first.end_s
        self._votes = {first.answer: (1, first.probability, first)}

    def absorb(self, later: "_Group") -> None:
        """Take in the group that follows."""
        self.num_windows += later.num_windows
        self._end_s = later._end_s
        votes = self._votes | later._votes
        for scene in self._votes.keys() & later._votes.keys():
            num, total, surest = self._votes[scene]
            more_num, more_total, other = later._votes[scene]
            if other.probability > surest.probability:
                surest = other
            votes[scene] = (num + more_num, total + more_total, surest)
        ranked = sorted(votes.items(), key=lambda vote: vote[1][:2], reverse=True)
        self._votes = dict(ranked[:SCENES_REMEMBERED])

    def window(self) -> WindowPrediction:
        """One window in place of all."""
        num, total, surest = next(iter(self._votes.values()))
        return replace(surest, start_s=self._start_s, end_s=self._end_s, probability=total / num)


def _by(size: int, groups: Sequence[_Group]) -> list[_Group]:
    """Each `size` neighbours made one; the groups given stay as they are."""
    merged = []
    for start in range(0, len(groups), size):
        one = copy(groups[start])
        for later in groups[start + 1 : start + size]:
            one.absorb(later)
        merged.append(one)
    return merged
