"""A generator with noise and its conditional critic: the way of sampling that is nearest to the paper's.

The generator makes a map at once, from 4 x 4 up to 16 x 16 in residual blocks whose channels sound and noise scale. The
critic scores a map together with the imagined features it was made from (projection, Miyato and Koyama 2018) and knows
how alike the maps of its batch are, so that a generator that ignores its noise is found out (Karras et al. 2018).

Shapes: B batch, D code dimension, C channels, Z noise.
"""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor, nn

from avgan.networks.samplers.sampler import Reader, Sampler, SamplerConfig

SMALLEST = 4
"""Side of the grid that the generator begins and the critic ends with."""


class GANConfig(SamplerConfig):
    """Sizes and weights; the defaults are for a GPU."""

    kind: Literal["gan"] = "gan"
    widths: tuple[int, int, int] = (256, 192, 128)
    """Channels at 4, 8 and 16; the critic has them in turn."""
    num_noise: int = Field(64, gt=0)
    """Z"""
    r1_every: int = Field(4, gt=0)
    """Compute R1 on every n-th step, with n times its weight: it takes a second backward pass."""

    def build(self, code_dim: int, num_labels: int) -> "GANSampler":
        return GANSampler(self, code_dim, num_labels)


class ModulatedBlock(nn.Module):
    """hidden (B, C, H, W) with a style (B, S) -> (B, C', H, W): channels scaled and shifted before each convolution."""

    def __init__(self, num_in: int, num_out: int, style: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(num_in, num_out, 3, padding=1)
        self.second = nn.Conv2d(num_out, num_out, 3, padding=1)
        self.styles = nn.ModuleList(nn.Linear(style, 2 * width) for width in (num_in, num_out))
        self.past = nn.Identity() if num_in == num_out else nn.Conv2d(num_in, num_out, 1)

    def forward(self, hidden: Tensor, style: Tensor) -> Tensor:
        body = hidden
        for layer, modulation in zip((self.first, self.second), self.styles, strict=True):
            scale, shift = modulation(style)[:, :, None, None].chunk(2, 1)
            body = layer(F.silu(F.group_norm(body, 8) * (1.0 + scale) + shift))
        total: Tensor = self.past(hidden) + body
        return total


class GANSampler(Sampler):
    """Noise and imagined features to a map in one pass."""

    def __init__(self, config: GANConfig, code_dim: int, num_labels: int) -> None:
        super().__init__(code_dim, num_labels)
        self.config = config
        style = config.condition_width
        self.reader = Reader(config, code_dim, num_labels, style)
        self.style = nn.Sequential(
            nn.Linear(style + config.num_noise, style), nn.SiLU(), nn.Linear(style, style), nn.SiLU()
        )
        width = config.widths[0]
        self.start = nn.Linear(style, width * SMALLEST * SMALLEST)
        self.blocks = nn.ModuleList()
        for next_width in config.widths:
            self.blocks.append(ModulatedBlock(width, next_width, style))
            self.blocks.append(ModulatedBlock(next_width, next_width, style))
            width = next_width
        self.last = nn.Conv2d(width, code_dim, 3, padding=1)

    @property
    def noise_size(self) -> int:
        return self.config.num_noise

    def forward(self, imagined: Tensor, logits: Tensor, noise: Tensor) -> Tensor:
        condition = self.reader(*self.given(imagined, logits))
        style = self.style(torch.cat((condition.vector, noise.to(condition.vector.dtype)), 1))
        hidden = self.start(style).reshape(-1, self.config.widths[0], SMALLEST, SMALLEST)
        for index, block in enumerate(self.blocks):
            if index and index % 2 == 0:
                hidden = F.interpolate(hidden, scale_factor=2.0, mode="nearest")
            hidden = block(hidden, style)
        features: Tensor = torch.tanh(self.last(F.silu(F.group_norm(hidden, 8))))
        return features


class SamplerCritic(nn.Module):
    """maps (B, D, 16, 16) with what they were made from -> scores (B,), higher for real pairs."""

    def __init__(self, config: GANConfig, code_dim: int, num_labels: int) -> None:
        super().__init__()
        small, middle, large = config.widths
        self.body = nn.Sequential(
            nn.Conv2d(code_dim, large, 3, padding=1),
            CriticBlock(large, middle),
            nn.AvgPool2d(2),
            CriticBlock(middle, small),
            nn.AvgPool2d(2),
        )
        self.end = nn.Sequential(
            nn.Conv2d(small + 1, small, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(small * SMALLEST * SMALLEST, small),
            nn.LeakyReLU(0.2),
        )
        self.score = nn.Linear(small, 1)
        self.reader = Reader(config, code_dim, num_labels, small)

    def forward(self, maps: Tensor, standardized: Tensor, probabilities: Tensor) -> Tensor:
        """Imagined features and probabilities (B, N) as the sampler's own reader gets them."""
        hidden = self.body(maps)
        # how much the maps of the batch differ, the same number at every place of every map
        spread = hidden.var(0, unbiased=False).add(1e-8).sqrt().mean()
        seen = self.end(torch.cat((hidden, spread.expand_as(hidden[:, :1])), 1))
        sound = F.normalize(self.reader(standardized, probabilities).vector, dim=1)
        score: Tensor = self.score(seen).squeeze(1) + (sound * seen).sum(1)
        return score


class CriticBlock(nn.Module):
    """hidden (B, C, H, W) -> (B, C', H, W), without norms: R1 is about single samples."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.Conv2d(num_in, num_out, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(num_out, num_out, 3, padding=1),
        )
        self.past = nn.Conv2d(num_in, num_out, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        total: Tensor = self.past(hidden) + self.body(hidden)
        return total
