"""Scenes over time: neighbouring windows with the same answer are one segment."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from avgan.runtime.prediction import WindowPrediction


@dataclass(frozen=True)
class Segment:
    """A stretch of one scene; `probability` is the mean over its windows, `codes` (16, 16) those of the surest.

    `sound` is the one heard in most of them, `sound_probability` the mean over those.
    """

    start_s: float
    end_s: float
    scene: str
    sound: str | None
    probability: float
    reason: str
    num_windows: int
    codes: np.ndarray | None = field(default=None, repr=False, compare=False)
    sound_probability: float | None = None


def segments(windows: Iterable[WindowPrediction]) -> Iterator[Segment]:
    """Merge neighbours of the same scene as they come, in constant memory.

    Windows that overlap meet half-way, since each speaks for its middle. The first segment starts with the first
    window and the last ends with the last.
    """
    current: _Stretch | None = None
    for window in windows:
        if current is not None and window.scene != current.last.scene:
            boundary_s = (current.last.end_s + window.start_s) / 2
            yield current.segment(boundary_s)
            current = _Stretch(window, boundary_s)
        elif current is None:
            current = _Stretch(window, window.start_s)
        current.add(window)
    if current is not None:
        yield current.segment(current.last.end_s)


class _Stretch:
    """A segment that is still growing."""

    def __init__(self, first: WindowPrediction, start_s: float) -> None:
        self.last = self._surest = first
        self._start_s = start_s
        self._total = 0.0
        self._num_windows = 0
        self._sounds: Counter[str] = Counter()
        self._sound_totals: defaultdict[str, float] = defaultdict(float)
        self._reasons: Counter[str] = Counter()

    def add(self, window: WindowPrediction) -> None:
        self.last = window
        self._num_windows += 1
        self._total += window.probability
        if window.probability > self._surest.probability:
            self._surest = window
        if window.sound:
            self._sounds[window.sound] += 1
            self._sound_totals[window.sound] += window.sound_probability or 0.0
        if window.reason:
            self._reasons[window.reason] += 1

    def segment(self, end_s: float) -> Segment:
        sound = _most_common(self._sounds) or None
        total = self._sound_totals[sound] if sound else 0.0
        return Segment(
            start_s=self._start_s,
            end_s=end_s,
            scene=self.last.scene,
            sound=sound,
            probability=self._total / self._num_windows,
            reason=_most_common(self._reasons),
            num_windows=self._num_windows,
            codes=self._surest.codes,
            sound_probability=total / self._sounds[sound] if sound and total else None,
        )


def _most_common(counts: Counter[str]) -> str:
    """The name counted most often, of equals the one met first; nothing where none was."""
    return counts.most_common(1)[0][0] if counts else ""
