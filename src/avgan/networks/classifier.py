"""Imagined features to scene (Sec. 3.4, Fig. 6).

`conv8` is the paper's: eight convolutions in four blocks with mean pooling, a mean over one axis of the grid, the
maximum over the other, one dense layer. `linear` is one dense layer over the whole feature map: when the generator
is trained with the classifier, eight more convolutions only blur what it says.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class ClassifierConfig(BaseModel):
    """Size of the classifier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["conv8", "linear"] = "conv8"
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    dropout: float = Field(0.0, ge=0, lt=1)
    """Before the dense layer."""


class Conv8Classifier(nn.Module):
    """features (B, D, 16, 16) -> logits (B, N). The fourth mean pooling is 1 x 1, which leaves a grid of 2 x 2."""

    def __init__(self, config: ClassifierConfig, code_dim: int, num_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        num_in = code_dim
        for index, width in enumerate(config.widths):
            for _ in range(2):
                layers += [nn.Conv2d(num_in, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                num_in = width
            if index < 3:
                layers.append(nn.AvgPool2d(2))
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(num_in, num_labels)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.body(features).mean(2).amax(2)
        logits: Tensor = self.dense(self.dropout(hidden))
        return logits


class LinearClassifier(nn.Module):
    """features (B, D, 16, 16) -> logits (B, N)."""

    def __init__(self, config: ClassifierConfig, code_dim: int, num_labels: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(code_dim * 16 * 16, num_labels)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.dense(self.dropout(features.flatten(1)))
        return logits


def build_classifier(config: ClassifierConfig, code_dim: int, num_labels: int) -> nn.Module:
    """A classifier with `forward(features (B, D, 16, 16)) -> logits (B, N)`."""
    if config.kind == "linear":
        return LinearClassifier(config, code_dim, num_labels)
    return Conv8Classifier(config, code_dim, num_labels)
