"""Sound to imagined features (Sec. 3.2, Fig. 4).

    log_mel (B, 1, F, T) -> trunk -> vector (B, V)
                         -> band maxima (B, 16)          the paper's shortcut
    embedding (B, V + 16) -> head -> imagined features (B, D, 16, 16) in [-1, 1]

Decisions: the head is dense 512, batch norm, ReLU, dense to the map, tanh. It first brings each number of the embedding
to mean 0 and variance 1: raw decibels of the shortcut beside a trunk's small numbers carried 65 to 90 % of the
variance of the first layer. The embedding is a step of its own (`embed`), so that it can be computed once and kept
while the head is trained.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

NUM_BANDS = 16
"""Length of the shortcut vector: maxima over time of the mel bands, pooled to 16."""


class GeneratorConfig(BaseModel):
    """Size of the generator's head; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: int = Field(512, gt=0)
    """Width of the first dense layer."""
    batch_norm: bool = True
    """Between the two dense layers."""
    standardize: bool = True
    """The embedding, before the first dense layer."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """On the embedding, in training."""


def band_maxima(log_mel: Tensor) -> Tensor:
    """log_mel (B, 1, F, T) -> (B, 16): the maximum over time of each mel band, the bands max-pooled to 16."""
    return F.max_pool1d(log_mel.amax(3), log_mel.shape[2] // NUM_BANDS).flatten(1)


def step_maxima(log_mel: Tensor, step_frames: int) -> Tensor:
    """log_mel (B, 1, F, T) -> (B, 16, S): the same over the frames of each step."""
    held = F.pad(log_mel, (0, step_frames - 1, 0, 0), mode="replicate")
    return F.max_pool2d(held, (log_mel.shape[2] // NUM_BANDS, step_frames))[:, 0]


class DenseHead(nn.Module):
    """embedding (B, C) -> features (B, D, 16, 16) in [-1, 1]."""

    def __init__(self, config: GeneratorConfig, embedding_size: int, code_dim: int) -> None:
        super().__init__()
        self.code_dim = code_dim
        self.body = nn.Sequential(
            # without scales of its own: the dense layer behind it has them
            nn.BatchNorm1d(embedding_size, affine=False) if config.standardize else nn.Identity(),
            nn.Dropout(config.dropout),
            nn.Linear(embedding_size, config.hidden),
            nn.BatchNorm1d(config.hidden) if config.batch_norm else nn.Identity(),
            nn.ReLU(),
            nn.Linear(config.hidden, code_dim * 16 * 16),
        )

    def forward(self, embedding: Tensor) -> Tensor:
        return torch.tanh(self.body(embedding).unflatten(1, (self.code_dim, 16, 16)))


class Generator(nn.Module):
    """A trunk that embeds and a head that imagines."""

    def __init__(self, config: GeneratorConfig, trunk: nn.Module, vector_size: int, code_dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.embedding_size = vector_size + NUM_BANDS
        self.head = DenseHead(config, self.embedding_size, code_dim)

    def embed(self, log_mel: Tensor) -> Tensor:
        """log_mel (B, 1, F, T) -> embedding (B, C), C = V + 16."""
        return torch.cat((self.trunk(log_mel).float(), band_maxima(log_mel).float()), 1)

    def steps(self, log_mel: Tensor, step_frames: int) -> Tensor:
        """log_mel (B, 1, F, T) -> (B, K + 16, S) of a trunk that goes step by step; windows can share them."""
        trunk: Any = self.trunk  # one whose configuration says `step_frames`
        own: Tensor = trunk.steps(log_mel)
        return torch.cat((own, step_maxima(log_mel, step_frames).float()), 1)

    def summarize(self, steps: Tensor) -> Tensor:
        """steps (B, K + 16, S) of a stretch -> its embedding (B, C)."""
        trunk: Any = self.trunk
        vector: Tensor = trunk.summarize(steps[:, :-NUM_BANDS])
        return torch.cat((vector, steps[:, -NUM_BANDS:].amax(2)), 1)

    def imagine(self, embedding: Tensor) -> Tensor:
        """embedding (B, C) -> imagined features (B, D, 16, 16)."""
        features: Tensor = self.head(embedding)
        return features.float()

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.imagine(self.embed(log_mel))
