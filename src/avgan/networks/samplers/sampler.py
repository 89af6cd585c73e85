"""What all samplers are: a network that samples one of the many maps that imagined features may stand for.

    imagined features (B, D, 16, 16), their logits (B, N), noise (B, Z) -> sampled features (B, D, 16, 16)

Imagined features say which place a sound comes from, and are the mean of what it may look like: decoded as they are
they give fog. A sampler turns them into a single map such as encoders make of photographs, another one for other noise.
It is given (quantised) features, what the classifier reads from these, and noise: so features and noise determine the
picture, and the label, which is read from the imagined features, never depends on the noise.

Shapes: B batch, D code dimension, N labels, H W grid of 16, P patches, C channels, Z noise.
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
SURENESS = 0.8
"""How sure of a label a condition is, on average: a picture of several places at once shows none."""
FACTORS = 2.0 ** torch.linspace(-3, 6, 91)
"""That logits may be multiplied by to be as sure: a classifier of soft labels is unsure, the more so of codes."""


class SamplerConfig(BaseModel, ABC):
    """Size of a sampler; a subclass has a literal `kind`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    condition_width: int = Field(512, gt=0)
    """Of the dense layer that reads the imagined features."""
    condition_dropout: float = Field(0.1, ge=0, lt=1)
    """On that layer, in training: recordings are few, and each would be known by heart."""

    @abstractmethod
    def build(self, code_dim: int, num_labels: int) -> "Sampler":
        """A sampler with fresh weights."""


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

    def __init__(self, config: SamplerConfig, code_dim: int, num_labels: int, width: int) -> None:
        super().__init__()
        self.labels = nn.Linear(num_labels, width, bias=False)
        # with torch's own weights, an eighth of these, a flow of `places` told labels apart by a tenth after 250 steps
        nn.init.normal_(self.labels.weight)
        self.dense = nn.Sequential(
            nn.Linear(code_dim * GRID * GRID, config.condition_width),
            nn.SiLU(),
            nn.Dropout(config.condition_dropout),
            nn.Linear(config.condition_width, width),
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


class Sampler(nn.Module, ABC):
    """imagined features (B, D, 16, 16), their logits (B, N), noise (B, Z) -> sampled features (B, D, 16, 16).

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

    def __init__(self, code_dim: int, num_labels: int) -> None:
        super().__init__()
        self.code_dim, self.num_labels = code_dim, num_labels
        self.register_buffer("real_mean", torch.zeros(code_dim, 1, 1))
        self.register_buffer("real_spread", torch.ones(code_dim, 1, 1))
        self.register_buffer("imagined_mean", torch.zeros(code_dim, GRID, GRID))
        self.register_buffer("imagined_spread", torch.ones(()))
        self.register_buffer("sharpness", torch.ones(()))

    @property
    @abstractmethod
    def noise_size(self) -> int:
        """Z, how many standard normal numbers a picture takes."""

    @abstractmethod
    def forward(self, imagined: Tensor, logits: Tensor, noise: Tensor) -> Tensor:
        """Sample a map for each row."""

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
