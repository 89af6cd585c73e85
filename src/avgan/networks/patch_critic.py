"""The critic of stage 1: tells patches of photographs from patches of reconstructions, by their texture.

It sees pictures, not features, and no sound; the critic of Eq. 2 is another (`networks.critic`). Every score looks at
38 x 38 px, so what is judged is whether a patch is sharp and grained like a photograph, not what the picture shows.

Shapes: B batch, H W pixels.
"""

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class PatchCriticConfig(BaseModel):
    """Size of the patch critic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(64, gt=0, multiple_of=8)
    """Channels at half the picture's size; doubled at a quarter and again at an eighth."""


class PatchCritic(nn.Sequential):
    """image (B, 3, H, W) -> scores (B, 1, H / 8, W / 8), higher for photographs."""

    def __init__(self, config: PatchCriticConfig) -> None:
        width = config.width
        super().__init__(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.GroupNorm(8, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = super().forward(2.0 * image - 1.0)
        return scores
