"""The loop: runs the steps of a stage, and owns time, disk, logging and the check that losses stay finite."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from avgan.errors import AvganError
from avgan.training import distributed
from avgan.training.log import RunLog
from avgan.training.schedule import generator_of
from avgan.training.stage import Stage


class DivergedError(AvganError):
    """A loss stopped being finite."""


def run_stage(stage: Stage[Any], *, start: int, log: RunLog | None, save: Callable[[int], None]) -> dict[str, float]:
    """Run the steps `start` to the end of a stage. Returns what the stage says of itself at its end.

    `save(step)` writes a checkpoint after `step` steps; `log` is None on all processes but the first. Every step is
    seeded by its own number, so that a run killed anywhere and started again goes on as if unbroken.

    Raises DivergedError naming the step and the loss, and KeyboardInterrupt after a checkpoint of what was learnt.
    """
    loop, num_steps = stage.config.loop, stage.section.num_steps
    stage.prepare()
    if start == 0:
        stage.before_first_step()
    began = time.monotonic()
    measured: dict[str, float] = {}
    with interruptible() as interrupted:
        for step in range(start, num_steps):
            if step + 1 < num_steps:
                stage.prefetch(step + 1)
            metrics = do_step(stage, step)
            done = step + 1
            stops = interrupted() and done < num_steps
            saves = (done % loop.checkpoint_every == 0 and done < num_steps) or stops
            logs = done % loop.log_every == 0 or done == num_steps
            if logs or saves:
                values = reduce(metrics, stage.device)
                check_finite(stage.name, done, values)  # before `save` drops the last good one
            if log and logs:
                log.metrics(stage.name, done, values)
                log.progress(stage.name, done, num_steps, (time.monotonic() - began) / (done - start), values)
            if log and (done % loop.validate_every == 0 or done == num_steps):
                with stage.fabric.autocast():
                    validation = stage.validate(done)
                log.validation(stage.name, done, validation)
                measured = validation.metrics
            if saves:
                save(done)
            if stops:
                raise KeyboardInterrupt
    stage.finish()
    return measured


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C instead of breaking a step in two; a second one interrupts at once.

    Not among several processes, which would stop at different steps and wait for each other for ever.
    """
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before is not signal.default_int_handler or distributed.world()[1] > 1:
        yield lambda: False
        return
    noted = threading.Event()

    def note(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        noted.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def do_step(stage: Stage[Any], step: int) -> dict[str, Tensor]:
    """One step, with torch's own generator (dropout) seeded by its number."""
    rank, _ = distributed.world()
    torch.manual_seed(int(generator_of(stage.seed, stage.name, "torch", step, rank).integers(2**62)))
    with stage.fabric.autocast():
        return stage.step(step)


def reduce(metrics: dict[str, Tensor], device: torch.device) -> dict[str, float]:
    """Metrics of a step, averaged over processes; on the training device, the only one they can all talk on."""
    values = torch.stack([value.detach().float().to(device) for value in metrics.values()])
    return dict(zip(metrics, distributed.mean_over_processes(values).tolist(), strict=True))


def check_finite(stage: str, step: int, values: dict[str, float]) -> None:
    """Stop early rather than train on nonsense."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise DivergedError(
                f"{stage}: {name} is {value} at step {step}; lower {stage}.learning_rate and start again"
            )
