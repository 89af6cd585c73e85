"""What the stages share: networks, optimisers, the batch of a step, and what the loop asks of them.

A stage owns what it trains and says what one step does; the loop owns time, disk, logging and ranks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from avgan.config import RunConfig, StageSection
from avgan.data.loading import INT16_PEAK, ImageStore, WaveformStore
from avgan.data.pairing import Pairing
from avgan.model import AVGAN
from avgan.training import distributed
from avgan.training.data import Recordings, TrainingData
from avgan.training.schedule import generator_of, indices_at, rate_factor, share_of_process

EMBED_BATCH = 32
"""Recordings embedded at once: more take memory and are no faster."""
RESIDENT_SHARE = 0.5
"""Of an accelerator's free memory, for data that stays there: the rest is for networks and activations."""
BLOCK = 256
"""Rows moved to an accelerator at once, when all are."""


@dataclass(frozen=True)
class Context:
    """What a stage works with."""

    config: RunConfig
    networks: AVGAN
    data: TrainingData
    fabric: Fabric
    resident: dict[int, Tensor | None] = field(default_factory=dict, repr=False)
    """All rows of a store on the accelerator, by the store's identity; None where they do not fit."""

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    def to_device(self, array: np.ndarray) -> Tensor:
        """A numpy array as a tensor on the training device."""
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def images(self, store: ImageStore, indices: np.ndarray) -> Tensor:
        """Pictures (B, 3, H, W), float in [0, 1] on the training device."""
        image = self._rows(store, store.get, indices).float() / 255.0
        if self.config.loop.channels_last:
            return image.contiguous(memory_format=torch.channels_last)
        return image

    def waveforms(self, store: WaveformStore, indices: np.ndarray) -> Tensor:
        """Waveforms (B, L), float in [-1, 1] on the training device."""
        return self._rows(store, store.raw, indices).float() / INT16_PEAK

    def _rows(
        self, store: ImageStore | WaveformStore, read: Callable[[np.ndarray], np.ndarray], indices: np.ndarray
    ) -> Tensor:
        """Rows of a store: from the accelerator's own memory where all of them fit, else read and moved."""
        if self.device.type != "cuda":
            return self.to_device(read(indices))
        if id(store) not in self.resident:
            self.resident[id(store)] = self._move(store, read)
        everything = self.resident[id(store)]
        if everything is None:
            return self.to_device(read(indices))
        return everything[self.to_device(indices)]

    def _move(self, store: ImageStore | WaveformStore, read: Callable[[np.ndarray], np.ndarray]) -> Tensor | None:
        first = read(np.arange(1))
        free, _ = torch.cuda.mem_get_info(self.device)
        if first.nbytes * len(store) > RESIDENT_SHARE * free:
            return None
        shape = (len(store), *first.shape[1:])
        rows = torch.empty(shape, dtype=torch.from_numpy(first).dtype, device=self.device)
        for start in range(0, len(store), BLOCK):
            block = np.arange(start, min(start + BLOCK, len(store)))
            rows[start : start + len(block)] = self.to_device(read(block))
        return rows


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
        """The network has its averaged weights inside."""
        current = {name: value.detach().clone() for name, value in self.network.named_parameters()}
        self.copy_to_network()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in self.network.named_parameters():
                    value.copy_(current[name])

    def state_dict(self) -> dict[str, object]:
        return {"num_updates": self.num_updates, "sums": self.sums}

    def load_state_dict(self, state: dict[str, object]) -> None:
        num_updates, sums = state["num_updates"], state["sums"]
        assert isinstance(num_updates, int)
        assert isinstance(sums, dict)
        self.num_updates = num_updates
        for name, value in self.sums.items():
            value.copy_(sums[name])


def mirrored(image: Tensor, which: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), those of the mask (B,) mirrored."""
    return torch.where(which[:, None, None, None], image.flip(3), image)


@dataclass(frozen=True)
class Validation:
    """What a stage shows of itself: numbers, and rows of pictures (R, C, 3, H, W) in [0, 1]."""

    metrics: dict[str, float]
    grid: Tensor | None = None
    row_names: tuple[str, ...] = field(default_factory=tuple)


class Stage(ABC):
    """One of the stages. Subclasses set `section` and fill `optimizers` (and `averages`)."""

    section: StageSection

    def __init__(self, context: Context) -> None:
        self.context = context
        self.networks = context.networks
        self.data = context.data
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.averages: dict[str, MovingAverage] = {}

    @property
    def name(self) -> str:
        return self.section.kind

    @property
    def seed(self) -> int:
        return self.context.config.loop.seed

    @property
    @abstractmethod
    def num_items(self) -> int:
        """How many items an epoch has."""

    def prepare(self) -> None:  # noqa: B027 - most stages need no preparation
        """Work before the first step, and again before the first step after a resume."""

    def before_first_step(self) -> None:  # noqa: B027
        """Work once in the life of the stage; what it keeps belongs to the state."""

    def prefetch(self, step: int) -> None:  # noqa: B027
        """Begin to read what a step will need, while the one before it computes."""

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

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The networks have their averaged weights inside."""
        with ExitStack() as applied:
            for average in self.averages.values():
                applied.enter_context(average.applied())
            yield

    def update_averages(self) -> None:
        """Add the weights of this step to the averages."""
        for average in self.averages.values():
            average.update()

    def indices(self, step: int) -> np.ndarray:
        """Items of this process in the batch of a step."""
        return self.own(
            indices_at(
                step, num_items=self.num_items, batch_size=self.section.batch_size, seed=self.seed, stage=self.name
            )
        )

    def sample_pairs(self, pairing: Pairing, number: int, *, flip: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of this process's rows in batch `number`: sounds, a picture for each, whether that is mirrored; all (B,)."""
        items = self.indices(number)
        rng, size = self.rng(number, "pair"), self.section.batch_size
        shares, sides = self.own(rng.random(size)), self.own(rng.random(size))
        return items, pairing.pick(items, shares), sides < (0.5 if flip else 0.0)

    def rng(self, step: int, purpose: str) -> np.random.Generator:
        """Randomness of a step, the same in all processes: draw for the whole batch, then take `own` rows."""
        return generator_of(self.seed, self.name, purpose, step)

    def own(self, rows: np.ndarray) -> np.ndarray:
        """This process's share of what was drawn for the whole batch."""
        return share_of_process(rows, *distributed.world())

    def random_rows(self, draw: Callable[..., Tensor], count: int, *size: int, step: int, purpose: str) -> Tensor:
        """Random numbers (count, *size) of `draw`: this process's rows of what one process alone would draw."""
        rank, num_processes = distributed.world()
        device = self.context.device
        number = self.rng(step, purpose).integers(2**62)
        generator = torch.Generator(device).manual_seed(int(number))
        rows = draw(num_processes * count, *size, generator=generator, device=device)
        return rows[rank * count : (rank + 1) * count]

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
            [{"params": list(network.parameters()), "lr": rate, "initial_lr": rate} for network, rate in groups],
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


@dataclass(frozen=True)
class PairBatch:
    """A batch of imagined features, each with the real features of a picture."""

    imagined: Tensor
    """(B, D, 16, 16)"""
    real: Tensor
    """(B, D, 16, 16) quantised."""
    scenes: Tensor
    """(B,) scene number of each sound."""


@torch.no_grad()
def embed_all(context: Context, recordings: Recordings, *, num_views: int) -> Tensor:
    """Views of each recording as the trunk embeds them, (N, V, C) on the training device.

    View 0 is as recorded, the others are shifted.
    """
    networks = context.networks
    networks.eval()
    size = networks.generator.embedding_size
    embeddings = torch.empty(len(recordings), num_views, size, device=context.device)
    for view in range(num_views):
        for start in range(0, len(recordings), EMBED_BATCH):
            rows = np.arange(start, min(start + EMBED_BATCH, len(recordings)))
            waveform = context.waveforms(recordings.waveforms, rows)
            if view:
                waveform = rolled(waveform, shifts(rows, view, waveform.shape[1], context.config.loop.seed))
            with context.fabric.autocast():
                log_mel = networks.log_mel(waveform)
                block = networks.generator.embed(log_mel).float()
            embeddings[start : start + len(rows), view] = block
    networks.train()
    return embeddings


def shifts(rows: np.ndarray, view: int, length: int, seed: int) -> np.ndarray:
    """By how many samples each recording is shifted in a view, (B,)."""
    return np.array([generator_of(seed, "view", view, int(row)).integers(length) for row in rows])


def rolled(waveform: Tensor, amounts: np.ndarray) -> Tensor:
    """waveform (B, L), each row rolled by its own amount (B,)."""
    rows = zip(waveform, amounts.tolist(), strict=True)
    return torch.stack([wave.roll(amount) for wave, amount in rows])
