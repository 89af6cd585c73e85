"""A scene where it is sure, else its group."""

from typing import Any

import numpy as np
import pytest

from avgan.runtime.bundle import Calibration, Card
from avgan.runtime.tree import Tree
from avgan.runtime.wording import answered

GROUPS = {"bus": "transport", "metro": "transport", "tram": "transport", "park": "outdoor"}


def tree(least_probability: float = 0.5, **changes: Any) -> Tree:
    error = {"value": 0.03, "interval_95": [0.02, 0.05], "num_bins": 10}
    fitted = Calibration(
        num_clips=10,
        num_sources=10,
        temperature=1,
        likelihood=(1, 1),
        error_before=error,
        error_after=error,
        least_probability=least_probability,
    )
    card = {
        "format": 2,
        "name": "x",
        "version": "1",
        "labels": list(GROUPS),
        "label_kind": "scene",
        "group_of_scene": GROUPS,
        "sample_rate_hz": 16_000,
        "window_s": 1,
        "calibration": fitted,
        "sha256": {},
    }
    return Tree(Card.model_validate(card | changes))


@pytest.mark.parametrize(
    ("labels", "text", "group", "probability"),
    [
        ([0.1, 0.2, 0.6, 0.1], "tram", "transport", 0.6),
        ([0.1, 0.3, 0.4, 0.2], "transport: tram or metro", "transport", 0.8),
        ([0.25, 0.3, 0.35, 0.1], "transport: tram, metro or bus", "transport", 0.9),
        ([0.05, 0.15, 0.45, 0.35], "transport: likely tram", "transport", 0.65),
        # The most probable scene is not of the most probable group; none is sure.
        ([0.2, 0.2, 0.2, 0.4], "transport: bus, metro or tram", "transport", 0.6),
        ([0.05, 0.1, 0.3, 0.55], "park", "outdoor", 0.55),
    ],
)
def test_a_scene_when_it_is_sure_else_its_group(labels: list[float], text: str, group: str, probability: float) -> None:
    found = tree().answer(np.array(labels))
    assert answered(found.name, found.within) == text
    assert found.group == group
    assert found.probability == pytest.approx(probability)


def test_without_groups_or_calibration_it_is_always_the_scene() -> None:
    labels = np.array([0.1, 0.3, 0.4, 0.2])
    for changes in ({"group_of_scene": None}, {"calibration": None}):
        found = tree(**changes).answer(labels)
        assert (found.name, found.within) == ("tram", ())


def test_sounds_without_places_answer_with_themselves() -> None:
    found = tree(group_of_scene=None, label_kind="sound").answer(np.array([0.1, 0.2, 0.6, 0.1]))
    assert (found.name, found.group) == ("tram", "")


def test_likely_scenes_go_along_the_tree() -> None:
    error = {"value": 0.03, "interval_95": [0.02, 0.05], "num_bins": 10}
    fitted = Calibration(
        num_clips=10,
        num_sources=10,
        temperature=1,
        likelihood=(1, 1),
        error_before=error,
        error_after=error,
        needed=(0.2,) * 99,
    )
    scenes = {"tram": 0.3, "park": 0.25, "metro": 0.22, "bus": 0.21}
    assert fitted.likely(scenes, 0.9) == tuple(scenes)
    assert fitted.likely(scenes, 0.9, GROUPS) == ("transport", "park")
    # A part of a group stays as it is, and so does a group of one.
    assert fitted.likely(scenes | {"bus": 0.1}, 0.9, GROUPS) == ("tram", "park", "metro")
