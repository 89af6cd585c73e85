"""The VQ-VAE: shapes, the straight-through gradient, nearest codes, and the codebook's bookkeeping."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from vector_quantize_pytorch import VectorQuantize

from avgan.images import read_image
from avgan.networks.residual import SMALL, ResidualConfig
from avgan.networks.vqvae import VQVAE, VectorQuantizer, VQVAEConfig, initial_codebook

SIZES = [(1, 16), (4, 32)]
"""(code dimension, number of codes)"""
CONFIGS: dict[str, VQVAEConfig | ResidualConfig] = {
    "plain, numbers": VQVAEConfig(width=8, num_residual_blocks=1, code_dim=1, num_codes=16),
    "plain, vectors": VQVAEConfig(width=8, num_residual_blocks=1, code_dim=4, num_codes=32),
    "residual": ResidualConfig(widths=(8, 16, 24, 32), num_codes=32),
    "residual, folded": ResidualConfig(widths=(8, 16, 24, 32), num_blocks=(0, 1, 2, 2), num_codes=32),
    "residual, no blocks": ResidualConfig(widths=(8, 16, 24, 32), num_blocks=(0, 0, 0, 0), num_codes=32),
}


@pytest.fixture
def quantizer() -> VectorQuantizer:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(num_codes=32, code_dim=4)
    with torch.no_grad():
        quantizer.codebook.normal_()
    return quantizer


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("size_px", [128, 64])
def test_shapes_and_ranges(name: str, size_px: int) -> None:
    torch.manual_seed(0)
    config = CONFIGS[name]
    vqvae = VQVAE(config)
    image = torch.rand(3, 3, size_px, size_px)
    reconstruction, features, quantized = vqvae(image)
    grid = size_px // 8
    assert reconstruction.shape == image.shape
    assert features.shape == quantized.vectors.shape == (3, config.code_dim, grid, grid)
    assert quantized.codes.shape == (3, grid, grid)
    assert quantized.codes.dtype == torch.int64
    assert int(quantized.codes.min()) >= 0
    assert int(quantized.codes.max()) < config.num_codes
    assert features.abs().max() <= 1.0
    decoded = vqvae.decode(features)
    assert decoded.min() >= 0.0
    assert decoded.max() <= 1.0
    torch.testing.assert_close(decoded, reconstruction.clamp(0.0, 1.0), atol=1e-4, rtol=1e-4)


def test_the_weights_that_come_with_the_package_know_photographs(data_root: Path) -> None:
    """A few of them, of several scenes; those that were held out have 20 dB."""
    vqvae = VQVAE(ResidualConfig(**SMALL, pretrained=True)).eval()
    photographs = sorted((data_root / "miniplaces").rglob("*.jpg"))[::997][:16]
    image = torch.stack([torch.from_numpy(read_image(path)) for path in photographs]) / 255.0
    with torch.no_grad():
        decoded = vqvae.decode(vqvae.encoder(image))
    assert float((decoded - image).square().mean()) < 10**-1.8
    assert float(vqvae.quantizer.health().perplexity) > 512


@pytest.mark.parametrize("name", CONFIGS)
def test_every_weight_learns(name: str) -> None:
    torch.manual_seed(0)
    vqvae, image = VQVAE(CONFIGS[name]), torch.rand(2, 3, 64, 64)
    reconstruction, features, quantized = vqvae(image)
    loss = (reconstruction - image).square().mean() + (quantized.vectors - features).square().mean()
    loss.backward()
    assert [name for name, value in vqvae.named_parameters() if value.grad is None] == []


def test_gradient_passes_straight_through_as_ones(quantizer: VectorQuantizer) -> None:
    features = torch.randn(2, 4, 5, 5, requires_grad=True)
    quantizer(features).features.sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, torch.ones_like(features))
    assert quantizer.codebook.grad is None


def test_quantised_features_equal_the_codes_vectors(quantizer: VectorQuantizer) -> None:
    quantized = quantizer(torch.randn(2, 4, 5, 5))
    torch.testing.assert_close(quantized.features, quantized.vectors)
    expected = quantizer.codebook[quantized.codes].movedim(-1, 1)
    assert torch.equal(quantized.vectors, expected)


def test_codes_are_the_nearest_vectors(quantizer: VectorQuantizer) -> None:
    features = torch.randn(2, 4, 16, 16)
    flat = features.movedim(1, -1).reshape(-1, 4).double()
    distances = torch.cdist(flat, quantizer.codebook.detach().double())
    expected = distances.argmin(1).reshape(2, 16, 16)
    assert torch.equal(quantizer.encode(features), expected)


def test_codes_and_commitment_agree_with_another_implementation(quantizer: VectorQuantizer) -> None:
    oracle = VectorQuantize(dim=4, codebook_size=32, accept_image_fmap=True, commitment_weight=1.0)
    oracle._codebook.embed.data.copy_(quantizer.codebook.detach()[None])
    features = torch.randn(2, 4, 16, 16)
    # The oracle's codebook must hold still while it says what its commitment loss would be.
    vectors, codes, commitment = oracle(features, freeze_codebook=True)
    quantized = quantizer(features)
    assert torch.equal(quantized.codes, codes)
    torch.testing.assert_close(quantized.features, vectors)
    if oracle.training:
        torch.testing.assert_close(F.mse_loss(features, quantized.vectors), commitment.squeeze())


def test_drawing_a_recoded_map_changes_nothing(quantizer: VectorQuantizer) -> None:
    codes = torch.randint(0, 32, (2, 16, 16))
    assert torch.equal(quantizer.encode(quantizer.decode(codes)), codes)


def test_counts_equal_numpys() -> None:
    quantizer = VectorQuantizer(16, 1)
    codes = torch.randint(0, 5, (2, 16, 16))
    expected = np.bincount(codes.numpy().ravel(), minlength=16)
    np.testing.assert_array_equal(quantizer.count(codes).numpy(), expected)


def test_usage_is_a_running_share_and_perplexity_its_entropy() -> None:
    quantizer = VectorQuantizer(8, 1)
    rng = np.random.default_rng(0)
    expected = np.full(8, 1 / 8)
    for _ in range(20):
        counts = rng.integers(0, 50, 8).astype(np.float32)
        quantizer.track(torch.from_numpy(counts), decay=0.9)
        expected = 0.9 * expected + 0.1 * counts / counts.sum()
    np.testing.assert_allclose(quantizer.usage.numpy(), expected, rtol=1e-5)
    share = expected / expected.sum()
    health = quantizer.health()
    assert health.perplexity == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)
    assert health.used == 1.0
    assert health.num_dead == 0


def test_perplexity_is_the_number_of_codes_at_best_and_one_at_worst() -> None:
    quantizer = VectorQuantizer(16, 1)
    assert quantizer.health().perplexity == pytest.approx(16.0)
    quantizer.usage.copy_(F.one_hot(torch.tensor(3), 16).float())
    assert quantizer.health().perplexity == pytest.approx(1.0)
    assert quantizer.health().num_dead == 15


def test_dead_codes_are_revived_and_live_ones_stay() -> None:
    quantizer = VectorQuantizer(8, 2)
    before = quantizer.codebook.detach().clone()
    quantizer.usage.copy_(torch.tensor([0.3, 0.0, 0.3, 0.001, 0.2, 0.1, 0.05, 0.049]))
    candidates = torch.rand(20, 2)
    moved = quantizer.revive(candidates)
    assert moved.tolist() == [False, True, False, True, False, False, False, False]
    assert torch.equal(quantizer.codebook[moved], candidates[:2])
    assert torch.equal(quantizer.codebook[~moved], before[~moved])
    assert quantizer.health().num_dead == 0
    assert not quantizer.revive(candidates).any()


@pytest.mark.parametrize(("code_dim", "num_codes"), [*SIZES, (4, 256)])
def test_first_codes_differ_and_lie_where_the_encoder_reaches(code_dim: int, num_codes: int) -> None:
    codebook = initial_codebook(num_codes, code_dim)
    assert codebook.shape == (num_codes, code_dim)
    assert codebook.abs().max() < 1.0
    assert torch.pdist(codebook).min() > 1e-3
    assert torch.equal(codebook, initial_codebook(num_codes, code_dim))
