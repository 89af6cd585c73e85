"""YAMNet (MobileNetV1 trained on AudioSet) as a trunk: log-mel (B, 1, 64, T) -> (B, 1024).

The architecture is Google's (Apache-2.0); batch norm is folded into the convolutions, as in the weight file this
loads. The network has only ever seen patches of 96 time steps (0.96 s), whose padded borders reach every output: run
over a whole clip at once its vectors are up to thirty times as long, and a linear probe on them loses ten points. So
the clip is cut into patches, side by side and centred, and their vectors are averaged. The clip may have any length
from 96 time steps.
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


PATCH = 96
"""Time steps of a patch."""


def cut_patches(log_mel: Tensor) -> tuple[Tensor, int]:
    """log_mel (B, 1, F, T) -> (B * n, 1, PATCH, F), time first as the network has it, and n.

    The patches lie side by side in the middle; fewer than PATCH time steps at the ends together are left out.
    Raises ValueError when there is not even one patch.
    """
    batch, _, num_mels, num_time_steps = log_mel.shape
    if num_time_steps < PATCH:
        raise ValueError(f"{num_time_steps} time steps are less than one patch of {PATCH}")
    num_patches = num_time_steps // PATCH
    start = (num_time_steps - num_patches * PATCH) // 2
    kept = log_mel[..., start : start + num_patches * PATCH].squeeze(1)
    patches = kept.unflatten(2, (num_patches, PATCH)).permute(0, 2, 3, 1)
    return patches.reshape(batch * num_patches, 1, PATCH, num_mels), num_patches


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
    """log_mel (B, 1, F, T) as `features.yamnet_front_end` makes it -> (B, 1024), the mean over its patches."""

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
        patches, num_patches = cut_patches(log_mel)
        vectors = self.features(patches).float().mean((2, 3))
        return vectors.unflatten(0, (-1, num_patches)).mean(1)

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
