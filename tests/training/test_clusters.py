"""Clusters: typical pictures are found, like sounds keep to like pictures, and nobody is left without one."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avgan.training.clusters import NUM_PICTURES, assign_clusters, group_pictures, group_sounds, typicality

NUM_SCENES = 3
NUM_HEARD = 5


@dataclass(frozen=True)
class World:
    """Pictures and recordings with planted scenes and clusters, in the form `assign_clusters` takes."""

    features: torch.Tensor
    """(M, 2, 16, 16)"""
    scene_of_image: np.ndarray
    embeddings: np.ndarray
    labels: np.ndarray
    group_of_sound: np.ndarray
    """The planted group of each recording within its label."""
    image_choices: tuple[np.ndarray, ...]

    def assign(self, *, typical: float = 1.0, num_clusters: int = 0, seed: int = 0) -> list[set[int]]:
        """The pictures of each recording."""
        assigned = assign_clusters(
            self.image_choices,
            features=self.features,
            scene_of_image=self.scene_of_image,
            embeddings=self.embeddings,
            labels=self.labels,
            typical=typical,
            num_clusters=num_clusters,
            seed=seed,
        )
        for choices in assigned:
            assert len(set(choices.tolist())) == len(choices) > 0
        return [set(choices.tolist()) for choices in assigned]


def make_world(
    seed: int, *, num_pictures: int = 40, num_sounds: int = 8, labels_of_scene: tuple[int, ...] = (1, 2, 1)
) -> World:
    """Scenes that are bright in thirds of their own; recordings of a label in two groups far apart."""
    rng = np.random.default_rng(seed)
    scene_of_image = rng.permutation(np.repeat(np.arange(NUM_SCENES), num_pictures))
    maps = 0.3 * rng.standard_normal((len(scene_of_image), 2, 16, 16))
    for image, scene in enumerate(scene_of_image):
        maps[image, :, 5 * scene : 5 * scene + 5] += 1.0
    scene_of_label = rng.permutation(np.repeat(np.arange(NUM_SCENES), labels_of_scene))
    labels = rng.permutation(np.repeat(np.arange(len(scene_of_label)), num_sounds))
    group_of_sound = rng.integers(2, size=len(labels))
    embeddings = 0.1 * rng.standard_normal((len(labels), NUM_HEARD)) + 10.0 * group_of_sound[:, None]
    choices = [np.flatnonzero(scene_of_image == scene) for scene in range(NUM_SCENES)]
    return World(
        features=torch.from_numpy(maps.astype(np.float32)).half(),
        scene_of_image=scene_of_image,
        embeddings=embeddings.astype(np.float32),
        labels=labels,
        group_of_sound=group_of_sound,
        image_choices=tuple(choices[scene_of_label[label]] for label in labels),
    )


# Typical pictures


def test_an_odd_picture_is_less_typical_than_the_others_of_its_scene() -> None:
    world = make_world(0)
    maps = world.features.clone()
    odd = np.flatnonzero(world.scene_of_image == 0)[0]
    maps[odd] = maps[world.scene_of_image == 1][0]
    odds = typicality(maps, world.scene_of_image, num_scenes=NUM_SCENES)
    assert odds.shape == (len(maps),)
    assert np.isfinite(odds).all()
    assert odds[odd] == odds.min() < 0
    assert (np.delete(odds, odd) > 0).mean() > 0.9


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10)
def test_typical_pictures_are_those_that_look_like_their_scene(seed: int) -> None:
    """A part of each scene's pictures drifts towards the mean of all: none of it is chosen."""
    world = make_world(seed)
    rng = np.random.default_rng(seed)
    drifting = rng.random(len(world.features)) < 0.4
    maps = world.features.float()
    middle = torch.stack([maps[world.scene_of_image == scene].mean(0) for scene in range(3)])
    strays = 0.85 * (middle.mean(0) - middle[world.scene_of_image])
    world = replace(world, features=maps + strays * torch.from_numpy(drifting)[:, None, None, None])
    own_mean = middle[world.scene_of_image]
    distance = (world.features - own_mean).flatten(1).norm(dim=1).numpy()
    for choices, all_choices in zip(world.assign(typical=0.2), world.image_choices, strict=True):
        chosen = list(choices)
        assert len(chosen) == 8  # a fifth of 40
        assert not drifting[chosen].any()
        assert distance[chosen].mean() < distance[all_choices].mean()


@given(seed=st.integers(0, 10_000), typical=st.floats(0.01, 1.0))
@settings(max_examples=10)
def test_without_clusters_all_recordings_of_a_scene_share_its_typical_pictures(seed: int, typical: float) -> None:
    world = make_world(seed)
    assigned = world.assign(typical=typical)
    of_scene: dict[int, set[int]] = {}
    for choices, before in zip(assigned, world.image_choices, strict=True):
        scene = int(world.scene_of_image[before[0]])
        assert choices == of_scene.setdefault(scene, choices)
        assert len(choices) == max(1, round(typical * len(before)))
    assert len(of_scene) == NUM_SCENES


def test_a_smaller_share_is_part_of_a_larger_one_and_all_is_all() -> None:
    world = make_world(3)
    few, many, everything = (world.assign(typical=share) for share in (0.1, 0.5, 1.0))
    assert all(one < other for one, other in zip(few, many, strict=True))
    assert everything == [set(choices.tolist()) for choices in world.image_choices]


def test_a_number_that_is_the_same_in_all_pictures_does_not_matter() -> None:
    """A channel of codes that died, or black borders of all pictures."""
    world = make_world(4)
    maps = world.features.float()
    dead = torch.cat((maps, torch.full_like(maps[:, :1], 0.3)), 1)
    odds = typicality(maps, world.scene_of_image, num_scenes=NUM_SCENES)
    with_dead = typicality(dead, world.scene_of_image, num_scenes=NUM_SCENES)
    np.testing.assert_allclose(with_dead, odds, rtol=1e-3, atol=1e-3)


# Clusters


@given(
    seed=st.integers(0, 10_000),
    typical=st.floats(0.02, 1.0),
    num_clusters=st.integers(1, 5),
    num_pictures=st.integers(1, 30),
    num_sounds=st.integers(1, 6),
)
@settings(max_examples=25)
def test_everybody_keeps_pictures_of_the_own_scene_and_labels_do_not_share_them(
    seed: int, typical: float, num_clusters: int, num_pictures: int, num_sounds: int
) -> None:
    """However few pictures and recordings there are; labels share only where there are fewer pictures than labels."""
    world = make_world(seed, num_pictures=num_pictures, num_sounds=num_sounds, labels_of_scene=(1, 3, 1))
    assigned = world.assign(typical=typical, num_clusters=num_clusters)
    typical_ones = world.assign(typical=typical)
    for choices, allowed in zip(assigned, typical_ones, strict=True):
        assert choices <= allowed
        assert len(choices) <= NUM_PICTURES
    of_label = {
        int(label): set().union(*(assigned[row] for row in np.flatnonzero(world.labels == label)))
        for label in np.unique(world.labels)
    }
    for one, own in of_label.items():
        for other, others in of_label.items():
            if one < other and max(1, round(typical * num_pictures)) >= 3:
                assert own.isdisjoint(others), (one, other)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10)
def test_like_sounds_share_a_cluster_and_unlike_ones_do_not(seed: int) -> None:
    world = make_world(seed)
    assigned = world.assign(typical=0.5, num_clusters=2)
    for one, its_choices in enumerate(assigned):
        for other, other_choices in enumerate(assigned):
            if world.labels[one] != world.labels[other]:
                continue
            if world.group_of_sound[one] == world.group_of_sound[other]:
                # a label whose recordings are all alike is divided in two all the same
                alone = world.group_of_sound[world.labels == world.labels[one]]
                assert its_choices == other_choices or len(set(alone)) == 1
            else:
                assert its_choices.isdisjoint(other_choices)


def test_clusters_repeat_with_the_seed_and_leave_global_randomness_alone() -> None:
    world = make_world(5)
    np.random.seed(3)
    expected = np.random.rand(2)
    np.random.seed(3)
    assigned = world.assign(typical=0.5, num_clusters=2, seed=1)
    assert (np.random.rand(2) == expected).all()
    assert assigned == world.assign(typical=0.5, num_clusters=2, seed=1)
    others = [world.assign(typical=0.5, num_clusters=2, seed=seed) for seed in range(2, 6)]
    assert any(other != assigned for other in others)


def test_a_cluster_is_the_most_typical_picture_left_and_those_most_like_it() -> None:
    rng = np.random.default_rng(0)
    planted = rng.permutation(np.repeat(np.arange(3), 3 * NUM_PICTURES))
    points = 5.0 * np.eye(3)[planted] + 0.1 * rng.standard_normal((len(planted), 3))
    left = set(range(len(points)))
    for group in group_pictures(points, 6):
        assert len(group) == NUM_PICTURES
        assert group[0] == min(left)
        assert len(set(planted[group])) == 1
        distance = np.linalg.norm(points - points[group[0]], axis=1)
        left -= set(group.tolist())
        assert distance[group].max() <= distance[sorted(left)].min()


@pytest.mark.parametrize(("num_points", "num_groups"), [(1, 4), (3, 3), (7, 2), (40, 6)])
def test_each_picture_stands_in_one_cluster_at_most(num_points: int, num_groups: int) -> None:
    points = np.random.default_rng(1).standard_normal((num_points, 8))
    groups = group_pictures(points, num_groups)
    assert len(groups) == min(num_points, num_groups)
    chosen = np.concatenate(groups)
    assert len(set(chosen.tolist())) == len(chosen)
    expected = min(NUM_PICTURES, num_points // len(groups))
    assert [len(group) for group in groups] == [expected] * len(groups)


@pytest.mark.parametrize(("num_sounds", "num_groups"), [(1, 1), (2, 5), (5, 1), (9, 3)])
def test_every_sound_has_a_group_that_exists(num_sounds: int, num_groups: int) -> None:
    embeddings = np.random.default_rng(0).standard_normal((num_sounds, 4))
    groups = group_sounds(embeddings, num_groups, seed=0)
    assert groups.shape == (num_sounds,)
    assert set(groups.tolist()) == set(range(min(num_sounds, num_groups)))
