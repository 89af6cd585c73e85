"""Generator, trunks and classifiers: one contract for all members of a family."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avgan.networks.classifier import ClassifierConfig, build_classifier
from avgan.networks.generator import Generator, GeneratorConfig, band_maxima
from avgan.networks.trunks import VECTOR_SIZE, TrunkConfig, build_trunk
from avgan.networks.trunks.yamnet import PaddedConv, YAMNet

TRUNKS = {
    "conv8": TrunkConfig(kind="conv8", widths=(4, 4, 8, 8)),
    "conv8_unprojected": TrunkConfig(kind="conv8", widths=(2, 2, 2, VECTOR_SIZE)),
    "yamnet": TrunkConfig(kind="yamnet"),
}
HEADS = {
    "paper": GeneratorConfig(hidden=16),
    "plain": GeneratorConfig(hidden=16, batch_norm=False),
    "dropout": GeneratorConfig(hidden=16, dropout=0.5),
}


def make(trunk: str, head: str, code_dim: int = 2) -> Generator:
    torch.manual_seed(0)
    built = build_trunk(TRUNKS[trunk])
    return Generator(HEADS[head], built, vector_size=VECTOR_SIZE, code_dim=code_dim).eval()


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("num_time_steps", [96, 200])
def test_every_trunk_gives_a_vector_of_1024(trunk: str, num_time_steps: int) -> None:
    built = build_trunk(TRUNKS[trunk]).eval()
    log_mel = torch.randn(3, 1, 64, num_time_steps)
    vector = built(log_mel)
    assert vector.shape == (3, VECTOR_SIZE)
    assert torch.isfinite(vector).all()
    torch.testing.assert_close(built(log_mel[1:2]), vector[1:2], rtol=1e-4, atol=1e-5)


def test_yamnet_refuses_less_than_a_patch() -> None:
    with pytest.raises(ValueError, match="95 time steps"):
        build_trunk(TRUNKS["yamnet"])(torch.randn(1, 1, 64, 95))


@torch.no_grad()
def test_yamnet_averages_the_vectors_of_its_patches() -> None:
    built = build_trunk(TRUNKS["yamnet"]).eval()
    log_mel = torch.randn(2, 1, 64, 3 * 96 + 10)
    patches = [built(log_mel[..., 5 + 96 * n : 5 + 96 * (n + 1)]) for n in range(3)]
    torch.testing.assert_close(built(log_mel), torch.stack(patches).mean(0))


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("head", HEADS)
def test_every_generator_imagines_maps_within_the_encoders_range(trunk: str, head: str) -> None:
    generator = make(trunk, head)
    log_mel = torch.randn(3, 1, 64, 96)
    heard = generator.hear(log_mel)
    assert heard.shape == (3, VECTOR_SIZE + 16) == (3, generator.heard_size)
    features = generator(log_mel)
    assert features.shape == (3, 2, 16, 16)
    assert features.abs().max() <= 1.0
    assert torch.equal(features, generator(log_mel))
    torch.testing.assert_close(features, generator.imagine(heard))


def test_dropout_is_of_training_alone_and_of_what_was_heard() -> None:
    generator = make("conv8", "dropout")
    heard = torch.randn(3, generator.heard_size)
    assert torch.equal(generator.imagine(heard), generator.head(heard))
    generator.dropout.train()  # the head's batch norm as it is
    assert not torch.allclose(generator.imagine(heard), generator.imagine(heard))
    silence = torch.zeros(3, generator.heard_size)
    assert torch.equal(generator.imagine(silence), generator.head(silence))


@pytest.mark.parametrize("head", HEADS)
def test_gradient_reaches_every_parameter_of_the_head(head: str) -> None:
    generator = make("conv8", head).train()
    heard = torch.randn(4, generator.heard_size)
    generator.imagine(heard).square().sum().backward()
    for name, parameter in generator.head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or name.endswith("bias"), name


@pytest.mark.parametrize("num_mels", [16, 32, 64])
def test_band_maxima_equal_numpys(num_mels: int) -> None:
    log_mel = torch.randn(3, 1, num_mels, 40)
    expected = log_mel.numpy()[:, 0].reshape(3, 16, num_mels // 16, 40).max((2, 3))
    np.testing.assert_array_equal(band_maxima(log_mel).numpy(), expected)


@pytest.mark.parametrize("kind", ["conv8", "linear"])
def test_every_classifier_gives_a_logit_for_each_label(kind: str) -> None:
    config = ClassifierConfig(kind=kind, widths=(4, 4, 8, 8), dropout=0.5)
    classifier = build_classifier(config, code_dim=2, num_labels=7).eval()
    features = torch.rand(3, 2, 16, 16) * 2 - 1
    logits = classifier(features)
    assert logits.shape == (3, 7)
    torch.testing.assert_close(classifier(features[1:2]), logits[1:2], rtol=1e-4, atol=1e-5)


# YAMNet


@pytest.mark.parametrize(("height", "width"), [(8, 8), (64, 96), (2, 4), (6, 10)])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_tensorflows_same_for_even_sizes(height: int, width: int, stride: int) -> None:
    """SAME: ceil(size / stride) outputs, the padding split with the odd cell at the end."""
    torch.manual_seed(0)
    conv = PaddedConv(3, 3, 3, stride=stride, groups=3)
    hidden = torch.randn(2, 3, height, width)

    def padding(size: int) -> tuple[int, int]:
        total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
        return total // 2, total - total // 2

    padded = torch.nn.functional.pad(hidden, (*padding(width), *padding(height)))
    expected = torch.nn.functional.conv2d(padded, conv.weight, conv.bias, stride, groups=3).relu()
    assert expected.shape[2:] == (-(-height // stride), -(-width // stride))
    torch.testing.assert_close(conv(hidden), expected)


def test_yamnet_reads_its_weights_from_numbered_triples(tmp_path) -> None:
    torch.manual_seed(1)
    source, target = YAMNet(), YAMNet()
    triples = {
        f"features.{3 * int(index) + 1}.{part}": value
        for (index, part), value in (
            (name.split("."), value) for name, value in source.features.state_dict().items()
        )
    }
    triples["classifier.weight"] = torch.zeros(521, 1024)
    save_file(triples, tmp_path / "yamnet.safetensors")
    target.load_pretrained(tmp_path / "yamnet.safetensors")
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


@pytest.mark.parametrize("num_fixed", [0, 7, 27])
def test_the_first_layers_can_be_kept_from_training(num_fixed: int) -> None:
    trunk = build_trunk(TrunkConfig(kind="yamnet", num_fixed=num_fixed))
    assert isinstance(trunk, YAMNet)
    fixed = [not any(p.requires_grad for p in layer.parameters()) for layer in trunk.features]
    assert fixed == [True] * num_fixed + [False] * (27 - num_fixed)


def test_weights_of_another_network_are_refused(tmp_path) -> None:
    triples = {
        f"features.{3 * index + 1}.{part}": torch.zeros(1)
        for index in range(27)
        for part in ("weight", "bias")
    }
    save_file(triples, tmp_path / "other.safetensors")
    with pytest.raises(RuntimeError, match="size mismatch"):
        YAMNet().load_pretrained(tmp_path / "other.safetensors")


def test_pretrained_yamnet_loads_and_tells_noise_from_a_tone(data_root) -> None:
    from avgan.data.datasets import find_file
    from avgan.features import LogMel, yamnet_front_end

    trunk = YAMNet().eval()
    trunk.load_pretrained(find_file(data_root, "yamnet"))
    rng = np.random.default_rng(0)
    times = np.arange(16_000) / 16_000
    tones = [0.3 * np.sin(2 * np.pi * hz * times) for hz in (900.0, 1_100.0)]
    noises = [0.1 * rng.standard_normal(16_000) for _ in range(2)]
    waveform = torch.from_numpy(np.stack((*tones, *noises)).astype(np.float32))
    with torch.no_grad():
        vectors = trunk(LogMel(yamnet_front_end())(waveform))
    likeness = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=2)
    assert likeness[0, 1] > likeness[0, 2]
    assert likeness[2, 3] > likeness[1, 3]
