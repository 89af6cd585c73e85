"""Two networks that teach each other: one makes, the other examines what was made. What rivals with a GAN share.

Shapes: B batch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan.baselines import fitting


class Adversaries:
    """A maker, an examiner, and Adam for both."""

    def __init__(self, maker: nn.Module, examiner: nn.Module, rate: float) -> None:
        self.optimisers = []
        for network in (maker, examiner):
            network.to(fitting.device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.optimisers.append(torch.optim.Adam(network.parameters(), rate, betas=(0.5, 0.999)))

    def update(self, which: int, loss: Tensor) -> None:
        """A step of the maker (0) or the examiner (1)."""
        self.optimisers[which].zero_grad(set_to_none=True)
        loss.backward()
        self.optimisers[which].step()


def real_or_made(logits: Tensor, real: bool, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy of an examiner's logits (B,) of examples that are all real or all made."""
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)), weight)


def rising(widths: Sequence[int], num_out: int) -> nn.Sequential:
    """(B, last width, H, W) -> (B, num_out, 2^n H, 2^n W) in [-1, 1], by as many transposed convolutions as widths."""
    layers: list[nn.Module] = []
    for width, following in zip(widths[::-1], (*widths[-2::-1], num_out), strict=True):
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, following, 4, stride=2, padding=1)]
    return nn.Sequential(*layers, nn.Tanh())
