"""A rival small enough to reason about: the label of the nearest mean of two numbers, loudness and roughness."""

import numpy as np

from avgan.baselines.method import Budget, Card, Clips, Cost
from avgan.errors import DataError

RATE_HZ = 8_000


class Nearest:
    card = Card(
        name="nearest",
        title="Nearest mean | toy",
        source="a test",
        published=50.0,
        follows=("the mean",),
        differs=("all <else>",),
    )

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        for _ in range(budget.plan(3, 1e-6)):
            vectors = describe(clips)
            self.means = np.stack([vectors[clips.targets == label].mean(0) for label in range(len(clips.labels))])
        self.means += 1e-9 * rng.standard_normal(self.means.shape)

    def predict(self, clips: Clips) -> np.ndarray:
        assert (clips.targets == -1).all()
        assert clips.sample_pictures is None
        distances = np.abs(describe(clips)[:, None] - self.means).sum(2)
        weights = np.exp(-100 * distances)
        return weights / weights.sum(1, keepdims=True)

    def cost(self) -> Cost:
        return Cost(self.means.size, self.means.size)


class Guess(Nearest):
    """Knows nothing."""

    card = Card(name="guess", title="Guess", source="a test")

    def predict(self, clips: Clips) -> np.ndarray:
        return np.full((len(clips), len(clips.labels)), 1 / len(clips.labels))


class NeedsPictures(Nearest):
    """Cannot be run where there are none."""

    card = Card(name="needs-pictures", title="Needs pictures", source="a test")

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        if clips.sample_pictures is None:
            raise DataError("needs-pictures: learns from pictures, and there are none")
        pictures = clips.sample_pictures(rng)
        assert pictures.shape == (len(clips), 3, 128, 128)
        super().fit(clips, budget=budget, rng=rng)


def describe(clips: Clips) -> np.ndarray:
    """(M, 2)"""
    waveforms = clips.read(RATE_HZ)
    return np.stack([np.abs(waveforms).mean(1), np.abs(np.diff(waveforms)).mean(1)], 1)
