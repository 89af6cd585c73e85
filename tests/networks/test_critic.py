"""The critic: no hidden coupling of samples, and minibatch discrimination as it is defined."""

import numpy as np
import torch

from avgan.networks.critic import Critic, CriticConfig, MinibatchDiscrimination


def make(**fields: object) -> Critic:
    torch.manual_seed(0)
    return Critic(CriticConfig(width=4, **fields), code_dim=2)


def test_minibatch_discrimination_equals_its_definition() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(num_in=6, num_kernels=3, kernel_dim=2)
    with torch.no_grad():
        layer.kernels.normal_(0, 0.3)
    hidden = torch.randn(5, 6)
    found = layer(hidden).detach().numpy()
    projected = (hidden.numpy() @ layer.kernels.detach().numpy()).reshape(5, 3, 2)
    expected = np.zeros((5, 3))
    for i in range(5):
        for j in range(5):
            for kernel in range(3):
                if j != i:
                    distance = np.abs(projected[i, kernel] - projected[j, kernel]).sum()
                    expected[i, kernel] += np.exp(-distance) / 4  # the mean over the others
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_closeness_tells_a_collapsed_batch() -> None:
    layer = MinibatchDiscrimination(num_in=6, num_kernels=3, kernel_dim=2)
    same = torch.randn(1, 6).expand(8, 6)
    torch.testing.assert_close(layer(same), torch.ones(8, 3))
    assert (layer(100.0 * torch.randn(8, 6)) < 1.0).all()
    assert torch.equal(layer(torch.randn(1, 6)), torch.zeros(1, 3))


def test_holding_the_others_changes_no_score() -> None:
    critic = make(num_kernels=4)
    features = torch.randn(5, 2, 16, 16)
    assert torch.equal(critic(features), critic(features, hold_others=True))


def test_gradient_with_others_held_is_each_samples_own() -> None:
    """The gradient of the sum equals, row by row, the gradient of that row's score alone."""
    critic = make(num_kernels=4).double()
    with torch.no_grad():
        critic.minibatch.kernels.mul_(20.0)
    features = torch.randn(4, 2, 16, 16, dtype=torch.float64, requires_grad=True)
    (held,) = torch.autograd.grad(critic(features, hold_others=True).sum(), features)
    (coupled,) = torch.autograd.grad(critic(features).sum(), features)
    for row in range(4):
        (own,) = torch.autograd.grad(critic(features)[row], features)
        torch.testing.assert_close(held[row], own[row])
    assert not torch.allclose(held, coupled)


def test_without_kernels_no_sample_sees_another() -> None:
    critic = make(num_kernels=0)
    features = torch.randn(3, 2, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(features)[1], features)
    assert slope[1].abs().sum() > 0
    assert slope[[0, 2]].abs().sum() == 0
    torch.testing.assert_close(critic(features)[1:2], critic(features[1:2]))


def test_no_layer_keeps_statistics_of_batches() -> None:
    assert not list(make().buffers())
