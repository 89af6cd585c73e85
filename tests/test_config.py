"""Configurations: presets are complete, a wrong setting is named, JSON loses nothing."""

import json

import pytest
from pydantic import ValidationError

from avgan.config import PRESETS, RunConfig, from_tree, override, preset
from avgan.errors import ConfigError
from avgan.model import build

SHRUNK = {
    "networks.vqvae.width": "8",
    "networks.vqvae.num_residual_blocks": "1",
    "networks.trunk.widths": "[4, 4, 8, 8]",
    "networks.generator.hidden": "16",
    "networks.critic.width": "4",
    "networks.classifier.widths": "[4, 4, 8, 8]",
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json_and_builds(name: str) -> None:
    config = preset(name)
    assert config.preset == name
    assert from_tree(json.loads(config.model_dump_json())) == config
    assert PRESETS[name].__doc__, "a preset says what it costs and scores"
    networks = build(override(config, SHRUNK), num_labels=3)
    assert sum(p.numel() for p in networks.parameters()) < 4_000_000


def test_building_is_repeatable_and_leaves_the_global_seed_alone() -> None:
    import torch

    config = override(preset("compact"), SHRUNK)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, same, other = build(config, 3), build(config, 3), build(config, 3, seed=1)
    assert torch.equal(torch.rand(3), expected)
    name = "vqvae.encoder.0.weight"
    assert torch.equal(one.state_dict()[name], same.state_dict()[name])
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("imagination.gamma", "0", 0.0),
        ("imagination.gamma_on", "features", "features"),
        ("data.held_out_folds", '["1", "5"]', ("1", "5")),
        ("vqvae.betas", "[0.9, 0.99]", (0.9, 0.99)),
        ("networks.critic.hears", "true", True),
        ("front_end.num_time_steps", "null", None),
        ("vqvae.num_steps", "1e3", 1000),
    ],
)
def test_a_setting_is_read_as_json_or_text(path: str, text: str, expected: object) -> None:
    config = preset("paper_esc50")
    changed = override(config, {path: text})
    value: object = changed
    for part in path.split("."):
        value = getattr(value, part)
    assert value == expected
    assert override(changed, {}) == changed
    assert config == preset("paper_esc50")


@pytest.mark.parametrize(
    ("path", "text", "named"),
    [
        ("imagination.gama", "0", "imagination.gama"),
        ("imagination.gamma.x", "0", "imagination.gamma.x"),
        ("nothing.at.all", "0", "nothing.at.all"),
        ("vqvae", "3", "vqvae"),
        ("imagination.gamma", "-1", "imagination.gamma"),
        ("imagination.gamma", "much", "imagination.gamma"),
        ("vqvae.learning_rate", "NaN", "vqvae.learning_rate"),
        ("vqvae.num_steps", "1.5", "vqvae.num_steps"),
        ("networks.trunk.widths", "[1, 2]", "networks.trunk.widths"),
        ("networks.trunk.kind", "resnet", "networks.trunk.kind"),
        ("front_end.window_length", "4096", "front_end"),
        ("loop.precision", "16", "loop.precision"),
        ("imagination.mismatch_weight", "0.5", "networks.critic.hears"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(path: str, text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(preset("transfer"), {path: text})
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", [{"typical": "0.5"}, {"num_looks": "2"}])
def test_pictures_are_sorted_only_where_sounds_were_heard_beforehand(
    setting: dict[str, str],
) -> None:
    changes = {f"imagination.{name}": text for name, text in setting.items()}
    with pytest.raises(ConfigError) as caught:
        override(preset("paper_esc50"), changes)
    assert str(caught.value).startswith("imagination: typical and num_looks")
    assert str(caught.value).endswith("set num_views")
    override(preset("paper_esc50"), changes | {"imagination.num_views": "1"})


@pytest.mark.parametrize(
    "setting",
    [
        {"imagination.typical": "0"},
        {"imagination.typical": "1.1"},
        {"imagination.num_looks": "-1"},
        {"imagination.noise_dim": "4"},
    ],
)
def test_impossible_and_abandoned_settings_are_refused(setting: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        override(preset("transfer"), setting)


def test_an_unknown_preset_and_field_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"choose one of .*transfer"):
        preset("huge")
    with pytest.raises(ConfigError, match="speed"):
        from_tree({"preset": "x", "speed": 3})
    with pytest.raises(ConfigError, match="preset"):
        from_tree({})


def test_a_configuration_cannot_be_changed_in_place() -> None:
    config = RunConfig(preset="x")
    with pytest.raises(ValidationError):
        config.vqvae.num_steps = 3  # type: ignore[misc]
