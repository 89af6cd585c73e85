"""Shares by group, against values worked out by hand or by scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import log_loss as oracle

from avgan.evaluation.metrics import class_average, log_loss, share, shares_by

CORRECT = np.array([True, True, False, True])
SOURCES = ["a", "a", "b", "c"]


def test_a_share_knows_its_interval_and_how_much_it_rests_on() -> None:
    found = share(CORRECT, SOURCES)
    assert (found["accuracy"], found["num_clips"], found["num_sources"]) == (0.75, 4, 3)
    low, high = found["interval_95"]
    assert low == 0 < 0.75 < high == 1


def test_one_source_has_no_interval() -> None:
    assert share(CORRECT, ["a"] * 4)["interval_95"] is None


def test_sources_that_err_together_widen_the_interval(rng: np.random.Generator) -> None:
    """Clips of one location are right or wrong together: as if there were ten clips, not a thousand."""
    correct = np.repeat(rng.random(10) < 0.7, 100)
    together = share(correct, [str(number) for number in np.repeat(np.arange(10), 100)])
    apart = share(correct, [str(number) for number in range(1000)])

    def width(found: dict) -> float:
        return float(np.diff(found["interval_95"])[0])

    assert width(together) > 5 * width(apart)


def test_groups_hold_each_clip_once() -> None:
    found = shares_by(["x", "y", "x", "x"], CORRECT, SOURCES)
    assert list(found) == ["x", "y"]
    assert [part["num_clips"] for part in found.values()] == [3, 1]
    assert [part["accuracy"] for part in found.values()] == [pytest.approx(2 / 3), 1.0]


def test_mean_over_classes_and_log_loss_equal_scikit_learns(rng: np.random.Generator) -> None:
    targets = rng.integers(3, size=200)
    probabilities = rng.dirichlet(np.ones(3), size=200)
    answers = probabilities.argmax(1)
    assert class_average(targets, answers == targets) == pytest.approx(
        balanced_accuracy_score(targets, answers)
    )
    assert log_loss(targets, probabilities) == pytest.approx(oracle(targets, probabilities))
    assert np.isfinite(log_loss(np.array([0]), np.array([[0.0, 1.0]])))
