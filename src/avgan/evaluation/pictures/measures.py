"""Measures of sets of pictures, by features of a network: likeness to photographs, variety, and retrieval.

- FID and KID: how alike two sets are as a whole. They say nothing of single pictures and compare only where the same
  network saw the same number of pictures.
- `distinct`, `effective_number`, `distance_within`: how many different pictures there are. A kind is a group of
  photographs; a picture is of the kind with the nearest mean; the effective number is exp of the entropy of the kinds.
- `rank_of_first_right`: whether an imagined feature map lies near photographs of the right scene.

Shapes: M pictures or queries, P photographs, C features, G groups.
"""

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import normalize

from avgan.metrics import interval_of, numbered, resampled

NUM_BLOCKS = 8
"""Of pictures, from which the error of the kernel distance is taken: fewer say little of it, more are too small."""
CHUNK = 256
"""Queries at once: distances to all photographs fit into memory."""
NUM_RESAMPLES = 1_000
"""Of labels of a few pictures: they take a second."""


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2) of two Gaussians fitted to features (M, C) (Heusel et al. 2017).

    It is larger the fewer pictures there are, so that both sides should always have the same number.
    """
    shift = one.mean(0) - other.mean(0)
    covariances = [np.atleast_2d(np.cov(side, rowvar=False)) for side in (one, other)]
    # the trace of the root of S1 S2 is that of the symmetric S1^1/2 S2 S1^1/2, whose eigenvalues are real
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ covariances[1] @ root)
    traces = sum(float(np.trace(covariance)) for covariance in covariances)
    return float(shift @ shift) + traces - 2.0 * float(np.sqrt(cross.clip(min=0.0)).sum())


def kernel_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Squared maximum mean discrepancy of features (M, C) under (x y / C + 1)^3, unbiased (Binkowski et al. 2018).

    Near zero, and as often below as above it, for two samples of the same pictures.
    """

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1.0) ** 3

    def without_self(values: np.ndarray) -> float:
        return float((values.sum() - np.trace(values)) / (len(values) * (len(values) - 1)))

    within = without_self(kernel(one, one)) + without_self(kernel(other, other))
    return within - 2.0 * float(kernel(one, other).mean())


def kernel_distance_with_error(
    one: np.ndarray, other: np.ndarray, *, num_blocks: int = NUM_BLOCKS, seed: int = 0
) -> tuple[float, float]:
    """The kernel distance of all, and its standard error from blocks, which share no picture and so err apart."""
    rng = np.random.default_rng(seed)
    parts = [np.array_split(rng.permutation(len(side)), num_blocks) for side in (one, other)]
    values = [kernel_distance(one[a], other[b]) for a, b in zip(*parts, strict=True)]
    return kernel_distance(one, other), float(np.std(values, ddof=1)) / num_blocks**0.5


def distinct(pictures: np.ndarray) -> float:
    """Share of different ones among pictures (M, ...) of integers."""
    return len({picture.tobytes() for picture in pictures}) / len(pictures)


def kinds_of(photographs: np.ndarray, num_kinds: int, *, seed: int = 0) -> np.ndarray:
    """The means (G, C) of groups of like photographs, by their features (M, C)."""
    means: np.ndarray = KMeans(num_kinds, n_init=4, random_state=seed).fit(photographs).cluster_centers_
    return means


def effective_number(features: np.ndarray, kinds: np.ndarray) -> float:
    """exp of the entropy of the kinds (G, C) that features (M, C) belong to, between 1 and min(M, G)."""
    share = np.bincount(pairwise_distances_argmin(features, kinds)) / len(features)
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def mean_distance(features: np.ndarray) -> float:
    """Mean Euclidean distance between two different ones of features (M, C); nan of a single one."""
    return float(pdist(features).mean()) if len(features) > 1 else float("nan")


def distance_within(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean distance between the pictures of each label that has two or more, in the order of the labels."""
    groups = [features[labels == label] for label in np.unique(labels)]
    return np.array([mean_distance(group) for group in groups if len(group) > 1])


def distance_interval(features: np.ndarray, labels: np.ndarray, sources: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of `distance_within`: a bootstrap over whole sources (M,).

    A picture that was sampled twice is no pair with itself.
    """
    source = numbered(sources)
    times = resampled(source.max() + 1, NUM_RESAMPLES)[:, source].astype(float)
    total, num_labels = np.zeros((2, NUM_RESAMPLES))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        often = times[:, own]
        distances = np.linalg.norm(features[own][:, None] - features[own][None], axis=2)
        pairs = often.sum(1) ** 2 - (often**2).sum(1)
        there = pairs > 0
        total[there] += ((often @ distances) * often).sum(1)[there] / pairs[there]
        num_labels += there
    if not num_labels.any():
        return float("nan"), float("nan")
    some = num_labels > 0
    return interval_of(total[some] / num_labels[some], float(distance_within(features, labels).mean()))


def rank_of_first_right(
    queries: np.ndarray, targets: np.ndarray, photographs: np.ndarray, scenes: np.ndarray
) -> np.ndarray:
    """How many photographs lie nearer than the nearest one of the right scene, (M,).

    queries (M, C) with scene numbers targets (M,); photographs (P, C) with scene numbers scenes (P,). The distance is
    the angle after the mean photograph is subtracted: imagined maps are paler than those of photographs, and by plain
    distance all would lie near the same few pale ones.
    """
    mean = photographs.mean(0)
    directions = normalize(photographs - mean)
    ranks = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), CHUNK):
        part = slice(start, start + CHUNK)
        closeness = normalize(queries[part] - mean) @ directions.T
        right = targets[part][:, None] == scenes[None]
        best = np.where(right, closeness, -np.inf).max(1)
        ranks[part] = (closeness > best[:, None]).sum(1)
    return ranks


def chance(targets: np.ndarray, scenes: np.ndarray, k: int) -> float:
    """How often k photographs sampled blindly hold one of the right scene, the mean over targets (M,)."""
    num_all = len(scenes)
    sizes = np.array([(scenes == target).sum() for target in targets])
    taken = np.arange(min(k, num_all))
    wrong = np.maximum(num_all - sizes[:, None] - taken, 0) / (num_all - taken)
    return float(1.0 - wrong.prod(1).mean())
