"""The residual encoder and decoder: shapes, range, sizes, and that every level and block can be left out."""

import pytest
import torch
from torch import nn

from avgan.networks.residual import ResidualConfig
from avgan.networks.vqvae import VQVAE


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("num_blocks", [(2, 2, 2, 2), (0, 1, 2, 2), (0, 0, 0, 0)])
def test_shapes_and_ranges(num_blocks: tuple[int, int, int, int]) -> None:
    torch.manual_seed(0)
    config = ResidualConfig(widths=(8, 16, 24, 32), num_blocks=num_blocks, num_codes=32)
    vqvae = VQVAE(config)
    image = torch.rand(2, 3, 64, 64)
    reconstruction, features, quantized = vqvae(image)
    assert reconstruction.shape == image.shape
    assert features.shape == quantized.vectors.shape == (2, 8, 8, 8)
    assert features.abs().max() <= 1.0
    drawn = vqvae.draw(features)
    torch.testing.assert_close(drawn, reconstruction.clamp(0.0, 1.0))


def test_the_default_has_the_sizes_it_states() -> None:
    config = ResidualConfig()
    sizes = [num_parameters(network) for network in (config.encoder(), config.decoder())]
    assert [round(size / 1e6, 1) for size in sizes] == [4.7, 5.2]


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    vqvae = VQVAE(ResidualConfig(widths=(8, 16, 16, 16), num_blocks=(1, 1, 1, 1), num_codes=32))
    image = torch.rand(2, 3, 64, 64)
    reconstruction, features, quantized = vqvae(image)
    loss = (reconstruction - image).square().mean() + (quantized.vectors - features).square().mean()
    loss.backward()
    idle = [name for name, value in vqvae.named_parameters() if value.grad is None]
    assert idle == []
