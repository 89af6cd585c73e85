"""Encoder and decoder of residual blocks with group norm: the stage-1 networks whose pictures are sharp.

    image (B, 3, 128, 128) -> 128 px -> 64 px -> 32 px -> 16 px -> features (B, D, 16, 16) in [-1, 1]
    features (B, D, 16, 16) -> 16 px -> 32 px -> 64 px -> 128 px -> image (B, 3, 128, 128)

The quantiser between them is that of `networks.vqvae`. Group norm, because batch norm's statistics would differ between
the pictures that are learnt from and those that are imagined, which the decoder never saw.

Weights of the smaller size come with the package, taught by 24,000 photographs of 60 scenes (recipes/photographs.py):
what learns to imagine begins from them instead of an hour of pictures.

Shapes: B batch, D code dimension, C channels, H W grid.
"""

from importlib import resources
from typing import Any, Literal

import torch.nn.functional as F  # noqa: N812
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors.torch import load
from torch import Tensor, nn

NUM_GROUPS = 8
"""Of every group norm; divides all the widths in use."""
SMALL: dict[str, Any] = {"widths": (32, 64, 96, 128), "num_blocks": (0, 1, 2, 2)}
"""What two CPU cores can be taught in an hour or two; the sizes of the weights that come with the package."""
WEIGHTS = "photographs.safetensors"
"""In half precision."""


class ResidualConfig(BaseModel):
    """Sizes; the defaults are for a GPU: 4.7 M parameters to encode, 5.2 M to decode."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["residual"] = "residual"
    widths: tuple[int, int, int, int] = (64, 128, 192, 256)
    """Channels at 128, 64, 32 and 16 px, multiples of 8."""
    num_blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    """Residual blocks at 128, 64, 32 and 16 px. Those at 128 px cost half of the time; where there are none, nothing is
    computed there: squares of 2 x 2 pixels are channels at 64 px."""
    code_dim: int = Field(8, gt=0)
    num_codes: int = Field(1_024, gt=1)
    pretrained: bool = False
    """Begin with the weights that come with the package; the sizes must be theirs."""

    @model_validator(mode="after")
    def _sizes_of_weights(self) -> "ResidualConfig":
        if self.pretrained and self.model_copy(update={"pretrained": False}) != ResidualConfig(**SMALL):
            raise ValueError("the weights that come with the package have sizes of their own: set pretrained=false")
        return self

    @property
    def fold(self) -> int:
        """Side of the squares of pixels that enter and leave as channels of one place."""
        return 1 if self.num_blocks[0] else 2

    @property
    def levels(self) -> list[tuple[int, int]]:
        """(width, residual blocks) of each level that is computed, the finest first."""
        levels = list(zip(self.widths, self.num_blocks, strict=True))
        return levels if self.fold == 1 else levels[1:]

    def encoder(self) -> nn.Module:
        return ResidualEncoder(self)

    def decoder(self) -> nn.Module:
        return ResidualDecoder(self)

    def weights(self) -> dict[str, Tensor] | None:
        return load(resources.files(__package__).joinpath(WEIGHTS).read_bytes()) if self.pretrained else None


def norm_and_gate(width: int) -> list[nn.Module]:
    """What stands before each convolution."""
    return [nn.GroupNorm(NUM_GROUPS, width), nn.SiLU()]


class Block(nn.Module):
    """hidden (B, C, H, W) -> (B, C', H, W): two convolutions beside a path that leaves it as it is."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *norm_and_gate(num_in),
            nn.Conv2d(num_in, num_out, 3, padding=1),
            *norm_and_gate(num_out),
            nn.Conv2d(num_out, num_out, 3, padding=1),
        )
        self.past = nn.Identity() if num_in == num_out else nn.Conv2d(num_in, num_out, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        total: Tensor = self.past(hidden) + self.body(hidden)
        return total


class Doubled(nn.Module):
    """hidden (B, C, H, W) -> (B, C', 2 H, 2 W): each number four times, then a convolution, which leaves no grid."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(num_in, num_out, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        doubled: Tensor = self.layer(F.interpolate(hidden, scale_factor=2.0, mode="nearest"))
        return doubled


class ResidualEncoder(nn.Sequential):
    """image (B, 3, H, W) in [0, 1] -> features (B, D, H / 8, W / 8) in [-1, 1]."""

    def __init__(self, config: ResidualConfig) -> None:
        width = config.levels[0][0]
        num_in = 3 * config.fold**2
        layers: list[nn.Module] = [nn.PixelUnshuffle(config.fold), nn.Conv2d(num_in, width, 3, padding=1)]
        for level, (next_width, count) in enumerate(config.levels):
            if level:
                num_out = width if count else next_width
                layers.append(nn.Conv2d(width, num_out, 3, stride=2, padding=1))
                width = num_out
            for _ in range(count):
                layers.append(Block(width, next_width))
                width = next_width
        super().__init__(*layers, *norm_and_gate(width), nn.Conv2d(width, config.code_dim, 1), nn.Tanh())


class ResidualDecoder(nn.Sequential):
    """features (B, D, H, W) -> image (B, 3, 8 H, 8 W), near [0, 1] and not clipped, so that its gradient lives."""

    def __init__(self, config: ResidualConfig) -> None:
        width = config.widths[-1]
        layers: list[nn.Module] = [nn.Conv2d(config.code_dim, width, 3, padding=1)]
        for level, (next_width, count) in enumerate(config.levels[::-1]):
            if level:
                layers.append(Doubled(width, next_width))
                width = next_width
            layers += [Block(width, width) for _ in range(count)]
        num_out = 3 * config.fold**2
        super().__init__(
            *layers, *norm_and_gate(width), nn.Conv2d(width, num_out, 3, padding=1), nn.PixelShuffle(config.fold)
        )
