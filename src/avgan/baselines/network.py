"""A rival that is one network: what many of them share, so that each file is its network and its facts.

Shapes: M clips, B batch, C channels, F bands, T time steps, N labels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from avgan.baselines.fitting import Recipe, cost_of, fit_network, predict_network, seeded
from avgan.baselines.method import Budget, Card, Clips, Cost
from avgan.baselines.spectra import BandStatistics


@dataclass
class NetworkRival:
    """What it is given, a network and how that is trained."""

    card: Card
    inputs: Callable[[Clips], np.ndarray]
    """Clips -> inputs (M, C, F, T)."""
    build: Callable[[int], nn.Module]
    """Number of labels -> network from (B, C, F, T) to logits (B, N)."""
    recipe: Recipe
    standardises: bool = True
    """Whether bands have mean 0 and deviation 1, by the training clips."""
    _network: nn.Module = field(init=False, repr=False)
    _statistics: BandStatistics = field(init=False, repr=False)
    _cost: Cost = field(init=False, repr=False)

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        inputs = self.inputs(clips)
        if self.standardises:
            self._statistics = BandStatistics.of(inputs)
        examples, num_labels = self._prepared(inputs), len(clips.labels)
        with seeded(rng):
            self._network = self.build(num_labels)
        self._cost = cost_of(self._network, examples[:1])
        fit_network(
            self._network, examples, clips.targets, num_labels=num_labels, recipe=self.recipe, budget=budget, rng=rng
        )

    def predict(self, clips: Clips) -> np.ndarray:
        return predict_network(self._network, self._prepared(self.inputs(clips)), len(clips))

    def cost(self) -> Cost:
        return self._cost

    def _prepared(self, inputs: np.ndarray) -> Tensor:
        return torch.from_numpy(self._statistics.standardise(inputs) if self.standardises else inputs)
