"""Eq. 1 and Eq. 2 as numbers, and above all which parameter each term moves."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan import losses
from avgan.networks.vqvae import VQVAE, VQVAEConfig

# Eq. 1


@pytest.fixture
def vqvae() -> VQVAE:
    torch.manual_seed(0)
    return VQVAE(VQVAEConfig(width=8, num_residual_blocks=1, code_dim=2, num_codes=8))


def moved(loss: Tensor, vqvae: VQVAE) -> set[str]:
    """The parts of a VQ-VAE that a loss has a gradient for."""
    parameters = dict(vqvae.named_parameters())
    slopes = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        name.split(".")[0]
        for name, slope in zip(parameters, slopes, strict=True)
        if slope is not None and slope.abs().sum() > 0
    }


def test_each_term_of_equation_1_moves_its_own_parts(vqvae: VQVAE) -> None:
    image = torch.rand(2, 3, 32, 32)

    def terms() -> dict[str, Tensor]:
        reconstruction, features, quantized = vqvae(image)
        return {
            "reconstruction": losses.reconstruction_loss(image, reconstruction, torch.tensor(0.1)),
            "codebook": losses.codebook_loss(features, quantized.vectors),
            "commitment": losses.commitment_loss(features, quantized.vectors),
        }

    assert moved(terms()["reconstruction"], vqvae) == {"encoder", "decoder"}
    assert moved(terms()["codebook"], vqvae) == {"quantizer"}
    assert moved(terms()["commitment"], vqvae) == {"encoder"}


def test_commitment_and_codebook_have_one_value_and_opposite_slopes() -> None:
    features = torch.randn(2, 2, 4, 4, requires_grad=True)
    vectors = torch.randn(2, 2, 4, 4, requires_grad=True)
    codebook = losses.codebook_loss(features, vectors)
    commitment = losses.commitment_loss(features, vectors)
    expected = np.mean((features.detach().numpy() - vectors.detach().numpy()) ** 2)
    assert codebook.item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(codebook, commitment)
    (of_vectors,) = torch.autograd.grad(codebook, vectors)
    (of_features,) = torch.autograd.grad(commitment, features)
    torch.testing.assert_close(of_vectors, -of_features)


def test_reconstruction_of_the_mean_picture_costs_one() -> None:
    """Divided by the variance, the loss of knowing nothing but the mean is 1, whatever the pictures."""
    for contrast in (0.1, 1.0):
        image = contrast * torch.rand(4, 3, 16, 16)
        mean = image.mean().expand_as(image)
        variance = image.var(unbiased=False)
        assert losses.reconstruction_loss(image, mean, variance).item() == pytest.approx(1.0)


# Eq. 2


class Linear(nn.Module):
    """A critic whose slope is its weight (D, 16, 16), the same everywhere."""

    def __init__(self, norm: float) -> None:
        super().__init__()
        weight = torch.randn(2, 16, 16)
        self.weight = nn.Parameter(norm * weight / weight.norm())

    def forward(self, features: Tensor) -> Tensor:
        return (features * self.weight).flatten(1).sum(1)


@pytest.mark.parametrize("norm", [1.0, 0.0, 0.5, 3.0])
def test_penalty_of_a_linear_critic_is_known(norm: float) -> None:
    torch.manual_seed(0)
    real, imagined = torch.randn(2, 5, 2, 16, 16)
    penalty = losses.gradient_penalty(Linear(norm), real, imagined, torch.rand(5))
    assert penalty.item() == pytest.approx((norm - 1.0) ** 2, abs=1e-5)


def test_penalty_takes_the_norm_of_each_sample() -> None:
    slopes = torch.tensor([0.5, 1.0, 3.0])

    def critic(features: Tensor) -> Tensor:
        unit = torch.full((1, 2, 16, 16), 512.0**-0.5)
        return slopes * (features * unit).flatten(1).sum(1)

    real, imagined = torch.randn(2, 3, 2, 16, 16)
    penalty = losses.gradient_penalty(critic, real, imagined, torch.rand(3))
    assert penalty.item() == pytest.approx(float((slopes - 1.0).square().mean()), rel=1e-4)


def test_penalty_looks_between_real_and_imagined() -> None:
    """A critic with slope |x| at x tells where it was asked."""
    real, imagined = torch.zeros(4, 1), torch.full((4, 1), 2.0)
    weight = torch.tensor([0.0, 0.25, 0.5, 1.0])
    penalty = losses.gradient_penalty(lambda x: 0.5 * x.square().sum(1), real, imagined, weight)
    assert penalty.item() == pytest.approx(float((2.0 * weight - 1.0).square().mean()))


def test_penalty_alone_moves_the_critic_and_never_the_generator() -> None:
    critic, generator = Linear(2.0), nn.Linear(3, 2 * 16 * 16)
    imagined = generator(torch.randn(4, 3)).view(4, 2, 16, 16)
    real = torch.randn(4, 2, 16, 16, requires_grad=True)
    losses.gradient_penalty(critic, real, imagined, torch.rand(4)).backward()
    assert critic.weight.grad is not None
    # |w| = 2 shall become 1: the slope points along w, with length 2 (|w| - 1)
    expected = 2.0 * critic.weight.detach() / 2.0
    torch.testing.assert_close(critic.weight.grad, expected, rtol=1e-4, atol=1e-6)
    assert real.grad is None
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_adversaries_want_the_opposite() -> None:
    real = torch.tensor([1.0, 3.0], requires_grad=True)
    imagined = torch.tensor([0.0, 1.0], requires_grad=True)
    assert losses.critic_loss(real, imagined).item() == 0.5 - 2.0
    of_real, of_imagined = torch.autograd.grad(losses.critic_loss(real, imagined), (real, imagined))
    assert (of_real < 0).all()  # descending raises the score of real features
    assert (of_imagined > 0).all()
    (wanted,) = torch.autograd.grad(losses.generator_loss(imagined), imagined)
    torch.testing.assert_close(wanted, -of_imagined)


def test_diversity_is_the_mean_distance_and_zero_in_collapse() -> None:
    features = torch.randn(6, 2, 4, 4)
    flat = features.flatten(1)
    squares = [(flat[i] - flat[j]).square().mean() for i in range(6) for j in range(6) if i != j]
    expected = torch.stack(squares).mean().sqrt()
    torch.testing.assert_close(losses.diversity(features), expected)
    assert losses.diversity(features[:1].expand(6, -1, -1, -1)) < 1e-6
    assert losses.diversity(features[:1]) == 0.0


def test_looks_are_compared_by_direction_at_every_level() -> None:
    torch.manual_seed(0)
    levels = [torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)]
    assert float(losses.perceptual_loss(levels, [7.0 * level for level in levels])) == pytest.approx(0.0, abs=1e-6)
    across = ([torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)], [torch.tensor([0.0, 3.0]).view(1, 2, 1, 1)])
    assert float(losses.perceptual_loss(*across)) == pytest.approx(2.0)
    both = [across[0][0]] * 2, [across[1][0], across[0][0]]
    assert float(losses.perceptual_loss(*both)) == pytest.approx(1.0)


def test_perceptual_loss_is_the_distance_of_directions_where_some_are_none() -> None:
    torch.manual_seed(0)
    own, other = (torch.rand(2, 6, 5, 5) * (torch.rand(2, 1, 5, 5) > 0.3) for _ in range(2))
    own.requires_grad_()
    expected = (F.normalize(own, dim=1) - F.normalize(other, dim=1)).square().sum(1).mean()
    found = losses.perceptual_loss([own], [other])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, own)[0] for loss in (found, expected)))


def test_the_hinge_lets_go_of_what_is_told_apart() -> None:
    sure, unsure = torch.tensor([1.5, 3.0]), torch.tensor([0.0, 0.0])
    assert float(losses.hinge_loss(sure, -sure)) == 0.0
    assert float(losses.hinge_loss(unsure, unsure)) == pytest.approx(1.0)
    assert float(losses.hinge_loss(-sure, sure)) == pytest.approx(3.25)
