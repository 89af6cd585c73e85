"""Exponential moving average of a network's weights, unbiased from the first step on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """Averages weights as avg = sum of decayed weights / sum of decays, so that the start has no share in it.

    Buffers, such as running statistics, are taken as they are: they are averages already.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = network
        self.decay = decay
        self.num_updates = 0
        self.sums = {name: torch.zeros_like(value) for name, value in network.named_parameters()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.num_updates += 1
        for name, value in self.network.named_parameters():
            self.sums[name].lerp_(value, 1.0 - self.decay)

    def weights(self) -> dict[str, Tensor]:
        """The average by parameter name; the weights themselves before the first update."""
        if self.num_updates == 0:
            return {name: value.detach().clone() for name, value in self.network.named_parameters()}
        correction = 1.0 - self.decay**self.num_updates
        return {name: value / correction for name, value in self.sums.items()}

    @torch.no_grad()
    def copy_to_network(self) -> None:
        """Replace the network's weights by their average."""
        averaged = self.weights()
        for name, value in self.network.named_parameters():
            value.copy_(averaged[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network wears its averaged weights inside."""
        worn = {name: value.detach().clone() for name, value in self.network.named_parameters()}
        self.copy_to_network()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in self.network.named_parameters():
                    value.copy_(worn[name])

    def state_dict(self) -> dict[str, object]:
        return {"num_updates": self.num_updates, "sums": self.sums}

    def load_state_dict(self, state: dict[str, object]) -> None:
        num_updates, sums = state["num_updates"], state["sums"]
        assert isinstance(num_updates, int)
        assert isinstance(sums, dict)
        self.num_updates = num_updates
        for name, value in self.sums.items():
            value.copy_(sums[name])
