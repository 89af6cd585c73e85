"""Sound to imagined features (Sec. 3.2, Fig. 4).

    log_mel (B, 1, F, T) -> trunk -> vector (B, 1024)
                         -> band maxima (B, 16)          the paper's shortcut
    heard (B, 1040) -> head -> imagined features (B, D, 16, 16) in [-1, 1]

Decisions: the head is dense 512, batch norm, ReLU, dense to the map, tanh. What was heard is a step of its own
(`hear`), so that it can be computed once and kept while the head is trained.
"""

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
    dropout: float = Field(0.0, ge=0, lt=1)
    """On what was heard, in training."""


def band_maxima(log_mel: Tensor) -> Tensor:
    """log_mel (B, 1, F, T) -> (B, 16): the maximum over time of each mel band, the bands max-pooled to 16."""
    return F.max_pool1d(log_mel.amax(3), log_mel.shape[2] // NUM_BANDS).flatten(1)


class DenseHead(nn.Module):
    """heard (B, C) -> features (B, D, 16, 16) in [-1, 1]."""

    def __init__(self, config: GeneratorConfig, heard_size: int, code_dim: int) -> None:
        super().__init__()
        self.code_dim = code_dim
        self.body = nn.Sequential(
            nn.Linear(heard_size, config.hidden),
            nn.BatchNorm1d(config.hidden) if config.batch_norm else nn.Identity(),
            nn.ReLU(),
            nn.Linear(config.hidden, code_dim * 16 * 16),
        )

    def forward(self, heard: Tensor) -> Tensor:
        return torch.tanh(self.body(heard).unflatten(1, (self.code_dim, 16, 16)))


class Generator(nn.Module):
    """A trunk that hears and a head that imagines."""

    def __init__(
        self, config: GeneratorConfig, trunk: nn.Module, *, vector_size: int, code_dim: int
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(config.dropout)
        self.heard_size = vector_size + NUM_BANDS
        self.head = DenseHead(config, self.heard_size, code_dim)

    def hear(self, log_mel: Tensor) -> Tensor:
        """log_mel (B, 1, F, T) -> heard (B, 1024 + 16)."""
        return torch.cat((self.trunk(log_mel).float(), band_maxima(log_mel).float()), 1)

    def imagine(self, heard: Tensor) -> Tensor:
        """heard (B, C) -> imagined features (B, D, 16, 16)."""
        features: Tensor = self.head(self.dropout(heard))
        return features.float()

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.imagine(self.hear(log_mel))
