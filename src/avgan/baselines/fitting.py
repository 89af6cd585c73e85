"""One plain training loop for all rivals that are networks.

Decisions:
- the loop is told what to draw, so that it knows nothing of segments or of what a spectrum is;
- a fit with a budget times a few steps on a copy first, plans its epochs and fits the whole schedule into them. It
  plans anew after an epoch where the machine has turned out slower than that;
- everything random comes from the generator given; torch's own, which dropout uses, is seeded from it at each step;
- what is drawn is prepared on the host; a step moves it to the device and waits for nothing. The host waits once after
  an epoch, for only then the clock says how long it took;
- processors that multiply matrices of bfloat16 in hardware compute convolutions and products so, with channels last,
  which is about three times as fast there. All others compute in single precision.

Shapes: M items, B batch, C channels, F bands, T time steps, N labels.
"""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avgan.baselines.method import Budget, Cost
from avgan.training.schedule import rate_factor

Draw = Callable[[np.ndarray, np.random.Generator | None], Tensor]
"""Numbers of items (B,) -> what the network is given (B, C, F, T). Augments only where it gets a generator."""

Schedule = Callable[[float], float]
"""Share of the training that is done -> what the learning rate is multiplied with."""

TIMED_STEPS = 3
TIMING_SHARE = 0.05
"""Of what is left of the budget: fewer steps are timed where they take longer."""
SLACK = 1.1
"""A fit plans anew where it would take this many times what is left."""
STATISTICS_BATCHES = 50


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained."""

    num_epochs: int
    """Where there is time for all."""
    batch_size: int
    optimiser: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    """Its learning rate is the highest of the schedule."""
    schedule: Schedule = lambda done: 1.0
    mixup_alpha: float = 0.0
    """Of the beta distribution that says how much of each item is another one; 0 for none."""
    average_from: float = 1.0
    """Share of the training after which the weights at the end of each epoch are averaged; 1 for never."""
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    """Of what the network gives (B, N) and the labels' shares (B, N)."""


def cosine(done: float) -> float:
    """A schedule that falls from 1 to 0 along half a cosine."""
    return rate_factor("cosine", round(done * 1_000_000), 1_000_000)


def one_cycle(done: float) -> float:
    """A schedule that rises to 1 within the first tenth and falls to 0 along half a cosine."""
    return rate_factor("one_cycle", round(done * 1_000_000), 1_000_000)


@contextmanager
def seeded(rng: np.random.Generator) -> Iterator[None]:
    """Within, torch's own generator starts from a number of `rng`: for making a network."""
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**62)))
        yield


def fit_network(
    network: nn.Module,
    draw: Draw,
    targets: np.ndarray,
    *,
    num_labels: int,
    recipe: Recipe,
    budget: Budget,
    rng: np.random.Generator,
) -> None:
    """Train a network from inputs to logits (B, N) on the items 0 to M - 1 with `targets` (M,), in place."""
    network.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = functional.one_hot(torch.from_numpy(targets).long(), num_labels).float()
    trainer = _Trainer(network, draw, labels.to(device()), recipe)
    num_epochs = recipe.num_epochs
    if budget.seconds is not None:
        num_epochs = budget.plan(recipe.num_epochs, trainer.seconds_of_epoch(budget.seconds_left))
    began, said, epoch = time.monotonic(), time.monotonic(), 0
    with torch.random.fork_rng():
        while epoch < num_epochs:
            trainer.epoch(num_epochs - epoch, budget, rng)
            finish_steps()
            epoch += 1
            pace = (time.monotonic() - began) / epoch
            if pace * (num_epochs - epoch) > SLACK * budget.seconds_left:
                num_epochs = epoch + int(max(budget.seconds_left, 0.0) / pace)
            if time.monotonic() - said >= 10 or epoch == num_epochs:
                said = time.monotonic()
                left_min = pace * (num_epochs - epoch) / 60
                budget.say(f"epoch {epoch} of {num_epochs}, {left_min:.1f} min left")
        trainer.finish()
    budget.num_wanted, budget.num_planned = recipe.num_epochs, epoch


def predict_network(network: nn.Module, draw: Draw, num_items: int, *, batch_size: int = 32) -> np.ndarray:
    """Probabilities (M, N) float64 for the items 0 to M - 1."""
    network.eval().to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows = []
    with torch.inference_mode():
        for start in range(0, num_items, batch_size):
            items = np.arange(start, min(start + batch_size, num_items))
            logits = _logits(network, on_device(draw(items, None)))
            rows.append(logits.double().softmax(1).cpu().numpy())
    return np.concatenate(rows)


def cost_of(network: nn.Module, example: Tensor) -> Cost:
    """Parameters of a network and multiply-adds of its convolutions and products for one example (1, C, F, T)."""
    num_macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal num_macs
        weight = module.weight
        assert isinstance(weight, Tensor)
        # each output is a product with one row of the weights
        num_macs += output[0].numel() * weight[0].numel()

    counted = nn.Conv1d, nn.Conv2d, nn.Linear
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, counted)]
    with torch.inference_mode():
        network.eval()(example.to(next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    return Cost(sum(parameter.numel() for parameter in network.parameters()), num_macs)


def band_statistics(spectra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectra (M, F, T) -> mean and standard deviation of each band, (F, 1) float32 each."""
    mean = spectra.mean(axis=(0, 2), dtype=np.float64)
    # of squares, clip by clip: a difference of the whole would double the memory
    squares = sum(np.square(row.astype(np.float64) - mean[:, None]).mean(1) for row in spectra)
    spread = np.sqrt(np.asarray(squares) / len(spectra)).clip(min=1e-5)
    return mean[:, None].astype(np.float32), spread[:, None].astype(np.float32)


def rolled(inputs: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, C, F, T): each shifted by a random number of time steps; what leaves at one end comes in at the other."""
    shifts = rng.integers(0, inputs.shape[-1], len(inputs))
    rows = [row.roll(int(shift), -1) for row, shift in zip(inputs, shifts, strict=True)]
    return torch.stack(rows)


Step = Callable[[Any, np.ndarray, float, int, np.random.Generator], None]
"""Trainer, items (B,), epochs that are done, of how many, generator."""


def fit_adversaries(
    trainer: Any,
    step: Step,
    num_items: int,
    *,
    num_epochs: int,
    batch_size: int,
    budget: Budget,
    rng: np.random.Generator,
) -> None:
    """Take networks that teach each other over all items as often as wanted, or as there is time for."""
    num_batches, num_planned = max(1, num_items // batch_size), num_epochs
    with torch.random.fork_rng():
        if budget.seconds is not None:
            trial, began = copy.deepcopy(trainer), 0.0
            for _ in range(2):  # the first one also prepares
                began = time.monotonic()
                step(trial, np.arange(num_items)[:batch_size], 0.0, 1, np.random.default_rng(0))
                finish_steps()
            num_planned = budget.plan(num_epochs, (time.monotonic() - began) * num_batches)
        budget.num_wanted = num_epochs
        for epoch in budget.epochs(num_planned):
            budget.num_planned = epoch + 1
            for index, items in enumerate(np.array_split(rng.permutation(num_items), num_batches)):
                if budget.seconds_left <= 0:
                    return
                step(trainer, items, epoch + index / num_batches, num_planned, rng)
            finish_steps()


class Adversaries:
    """A network that makes, one that examines what was made, and Adam for both."""

    def __init__(self, maker: nn.Module, examiner: nn.Module, rate: float) -> None:
        self.optimisers = []
        for network in (maker, examiner):
            network.to(device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.optimisers.append(torch.optim.Adam(network.parameters(), rate, betas=(0.5, 0.999)))

    def update(self, which: int, loss: Tensor) -> None:
        """A step of the maker (0) or the examiner (1)."""
        self.optimisers[which].zero_grad(set_to_none=True)
        loss.backward()
        self.optimisers[which].step()


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
    fast = {"cuda": torch.cuda.is_bf16_supported, "cpu": getattr(torch.cpu, "_is_amx_tile_supported", bool)}.get(
        kind, bool
    )
    return torch.autocast(kind, torch.bfloat16, enabled=bool(fast()))


def finish_steps() -> None:
    """Wait until the device has done what it was given: a clock read before tells of the host alone."""
    if device().type == "cuda":
        torch.cuda.synchronize()


class _Trainer:
    """What one fit holds: network, optimiser, how far it is, and the average of its weights."""

    def __init__(self, network: nn.Module, draw: Draw, labels: Tensor, recipe: Recipe) -> None:
        self.network, self.draw, self.labels, self.recipe = network, draw, labels, recipe
        self.optimiser = recipe.optimiser(list(network.parameters()))
        self.highest_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.num_batches = max(1, round(len(labels) / recipe.batch_size))
        self.done = 0.0
        self.average: dict[str, Tensor] = {}
        self.num_averaged = 0

    def seconds_of_epoch(self, seconds_left: float) -> float:
        """Time a few steps on a copy, drawn from a generator of its own: the fit itself is left as it was."""
        trial = _Trainer(copy.deepcopy(self.network), self.draw, self.labels, self.recipe)
        rng = np.random.default_rng(0)
        items = rng.permutation(len(self.labels))[: -(-len(self.labels) // self.num_batches)]
        seconds: list[float] = []
        with torch.random.fork_rng():
            while len(seconds) < 1 + TIMED_STEPS:
                began = time.monotonic()
                trial.step(items, rng)
                finish_steps()
                seconds.append(time.monotonic() - began)
                if len(seconds) > 1 and sum(seconds) > TIMING_SHARE * seconds_left:
                    break
        return float(np.median(seconds[1:])) * self.num_batches  # the first one also prepares

    def epoch(self, num_epochs_left: int, budget: Budget, rng: np.random.Generator) -> None:
        """All items once, in a random order and batches of about one size."""
        batches = np.array_split(rng.permutation(len(self.labels)), self.num_batches)
        for index, items in enumerate(batches):
            if index and budget.seconds_left <= 0:
                return
            factor = self.recipe.schedule(self.done)
            for group, rate in zip(self.optimiser.param_groups, self.highest_rates, strict=True):
                group["lr"] = rate * factor
            self.step(items, rng)
            num_steps_left = num_epochs_left * self.num_batches - index
            self.done += (1.0 - self.done) / num_steps_left
        if self.done >= self.recipe.average_from:
            self._add_to_average()

    def step(self, items: np.ndarray, rng: np.random.Generator) -> None:
        self.network.train()
        torch.manual_seed(int(rng.integers(2**62)))
        inputs, labels = (on_device(self.draw(items, rng)), self.labels[on_device(torch.from_numpy(items))])
        if self.recipe.mixup_alpha:
            inputs, labels = _mixed(inputs, labels, self.recipe.mixup_alpha, rng)
        logits = _logits(self.network, inputs)
        loss = self.recipe.loss(logits, labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()

    def finish(self) -> None:
        """Put the averaged weights in place; batch normalisation needs its statistics anew for them."""
        if self.num_averaged < 2:
            return
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(self.average[name])
        norms = [m for m in self.network.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = None  # a plain mean over all that follows
        self.network.train()
        items = np.array_split(np.arange(len(self.labels)), self.num_batches)
        with torch.no_grad():
            for index in np.linspace(0, len(items) - 1, min(len(items), STATISTICS_BATCHES)):
                _logits(self.network, on_device(self.draw(items[round(index)], None)))
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum

    def _add_to_average(self) -> None:
        self.num_averaged += 1
        for name, parameter in self.network.named_parameters():
            new = parameter.detach()
            old = self.average.get(name)
            self.average[name] = new.clone() if old is None else old + (new - old) / self.num_averaged


def _logits(network: nn.Module, inputs: Tensor) -> Tensor:
    """(B, C, F, T) on the device -> (B, N) in single precision, computed in what is fastest here."""
    if inputs.dim() == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    with in_fast_precision():
        logits: Tensor = network(inputs)
    return logits.float()


def _mixed(inputs: Tensor, labels: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each item with some of another one of the batch, and its labels (B, N) likewise (Zhang 2018)."""
    share = rng.beta(alpha, alpha, len(inputs)).astype(np.float32)
    mostly = on_device(torch.from_numpy(np.maximum(share, 1 - share)))
    other = on_device(torch.from_numpy(rng.permutation(len(inputs))))
    shaped = mostly.reshape(-1, *[1] * (inputs.dim() - 1))
    return (
        inputs * shaped + inputs[other] * (1 - shaped),
        labels * mostly[:, None] + labels[other] * (1 - mostly[:, None]),
    )
