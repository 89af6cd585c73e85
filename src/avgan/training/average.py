"""A moving average of weights: sum of decayed weights / sum of decays, so that the start has no share in it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class MovingAverage:
    """Of the parameters of networks. Their buffers, such as running statistics, are averages already."""

    def __init__(self, networks: Iterable[nn.Module], decay: float) -> None:
        self.parameters = [parameter for network in networks for parameter in network.parameters()]
        self.decay = decay
        self.num_updates = 0
        self.sums = [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self.num_updates += 1
        for total, parameter in zip(self.sums, self.parameters, strict=True):
            total.lerp_(parameter, 1.0 - self.decay)

    def weights(self) -> list[Tensor]:
        """The average of each parameter; the parameters themselves before the first update."""
        if self.num_updates == 0:
            return [parameter.detach().clone() for parameter in self.parameters]
        correction = 1.0 - self.decay**self.num_updates
        return [total / correction for total in self.sums]

    @torch.no_grad()
    def put(self, weights: Iterable[Tensor]) -> None:
        """Give the networks these weights."""
        for parameter, value in zip(self.parameters, weights, strict=True):
            parameter.copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The networks have their averaged weights inside."""
        current = [parameter.detach().clone() for parameter in self.parameters]
        self.put(self.weights())
        try:
            yield
        finally:
            self.put(current)

    def state_dict(self) -> dict[str, Any]:
        return {"num_updates": self.num_updates, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.num_updates = state["num_updates"]
        for total, value in zip(self.sums, state["sums"], strict=True):
            total.copy_(value)
