"""Numbers with their uncertainty. The unit of every interval and test is the source, never the clip.

A source is what clips were cut from: a recording, a video, a location. Its clips are right or wrong together, and
statistics that take them for independent are too sure.

Shapes: M items, N labels, S sources, F folds, R resamples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

NUM_RESAMPLES = 2_000
"""Of the bootstrap: the ends of an interval then move by a tenth of its width at most from seed to seed."""
NUM_FLIPS = 19_999
"""Of the permutation test: the smallest probability it can find is 1 / 20,000."""
LARGEST_EXACT = 14
"""Sources with a difference, up to which all 2^S patterns of signs are counted rather than sampled."""
SAME = 1e-9
"""Sums of differences that are equal but for rounding; the smallest real difference is one clip's share."""

Names = Sequence[str] | np.ndarray
Share = dict[str, Any]
"""accuracy, interval_95 (None where there is one source only), num_clips, num_sources."""


def numbered(names: Names) -> np.ndarray:
    """The number of each name (M,) among all, sorted."""
    numbers: np.ndarray = np.unique(names, return_inverse=True)[1]
    return numbers


def fold_weights(num: int, folds: Names | None) -> np.ndarray:
    """The weight of each of `num` items in a mean over folds (M,) of the means in each, (M,), sum 1."""
    if folds is None:
        return np.full(num, 1 / num)
    fold = numbered(folds)
    sizes = np.bincount(fold)
    weights: np.ndarray = 1 / (len(sizes) * sizes[fold])
    return weights


def mean_over_folds(values: np.ndarray, folds: Names | None = None) -> float:
    """The mean over the folds (M,) of the means of `values` (M,) in each; the plain mean where there are none."""
    if folds is None:
        return float(np.mean(values))
    fold = numbered(folds)
    return float(np.mean(np.bincount(fold, weights=values) / np.bincount(fold)))


def resampled(num_sources: int, num: int, seed: int = 0) -> np.ndarray:
    """How often each source is in a sample of as many with replacement, (R, S)."""
    samples = np.random.default_rng(seed).integers(num_sources, size=(num, num_sources))
    return np.stack([np.bincount(sample, minlength=num_sources) for sample in samples])


def interval_of(values: np.ndarray, value: float) -> tuple[float, float]:
    """95 % interval by the values of resamples (R,); the value itself lies inside."""
    low, high = np.quantile(values, (0.025, 0.975))
    return min(float(low), value), max(float(high), value)


def bootstrap_interval(
    values: np.ndarray, sources: Names, folds: Names | None = None, *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> tuple[float, float]:
    """95 % interval of `mean_over_folds(values, folds)`, sampling whole sources (M,) with replacement."""
    values, source = np.asarray(values, float), numbered(sources)
    fold = numbered(np.zeros(len(values)) if folds is None else folds)
    sums, sizes = np.zeros((2, source.max() + 1, fold.max() + 1))
    np.add.at(sums, (source, fold), values)
    np.add.at(sizes, (source, fold), 1)
    times = resampled(len(sums), num_resamples, seed)
    num = times @ sizes
    # a small fold may be missing from a sample, whose mean is then over the others
    of_fold = np.divide(times @ sums, num, out=np.zeros_like(num), where=num > 0)
    return interval_of(of_fold.sum(1) / (num > 0).sum(1), mean_over_folds(values, folds))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; one value has no deviation."""
    array = np.asarray(values)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def paired_test(
    values: np.ndarray, others: np.ndarray, sources: Names, folds: Names | None = None, *, num_flips: int = NUM_FLIPS
) -> float:
    """The probability of a difference at least as large if neither method were better: two-sided, by sign flips.

    `values` and `others` (M,) are what two methods reached on the same items. If they are equally good, which of the
    two is called the first is arbitrary for each source: the sign of its difference may be flipped, all of its clips
    at once. The statistic is the difference of `mean_over_folds`.
    """
    difference = fold_weights(len(values), folds) * (np.asarray(values, float) - others)
    of_source = np.bincount(numbered(sources), weights=difference)
    of_source = of_source[np.abs(of_source) > SAME]
    num = len(of_source)
    least = abs(of_source.sum()) - SAME
    if num <= LARGEST_EXACT:
        signs = 1 - 2 * (np.arange(2**num)[:, None] >> np.arange(num) & 1)
        return float((np.abs(signs @ of_source) >= least).mean())
    signs = np.random.default_rng(0).integers(2, size=(num_flips, num), dtype=np.int8)
    flipped = 2 * (signs @ of_source.astype(np.float64)) - of_source.sum()
    return float((1 + (np.abs(flipped) >= least).sum()) / (1 + num_flips))


def share(correct: np.ndarray, sources: Names) -> Share:
    """The share of `correct` (M,), its interval over the sources (M,)."""
    num_sources = len(np.unique(sources))
    return {
        "accuracy": float(correct.mean()),
        "interval_95": bootstrap_interval(correct, sources) if num_sources > 1 else None,
        "num_clips": len(correct),
        "num_sources": num_sources,
    }


def shares_by(names: Sequence[str], correct: np.ndarray, sources: Names) -> dict[str, Share]:
    """{name: share} of the clips with each of the names (M,), in the order in which they first occur."""
    group, each = np.asarray(names), np.asarray(sources)
    return {name: share(correct[group == name], each[group == name]) for name in dict.fromkeys(names)}


def log_loss(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean cross-entropy in nats, the first measure of DCASE 2021 task 1B. targets (M,), probabilities (M, N)."""
    of_truth = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(of_truth, np.finfo(float).tiny)).mean())
