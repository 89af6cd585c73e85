"""The paper's trunk: eight convolutions and three poolings from log-mel to a 1,024-vector (Sec. 3.2, Fig. 4)."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from avgan.features import FrontEndConfig
from avgan.networks.trunks.trunk import TrunkConfig

VECTOR_SIZE = 1024


class Conv8Config(TrunkConfig):
    """Size of the trunk and of the log-mel it takes; the defaults are the paper's."""

    kind: Literal["conv8"] = "conv8"
    front_end: FrontEndConfig = FrontEndConfig(num_time_steps=64)
    widths: tuple[int, int, int, int] = (128, 256, 512, 1024)
    """Filters of the four blocks."""

    @property
    def vector_size(self) -> int:
        return VECTOR_SIZE

    def build(self) -> nn.Module:
        return Conv8(self.widths, VECTOR_SIZE)


def conv_block(num_in: int, num_out: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with batch norm and ReLU; the grid stays."""
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(num_out),
        nn.ReLU(),
        nn.Conv2d(num_out, num_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(num_out),
        nn.ReLU(),
    )


class Conv8(nn.Module):
    """log_mel (B, 1, F, T) -> (B, vector_size).

    Four blocks of two convolutions with mean pooling between them; at the end the mean and the maximum over the grid
    are added, and projected where the last block is not already `vector_size` wide. The input is normalised by a
    batch norm of one channel, since decibels are far from zero mean.
    """

    def __init__(self, widths: Sequence[int], vector_size: int) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1)
        self.blocks = nn.ModuleList(
            conv_block(num_in, num_out) for num_in, num_out in zip((1, *widths[:-1]), widths, strict=True)
        )
        self.pool = nn.AvgPool2d(2)
        self.project: nn.Module = nn.Identity()
        if widths[-1] != vector_size:
            self.project = nn.Sequential(nn.Linear(widths[-1], vector_size), nn.ReLU())

    def forward(self, log_mel: Tensor) -> Tensor:
        hidden = self.input_norm(log_mel)
        for index, block in enumerate(self.blocks):
            if index:
                hidden = self.pool(hidden)
            hidden = block(hidden)
        vector: Tensor = self.project(hidden.mean((2, 3)) + hidden.amax((2, 3)))
        return vector
