"""How many different pictures there are: collapse seen from three sides.

- `distinct`: the share of pictures that are not the same as another, number by number.
- `effective_number`: how many kinds of pictures occur. Kinds are groups of photographs; a picture is of the kind whose
  middle is nearest. It is exp of the entropy of the kinds: 1 when all pictures are of one, all kinds when they are
  equally common.
- `distance_within`: how far the pictures of one label are from each other.

Shapes: M pictures, C features, G groups.
"""

import numpy as np


def distinct(pictures: np.ndarray) -> float:
    """Share of different ones among pictures (M, ...) of integers."""
    return len({picture.tobytes() for picture in pictures}) / len(pictures)


def kinds_of(photographs: np.ndarray, num_kinds: int, *, seed: int = 0) -> np.ndarray:
    """The middles (G, C) of groups of like photographs, by their features (M, C)."""
    from sklearn.cluster import KMeans

    middles: np.ndarray = (
        KMeans(num_kinds, n_init=4, random_state=seed).fit(photographs).cluster_centers_
    )
    return middles


def effective_number(features: np.ndarray, middles: np.ndarray) -> float:
    """exp of the entropy of the kinds (G, C) that features (M, C) belong to, between 1 and min(M, G)."""
    kind = nearest(features, middles)
    share = np.bincount(kind, minlength=len(middles)) / len(features)
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def nearest(features: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """The nearest of middles (G, C) to each of features (M, C), (M,)."""
    # |x - m|^2 without |x|^2, which is the same for all middles
    answer: np.ndarray = (np.square(middles).sum(1) - 2.0 * features @ middles.T).argmin(1)
    return answer


def mean_distance(features: np.ndarray) -> float:
    """Mean Euclidean distance between two different ones of features (M, C); nan of a single one."""
    if len(features) < 2:
        return float("nan")
    squares = np.square(features).sum(1)
    squared = squares[:, None] + squares[None] - 2.0 * features @ features.T
    np.fill_diagonal(squared, 0.0)
    distances = np.sqrt(squared.clip(min=0.0))
    return float(distances.sum() / (len(features) * (len(features) - 1)))


def distance_within(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean distance between the pictures of each label that has two or more, in the order of the labels."""
    groups = [features[labels == label] for label in np.unique(labels)]
    return np.array([mean_distance(group) for group in groups if len(group) > 1])


def distance_interval(
    features: np.ndarray, labels: np.ndarray, sources: np.ndarray, *, num_draws: int = 1_000
) -> tuple[float, float]:
    """95 % interval of the mean of `distance_within`, drawing whole sources (M,) with replacement.

    A picture that was drawn twice is no pair with itself. A thousand draws of labels of a few pictures take a second.
    """
    _, source = np.unique(sources, return_inverse=True)
    rng = np.random.default_rng(0)
    drawn = rng.integers(source.max() + 1, size=(num_draws, source.max() + 1))
    times = np.stack([np.bincount(draw, minlength=source.max() + 1) for draw in drawn])[:, source]
    total, num_labels = np.zeros(num_draws), np.zeros(num_draws)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        often = times[:, own].astype(float)
        distances = np.linalg.norm(features[own][:, None] - features[own][None], axis=2)
        pairs = often.sum(1) ** 2 - (often**2).sum(1)
        there = pairs > 0
        total[there] += ((often @ distances) * often).sum(1)[there] / pairs[there]
        num_labels += there
    means = total[num_labels > 0] / num_labels[num_labels > 0]
    if not len(means):
        return float("nan"), float("nan")
    low, high = np.quantile(means, (0.025, 0.975))
    value = float(distance_within(features, labels).mean())  # lies inside
    return min(float(low), value), max(float(high), value)
