"""How rivals that are networks are trained, answer, and are counted.

Decisions:
- a fit with a budget times a few steps on a copy first, plans its epochs and fits the whole schedule into them. It
  plans anew after an epoch where the machine has turned out slower than that;
- everything random comes from the generator given; torch's own, which dropout uses, is seeded from it at each step;
- batches are prepared on the host; a step moves them to the device and waits for nothing. The host waits once after
  an epoch, for only then the clock says how long it took;
- processors that multiply matrices of bfloat16 in hardware compute convolutions and products so, with channels last,
  which is about three times as fast there. All others compute in single precision.

Shapes: M items, B batch, C channels, F bands, T time steps, N labels.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.flop_counter import FlopCounterMode

from avgan.baselines.method import Budget, Cost
from avgan.networks.precision import bf16_is_fast
from avgan.training.schedule import rate_factor

Inputs = Callable[[np.ndarray, np.random.Generator | None], Tensor]
"""Numbers of items (B,) -> a batch (B, C, F, T). Augments only where it gets a generator."""

TIMED_STEPS = 3
TIMING_SHARE = 0.05
"""Of what is left of the budget: fewer steps are timed where they take longer."""
SLACK = 1.1
"""A fit plans anew where it would take this many times what is left."""
SAY_EVERY_S = 10.0
STATISTICS_BATCHES = 50
"""Of which the statistics of averaged weights are taken: more change nothing that shows."""
BATCH = 32
"""Items answered at once."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained."""

    num_epochs: int
    """Where there is time for all."""
    batch_size: int
    optimiser: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    """Its learning rate is the highest of the schedule."""
    schedule: Callable[[float], float] = lambda done: 1.0
    """Share of the training that is done -> what the learning rate is multiplied with."""
    rolls: bool = False
    """Whether each item is shifted by a random time, end to beginning."""
    mixup_alpha: float = 0.0
    """Of the beta distribution that says how much of each item is another one; 0 for none."""
    average_from: float = math.inf
    """Share of the training after which the weights at the end of each epoch are averaged; infinite for never."""
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    """Of what the network gives (B, N) and the labels' shares (B, N)."""


def one_cycle(done: float) -> float:
    """A schedule that rises to 1 within the first tenth and falls to 0 along half a cosine."""
    return rate_factor("one_cycle", round(done * 1_000_000), 1_000_000)


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """Within, torch's own generator starts from a number of `rng`: for making a network."""
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**62)))
        yield


class Trainer(Protocol):
    """Networks in training."""

    def step(self, items: np.ndarray, done: float, rng: np.random.Generator) -> None:
        """Learn from items (B,), where a share `done` of the training is over."""
        ...


def train(
    trainer: Trainer,
    num_items: int,
    *,
    num_epochs: int,
    batch_size: int,
    budget: Budget,
    rng: np.random.Generator,
    after_epoch: Callable[[float], None] = lambda done: None,
) -> None:
    """Take a trainer over all items, in a random order each time, as often as wanted or as there is time for.

    `after_epoch` is given the share of the training that is done.
    """
    num_batches = max(1, round(num_items / batch_size))
    budget.num_wanted, epoch, done = num_epochs, 0, 0.0
    with torch.random.fork_rng():
        if budget.seconds is not None:
            items = np.arange(-(-num_items // num_batches))
            num_epochs = budget.plan(num_epochs, num_batches * seconds_of_step(trainer, items, budget))
        began = said = time.monotonic()
        while epoch < num_epochs:
            for index, items in enumerate(np.array_split(rng.permutation(num_items), num_batches)):
                if index and budget.seconds_left <= 0:
                    break
                torch.manual_seed(int(rng.integers(2**62)))
                trainer.step(items, done, rng)
                done += (1.0 - done) / ((num_epochs - epoch) * num_batches - index)
            finish_steps()
            after_epoch(done)
            epoch += 1
            pace = (time.monotonic() - began) / epoch
            if pace * (num_epochs - epoch) > SLACK * budget.seconds_left:
                num_epochs = epoch + int(max(budget.seconds_left, 0.0) / pace)
            if time.monotonic() - said >= SAY_EVERY_S or epoch == num_epochs:
                said = time.monotonic()
                budget.say(f"epoch {epoch} of {num_epochs}, {pace * (num_epochs - epoch) / 60:.1f} min left")
    budget.num_planned = epoch


def seconds_of_step(trainer: Trainer, items: np.ndarray, budget: Budget) -> float:
    """Time a few steps on a copy, from a generator of its own: the trainer itself is left as it was."""
    trial, rng = copy.deepcopy(trainer), np.random.default_rng(0)
    seconds: list[float] = []
    while len(seconds) < 1 + TIMED_STEPS:
        began = time.monotonic()
        trial.step(items, 0.0, rng)
        finish_steps()
        seconds.append(time.monotonic() - began)
        if len(seconds) > 1 and sum(seconds) > TIMING_SHARE * budget.seconds_left:
            break
    return float(np.median(seconds[1:]))  # the first one also prepares


def fit_network(
    network: nn.Module,
    inputs: Tensor | Inputs,
    targets: np.ndarray,
    *,
    num_labels: int,
    recipe: Recipe,
    budget: Budget,
    rng: np.random.Generator,
) -> None:
    """Train a network, in place, from inputs (M, C, F, T), or a function that makes batches of them, to logits (B, N).

    `targets`: (M,) of the items 0 to M - 1.
    """
    network.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = functional.one_hot(torch.from_numpy(targets).long(), num_labels).float()
    trainer = NetworkTrainer(network, _function(inputs), labels.to(device()), recipe)
    train(
        trainer,
        len(targets),
        num_epochs=recipe.num_epochs,
        batch_size=recipe.batch_size,
        budget=budget,
        rng=rng,
        after_epoch=trainer.average,
    )
    trainer.finish()


class NetworkTrainer:
    """What one fit of a network holds: network, optimiser, and the average of its weights."""

    def __init__(self, network: nn.Module, inputs: Inputs, labels: Tensor, recipe: Recipe) -> None:
        self.network, self.inputs, self.labels, self.recipe = network, inputs, labels, recipe
        self.optimiser = recipe.optimiser(list(network.parameters()))
        self.highest_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.averaged: AveragedModel | None = None

    def step(self, items: np.ndarray, done: float, rng: np.random.Generator) -> None:
        self.network.train()
        for group, rate in zip(self.optimiser.param_groups, self.highest_rates, strict=True):
            group["lr"] = rate * self.recipe.schedule(done)
        batch = self.inputs(items, rng)
        batch = on_device(rolled(batch, rng) if self.recipe.rolls else batch)
        labels = self.labels[on_device(torch.from_numpy(items))]
        if self.recipe.mixup_alpha:
            batch, labels = mixed(batch, labels, self.recipe.mixup_alpha, rng)
        loss = self.recipe.loss(_logits(self.network, batch), labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()

    def average(self, done: float) -> None:
        """Add the weights at the end of an epoch to their average."""
        if done >= self.recipe.average_from:
            self.averaged = self.averaged or AveragedModel(self.network)
            self.averaged.update_parameters(self.network)

    def finish(self) -> None:
        """Put the averaged weights in place; batch normalisation needs its statistics anew for them."""
        if self.averaged is None or self.averaged.n_averaged < 2:
            return
        self.network.load_state_dict(self.averaged.module.state_dict())
        parts = np.array_split(np.arange(len(self.labels)), max(1, round(len(self.labels) / self.recipe.batch_size)))
        some = np.linspace(0, len(parts) - 1, min(len(parts), STATISTICS_BATCHES)).round().astype(int)
        with in_fast_precision():
            update_bn((_channels_last(on_device(self.inputs(parts[i], None))) for i in some), self.network)


def predict_network(
    network: nn.Module, inputs: Tensor | Inputs, num_items: int, *, batch_size: int = BATCH
) -> np.ndarray:
    """Probabilities (M, N) float64 for the items 0 to M - 1."""
    network.eval().to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch_of = _function(inputs)
    items = np.split(np.arange(num_items), range(batch_size, num_items, batch_size))
    return embed(lambda batch: _logits(network, batch).double().softmax(1), (batch_of(part, None) for part in items))


@torch.inference_mode()
def embed(network: Callable[[Tensor], Tensor], batches: Iterable[Tensor]) -> np.ndarray:
    """What a network on the device makes of batches (B, ...) of the host, (M, ...)."""
    return np.concatenate([network(on_device(batch)).cpu().numpy() for batch in batches])


def cost_of(network: nn.Module, example: Tensor) -> Cost:
    """Parameters of a network and multiply-adds of its convolutions and products for one example (1, C, F, T)."""
    example = example.to(next(network.parameters()).device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(example)
    return Cost(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2)


def rolled(inputs: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, C, F, T): each shifted by a random number of time steps; what leaves at one end comes in at the other."""
    shifts = rng.integers(0, inputs.shape[-1], len(inputs))
    return torch.stack([row.roll(int(shift), -1) for row, shift in zip(inputs, shifts, strict=True)])


def mixed(inputs: Tensor, labels: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each item with some of another one of the batch, and its labels (B, N) likewise (Zhang 2018)."""
    share = rng.beta(alpha, alpha, len(inputs)).astype(np.float32)
    mostly = on_device(torch.from_numpy(np.maximum(share, 1 - share)))
    other = on_device(torch.from_numpy(rng.permutation(len(inputs))))
    shaped = mostly.reshape(-1, *[1] * (inputs.dim() - 1))
    return torch.lerp(inputs[other], inputs, shaped), torch.lerp(labels[other], labels, mostly[:, None])


def device() -> torch.device:
    """Where the networks of all rivals are trained and answer. Ask each time: it is the one place that decides."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def on_device(tensor: Tensor) -> Tensor:
    """A tensor of the host on the device. The host does not wait for the copy, nor for the steps before it."""
    if device().type == "cuda":
        return tensor.pin_memory().to(device(), non_blocking=True)  # of other memory it would wait
    return tensor.to(device())


def in_fast_precision() -> torch.autocast:
    """A context for convolutions and products in bfloat16, where the device multiplies matrices of it in hardware."""
    kind = device().type
    return torch.autocast(kind, torch.bfloat16, enabled=bf16_is_fast(kind))


def finish_steps() -> None:
    """Wait until the device has done what it was given: a clock read before measures the host alone."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def _function(inputs: Tensor | Inputs) -> Inputs:
    """A function, unlike a tensor, is not copied with the trainer that has it."""
    return (lambda items, rng: inputs[items]) if isinstance(inputs, Tensor) else inputs


def _channels_last(batch: Tensor) -> Tensor:
    return batch.contiguous(memory_format=torch.channels_last) if batch.dim() == 4 else batch


def _logits(network: nn.Module, batch: Tensor) -> Tensor:
    """(B, C, F, T) on the device -> (B, N) in single precision, computed in what is fastest here."""
    with in_fast_precision():
        logits: Tensor = network(_channels_last(batch))
    return logits.float()
