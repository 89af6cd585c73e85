"""The sampler: one of the many maps that imagined features may stand for, sampled by rectified flow.

    imagined features (B, D, 16, 16), their logits (B, N), noise (B, Z) -> sampled features (B, D, 16, 16)

Imagined features say which place a sound comes from, and are the mean of what it may look like: decoded as they are
they give fog. A sampler turns them into a single map such as encoders make of photographs, another one for other noise.
It is given (quantised) features, what the classifier reads from these, and noise: so features and noise determine the
picture, and the label, which is read from the imagined features, never depends on the noise.

Noise moves to a map of real features along straight lines (Liu et al. 2022).

A transformer over the 64 patches of the 16 x 16 map says in which direction a map between noise and features has to
move; from noise at time 0 a few such steps lead to features at time 1. Time and sound reach every block through
adaptive layer norm (Peebles and Xie 2023). In training a tenth of the conditions is dropped, so that the same network
knows what maps look like in general; what a condition adds to that is taken `guidance` times (Ho and Salimans 2022).

Shapes: B batch, D code dimension, N labels, P patches, C channels, Z noise.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

GRID = 16
PATCH = 2
"""Side of the patches of the grid that are one token each."""
NUM_PATCHES = (GRID // PATCH) ** 2
LONGEST_PERIOD = 10_000.0
TIME_SCALE = 1_000.0
"""Times in [0, 1] are turned into sines as if they counted to a thousand, as transformers count places."""
NUM_WAVES = 128
HEAD_WIDTH = 64
SURENESS = 0.8
"""How sure of a label a condition is, on average: a picture of several places at once shows none."""
FACTORS = 2.0 ** torch.linspace(-3, 6, 91)
"""That logits may be multiplied by to be as sure: a classifier of soft labels is unsure, the more so of codes."""


class FlowConfig(BaseModel):
    """A transformer; the defaults are for a GPU, 11 M parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["flow"] = "flow"
    condition_width: int = Field(512, gt=0)
    """Of the dense layer that reads the imagined features."""
    condition_dropout: float = Field(0.1, ge=0, lt=1)
    """On that layer, in training: recordings are few, and each would be known by heart."""
    width: int = Field(256, gt=0, multiple_of=64)
    """C; heads are 64 wide."""
    depth: int = Field(8, gt=0)
    num_steps: int = Field(8, gt=0)
    """Steps from noise to features when a map is sampled; 16 do hardly better and cost twice as much."""
    guidance: float = Field(2.0, ge=1)
    """How strongly the picture keeps to the sound: 1 as in the data; more is clearer and less varied."""

    def build(self, code_dim: int, num_labels: int) -> "FlowSampler":
        return FlowSampler(self, code_dim, num_labels)


@dataclass(frozen=True)
class Condition:
    """What a sampler reads from the imagined features."""

    vector: Tensor
    """(B, C) of the whole map."""
    tokens: Tensor
    """(B, P, C) of its patches, each in the place that it has in the picture."""


class Reader(nn.Module):
    """imagined features (B, D, 16, 16) and the probabilities of the labels in them (B, N) -> Condition.

    What the classifier has learnt to read need not be learnt again from pictures, which is slow: it is all that there
    is to know where sounds and pictures are paired by label. What else the features say of the picture, as where both
    are of one video, a dense layer over the whole map adds (what the generator's dense head writes at a place has
    nothing to do with its neighbours), and a layer over each patch; both begin with nothing. Rows of `dropped` (B,)
    have the empty condition.
    """

    def __init__(self, code_dim: int, num_labels: int, width: int, *, dense_width: int, dropout: float) -> None:
        super().__init__()
        self.labels = nn.Linear(num_labels, width, bias=False)
        # with torch's own weights, an eighth of these, a flow of `places` told labels apart by a tenth after 250 steps
        nn.init.normal_(self.labels.weight)
        self.dense = nn.Sequential(
            nn.Linear(code_dim * GRID * GRID, dense_width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(dense_width, width),
        )
        self.patches = nn.Linear(code_dim * PATCH * PATCH, width)
        self.nothing = nn.Parameter(torch.zeros(width))
        last = self.dense[-1]
        assert isinstance(last, nn.Linear)
        for layer in (last, self.patches):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, imagined: Tensor, probabilities: Tensor, dropped: Tensor | None = None) -> Condition:
        vector = self.labels(probabilities) + self.dense(imagined.flatten(1))
        tokens = self.patches(to_patches(imagined))
        if dropped is not None:
            given = (~dropped).to(vector.dtype)
            vector = given[:, None] * vector + (1.0 - given)[:, None] * self.nothing
            tokens = given[:, None, None] * tokens
        return Condition(vector, tokens)

    def empty(self, condition: Condition) -> Condition:
        """The condition of dropped rows, in the shape of `condition`."""
        return Condition(0.0 * condition.vector + self.nothing, 0.0 * condition.tokens)


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


class FlowSampler(nn.Module):
    """imagined features (B, D, 16, 16), their logits (B, N), noise (B, Z) -> sampled features (B, D, 16, 16).

    In `num_steps` steps of equal length.

    Buffers:
        real_mean, real_spread (D, 1, 1): of the real features that are learnt from.
        imagined_mean (D, 16, 16), imagined_spread (): of the imagined features that are learnt with.
        sharpness (): what logits are multiplied by before they are turned into probabilities.
    """

    real_mean: Tensor
    real_spread: Tensor
    imagined_mean: Tensor
    imagined_spread: Tensor
    sharpness: Tensor

    def __init__(self, config: FlowConfig, code_dim: int, num_labels: int) -> None:
        super().__init__()
        self.config = config
        self.code_dim, self.num_labels = code_dim, num_labels
        self.register_buffer("real_mean", torch.zeros(code_dim, 1, 1))
        self.register_buffer("real_spread", torch.ones(code_dim, 1, 1))
        self.register_buffer("imagined_mean", torch.zeros(code_dim, GRID, GRID))
        self.register_buffer("imagined_spread", torch.ones(()))
        self.register_buffer("sharpness", torch.ones(()))
        width = config.width
        self.reader = Reader(
            code_dim, num_labels, width, dense_width=config.condition_width, dropout=config.condition_dropout
        )
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
        """Z, how many standard normal numbers a picture takes."""
        return self.code_dim * GRID * GRID

    @torch.no_grad()
    def set_statistics(self, real: Tensor, imagined: Tensor, logits: Tensor) -> None:
        """Set the buffers from real features (M, D, 16, 16), imagined ones (R, D, 16, 16) and their logits (R, N)."""
        self.real_mean.copy_(real.mean((0, 2, 3))[:, None, None])
        self.real_spread.copy_(real.std((0, 2, 3)).clamp(min=1e-4)[:, None, None])
        self.imagined_mean.copy_(imagined.mean(0))
        self.imagined_spread.copy_((imagined - imagined.mean(0)).square().mean().sqrt().clamp(min=1e-4))
        sureness = torch.stack([(factor * logits).softmax(1).amax(1).mean() for factor in FACTORS.tolist()])
        self.sharpness.copy_(FACTORS[int((sureness - SURENESS).abs().argmin())])

    def given(self, imagined: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """What a reader gets: imagined features (B, D, 16, 16) less their mean, divided by their spread, and sharpened
        probabilities (B, N)."""
        return (imagined - self.imagined_mean) / self.imagined_spread, (self.sharpness * logits).softmax(1)

    def velocity(self, maps: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """Direction (B, D, 16, 16) in which maps at a time (B,) or (1,) have to move, at mean 0 and variance 1."""
        modulation = self.time(waves(time).to(maps.dtype)) + condition.vector
        tokens = self.patches(to_patches(maps)) + self.places + condition.tokens
        for block in self.blocks:
            tokens = block(tokens, modulation)
        shift, scale = self.last_modulation(F.silu(modulation))[:, None].chunk(2, 2)
        return from_patches(self.direction(modulated(tokens, shift, scale)), self.code_dim)

    def forward(self, imagined: Tensor, logits: Tensor, noise: Tensor) -> Tensor:
        """Sample a map for each row."""
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
