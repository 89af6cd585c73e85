"""Trunks: any module from log-mel (B, 1, F, T) to a vector (B, 1024). One file each; `build_trunk` knows them all."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from avgan.networks.trunks.conv8 import Conv8
from avgan.networks.trunks.yamnet import YAMNet

VECTOR_SIZE = 1024


class TrunkConfig(BaseModel):
    """Which trunk hears the sound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["conv8", "yamnet"] = "conv8"
    widths: tuple[int, int, int, int] = (128, 256, 512, 1024)
    """Filters of the four blocks of `conv8`; `yamnet` has its own sizes."""
    num_fixed: int = Field(0, ge=0)
    """Leading convolutions of `yamnet` that are never trained: they see the most pixels and change the least."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Between the blocks of `conv8`, in training."""


def build_trunk(config: TrunkConfig) -> nn.Module:
    """A trunk with `forward(log_mel (B, 1, F, T)) -> (B, 1024)`."""
    if config.kind == "yamnet":
        return YAMNet(config.num_fixed)
    return Conv8(config.widths, VECTOR_SIZE, config.dropout)
