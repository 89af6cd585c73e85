"""What is heard beside the scene, in a few readable words: "speech, footsteps, traffic".

Shapes: B windows, M tags, W words.
"""

import numpy as np

from avgan.runtime.bundle import Tags
from avgan.runtime.vocabulary import UNTOLD, vocabulary, word_for

MOST_WORDS = 5
"""In a window: what a listener names of ten seconds of a street; a longer list is read by nobody."""


class Listener:
    """Turns the probabilities of a bundle's tags into words."""

    def __init__(self, tags: Tags) -> None:
        words = [word_for(name) for name in tags.names]
        self.words = tuple(dict.fromkeys(word for word in words if word != UNTOLD))
        """(W,) all that may be told."""
        thresholds = np.array(tags.thresholds)
        self._thresholds = np.broadcast_to(thresholds, len(words))
        # Each told tag's place among the words.
        self._told = np.array([word != UNTOLD for word in words])
        self._place = np.array([self.words.index(word) for word in words if word != UNTOLD], int)
        self._parents = vocabulary().parents

    def hear(self, tags: np.ndarray) -> list[dict[str, float]]:
        """tags (B, M) in [0, 1] -> for each window at most `MOST_WORDS` words with their probabilities, highest first.

        A word is told where a tag of it reaches its threshold, with the highest probability of those that do, unless a
        more exact one is told: no "animal" beside "dog".
        """
        reached = np.where(tags >= self._thresholds, tags, 0.0)[:, self._told]
        heard = np.zeros((len(tags), len(self.words)))
        np.maximum.at(heard.T, self._place, reached.T)
        return [self._choose(row) for row in heard]

    def _choose(self, heard: np.ndarray) -> dict[str, float]:
        found = {self.words[place]: float(heard[place]) for place in np.flatnonzero(heard > 0)}
        general = {parent for word in found for parent in self._parents.get(word, ())}
        exact = [(word, value) for word, value in found.items() if word not in general]
        return dict(sorted(exact, key=lambda pair: -pair[1])[:MOST_WORDS])
