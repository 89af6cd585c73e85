"""What a method reached: all of its answers together, over folds and seeds.

Shapes: M clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avgan import metrics
from avgan.evaluation.comparison.answers import Answers

CHOSEN = "†"
"""Marks figures of folds that a choice was made on."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """A method on all clips that it answered; of several seeds the mean."""

    folds: np.ndarray
    """(M,) name of the fold of each clip."""
    clip_ids: np.ndarray
    sources: np.ndarray
    right: np.ndarray
    """(M,) share of the seeds that named it rightly."""
    by_seed: tuple[float, ...]
    """Accuracy of each seed, over the folds that all seeds have answered; empty where there are none."""

    @classmethod
    def of(cls, answers: Sequence[Answers]) -> "Outcome":
        """Of the answers of one method."""
        seeds: dict[str, dict[int | None, np.ndarray]] = {}
        first: dict[str, Answers] = {}
        for one in answers:
            first.setdefault(one.fold, one)
            seeds.setdefault(one.fold, {})[one.seed] = one.correct
        kept = list(first.values())
        everywhere = {seed for fold in seeds.values() for seed in fold}
        common = [fold for fold in seeds.values() if set(fold) == everywhere]
        return cls(
            np.concatenate([[one.fold] * len(one.clip_ids) for one in kept]),
            np.concatenate([np.asarray(one.clip_ids) for one in kept]),
            np.concatenate([np.asarray(one.sources) for one in kept]),
            np.concatenate([np.mean(list(seeds[one.fold].values()), axis=0) for one in kept]),
            tuple(
                float(np.mean([fold[seed].mean() for fold in common])) for seed in sorted(everywhere, key=str) if common
            ),
        )

    @property
    def by_fold(self) -> dict[str, float]:
        return {str(fold): float(self.right[self.folds == fold].mean()) for fold in dict.fromkeys(self.folds.tolist())}

    @property
    def deviation_over_folds(self) -> float | None:
        return metrics.mean_and_deviation(list(self.by_fold.values()))[1]

    def share(self, inside: np.ndarray | None = None) -> dict[str, Any]:
        """Accuracy with its interval, of all clips or some (M,) bool."""
        chosen = np.ones(len(self.right), bool) if inside is None else inside
        right, sources, folds = self.right[chosen], self.sources[chosen], self.folds[chosen]
        return {
            "accuracy": metrics.mean_over_folds(right, folds),
            "interval_95": list(metrics.bootstrap_interval(right, sources, folds)),
            "num_clips": int(chosen.sum()),
        }
