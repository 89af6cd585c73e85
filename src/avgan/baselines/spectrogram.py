"""Rivals that see a clip as one spectrogram: what four of them share, so that each file is its network and its facts.

Shapes: M clips, B batch, C channels, F bands, T time steps, N labels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from avgan.baselines.fitting import Recipe, band_statistics, cost_of, fit_network, predict_network, rolled, seeded
from avgan.baselines.method import Budget, Card, Clips, Cost


@dataclass
class SpectrogramRival:
    """A front end, a network and how it is trained. Bands are standardised by the training clips."""

    card: Card
    hear: Callable[[Clips], np.ndarray]
    """Clips -> spectra (M, F, T) float32."""
    build: Callable[[int], nn.Module]
    """Number of labels -> network from (B, C, F, T) to logits (B, N)."""
    recipe: Recipe
    num_channels: int = 1
    """The one spectrogram is given this many times."""
    rolls: bool = False
    """Whether training shifts each clip by a random time, end to beginning."""
    _network: nn.Module | None = field(default=None, repr=False)
    _statistics: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)
    _cost: Cost | None = field(default=None, repr=False)

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        self.fit_heard(self.hear(clips), clips, budget=budget, rng=rng)

    def predict(self, clips: Clips) -> np.ndarray:
        return self.predict_heard(self.hear(clips))

    def cost(self) -> Cost:
        assert self._cost is not None, "a rival has no cost before it is fitted"
        return self._cost

    def fit_heard(self, spectra: np.ndarray, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        """Learn from spectra (M, F, T) of the clips, which are standardised in place."""
        self._statistics = band_statistics(spectra)
        with seeded(rng):
            self._network = self.build(clips.num_labels)
        inputs = self._standardise(spectra)
        self._cost = cost_of(self._network, self._as_images(inputs[:1]))

        def draw(items: np.ndarray, augmenting: np.random.Generator | None) -> Tensor:
            images = self._as_images(inputs[items])
            return rolled(images, augmenting) if augmenting and self.rolls else images

        fit_network(
            self._network, draw, clips.targets, num_labels=clips.num_labels, recipe=self.recipe, budget=budget, rng=rng
        )

    def predict_heard(self, spectra: np.ndarray) -> np.ndarray:
        """Probabilities (M, N) for spectra (M, F, T), which are standardised in place."""
        assert self._network is not None, "fit comes before predict"
        inputs = self._standardise(spectra)
        return predict_network(self._network, lambda items, _: self._as_images(inputs[items]), len(inputs))

    def _standardise(self, spectra: np.ndarray) -> np.ndarray:
        assert self._statistics is not None, "fit comes before predict"
        mean, spread = self._statistics
        spectra -= mean
        spectra /= spread
        return spectra

    def _as_images(self, spectra: np.ndarray) -> Tensor:
        """(B, F, T) -> (B, C, F, T)."""
        return torch.from_numpy(spectra)[:, None].expand(-1, self.num_channels, -1, -1)
