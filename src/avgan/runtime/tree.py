"""From the probabilities of labels to an answer: a scene where it is sure, else the group that it belongs to.

Shapes: N labels, S scenes, G groups.
"""

from dataclasses import dataclass

import numpy as np

from avgan.runtime.bundle import Card

MOST_WITHIN = 3
WITHIN_SHARE = 0.5
"""Scenes named within a group are at least half as probable as its first, and at most three: further ones are not what
anybody would bet on, and "or" is read of two or three."""


@dataclass(frozen=True)
class Answer:
    """What is answered: `name` is a scene, a group, or for a model without scenes a sound.

    `group` is that of the scene, or the group itself, empty where there are none. `within`: the likely scenes of a
    group that is answered, from the most probable; empty where a scene is.
    """

    name: str
    group: str
    within: tuple[str, ...]
    probability: float


class Tree:
    """Labels, their scenes, and the groups of these."""

    def __init__(self, card: Card) -> None:
        self.scenes = tuple(sorted(set(card.scenes)))
        """(S,)"""
        self.group_of_scene = card.group_of_scene or {}
        self.groups = tuple(sorted(set(self.group_of_scene.values())))
        """(G,)"""
        self.label_to_scene = _membership(card.scenes, self.scenes)
        """(N, S) which label counts for which scene"""
        own = tuple(self.group_of_scene.get(scene, "") for scene in card.scenes)
        self.label_to_group = _membership(own, self.groups)
        """(N, G)"""
        self._least = card.calibration.least_probability if card.calibration else 0.0

    def answer(self, labels: np.ndarray) -> Answer:
        """The answer for probabilities of labels (N,)."""
        if self.groups and labels.max() < self._least:
            return self.group_answer(labels, self.groups[int((labels @ self.label_to_group).argmax())])
        return self.scene_answer(labels, self.scenes[int((labels @ self.label_to_scene).argmax())])

    def scene_answer(self, labels: np.ndarray, scene: str) -> Answer:
        """A scene as the answer."""
        probability = float((labels @ self.label_to_scene)[self.scenes.index(scene)])
        return Answer(scene, self.group_of_scene.get(scene, ""), (), probability)

    def group_answer(self, labels: np.ndarray, group: str) -> Answer:
        """A group as the answer, with its likely scenes."""
        probability = float((labels @ self.label_to_group)[self.groups.index(group)])
        scenes = labels @ self.label_to_scene
        own = [at for at, scene in enumerate(self.scenes) if self.group_of_scene[scene] == group]
        own.sort(key=lambda at: -scenes[at])
        likely = [at for at in own if scenes[at] >= WITHIN_SHARE * scenes[own[0]]]
        return Answer(group, group, tuple(self.scenes[at] for at in likely[:MOST_WITHIN]), probability)


def _membership(names: tuple[str, ...], among: tuple[str, ...]) -> np.ndarray:
    """(names, among) 1 where they are the same."""
    return np.array([[name == one for one in among] for name in names], np.float64).reshape(len(names), len(among))
