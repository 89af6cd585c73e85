"""FID and KID against closed forms; collapse shows as few kinds and small distances; retrieval as counted by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.metrics import pairwise_distances_argmin

from avgan.evaluation.pictures.measures import (
    chance,
    distance_interval,
    distance_within,
    distinct,
    effective_number,
    frechet_distance,
    kernel_distance,
    kernel_distance_with_error,
    kinds_of,
    mean_distance,
    rank_of_first_right,
)

MIDDLES = 10.0 * np.eye(4)


def test_frechet_distance_of_two_lines_is_the_closed_form(rng: np.random.Generator) -> None:
    one = rng.normal(0.0, 1.0, (400, 1))
    other = rng.normal(2.0, 3.0, (400, 1))
    means, deviations = zip(*((a.mean(), a.std(ddof=1)) for a in (one, other)), strict=True)
    expected = (means[0] - means[1]) ** 2 + (deviations[0] - deviations[1]) ** 2
    assert frechet_distance(one, other) == pytest.approx(expected)


def test_frechet_distance_takes_the_root_that_scipy_takes(rng: np.random.Generator) -> None:
    from scipy.linalg import sqrtm

    one, other = rng.normal(size=(60, 5)), rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5))
    s1, s2 = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    shift = one.mean(0) - other.mean(0)
    expected = shift @ shift + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    assert frechet_distance(one, other) == pytest.approx(expected)
    assert frechet_distance(other, one) == pytest.approx(expected)


def test_frechet_distance_to_itself_is_nothing_even_with_few_pictures(rng: np.random.Generator) -> None:
    one = rng.normal(size=(10, 30))  # covariance without full rank
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(one, one + 1.0) == pytest.approx(30.0)


def test_kernel_distance_is_the_sum_over_pairs(rng: np.random.Generator) -> None:
    one, other = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within = sum(k(one[i], one[j]) for i in range(4) for j in range(4) if i != j) / 12
    within += sum(k(other[i], other[j]) for i in range(5) for j in range(5) if i != j) / 20
    across = sum(k(a, b) for a in one for b in other) / 20
    assert kernel_distance(one, other) == pytest.approx(within - 2 * across)


def test_kernel_distance_has_no_bias_and_its_error_is_right(rng: np.random.Generator) -> None:
    values, errors = [], []
    for _ in range(60):
        one, other = rng.normal(size=(2, 80, 4))
        value, error = kernel_distance_with_error(one, other)
        values.append(value)
        errors.append(error)
    spread = np.std(values)
    assert abs(np.mean(values)) < 3 * spread / 60**0.5
    assert spread < np.mean(errors) < 4 * spread


def test_kernel_distance_grows_with_the_distance(rng: np.random.Generator) -> None:
    one, other = rng.normal(size=(2, 100, 4))
    near, far = (kernel_distance(one, other + shift) for shift in (0.5, 1.0))
    assert kernel_distance(one, other) < near < far


def test_a_map_like_a_photograph_finds_its_scene_at_once(rng: np.random.Generator) -> None:
    photographs = rng.normal(size=(40, 12))
    scenes = np.arange(40) % 5
    ranks = rank_of_first_right(photographs[:10], scenes[:10], photographs, scenes)
    np.testing.assert_array_equal(ranks, 0)


def test_paleness_changes_nothing(rng: np.random.Generator) -> None:
    photographs, scenes = rng.normal(size=(40, 12)), np.arange(40) % 5
    middle = photographs.mean(0)
    queries, targets = rng.normal(size=(9, 12)), np.arange(9) % 5
    pale = middle + 0.05 * (queries - middle)
    np.testing.assert_array_equal(
        rank_of_first_right(pale, targets, photographs, scenes),
        rank_of_first_right(queries, targets, photographs, scenes),
    )


def test_the_rank_counts_the_wrong_photographs_before() -> None:
    angles = np.deg2rad([0, 10, 20, 120, 240, 359])
    photographs = np.stack((np.cos(angles), np.sin(angles)), 1)
    photographs -= photographs.mean(0)
    scenes = np.array([0, 1, 2, 3, 4, 0])
    query = photographs[:1]
    ranks = [int(rank_of_first_right(query, np.array([scene]), photographs, scenes)[0]) for scene in range(3)]
    assert ranks == [0, 2, 3]


@pytest.mark.parametrize("k", [1, 5, 40])
def test_chance_is_what_blind_draws_reach(rng: np.random.Generator, k: int) -> None:
    scenes = np.array([0] * 2 + [1] * 8 + [2] * 30)
    targets = np.array([0, 1])
    hits = [np.isin(targets, scenes[rng.permutation(40)[:k]]).mean() for _ in range(4_000)]
    assert chance(targets, scenes, k) == pytest.approx(np.mean(hits), abs=0.02)


def test_blind_maps_are_found_as_often_as_chance(rng: np.random.Generator) -> None:
    photographs, scenes = rng.normal(size=(100, 30)), np.arange(100) % 10
    targets = rng.integers(10, size=2_000)
    ranks = rank_of_first_right(rng.normal(size=(2_000, 30)), targets, photographs, scenes)
    assert (ranks < 5).mean() == pytest.approx(chance(targets, scenes, 5), abs=0.06)


def test_effective_number_counts_kinds_that_are_equally_common() -> None:
    everything = np.repeat(MIDDLES, 3, axis=0) + 0.1
    assert effective_number(everything, MIDDLES) == pytest.approx(4.0)
    assert effective_number(everything[:3], MIDDLES) == pytest.approx(1.0)
    uneven = np.concatenate((everything[:3], everything[9:10]))
    assert 1.0 < effective_number(uneven, MIDDLES) < 2.0


def test_kinds_are_found_again(rng: np.random.Generator) -> None:
    photographs = np.repeat(MIDDLES, 20, axis=0) + 0.1 * rng.normal(size=(80, 4))
    kinds = kinds_of(photographs, 4)
    assert len(set(pairwise_distances_argmin(MIDDLES, kinds))) == 4
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


def test_pictures_of_one_source_are_sampled_together(rng: np.random.Generator) -> None:
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
