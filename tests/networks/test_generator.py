"""Generator, trunks and classifiers: one contract for all members of a family."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load

from avgan.config import ImaginationSection, override, parse
from avgan.features import FrontEndConfig, LogMel
from avgan.networks.classifier import ClassifierConfig, build_classifier
from avgan.networks.generator import Generator, GeneratorConfig, band_maxima
from avgan.networks.trunks import TRUNKS, TrunkConfig
from avgan.networks.trunks.conv8 import Conv8Config
from avgan.networks.trunks.mn04 import BLOCKS, MN04, MN04Config, tag_names, weights
from avgan.presets import preset

CONFIGS: dict[str, TrunkConfig] = {
    "conv8": Conv8Config(widths=(4, 4, 8, 8)),
    "conv8_unprojected": Conv8Config(widths=(2, 2, 2, 1024)),
    "mn04": MN04Config(),
}
HEADS = {
    "paper": GeneratorConfig(hidden=16),
    "plain": GeneratorConfig(hidden=16, batch_norm=False),
    "dropout": GeneratorConfig(hidden=16, dropout=0.5),
    "raw": GeneratorConfig(hidden=16, standardize=False),
}


def make(trunk: str, head: str, code_dim: int = 2) -> Generator:
    torch.manual_seed(0)
    config = CONFIGS[trunk]
    return Generator(HEADS[head], config.build(), vector_size=config.vector_size, code_dim=code_dim).eval()


def log_mels(config: TrunkConfig, num_time_steps: int, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 1, config.front_end.num_mels, num_time_steps, generator=generator)


def test_every_trunk_is_tested_here() -> None:
    assert {config.kind for config in CONFIGS.values()} == set(TRUNKS)
    for kind, declared in TRUNKS.items():
        assert declared().kind == kind


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("num_time_steps", [96, 200])
@torch.no_grad()
def test_every_trunk_gives_a_vector_whatever_else_is_in_the_batch(name: str, num_time_steps: int) -> None:
    config = CONFIGS[name]
    built = config.build().eval()
    log_mel = log_mels(config, num_time_steps)
    vector = built(log_mel)
    assert vector.shape == (3, config.vector_size)
    assert torch.isfinite(vector).all()
    torch.testing.assert_close(built(log_mel[1:2]), vector[1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_every_trunk_takes_its_shortest_log_mel_and_its_own_front_ends(name: str) -> None:
    config = CONFIGS[name]
    built = config.build().eval()
    steps = max(config.min_time_steps, 8)
    assert torch.isfinite(built(log_mels(config, steps))).all()
    sound = torch.randn(2, 80_000, generator=torch.Generator().manual_seed(1))
    assert torch.isfinite(built(LogMel(config.front_end)(sound))).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_trunk_survives_json(name: str) -> None:
    section = ImaginationSection(trunk=CONFIGS[name])
    again = parse(ImaginationSection, section.model_dump(mode="json"))
    assert again.trunk == CONFIGS[name]
    assert type(again.trunk) is type(CONFIGS[name])


def test_a_trunk_from_elsewhere_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CONTRIBUTING says: its settings are read, its pretrained weights are there, from nowhere else."""

    class Loudness(torch.nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.dense = torch.nn.Linear(1, size)

        def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
            vector: torch.Tensor = self.dense(log_mel.mean((2, 3)))
            return vector

    class LoudnessConfig(TrunkConfig):
        kind: str = "loudness"
        front_end: FrontEndConfig = FrontEndConfig(num_mels=32)
        size: int = 5

        @property
        def vector_size(self) -> int:
            return self.size

        def build(self) -> torch.nn.Module:
            built = Loudness(self.size)
            torch.nn.init.constant_(built.dense.weight, 7.0)  # "pretrained"
            return built

    monkeypatch.setitem(TRUNKS, "loudness", LoudnessConfig)
    recipe = override(preset("transfer"), {"imagination.trunk.size": "6", "imagination.trunk.kind": "loudness"})
    trunk = recipe.imagination.trunk
    assert isinstance(trunk, LoudnessConfig)
    assert trunk.vector_size == 6
    generator = Generator(recipe.imagination.generator, trunk.build(), vector_size=trunk.vector_size, code_dim=2).eval()
    assert generator(LogMel(trunk.front_end)(torch.randn(2, 16_000))).shape == (2, 2, 16, 16)
    assert (generator.trunk.dense.weight == 7.0).all()


@pytest.mark.parametrize("trunk", CONFIGS)
@pytest.mark.parametrize("head", HEADS)
def test_every_generator_imagines_maps_within_the_encoders_range(trunk: str, head: str) -> None:
    generator = make(trunk, head)
    log_mel = log_mels(CONFIGS[trunk], 96)
    embedding = generator.embed(log_mel)
    size = CONFIGS[trunk].vector_size + 16
    assert embedding.shape == (3, size) == (3, generator.embedding_size)
    features = generator(log_mel)
    assert features.shape == (3, 2, 16, 16)
    assert features.abs().max() <= 1.0
    assert torch.equal(features, generator(log_mel))
    torch.testing.assert_close(features, generator.imagine(embedding))


def test_dropout_is_of_training_alone() -> None:
    generator = make("conv8", "dropout")
    embedding = torch.randn(3, generator.embedding_size)
    assert torch.equal(generator.imagine(embedding), generator.imagine(embedding))
    for module in generator.modules():
        if isinstance(module, torch.nn.Dropout):
            module.train()  # the batch norms as they are
    assert not torch.allclose(generator.imagine(embedding), generator.imagine(embedding))


def test_the_shortcut_weighs_no_more_than_the_trunk() -> None:
    """Raw decibels beside a trunk's small numbers would be most of what the first layer hears."""

    def share_of_shortcut(head: str) -> float:
        generator = make("conv8", head)
        small = 0.1 * torch.randn(64, generator.embedding_size - 16)
        decibels = -50.0 + 20.0 * torch.randn(64, 16)
        generator.head.train()
        first = generator.head.body[0](torch.cat((small, decibels), 1))
        return float(first[:, -16:].var(0).sum() / first.var(0).sum())

    assert share_of_shortcut("raw") > 0.9
    assert share_of_shortcut("paper") == pytest.approx(16 / 1040, rel=0.01)


@pytest.mark.parametrize("head", HEADS)
def test_gradient_reaches_every_parameter_of_the_head(head: str) -> None:
    generator = make("conv8", head).train()
    embedding = torch.randn(4, generator.embedding_size)
    generator.imagine(embedding).square().sum().backward()
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


# mn04


def test_the_weights_that_are_packed_are_the_ones_that_are_built() -> None:
    packed = load(weights())
    built = MN04Config().build().state_dict()
    assert built.keys() == packed.keys()
    assert all(torch.equal(value, packed[name]) for name, value in built.items())
    assert sum(value.numel() for value in packed.values()) == pytest.approx(0.98e6, rel=0.02)


@pytest.mark.parametrize("num_fixed", [0, 3, len(BLOCKS) + 2])
def test_the_first_layers_can_be_kept_from_training(num_fixed: int) -> None:
    trunk = MN04Config(num_fixed=num_fixed).build()
    fixed = [not any(p.requires_grad for p in layer.parameters()) for layer in trunk.features]
    assert fixed == [True] * num_fixed + [False] * (len(BLOCKS) + 2 - num_fixed)


def test_training_does_not_move_the_statistics_of_audioset() -> None:
    trunk = MN04Config().build().train()
    before = {name: value.clone() for name, value in trunk.named_buffers()}
    log_mel = 5.0 * log_mels(MN04Config(), 64)
    trunk(log_mel).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in trunk.named_buffers())
    assert trunk.features[0][0][1].weight.grad is not None, "scales are trained"
    torch.testing.assert_close(trunk(log_mel), trunk.eval()(log_mel))


def test_another_front_end_is_refused() -> None:
    with pytest.raises(ValidationError, match="mn04 has a front end of its own"):
        MN04Config(front_end=FrontEndConfig())


@torch.no_grad()
def test_it_names_what_it_hears(data_root: Path) -> None:
    import soundfile

    trunk, config = MN04Config().build().eval(), MN04Config()
    assert isinstance(trunk, MN04)
    names = tag_names()
    assert len(names) == len(set(names)) == 527
    heard = {}
    for label, clip in (("dog", "1-100032-A-0"), ("rain", "1-17367-A-10")):
        samples, rate_hz = soundfile.read(data_root / "esc50" / "audio" / f"{clip}.ogg", dtype="float32")
        assert rate_hz == config.front_end.sample_rate_hz
        vector = trunk(LogMel(config.front_end)(torch.from_numpy(samples)[None]))
        heard[label] = {names[index] for index in trunk.tag(vector)[0].topk(5).indices}
    assert {"Dog", "Animal", "Bark"} <= heard["dog"]
    assert "Rain" in heard["rain"]
