"""Collapse is seen: few kinds, equal pictures, small distances."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from avgan.evaluation.pictures.variety import (
    distance_interval,
    distance_within,
    distinct,
    effective_number,
    kinds_of,
    mean_distance,
    nearest,
)

MIDDLES = 10.0 * np.eye(4)


def test_effective_number_counts_kinds_that_are_equally_common() -> None:
    everything = np.repeat(MIDDLES, 3, axis=0) + 0.1
    assert effective_number(everything, MIDDLES) == pytest.approx(4.0)
    assert effective_number(everything[:3], MIDDLES) == pytest.approx(1.0)
    uneven = np.concatenate((everything[:3], everything[9:10]))
    assert 1.0 < effective_number(uneven, MIDDLES) < 2.0


def test_kinds_are_found_again(rng: np.random.Generator) -> None:
    photographs = np.repeat(MIDDLES, 20, axis=0) + 0.1 * rng.normal(size=(80, 4))
    kinds = kinds_of(photographs, 4)
    assert len(set(nearest(MIDDLES, kinds))) == 4
    np.testing.assert_array_equal(kinds, kinds_of(photographs, 4))


def test_distinct_counts_each_picture_once() -> None:
    pictures = np.zeros((4, 3, 2, 2), np.uint8)
    assert distinct(pictures) == 0.25
    pictures[1] = 1
    assert distinct(pictures) == 0.5


def test_mean_distance_is_that_of_all_pairs(rng: np.random.Generator) -> None:
    features = rng.normal(size=(7, 5))
    assert mean_distance(features) == pytest.approx(pdist(features).mean())
    assert np.isnan(mean_distance(features[:1]))
    assert mean_distance(np.ones((3, 5))) == 0.0


def test_distance_within_looks_at_one_label_at_a_time(rng: np.random.Generator) -> None:
    features = np.concatenate((np.zeros((3, 2)), rng.normal(size=(4, 2)) + 100.0, [[5.0, 5.0]]))
    labels = np.array(["a"] * 3 + ["b"] * 4 + ["alone"])
    within = distance_within(features, labels)
    assert within == pytest.approx([0.0, pdist(features[3:7]).mean()])


def test_pictures_of_one_source_are_drawn_together(rng: np.random.Generator) -> None:
    """Copies of a picture know no more than one: the interval is as wide as that of the sources."""
    source = np.arange(48) // 4
    labels = np.repeat(["a", "b"], 24)
    features = rng.normal(size=(12, 3))[source] + 0.1 * rng.normal(size=(48, 3))
    value = distance_within(features, labels).mean()
    low, high = distance_interval(features, labels, np.arange(48))
    assert low <= value <= high
    low_together, high_together = distance_interval(features, labels, source)
    assert low_together <= value <= high_together
    assert high_together - low_together > 1.5 * (high - low)
