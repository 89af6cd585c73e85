"""Numbers with their uncertainty.

Shapes: M items, N labels.
"""

import numpy as np


def accuracy(targets: np.ndarray, answers: np.ndarray) -> float:
    """Share of answers (M,) that equal the targets (M,)."""
    return float(np.mean(targets == answers))


def confusion(targets: np.ndarray, answers: np.ndarray, num_labels: int) -> np.ndarray:
    """(N, N) counts: rows are targets, columns answers."""
    counts = np.zeros((num_labels, num_labels), dtype=np.int64)
    np.add.at(counts, (targets, answers), 1)
    return counts


def bootstrap_interval(
    correct: np.ndarray, groups: np.ndarray, *, seed: int = 0, num_draws: int = 2_000
) -> tuple[float, float]:
    """95 % interval of the mean of `correct` (M,), drawing whole groups (M,) with replacement.

    The groups are sources: clips cut from one recording are right or wrong together, and an interval that treats them
    as independent is too narrow.
    """
    _, group = np.unique(groups, return_inverse=True)
    hits = np.bincount(group, weights=correct.astype(float))
    sizes = np.bincount(group)
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(hits), size=(num_draws, len(hits)))
    means = hits[draws].sum(1) / sizes[draws].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def mean_and_deviation(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the deviation of one value is nan."""
    array = np.asarray(values)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else float("nan")


def mcnemar(correct: np.ndarray, other: np.ndarray) -> tuple[int, int, float]:
    """McNemar's exact test of two methods that answered the same items, `correct` and `other` (M,) bool.

    Returns how many the first alone and the other alone had right, and the probability of a division at least as
    uneven if neither were better: two-sided, of the binomial distribution with one half.
    """
    first = int(np.sum(correct & ~other))
    second = int(np.sum(other & ~correct))
    total, fewer = first + second, min(first, second)
    # whole numbers: exact however many there are
    ways, tail = 1, 0
    for count in range(fewer + 1):
        tail += ways
        ways = ways * (total - count) // (count + 1)
    return first, second, min(1.0, 2 * tail / 2**total)
