"""The answers for a recording's windows, added up as they come: what it is as a whole, and how long it was what.

Shapes: N labels, S scenes.
"""

import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from avgan.audio import AudioStream
from avgan.runtime.bundle import Card
from avgan.runtime.embedding import EmbeddedWindow
from avgan.runtime.network import Network
from avgan.runtime.prediction import UNKNOWN, Prediction, WindowPrediction
from avgan.runtime.tree import Answer, Tree
from avgan.runtime.unknown import UNHEARD
from avgan.runtime.wording import clock, either, lasting, percent

WORTH_SAYING = 0.2
"""Share of the time from which on a second scene is remarked on: windows are wrong now and then, a fifth of them in a
row of the same kind is a scene."""
MOST_REMARKED = 3


@dataclass
class _Time:
    """How long something was answered, from when on, and how sure that was, times the seconds."""

    lasted_s: float = 0.0
    first_s: float = 0.0
    certainty: float = 0.0


class Tally:
    """Adds up; `conclude` says what it comes to."""

    def __init__(self, card: Card, tree: Tree) -> None:
        self._card = card
        self._tree = tree
        self._num_windows = 0
        self._end_s = 0.0  # of the last window
        self._reasons: Counter[str] = Counter()
        self._times: defaultdict[str, _Time] = defaultdict(_Time)  # by what was answered
        self._words_s: defaultdict[str, float] = defaultdict(float)  # probability times seconds
        self.latest = np.zeros(len(tree.scenes))  # (S,) of the last window
        # Sums of probabilities (N,) over the windows that were answered, and over all.
        self._labels_answered = np.zeros(len(card.labels))
        self._labels_total = np.zeros(len(card.labels))
        # Per scene: its highest probability so far, with that window's features (D, 16, 16). Which of them will
        # be the answer is known at the end only.
        self._surest: dict[int, tuple[float, np.ndarray]] = {}
        # Of the first window: what a recording begins with is its own, and makes the seed of its pictures.
        self._first: np.ndarray | None = None

    def add(
        self,
        window: EmbeddedWindow,
        labels: np.ndarray,
        features: np.ndarray,
        codes: np.ndarray | None,
        reason: str,
        words: Mapping[str, float] | None = None,
    ) -> WindowPrediction:
        """Add a window: probabilities (N,), features (D, 16, 16), their codes (16, 16) or None, the reason not to
        answer it, if any, and the words of its tags, None where the bundle has no tags."""
        if self._first is None:
            self._first = features.copy()  # or the whole batch would be kept
        self._num_windows += 1
        self._end_s = window.end_s
        self._labels_total += labels
        if reason:
            self._reasons[reason] += 1
        else:
            self._labels_answered += labels
        self.latest = labels @ self._tree.label_to_scene
        for index, probability in enumerate(self.latest):
            if index not in self._surest or probability > self._surest[index][0]:
                self._surest[index] = (float(probability), features.copy())
        answer = self._tree.answer(labels)
        sounds = self._sounds(labels, reason, words)
        self._count(window, UNKNOWN if reason else answer.name, answer.probability, sounds)
        sound = next(iter(sounds), None)
        return WindowPrediction(
            start_s=window.start_s,
            end_s=window.end_s,
            sound=sound,
            probability=answer.probability,
            codes=codes,
            sound_probability=sounds[sound] if sound is not None else None,
            sounds=sounds,
            **self._place(answer, reason),
        )

    def _sounds(self, labels: np.ndarray, reason: str, words: Mapping[str, float] | None) -> dict[str, float]:
        """What is heard in a window: the words of its tags, or the label where labels are sounds."""
        if words is not None:
            return {} if reason in UNHEARD else dict(words)
        if self._card.label_kind == "scene" or reason:
            return {}
        best = int(labels.argmax())
        return {self._card.labels[best]: float(labels[best])}

    def _place(self, answer: Answer, reason: str) -> dict[str, Any]:
        """The fields that a prediction of a window and of a recording have in common."""
        if reason:
            return {"scene": UNKNOWN, "reason": reason}
        scene = answer.name if self._card.names_scenes else ""
        return {"scene": scene, "group": answer.group, "within": answer.within}

    def _count(self, window: EmbeddedWindow, name: str, probability: float, sounds: Mapping[str, float]) -> None:
        """Count how long a window lasted, for what was answered and for what was heard."""
        lasted_s = window.end_s - window.start_s
        if name not in self._times:
            self._times[name].first_s = window.start_s
        self._times[name].lasted_s += lasted_s
        self._times[name].certainty += probability * lasted_s
        for word, value in sounds.items():
            self._words_s[word] += value * lasted_s

    def conclude(
        self, stream: AudioStream, windows: tuple[WindowPrediction, ...], network: Network, seed: int | None
    ) -> Prediction:
        """The answer for the recording: unknown where more than half of its windows are.

        `seed` of its pictures; None: the recording's own.
        """
        if self._first is None:
            raise RuntimeError("no window has been heard yet: iterate first")
        tree, card = self._tree, self._card
        num_unknown = self._reasons.total()
        if 2 * num_unknown > self._num_windows:
            reason = self._reasons.most_common(1)[0][0]
            labels = self._labels_total / self._num_windows
            answer = tree.answer(labels)
        else:
            reason = ""
            labels = self._labels_answered / (self._num_windows - num_unknown)
            answer = self._decide(labels)
        sounds = self._all_sounds(labels)
        shown = answer.within[0] if answer.within else answer.name
        _, surest = self._surest[tree.scenes.index(shown)]
        first, codes = network.codes(np.stack((self._first, surest)))
        if seed is None:
            seed = zlib.crc32(first.astype("<u2").tobytes())
        return Prediction(
            sound=next(iter(sounds), None) if card.tags is not None or not reason else None,
            scenes=ranked(tree.scenes, labels @ tree.label_to_scene) if card.names_scenes else {},
            sounds=sounds,
            codes=codes,
            windows=windows,
            warnings=(*stream.warnings, *self._remarks(answer.name, reason)),
            duration_s=stream.level.duration_s,
            rate_hz=stream.level.rate_hz,
            path=stream.name,
            decode=partial(network.decode, seed=seed),
            seed=seed,
            calibration=card.calibration,
            recorded_at=stream.recorded_at,
            groups=ranked(tree.groups, labels @ tree.label_to_group),
            group_of_scene=tree.group_of_scene,
            shares=self.shares,
            has_words=card.tags is not None,
            certainty=None if reason else self._certainty(answer),
            **self._place(answer, reason),
        )

    @property
    def shares(self) -> dict[str, float]:
        """The share of the time for which each thing was answered, `unknown` among them, the longest first."""
        total_s = sum(time.lasted_s for time in self._times.values())
        order = sorted(self._times.items(), key=lambda item: -item[1].lasted_s)
        return {name: time.lasted_s / total_s for name, time in order}

    def _decide(self, labels: np.ndarray) -> Answer:
        """The answer of those windows that have one, of whose labels the mean is `labels` (N,).

        Where there are groups: the group that was heard longest, and the scene in it that was answered for at least
        half of that time. A mean of windows that are each sure of something else is sure of nothing.
        """
        tree = self._tree
        if not tree.groups:
            return tree.answer(labels)
        lasted_s: defaultdict[str, float] = defaultdict(float)
        for name, time in self._times.items():
            if name != UNKNOWN:
                lasted_s[tree.group_of_scene.get(name, name)] += time.lasted_s
        means = ranked(tree.groups, labels @ tree.label_to_group)
        group = max(lasted_s, key=lambda name: (lasted_s[name], means[name]))
        own = [scene for scene in tree.scenes if tree.group_of_scene[scene] == group]
        scene = max(own, key=lambda name: self._times[name].lasted_s if name in self._times else 0)
        if scene in self._times and self._times[scene].lasted_s >= lasted_s[group] / 2:
            return tree.scene_answer(labels, scene)
        return tree.group_answer(labels, group)

    def _certainty(self, answer: Answer) -> float:
        """How sure the model was while it gave the answer; of a group, or of what no window gave, on the whole."""
        time = None if answer.within else self._times.get(answer.name)
        return time.certainty / time.lasted_s if time else answer.probability

    def _all_sounds(self, labels: np.ndarray) -> dict[str, float]:
        """Labels that are sounds with their mean probability, or the words of tags with how much of them was heard:
        their probability over all of the time, none where they were not reported."""
        if self._card.tags is None:
            return ranked(self._card.labels, labels) if self._card.label_kind == "sound" else {}
        total_s = sum(time.lasted_s for time in self._times.values())
        order = sorted(self._words_s.items(), key=lambda item: -item[1])
        return {word: value / total_s for word, value in order}

    def _remarks(self, answer: str, reason: str) -> list[str]:
        """A sentence where the recording holds something beside its answer."""
        others = {name: share for name, share in self.shares.items() if name != UNKNOWN}
        if reason:
            # One window of an hour is news where nothing else is: the loud minute.
            found = []
            for name, share in list(others.items())[:MOST_REMARKED]:
                # Windows that overlap are longer together than the recording.
                time = self._times[name]
                lasted_s = min(time.lasted_s, share * self._end_s)
                found.append(f"{name} for {lasting(lasted_s)} from {clock(time.first_s)}")
            return [f"{reason} for most of the time, but {either(found, 'and')}"] if found else []
        found = [name for name, share in others.items() if share >= WORTH_SAYING or name == answer]
        groups = {self._tree.group_of_scene.get(name) for name in found}
        found = [name for name in found if name not in groups]  # a tram is no second thing beside transport
        if len(found) < 2:
            return []
        named = [f"{name} {percent(others[name])} of the time" for name in found]
        kind = "scenes" if self._card.names_scenes else "sounds"
        return [f"holds several {kind}: {', '.join(named)}"]


def ranked(names: tuple[str, ...], probabilities: np.ndarray) -> dict[str, float]:
    """Names with their probabilities, from the highest; equal ones in the order of the names."""
    order = np.argsort(-probabilities, kind="stable")
    return {names[i]: float(probabilities[i]) for i in order}
