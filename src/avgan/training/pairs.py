"""Which sounds a batch has, and which picture each of them is shown with.

Shapes: B batch, D code dimension.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from avgan.data.pairing import Pairing
from avgan.training.schedule import indices_at
from avgan.training.stage import Stage


@dataclass(frozen=True)
class Drawn:
    """A batch of imagined features, each with the real features of a picture."""

    imagined: Tensor
    """(B, D, 16, 16)"""
    real: Tensor
    """(B, D, 16, 16) quantised."""
    scenes: Tensor
    """(B,) scene number of each sound."""


def draw_pairs(
    stage: Stage, pairing: Pairing, number: int, *, flip: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of this process's rows in batch `number`: sounds, a picture for each, whether that is mirrored; all (B,)."""
    size = stage.section.batch_size
    items = stage.own(
        indices_at(
            number,
            num_items=stage.num_items,
            batch_size=size,
            seed=stage.seed,
            stage=stage.name,
        )
    )
    rng = stage.rng(number, "pair")
    shares, sides = stage.own(rng.random(size)), stage.own(rng.random(size))
    return items, pairing.pick(items, shares), sides < (0.5 if flip else 0.0)
