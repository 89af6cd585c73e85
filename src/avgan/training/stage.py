"""What the three stages share: networks, optimisers, the batch of a step, and what the loop asks of them.

A stage owns what it trains and says what one step does; the loop owns time, disk, logging and ranks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from avgan.config import RunConfig, StageSection
from avgan.model import AVGAN
from avgan.training import distributed
from avgan.training.average import MovingAverage
from avgan.training.data import TrainingData
from avgan.training.schedule import generator_of, indices_at, rate_factor, share_of_process


@dataclass(frozen=True)
class Context:
    """What a stage works with."""

    config: RunConfig
    networks: AVGAN
    data: TrainingData
    fabric: Fabric

    def to_device(self, array: np.ndarray) -> Tensor:
        """A numpy array as a tensor on the training device."""
        return torch.from_numpy(array).to(self.fabric.device, non_blocking=True)

    def images(self, pixels: np.ndarray) -> Tensor:
        """(B, 3, H, W) uint8 -> float in [0, 1] on the training device."""
        image = self.to_device(pixels).float() / 255.0
        if self.config.loop.channels_last:
            return image.contiguous(memory_format=torch.channels_last)
        return image


@dataclass(frozen=True)
class Validation:
    """What a stage shows of itself: numbers, and rows of pictures (R, C, 3, H, W) in [0, 1]."""

    metrics: dict[str, float]
    grid: Tensor | None = None
    row_names: tuple[str, ...] = field(default_factory=tuple)


class Stage(ABC):
    """One of the three stages. Subclasses set `name` and `section`, and fill `optimizers` (and `averages`)."""

    name: str
    section: StageSection

    def __init__(self, context: Context) -> None:
        self.context = context
        self.networks = context.networks
        self.data = context.data
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.averages: dict[str, MovingAverage] = {}

    @property
    @abstractmethod
    def num_items(self) -> int:
        """How many items an epoch has."""

    def prepare(self) -> None:  # noqa: B027 - most stages need no preparation
        """Work before the first step, and again before the first step after a resume."""

    def before_first_step(self) -> None:  # noqa: B027
        """Work once in the life of the stage; what it keeps belongs to the state."""

    @abstractmethod
    def step(self, step: int) -> dict[str, Tensor]:
        """Do one step and return its metrics."""

    @abstractmethod
    def validate(self, step: int) -> Validation:
        """Look at what has been learnt."""

    def finish(self) -> None:
        """Work after the last step: keep the averaged weights."""
        for average in self.averages.values():
            average.copy_to_network()

    def indices(self, step: int) -> np.ndarray:
        """Items of this process in the batch of a step."""
        items = indices_at(
            step,
            num_items=self.num_items,
            batch_size=self.section.batch_size,
            seed=self.seed,
            stage=self.name,
        )
        return share_of_process(items, *distributed.world())

    def row_generators(self, step: int, purpose: str) -> list[np.random.Generator]:
        """One random generator for each row of this process's share of a batch."""
        rank, num_processes = distributed.world()
        size = self.section.batch_size // num_processes
        rows = range(rank * size, (rank + 1) * size)
        return [generator_of(self.seed, self.name, purpose, step, row) for row in rows]

    def random_rows(
        self, draw: Callable[..., Tensor], count: int, *size: int, step: int, purpose: str
    ) -> Tensor:
        """Random numbers (count, *size) of `draw`: this process's rows of what one process alone would draw."""
        rank, num_processes = distributed.world()
        device = self.context.fabric.device
        number = generator_of(self.seed, self.name, purpose, step, 0).integers(2**62)
        generator = torch.Generator(device).manual_seed(int(number))
        rows = draw(num_processes * count, *size, generator=generator, device=device)
        return rows[rank * count : (rank + 1) * count]

    @property
    def seed(self) -> int:
        return self.context.config.loop.seed

    def descend(self, name: str, loss: Tensor, networks: Iterable[nn.Module], step: int) -> Tensor:
        """Minimise a loss by one step of the named optimiser, which trains `networks`. Returns the gradient's norm."""
        optimizer = self.optimizers[name]
        factor = rate_factor(self.section.schedule, step, self.section.num_steps)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for network in networks for p in network.parameters()]
        distributed.average_gradients(parameters)
        limit = self.section.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        optimizer.step()
        return norm

    def adam(self, *groups: tuple[nn.Module, float]) -> torch.optim.Optimizer:
        """Adam with decoupled weight decay over (network, learning rate) groups, with the section's settings."""
        return torch.optim.AdamW(
            [
                {"params": list(network.parameters()), "lr": rate, "initial_lr": rate}
                for network, rate in groups
            ],
            betas=self.section.betas,
            weight_decay=self.section.weight_decay,
        )

    def state_dict(self) -> dict[str, Any]:
        """Optimisers and averages, for a checkpoint."""
        return {
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "averages": {name: avg.state_dict() for name, avg in self.averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, average in self.averages.items():
            average.load_state_dict(state["averages"][name])
