"""Retrieval: the right photograph first, ranks as counted by hand, and chance as it really falls out."""

import numpy as np
import pytest

from avgan.evaluation.pictures.retrieval import chance, rank_of_first_right


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
    ranks = [
        int(rank_of_first_right(query, np.array([scene]), photographs, scenes)[0])
        for scene in range(3)
    ]
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
