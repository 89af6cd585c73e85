"""The network that says how alike two pictures look: a classifier of scenes, compared level by level.

It is taught the scenes of the same photographs that stage 1 learns from (`training.vqvae`) and thrown away with
the stage: nothing pretrained enters, and the judges of `evaluation.pictures` are other networks.

Shapes: B batch, H W pixels, S scenes.
"""

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class PerceptualConfig(BaseModel):
    """Size of the network and how it is taught."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, int, int, int, int] = (32, 64, 128, 256, 384)
    """Channels at 128, 64, 32, 16 and 8 px."""
    num_steps: int = Field(2_500, ge=0)
    batch_size: int = Field(64, gt=0)


class PerceptualNetwork(nn.Module):
    """image (B, 3, H, W) in [0, 1] -> logits (B, S); `levels` gives what it sees on the way."""

    def __init__(self, config: PerceptualConfig, num_scenes: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        num_in = 3
        for level, width in enumerate(config.widths):
            layers = convolution(num_in, width, stride=2 if level else 1)
            if level:
                layers += convolution(width, width, stride=1)
            self.stages.append(nn.Sequential(*layers))
            num_in = width
        self.answer = nn.Linear(num_in, num_scenes)

    def levels(self, image: Tensor) -> list[Tensor]:
        """Five maps, from (B, C, H, W) down to (B, C', H / 16, W / 16)."""
        hidden = (image - 0.45) / 0.27  # middle and spread of photographs
        found = []
        for stage in self.stages:
            hidden = stage(hidden)
            found.append(hidden)
        return found

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.answer(self.levels(image)[-1].mean((2, 3)))
        return logits


def convolution(num_in: int, num_out: int, *, stride: int) -> list[nn.Module]:
    """3 x 3, batch norm, ReLU."""
    layer = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)
    return [layer, nn.BatchNorm2d(num_out), nn.ReLU()]
