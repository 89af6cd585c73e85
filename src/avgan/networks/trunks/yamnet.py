"""YAMNet (MobileNetV1 trained on AudioSet) as a trunk: log-mel (B, 1, 64, T) -> (B, 1024).

The architecture is Google's (Apache-2.0); batch norm is folded into the convolutions, as in the weight file this
loads. The original sees patches of 96 time steps and averages their vectors; this one is run over the whole clip,
which costs half as much as overlapping patches and lets the clip have any length from 0.2 s.
"""

from pathlib import Path

import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor, nn

# Channels and stride of the 13 depthwise-separable pairs, after a first 3 x 3 convolution to 32 with stride 2.
PAIRS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1),
    (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class PaddedConv(nn.Conv2d):
    """A 3 x 3 convolution padded as TensorFlow's SAME: all around, or right and bottom only when it strides."""

    def forward(self, hidden: Tensor) -> Tensor:
        before = 0 if self.stride[0] == 2 else 1
        return F.relu(super().forward(F.pad(hidden, (before, 1, before, 1))))


class PointwiseConv(nn.Conv2d):
    """A 1 x 1 convolution with ReLU."""

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(super().forward(hidden))


class YAMNet(nn.Module):
    """log_mel (B, 1, F, T) as `features.yamnet_front_end` makes it -> (B, 1024), the mean over the clip."""

    def __init__(self, num_fixed: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = [PaddedConv(1, 32, 3, stride=2)]
        num_in = 32
        for num_out, stride in PAIRS:
            layers.append(PaddedConv(num_in, num_in, 3, stride=stride, groups=num_in))
            layers.append(PointwiseConv(num_in, num_out, 1))
            num_in = num_out
        self.features = nn.Sequential(*layers)
        self.features[:num_fixed].requires_grad_(False)

    def forward(self, log_mel: Tensor) -> Tensor:
        hidden = self.features(log_mel.transpose(2, 3))  # the network's first axis is time
        return hidden.float().mean((2, 3))

    def load_pretrained(self, path: Path) -> None:
        """Load the folded AudioSet weights: layer n of ours is number 3 n + 1 of the file's (pad, conv, ReLU) triples.

        Raises RuntimeError (from torch) when the file holds another network.
        """
        weights = load_file(path)
        own = {
            f"{index}.{part}": weights[f"features.{3 * index + 1}.{part}"]
            for index in range(len(self.features))
            for part in ("weight", "bias")
        }
        self.features.load_state_dict(own)
