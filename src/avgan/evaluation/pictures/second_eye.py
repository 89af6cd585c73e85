"""The second eye: another make than the first, taught by photographs alone with another seed.

The first has been looked through while pictures were chosen; no choice is made on this one, so what it sees says
whether the first was flattered. It looks at patches of 4 px and at 128 px where the first looks at 64, in residual
blocks with group norm where the first is a chain of convolutions with batch norm. Like the first it lies in the package
once `recipes/eye.py --make second` has made it.

Shapes: B batch, H W pixels, C features, S scenes.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

SIZE_PX = 128
WIDTHS = (48, 96, 192)
"""At 32, 16 and 8 px."""


class SecondEye(nn.Module):
    """image (B, 3, H, W) in [0, 1], of any size -> what it sees (B, C); `name` says which scene that is.

    Buffers:
        middle, spread (C,): as those of the first eye.
    """

    middle: Tensor
    spread: Tensor

    def __init__(self, num_scenes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 4, stride=4)]
        for level, width in enumerate(WIDTHS):
            if level:
                layers.append(nn.Conv2d(WIDTHS[level - 1], width, 3, stride=2, padding=1))
            layers += [_Block(width), _Block(width)]
        self.body = nn.Sequential(*layers, nn.GroupNorm(8, WIDTHS[-1]), nn.GELU())
        self.answer = nn.Linear(WIDTHS[-1], num_scenes)
        self.register_buffer("middle", torch.zeros(WIDTHS[-1]))
        self.register_buffer("spread", torch.ones(WIDTHS[-1]))

    def forward(self, image: Tensor) -> Tensor:
        whole = F.adaptive_avg_pool2d(image, SIZE_PX)
        hidden = self.body((whole - 0.45) / 0.27).mean((2, 3))
        return (hidden - self.middle) / self.spread

    def name(self, seen: Tensor) -> Tensor:
        """What it sees (B, C) -> logits (B, S)."""
        logits: Tensor = self.answer(seen * self.spread + self.middle)
        return logits


class _Block(nn.Module):
    """hidden (B, C, H, W) -> the same shape: two convolutions beside a path that leaves it as it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        total: Tensor = hidden + self.body(hidden)
        return total
