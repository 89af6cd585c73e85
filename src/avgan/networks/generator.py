"""Sound to imagined features (Sec. 3.2, Fig. 4).

    log_mel (B, 1, F, T) -> trunk -> vector (B, 1024)
                         -> band maxima (B, 16)          the paper's shortcut
    heard (B, 1040) [+ noise (B, Z)] -> head -> imagined features (B, D, 16, 16) in [-1, 1]

Two heads. `dense` is the paper's: dense 512, batch norm, ReLU, dense to the map, tanh. `conv` grows the map from 4 x 4,
each block steered by what was heard and by noise: one sound has many pictures, and noise says which one is meant.

What was heard is a step of its own (`hear`), so that it can be computed once and kept while the head is trained.
"""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

NUM_BANDS = 16
"""Length of the shortcut vector: maxima over time of the mel bands, pooled to 16."""


class GeneratorConfig(BaseModel):
    """Size of the generator's head; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["dense", "conv"] = "dense"
    hidden: int = Field(512, gt=0)
    """Dense layer of `dense`; condition vector of `conv`."""
    width: int = Field(128, gt=0)
    """Filters of `conv` at 8 x 8; twice as many at 4 x 4."""
    noise_dim: int = Field(0, ge=0)
    """Length of the noise vector; 0: one sound has one picture."""
    batch_norm: bool = True
    dropout: float = Field(0.0, ge=0, lt=1)
    """On what was heard, in training."""


def band_maxima(log_mel: Tensor) -> Tensor:
    """log_mel (B, 1, F, T) -> (B, 16): the maximum over time of each mel band, the bands max-pooled to 16."""
    return F.max_pool1d(log_mel.amax(3), log_mel.shape[2] // NUM_BANDS).flatten(1)


class DenseHead(nn.Module):
    """heard (B, C), noise (B, Z) -> features (B, D, 16, 16), the paper's dense layers."""

    def __init__(self, config: GeneratorConfig, heard_size: int, code_dim: int) -> None:
        super().__init__()
        self.code_dim = code_dim
        norm = nn.BatchNorm1d(config.hidden) if config.batch_norm else nn.Identity()
        self.body = nn.Sequential(
            nn.Linear(heard_size + config.noise_dim, config.hidden),
            norm,
            nn.ReLU(),
            nn.Linear(config.hidden, code_dim * 16 * 16),
        )

    def forward(self, heard: Tensor, noise: Tensor) -> Tensor:
        flat: Tensor = self.body(torch.cat((heard, noise), 1))
        return torch.tanh(flat.unflatten(1, (self.code_dim, 16, 16)))


class SteeredBlock(nn.Module):
    """Residual block whose two normalised maps are scaled and shifted by a condition; doubles the grid on request."""

    def __init__(self, num_in: int, num_out: int, condition_size: int, grow: bool) -> None:
        super().__init__()
        self.grow = grow
        self.norms = nn.ModuleList(
            nn.GroupNorm(8, channels, affine=False) for channels in (num_in, num_out)
        )
        self.steer = nn.ModuleList(
            nn.Linear(condition_size, 2 * channels) for channels in (num_in, num_out)
        )
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, num_out, 3, padding=1) for channels in (num_in, num_out)
        )
        self.skip = nn.Conv2d(num_in, num_out, 1) if num_in != num_out else nn.Identity()

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        if self.grow:
            hidden = F.interpolate(hidden, scale_factor=2.0, mode="nearest")
        residual = hidden
        for norm, steer, conv in zip(self.norms, self.steer, self.convs, strict=True):
            scale, shift = steer(condition)[:, :, None, None].chunk(2, dim=1)
            residual = conv(F.relu(norm(residual) * (1.0 + scale) + shift))
        skipped: Tensor = self.skip(hidden) + residual
        return skipped


class ConvHead(nn.Module):
    """heard (B, C), noise (B, Z) -> features (B, D, 16, 16), grown from 4 x 4 in three steered blocks."""

    def __init__(self, config: GeneratorConfig, heard_size: int, code_dim: int) -> None:
        super().__init__()
        width, condition_size = config.width, config.hidden + config.noise_dim
        norm = nn.BatchNorm1d(config.hidden) if config.batch_norm else nn.Identity()
        self.condition = nn.Sequential(nn.Linear(heard_size, config.hidden), norm, nn.ReLU())
        self.seed = nn.Linear(condition_size, 2 * width * 4 * 4)
        self.blocks = nn.ModuleList(
            (
                SteeredBlock(2 * width, 2 * width, condition_size, grow=False),
                SteeredBlock(2 * width, width, condition_size, grow=True),
                SteeredBlock(width, width // 2, condition_size, grow=True),
            )
        )
        self.out = nn.Sequential(
            nn.GroupNorm(8, width // 2), nn.ReLU(), nn.Conv2d(width // 2, code_dim, 3, padding=1)
        )

    def forward(self, heard: Tensor, noise: Tensor) -> Tensor:
        condition = torch.cat((self.condition(heard), noise), 1)
        hidden = self.seed(condition).unflatten(1, (-1, 4, 4))
        for block in self.blocks:
            hidden = block(hidden, condition)
        return torch.tanh(self.out(hidden))


class Generator(nn.Module):
    """A trunk that hears and a head that imagines.

    Without noise given, a generator with `noise_dim` > 0 uses zeros, the most typical picture, so that the same
    recording always gives the same answer.
    """

    def __init__(
        self, config: GeneratorConfig, trunk: nn.Module, *, vector_size: int, code_dim: int
    ) -> None:
        super().__init__()
        self.config = config
        self.trunk = trunk
        self.dropout = nn.Dropout(config.dropout)
        self.heard_size = vector_size + NUM_BANDS
        head = ConvHead if config.kind == "conv" else DenseHead
        self.head = head(config, self.heard_size, code_dim)

    def hear(self, log_mel: Tensor) -> Tensor:
        """log_mel (B, 1, F, T) -> heard (B, 1024 + 16)."""
        return torch.cat((self.trunk(log_mel).float(), band_maxima(log_mel).float()), 1)

    def imagine(self, heard: Tensor, noise: Tensor | None = None) -> Tensor:
        """heard (B, C), noise (B, Z) or None -> imagined features (B, D, 16, 16)."""
        if noise is None:
            noise = heard.new_zeros(heard.shape[0], self.config.noise_dim)
        features: Tensor = self.head(self.dropout(heard), noise)
        return features.float()

    def forward(self, log_mel: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.imagine(self.hear(log_mel), noise)
