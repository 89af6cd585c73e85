"""What depends on the number of a step alone: its samples, its randomness, its learning rate.

Nothing here has state, so a resumed run draws what the unbroken run would have drawn, and a process of several draws
its share of what one process alone would have drawn.
"""

import math
import zlib
from functools import lru_cache

import numpy as np

from avgan.errors import ConfigError

WARMUP_SHARE = 0.1
"""Of the steps of `one_cycle`, spent rising."""


def generator_of(seed: int, *place: int | str) -> np.random.Generator:
    """A random generator for one place of a run, such as (stage, step, row)."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in place]
    return np.random.default_rng([seed, *words])


@lru_cache(maxsize=8)
def _permutation(num_items: int, seed: int, stage: str, epoch: int) -> np.ndarray:
    return generator_of(seed, stage, "epoch", epoch).permutation(num_items)


def indices_at(step: int, *, num_items: int, batch_size: int, seed: int, stage: str) -> np.ndarray:
    """(batch_size,) items of a step: each epoch is a fresh permutation and batches run across epochs."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, num_items)
    items = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        its = epochs == epoch
        items[its] = _permutation(num_items, seed, stage, int(epoch))[places[its]]
    return items


def share_of_process(items: np.ndarray, rank: int, num_processes: int) -> np.ndarray:
    """The contiguous share of one process. Raises ConfigError when the batch does not divide."""
    if len(items) % num_processes:
        raise ConfigError(
            f"batch_size {len(items)} does not divide over {num_processes} processes; set a multiple of it"
        )
    size = len(items) // num_processes
    return items[rank * size : (rank + 1) * size]


def rate_factor(schedule: str, step: int, num_steps: int) -> float:
    """What the learning rate is multiplied with at a step of `num_steps`."""
    progress = step / max(num_steps, 1)
    if schedule == "linear":
        return 1.0 - progress
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    if schedule == "one_cycle":
        if progress < WARMUP_SHARE:
            return 0.04 + 0.96 * progress / WARMUP_SHARE
        fall = (progress - WARMUP_SHARE) / (1.0 - WARMUP_SHARE)
        return 0.5 * (1.0 + math.cos(math.pi * fall))
    return 1.0
