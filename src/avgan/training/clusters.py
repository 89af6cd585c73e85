"""Which pictures a sound learns from: typical ones, and like pictures for like sounds.

Paired by label, a sound may be shown with any of hundreds of photographs of its place. They have little in common, and
what a generator learns from them is their mean, which is fog. Two remedies, both of the data and none of the networks:

- only the most typical pictures of a scene are shown: those whose layout and colour alone tell the scene;
- the typical pictures are grouped into clusters, the recordings of a label into as many groups, and each group keeps to
  one cluster of pictures. A picture is as arbitrary as before, but no longer a different one each time.

Shapes: M pictures, N recordings, C embedding, D code dimension, S scenes.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

GRID = 4
"""Typicality is measured on maps averaged to GRID x GRID: layout and colour, no detail."""
NUM_PICTURES = 3
"""Pictures of a cluster, where there are enough: those nearest to the middle of the group."""
SMALLEST_SPREAD = 1e-6
"""Numbers that spread less over all pictures are the same everywhere and tell no scene."""


def assign_clusters(
    image_choices: Sequence[np.ndarray],
    *,
    features: Tensor,
    scene_of_image: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray,
    typical: float,
    num_clusters: int,
    seed: int,
) -> tuple[np.ndarray, ...]:
    """The pictures each recording may be shown with from now on.

    image_choices: N arrays of picture numbers below M, the same for all recordings of a scene, as pairing by label has
    them; features (M, D, 16, 16); scene_of_image (M,); embeddings (N, C); labels (N,) label numbers. Labels of one
    scene get different pictures, unless it has fewer than they are.
    """
    odds = typicality(features, scene_of_image, num_scenes=int(scene_of_image.max()) + 1)
    scene_of_label = {
        int(label): int(scene_of_image[choices[0]]) for label, choices in zip(labels, image_choices, strict=True)
    }
    assigned: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(labels)
    for scene in sorted(set(scene_of_label.values())):
        sharing = [label for label, its_scene in sorted(scene_of_label.items()) if its_scene == scene]
        rows = np.flatnonzero(labels == sharing[0])
        choices = image_choices[rows[0]]
        best = choices[np.argsort(-odds[choices], kind="stable")[: max(1, round(typical * len(choices)))]]
        groups = [best]
        if num_clusters:
            points = features[best].float().flatten(1).numpy()
            groups = [best[g] for g in group_pictures(points, num_clusters * len(sharing))]
        for turn, label in enumerate(sharing):
            rows = np.flatnonzero(labels == label)
            own = groups[turn % len(groups) :: len(sharing)] if num_clusters else groups
            for row, group in zip(rows, group_sounds(embeddings[rows], len(own), seed), strict=True):
                assigned[row] = np.sort(own[group])
    return tuple(assigned)


def group_pictures(points: np.ndarray, num_groups: int) -> list[np.ndarray]:
    """Groups of like pictures, indices into points (M, C), which stand in order of typicality.

    A group is the most typical picture that is in no group yet, and its nearest neighbours among those left. Groups
    are smaller than NUM_PICTURES where there are not enough for all, and fewer where there are fewer than groups.
    """
    num_groups = min(num_groups, len(points))
    size = min(NUM_PICTURES, len(points) // num_groups)
    free = np.ones(len(points), dtype=bool)
    groups = []
    for _ in range(num_groups):
        first = int(free.argmax())
        distance = np.where(free, np.square(points - points[first]).sum(1), np.inf)
        group = np.argsort(distance, kind="stable")[:size]
        free[group] = False
        groups.append(group)
    return groups


def group_sounds(embeddings: np.ndarray, num_groups: int, seed: int) -> np.ndarray:
    """The group of each recording, (N,) below `num_groups`, by its embedding (N, C)."""
    if num_groups <= 1 or len(embeddings) <= num_groups:
        return np.arange(len(embeddings)) % max(num_groups, 1)
    from sklearn.cluster import KMeans

    groups: np.ndarray = KMeans(num_groups, n_init=4, random_state=seed).fit_predict(embeddings)
    return groups


def typicality(features: Tensor, targets: np.ndarray, *, num_scenes: int) -> np.ndarray:
    """How surely a linear discriminant of layout and colour puts each picture into its own scene, (M,) log-odds.

    features (M, D, 16, 16), targets (M,). Photographs of a scene differ wildly; those with high values look the way
    the scene looks in a blurred picture, which is all that 16 x 16 codes can draw.
    """
    maps = F.adaptive_avg_pool2d(features.float(), GRID).flatten(1)
    spread = features.float().std((2, 3))
    points = torch.cat((maps, spread), 1).double().numpy()
    points = (points - points.mean(0)) / points.std(0).clip(min=SMALLEST_SPREAD)
    means = np.stack([points[targets == scene].mean(0) for scene in range(num_scenes)])
    within = points - means[targets]
    covariance = within.T @ within / len(points) + 0.1 * np.eye(points.shape[1])
    weights = np.linalg.solve(covariance, means.T)  # (C, S)
    scores = points @ weights - 0.5 * np.einsum("sc,cs->s", means, weights)
    own = scores[np.arange(len(targets)), targets]
    scores[np.arange(len(targets)), targets] = -np.inf
    odds: np.ndarray = own - np.logaddexp.reduce(scores, axis=1)
    return odds
