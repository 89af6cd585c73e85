"""The critic: features (B, D, 16, 16) to one score a sample, higher for real ones (Sec. 3.3, Fig. 5).

Minibatch discrimination (Salimans et al. 2016), which the paper names, compares a sample with the others of its batch,
so that a generator that paints the same picture again and again is found out. The critic is not given the sound:
nothing but the gamma term ties picture to sound.

The critic has no batch norm: the gradient penalty is about single samples (Gulrajani et al. 2017). Minibatch
discrimination couples samples by design; for the penalty its view of the others is held fixed (`hold_others`), so that
the gradient of a score is taken through the sample's own features alone.

Shapes: B batch, D code dimension, M kernels, P kernel dimension.
"""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

KERNEL_DIM = 5
"""P, as in the code of the layer's authors."""


class CriticConfig(BaseModel):
    """Size of the critic and what it may look at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(64, gt=0)
    """Filters at 16 x 16; doubled at 8 x 8 and again at 4 x 4."""
    num_kernels: int = Field(32, ge=0)
    """Kernels of minibatch discrimination; 0 leaves it out."""


class MinibatchDiscrimination(nn.Module):
    """hidden (B, C) -> closeness to the other samples of the batch (B, M).

    o(x_i)_m = mean over j != i of exp(-|M_i,m - M_j,m|_1), M = x T with T (C, M, P).

    The mean, where the original has the sum: the penalty cannot see how a score depends on the other samples, and with
    a sum over 63 of them the critic's slope, and the generator's gradient, grew without bound (docs/decisions.md).
    """

    def __init__(self, num_in: int, num_kernels: int, kernel_dim: int) -> None:
        super().__init__()
        self.shape = (num_kernels, kernel_dim)
        self.kernels = nn.Parameter(0.05 * torch.randn(num_in, num_kernels * kernel_dim))

    def forward(self, hidden: Tensor, hold_others: bool = False) -> Tensor:
        own = (hidden @ self.kernels).unflatten(1, self.shape)
        others = own.detach() if hold_others else own
        distance = (own[:, None] - others[None]).abs().sum(3)  # (B, B, M)
        self_pairs = torch.eye(len(own), device=own.device, dtype=own.dtype)[:, :, None]
        closeness = ((1.0 - self_pairs) * torch.exp(-distance)).sum(1)
        return closeness / max(own.shape[0] - 1, 1)


class Critic(nn.Module):
    """features (B, D, 16, 16) -> scores (B,)."""

    def __init__(self, config: CriticConfig, code_dim: int) -> None:
        super().__init__()
        width = config.width
        self.body = nn.Sequential(
            nn.Conv2d(code_dim, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(4 * width * 4 * 4, 256),
            nn.LeakyReLU(0.2),
        )
        self.minibatch = MinibatchDiscrimination(256, config.num_kernels, KERNEL_DIM) if config.num_kernels else None
        self.score = nn.Linear(256 + config.num_kernels, 1)

    def forward(self, features: Tensor, *, hold_others: bool = False) -> Tensor:
        """`hold_others`: let the gradient of a score reach its own sample alone."""
        hidden = self.body(features)
        if self.minibatch is not None:
            hidden = torch.cat((hidden, self.minibatch(hidden, hold_others)), 1)
        score: Tensor = self.score(hidden).squeeze(1)
        return score
