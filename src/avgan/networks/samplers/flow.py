"""Rectified flow in the latent: noise moves to a map of real features along straight lines (Liu et al. 2022).

A transformer over the 64 patches of the 16 x 16 map says in which direction a map between noise and features has to
move; from noise at time 0 a few such steps lead to features at time 1. Time and sound reach every block through
adaptive layer norm (Peebles and Xie 2023). In training a tenth of the conditions is dropped, so that the same network
knows what maps look like in general; what a condition adds to that is taken `guidance` times (Ho and Salimans 2022).

Shapes: B batch, D code dimension, P patches, C channels, Z noise.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor, nn

from avgan.networks.samplers.sampler import (
    GRID,
    NUM_PATCHES,
    PATCH,
    Condition,
    Reader,
    Sampler,
    SamplerConfig,
    from_patches,
    to_patches,
)

LONGEST_PERIOD = 10_000.0
TIME_SCALE = 1_000.0
"""Times in [0, 1] are turned into sines as if they counted to a thousand, as transformers count places."""
NUM_WAVES = 128
HEAD_WIDTH = 64


class FlowConfig(SamplerConfig):
    """A transformer; the defaults are for a GPU, 11 M parameters."""

    kind: Literal["flow"] = "flow"
    width: int = Field(256, gt=0, multiple_of=64)
    """C; heads are 64 wide."""
    depth: int = Field(8, gt=0)
    num_steps: int = Field(8, gt=0)
    """Steps from noise to features when a map is sampled; 16 do hardly better and cost twice as much."""
    guidance: float = Field(2.0, ge=1)
    """How strongly the picture keeps to the sound: 1 as in the data; more is clearer and less varied."""

    def build(self, code_dim: int, num_labels: int) -> "FlowSampler":
        return FlowSampler(self, code_dim, num_labels)


class TransformerBlock(nn.Module):
    """tokens (B, P, C) with a condition (B, C) -> (B, P, C): attention and a dense part, both scaled by it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_heads = width // HEAD_WIDTH
        self.modulation = nn.Linear(width, 6 * width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        # a block begins as the identity, so that depth costs nothing at first
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        parts = self.modulation(F.silu(condition))[:, None].chunk(6, 2)
        tokens = tokens + parts[2] * self._attend(modulated(tokens, parts[0], parts[1]))
        return tokens + parts[5] * self.dense(modulated(tokens, parts[3], parts[4]))

    def _attend(self, tokens: Tensor) -> Tensor:
        """Plain products: for 64 tokens the fused attention of a CPU takes three times as long backwards."""
        width = tokens.shape[2]
        parts = self.query_key_value(tokens)
        parts = parts.reshape(-1, NUM_PATCHES, 3, self.num_heads, HEAD_WIDTH)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(query @ key.transpose(-1, -2) * HEAD_WIDTH**-0.5, -1)
        mixed = weights.to(value.dtype) @ value
        attended: Tensor = self.attended(mixed.transpose(1, 2).reshape(-1, NUM_PATCHES, width))
        return attended


def modulated(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm whose shift and scale (B, 1, C) are given."""
    return F.layer_norm(tokens, tokens.shape[-1:]) * (1.0 + scale) + shift


class FlowSampler(Sampler):
    """Noise to features in `num_steps` steps of equal length."""

    def __init__(self, config: FlowConfig, code_dim: int, num_labels: int) -> None:
        super().__init__(code_dim, num_labels)
        self.config = config
        width = config.width
        self.reader = Reader(config, code_dim, num_labels, width)
        self.time = nn.Sequential(nn.Linear(2 * NUM_WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.patches = nn.Linear(code_dim * PATCH * PATCH, width)
        self.places = nn.Parameter(0.02 * torch.randn(NUM_PATCHES, width))
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(config.depth))
        self.last_modulation = nn.Linear(width, 2 * width)
        self.direction = nn.Linear(width, code_dim * PATCH * PATCH)
        for layer in (self.last_modulation, self.direction):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def noise_size(self) -> int:
        return self.code_dim * GRID * GRID

    def velocity(self, maps: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """Direction (B, D, 16, 16) in which maps at a time (B,) or (1,) have to move, at mean 0 and variance 1."""
        modulation = self.time(waves(time).to(maps.dtype)) + condition.vector
        tokens = self.patches(to_patches(maps)) + self.places + condition.tokens
        for block in self.blocks:
            tokens = block(tokens, modulation)
        shift, scale = self.last_modulation(F.silu(modulation))[:, None].chunk(2, 2)
        return from_patches(self.direction(modulated(tokens, shift, scale)), self.code_dim)

    def forward(self, imagined: Tensor, logits: Tensor, noise: Tensor) -> Tensor:
        condition = self.reader(*self.given(imagined, logits))
        if self.config.guidance != 1.0:
            empty = self.reader.empty(condition)
            condition = Condition(
                torch.cat((condition.vector, empty.vector)), torch.cat((condition.tokens, empty.tokens))
            )
        maps = noise.reshape(-1, self.code_dim, GRID, GRID)
        for step in range(self.config.num_steps):
            maps = maps + self._guided(maps, step / self.config.num_steps, condition) / self.config.num_steps
        return maps * self.real_spread + self.real_mean

    def _guided(self, maps: Tensor, time: float, condition: Condition) -> Tensor:
        """The direction with what the condition adds to it taken `guidance` times."""
        guidance = self.config.guidance
        both = maps if guidance == 1.0 else torch.cat((maps, maps))
        found = self.velocity(both, torch.tensor([time], device=maps.device), condition)
        if guidance == 1.0:
            return found
        conditional, unconditional = found.unflatten(0, (2, -1)).unbind(0)
        return unconditional + guidance * (conditional - unconditional)


def waves(time: Tensor) -> Tensor:
    """time (B,) in [0, 1] -> sines and cosines (B, 2 * NUM_WAVES) of it, float."""
    rates = torch.arange(NUM_WAVES, device=time.device, dtype=torch.float32)
    rates = TIME_SCALE * torch.exp(-math.log(LONGEST_PERIOD) / NUM_WAVES * rates)
    angles = time.float()[:, None] * rates
    return torch.cat((angles.cos(), angles.sin()), 1)
