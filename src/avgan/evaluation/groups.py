"""Shares of right answers by group: city, scene, fold; each with the interval that its sources give.

Shapes: M clips.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avgan.evaluation import metrics

Share = dict[str, Any]
"""accuracy, interval_95 (None where there is one source only), num_clips, num_sources."""


def share(correct: np.ndarray, sources: Sequence[str] | np.ndarray) -> Share:
    """The share of `correct` (M,), its interval drawn over the sources (M,)."""
    sources = np.asarray(sources)
    num_sources = len(np.unique(sources))
    return {
        "accuracy": float(correct.mean()),
        "interval_95": metrics.bootstrap_interval(correct, sources) if num_sources > 1 else None,
        "num_clips": len(correct),
        "num_sources": num_sources,
    }


def shares_by(
    names: Sequence[str], correct: np.ndarray, sources: Sequence[str] | np.ndarray
) -> dict[str, Share]:
    """{name: share} of the clips with each of the names (M,), in the order in which they first occur."""
    group, each = np.asarray(names), np.asarray(sources)
    return {
        name: share(correct[group == name], each[group == name]) for name in dict.fromkeys(names)
    }


def class_average(targets: np.ndarray, correct: np.ndarray) -> float:
    """The mean over the classes of their shares, each counting alike. targets, correct (M,)."""
    return float(np.mean([correct[targets == target].mean() for target in np.unique(targets)]))


def log_loss(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean cross-entropy in nats, the first measure of DCASE 2021 task 1B. targets (M,), probabilities (M, N)."""
    of_truth = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(of_truth, np.finfo(float).tiny)).mean())


def group_lines(report: Mapping[str, Any], kinds: Sequence[str]) -> list[str]:
    """A line for each group of these kinds that a report has."""
    found = []
    for kind in kinds:
        for name, part in report.get("groups", {}).get(kind, {}).items():
            interval = part["interval_95"]
            between = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
            found.append(
                f"  {name:<41} {100 * part['accuracy']:5.1f} %{between}, {part['num_clips']} clips"
            )
    return found
