"""Eq. 1 and Eq. 2 as pure functions: tensors in, scalars out, no weights and no networks inside.

Sums of squares are means over elements here, so that a loss does not grow with the picture's size.

Shapes: B batch, D code dimension, H W grid.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

TINY = 1e-12
"""A vector shorter than this has no direction; as torch's `normalize` has it."""


def reconstruction_loss(image: Tensor, reconstruction: Tensor, image_variance: Tensor) -> Tensor:
    """|v - De(E(v))|^2 / delta_v: the squared error as a share of the training pictures' variance."""
    return F.mse_loss(reconstruction, image) / image_variance


def codebook_loss(features: Tensor, vectors: Tensor) -> Tensor:
    """|sg[E(v)] - e|^2: moves the codebook to the encoder's output (B, D, H, W), and nothing else."""
    return F.mse_loss(vectors, features.detach())


def commitment_loss(features: Tensor, vectors: Tensor) -> Tensor:
    """|E(v) - sg[e]|^2: moves the encoder's output (B, D, H, W) to its codes, and nothing else."""
    return F.mse_loss(features, vectors.detach())


def perceptual_loss(levels: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """How differently two batches of pictures look to a network, by its maps (B, C, H, W) at several levels.

    At each place the directions of the two vectors of channels are compared, |a / |a| - b / |b||^2, so that no level
    counts more for having larger numbers; means over places, then over levels. `others` get no gradient.
    """
    parts = []
    for level, other in zip(levels, others, strict=True):
        own, direction = level.float(), F.normalize(other.detach().float(), dim=1)
        size = own.norm(dim=1)
        # 1 + 1 - 2 cos, which is the same number from fewer passes over large maps; a vector of zeros has no direction
        cosine = (own * direction).sum(1) / size.clamp(min=TINY)
        parts.append(((size > 0).float() + direction.square().sum(1) - 2.0 * cosine).mean())
    return torch.stack(parts).mean()


def hinge_loss(real_score: Tensor, drawn_score: Tensor) -> Tensor:
    """The patch critic's loss: scores above 1 for photographs and below -1 for reconstructions cost nothing."""
    return 0.5 * (F.relu(1.0 - real_score).mean() + F.relu(1.0 + drawn_score).mean())


def critic_loss(real_score: Tensor, imagined_score: Tensor) -> Tensor:
    """D(imagined) - D(real), scores (B,): minimised by the critic (Eq. 2, first two terms)."""
    return imagined_score.mean() - real_score.mean()


def generator_loss(imagined_score: Tensor) -> Tensor:
    """-D(imagined), scores (B,): minimised by the generator."""
    return -imagined_score.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, imagined: Tensor, weight: Tensor) -> Tensor:
    """(|grad D(w G + (1 - w) E)|_2 - 1)^2, weight (B,) the w of each sample, uniform in [0, 1] (Eq. 2, third term).

    The norm is taken per sample over all its features. real, imagined (B, ...); neither receives a gradient.
    """
    weight = weight.view(-1, *[1] * (real.dim() - 1))
    between = (weight * imagined + (1.0 - weight) * real).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(2, dim=1) - 1.0).square().mean()


def diversity(features: Tensor) -> Tensor:
    """Mean distance between the maps of a batch (B, ...), as root mean square per element: 0 is full collapse."""
    flat = features.flatten(1)
    centred = flat - flat.mean(0)
    return (2.0 * centred.square().mean() * len(flat) / max(len(flat) - 1, 1)).sqrt()
