"""What all samplers are: a network that samples one of the many maps that imagined features may stand for.

    imagined features (B, D, 16, 16), noise (B, Z) -> sampled features (B, D, 16, 16)

Imagined features say which place a sound comes from, and are the mean of what it may look like: decoded as they are
they give fog. A sampler turns them into a single map such as encoders make of photographs, another one for other noise.
It is given nothing but (quantised) features and noise, so these two determine the picture, and the label, which is read
from the imagined features, never depends on the noise.

Shapes: B batch, D code dimension, H W grid of 16, P patches, C channels, Z noise.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

GRID = 16
PATCH = 2
"""Side of the patches of the grid that are one token each."""
NUM_PATCHES = (GRID // PATCH) ** 2


class SamplerConfig(BaseModel, ABC):
    """Size of a sampler; a subclass has a literal `kind`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    condition_width: int = Field(512, gt=0)
    """Of the dense layer that reads the imagined features."""
    condition_dropout: float = Field(0.1, ge=0, lt=1)
    """On that layer, in training: recordings are few, and each would be known by heart."""

    @abstractmethod
    def build(self, code_dim: int) -> "Sampler":
        """A sampler with fresh weights."""


@dataclass(frozen=True)
class Condition:
    """What a sampler reads from the imagined features."""

    vector: Tensor
    """(B, C) of the whole map."""
    tokens: Tensor
    """(B, P, C) of its patches, each in the place that it has in the picture."""


class Reader(nn.Module):
    """imagined features (B, D, 16, 16) -> Condition.

    The vector is a dense layer's over the whole map, as the label is read too: what the generator's dense head writes
    at a place has nothing to do with its neighbours. Rows of `dropped` (B,) have the empty condition.
    """

    def __init__(self, config: SamplerConfig, code_dim: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Linear(code_dim * GRID * GRID, config.condition_width),
            nn.SiLU(),
            nn.Dropout(config.condition_dropout),
            nn.Linear(config.condition_width, width),
        )
        self.patches = nn.Linear(code_dim * PATCH * PATCH, width)
        self.nothing = nn.Parameter(torch.zeros(width))

    def forward(self, imagined: Tensor, dropped: Tensor | None = None) -> Condition:
        vector = self.dense(imagined.flatten(1))
        tokens = self.patches(to_patches(imagined))
        if dropped is not None:
            given = (~dropped).to(vector.dtype)
            vector = given[:, None] * vector + (1.0 - given)[:, None] * self.nothing
            tokens = given[:, None, None] * tokens
        return Condition(vector, tokens)

    def empty(self, condition: Condition) -> Condition:
        """The condition of dropped rows, in the shape of `condition`."""
        return Condition(0.0 * condition.vector + self.nothing, 0.0 * condition.tokens)


class Sampler(nn.Module, ABC):
    """imagined features (B, D, 16, 16), noise (B, Z) -> sampled features (B, D, 16, 16).

    Buffers:
        real_mean, real_spread (D, 1, 1): of the real features that are learnt from.
        imagined_mean (D, 16, 16), imagined_spread (): of the imagined features that are learnt with.
    """

    real_mean: Tensor
    real_spread: Tensor
    imagined_mean: Tensor
    imagined_spread: Tensor

    def __init__(self, code_dim: int) -> None:
        super().__init__()
        self.code_dim = code_dim
        self.register_buffer("real_mean", torch.zeros(code_dim, 1, 1))
        self.register_buffer("real_spread", torch.ones(code_dim, 1, 1))
        self.register_buffer("imagined_mean", torch.zeros(code_dim, GRID, GRID))
        self.register_buffer("imagined_spread", torch.ones(()))

    @property
    @abstractmethod
    def noise_size(self) -> int:
        """Z, how many standard normal numbers a picture takes."""

    @abstractmethod
    def forward(self, imagined: Tensor, noise: Tensor) -> Tensor:
        """Sample a map for each row."""

    @torch.no_grad()
    def set_statistics(self, real: Tensor, imagined: Tensor) -> None:
        """Set the buffers from real (M, D, 16, 16) and imagined features (N, D, 16, 16)."""
        self.real_mean.copy_(real.mean((0, 2, 3))[:, None, None])
        self.real_spread.copy_(real.std((0, 2, 3)).clamp(min=1e-4)[:, None, None])
        self.imagined_mean.copy_(imagined.mean(0))
        self.imagined_spread.copy_((imagined - imagined.mean(0)).square().mean().sqrt().clamp(min=1e-4))

    def standardized(self, imagined: Tensor) -> Tensor:
        """Imagined features (B, D, 16, 16) less their mean, divided by their spread, as the reader gets them."""
        return (imagined - self.imagined_mean) / self.imagined_spread


# The number of rows is written as -1 below: an exported graph can then be cut between codes and picture, where it would
# else look up how many waveforms there are.


def to_patches(maps: Tensor) -> Tensor:
    """maps (B, D, 16, 16) -> (B, P, D * 4), row by row of patches."""
    depth, side = maps.shape[1], GRID // PATCH
    patches = maps.reshape(-1, depth, side, PATCH, side, PATCH).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(-1, NUM_PATCHES, depth * PATCH * PATCH)


def from_patches(patches: Tensor, depth: int) -> Tensor:
    """Inverse of `to_patches`."""
    side = GRID // PATCH
    maps = patches.reshape(-1, side, side, depth, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5)
    return maps.reshape(-1, depth, GRID, GRID)
