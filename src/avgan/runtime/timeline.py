"""Answers over time: neighbouring windows with the same answer are one segment."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from avgan.runtime.prediction import WindowPrediction
from avgan.runtime.sounds import MOST_WORDS

SHORTEST_SHARE = 0.5
"""Of a window, that a segment lasts at least. Windows that overlap by more than half hear mostly the same: an answer
that changes for a shorter time, and back, is the same sound answered in two ways, not a scene of two seconds."""


@dataclass(frozen=True)
class Segment(WindowPrediction):
    """A stretch of one answer; `probability` is the mean over its windows, `codes` (16, 16) those of the surest.

    `sounds` are the words heard in it with the mean of their probabilities over all of its windows, at most as many as
    in a window. `sound` is the one heard most, `sound_probability` the mean over the windows that it was heard in.
    """

    num_windows: int = 1


def segments(windows: Iterable[WindowPrediction]) -> Iterator[Segment]:
    """Merge neighbours of the same answer as they come, in constant memory.

    Windows that overlap meet half-way, since each speaks for its middle. The first segment starts with the first
    window and the last ends with the last. What is shorter than `SHORTEST_SHARE` of a window belongs to its neighbour.
    """
    current: _Stretch | None = None
    others: list[WindowPrediction] = []  # those that follow, each with another answer, and are too few so far
    for window in windows:
        if current is None:
            current = _Stretch(window.start_s, [window])
        elif window.answer == current.answer:
            current.add(*others, window)
            others = []
        else:
            others.append(window)
            if _lasts(others, current.last.end_s):
                boundary_s = (current.last.end_s + others[0].start_s) / 2
                yield current.segment(boundary_s)
                current, others = _Stretch(boundary_s, others), []
    if current is not None:
        current.add(*others)
        yield current.segment(current.last.end_s)


def _lasts(windows: list[WindowPrediction], since_s: float) -> bool:
    """Whether windows bring enough new sound, since the end of the last one before, to be a segment."""
    shortest_s = SHORTEST_SHARE * (windows[0].end_s - windows[0].start_s)
    return windows[-1].end_s - since_s >= shortest_s - 1e-6


class _Stretch:
    """A segment that is still growing, of the answer that most of its first windows give."""

    def __init__(self, start_s: float, windows: list[WindowPrediction]) -> None:
        self.answer = _most_common(Counter(window.answer for window in windows))
        self._start_s = start_s
        self._surest = next(window for window in windows if window.answer == self.answer)
        self._total = 0.0
        self._num_windows = self._num_own = 0
        self._heard: Counter[str] = Counter()
        self._words: defaultdict[str, float] = defaultdict(float)
        self._reasons: Counter[str] = Counter()
        self.last = windows[0]
        self.add(*windows)

    def add(self, *windows: WindowPrediction) -> None:
        """Add windows; of those with another answer only the sounds count."""
        for window in windows:
            self.last = window
            self._num_windows += 1
            sounds = window.sounds
            if not sounds and window.sound:
                sounds = {window.sound: window.sound_probability or 0.0}
            for word, value in sounds.items():
                self._heard[word] += 1
                self._words[word] += value
            if window.answer != self.answer:
                continue
            self._num_own += 1
            self._total += window.probability
            if window.probability > self._surest.probability:
                self._surest = window
            if window.reason:
                self._reasons[window.reason] += 1

    def segment(self, end_s: float) -> Segment:
        named = "" if self._surest.scene else self.answer  # a model of sounds answers with one
        order = sorted(self._words.items(), key=lambda item: (item[0] != named, -item[1], -self._heard[item[0]]))
        sounds = {word: value / self._num_windows for word, value in order[:MOST_WORDS]}
        sound = next(iter(sounds), None)
        total = self._words[sound] if sound else 0.0
        return Segment(
            start_s=self._start_s,
            end_s=end_s,
            scene=self._surest.scene,
            sound=sound,
            probability=self._total / self._num_own,
            reason=_most_common(self._reasons),
            codes=self._surest.codes,
            sound_probability=total / self._heard[sound] if sound and total else None,
            group=self._surest.group,
            within=self._surest.within,
            sounds=sounds,
            num_windows=self._num_windows,
        )


class Minutes:
    """How long each answer and each sound was heard, added up window by window; where windows overlap, each speaks for
    the time up to the middle between it and the next."""

    def __init__(self) -> None:
        self.answers_s: defaultdict[str, float] = defaultdict(float)
        self.sounds_s: defaultdict[str, float] = defaultdict(float)
        self._last: WindowPrediction | None = None
        self._since_s = 0.0

    def add(self, window: WindowPrediction) -> None:
        """Add the window that follows."""
        if self._last is None:
            self._since_s = window.start_s
        else:
            self._count((self._last.end_s + window.start_s) / 2)
        self._last = window

    def _count(self, until_s: float) -> None:
        assert self._last is not None
        lasted_s, self._since_s = until_s - self._since_s, until_s
        self.answers_s[self._last.answer] += lasted_s
        for word in self._last.sounds or filter(None, [self._last.sound]):
            self.sounds_s[word] += lasted_s

    def close(self) -> None:
        """Count the last window to its end; nothing follows."""
        if self._last is not None:
            self._count(self._last.end_s)
            self._last = None


def _most_common(counts: Counter[str]) -> str:
    """The name counted most often, of equals the one met first; nothing where none was."""
    return counts.most_common(1)[0][0] if counts else ""
