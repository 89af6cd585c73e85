"""What every trunk declares: its configuration, its front end, where its weights come from, how it is built.

A trunk turns a log-mel (B, 1, F, T) into one vector (B, C) a recording. It is one file in this folder: a subclass of
`TrunkConfig` and the module that it builds. A line in `TRUNKS` makes it known by its `kind`.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import nn

from avgan.features import FrontEndConfig


@dataclass(frozen=True)
class Pretrained:
    """What a trunk learnt before it came here."""

    name: str
    """Such as "EfficientAT mn04, AudioSet"."""
    licence: str
    address: str


class TrunkConfig(BaseModel):
    """Base of the trunks' configurations. A subclass gives `kind` the default by which it is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    front_end: FrontEndConfig
    """What turns a waveform into the log-mel that this trunk takes."""

    pretrained: ClassVar[Pretrained | None] = None
    """Whose weights `build` gives it; None: it starts from nothing."""
    min_time_steps: ClassVar[int] = 1
    """Of the shortest log-mel it takes."""
    step_frames: ClassVar[int | None] = None
    """Frames of the log-mel in a step, where the module has `steps(log_mel) -> (B, K, S)` and
    `summarize(steps) -> (B, C)`, of which `forward` is made: so windows that overlap share what is computed."""

    @property
    @abstractmethod
    def vector_size(self) -> int:
        """C, the length of the vector."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The module, log-mel (B, 1, F, T) -> (B, C), with its pretrained weights where it has some."""
