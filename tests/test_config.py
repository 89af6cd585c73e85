"""Configurations: presets are complete, a wrong setting is named, JSON loses nothing."""

import json

import pytest
from pydantic import ValidationError

from avgan.config import STAGES, Recipe, override, parse
from avgan.errors import ConfigError
from avgan.model import AVGAN
from avgan.networks.trunks.conv8 import Conv8Config
from avgan.presets import PRESETS, preset, with_pictures

SHRUNK = {
    "imagination.generator.hidden": "16",
    "imagination.critic.width": "4",
    "classifier.network.widths": "[4, 4, 8, 8]",
}
SHRUNK_CODING = {
    "plain": {"vqvae.network.width": "8", "vqvae.network.num_residual_blocks": "1"},
    "residual": {"vqvae.network.widths": "[8, 8, 8, 16]", "vqvae.network.pretrained": "false"},
}


def shrunk(recipe: Recipe) -> Recipe:
    """A recipe with networks that are built at once."""
    return override(recipe, SHRUNK | SHRUNK_CODING[recipe.vqvae.network.kind])


def build(recipe: Recipe, num_labels: int, seed: int = 0) -> AVGAN:
    return AVGAN([recipe.run(kind) for kind in recipe.kinds], num_labels, seed)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json_and_builds(name: str) -> None:
    recipe = preset(name)
    assert recipe.preset == name
    assert parse(Recipe, json.loads(recipe.model_dump_json())) == recipe
    assert PRESETS[name].__doc__, "a preset says what it costs and scores"
    small = shrunk(recipe)
    if small.sampler is not None:
        small = override(small, {"sampler.network.width": "64", "sampler.network.depth": "1"})
    if isinstance(small.imagination.trunk, Conv8Config):
        small = override(small, {"imagination.trunk.widths": "[4, 4, 8, 8]"})
    networks = build(small, num_labels=3)
    assert sum(p.numel() for p in networks.parameters()) < 4_000_000


def test_building_is_repeatable_and_leaves_the_global_seed_alone() -> None:
    import torch

    config = shrunk(preset("compact"))
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
        ("classifier.data.held_out_folds", '["1", "5"]', ("1", "5")),
        ("vqvae.betas", "[0.9, 0.99]", (0.9, 0.99)),
        ("imagination.trunk.front_end.num_time_steps", "null", None),
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
        ("imagination.generator.hidden", "[1, 2]", "imagination.generator.hidden"),
        ("imagination.trunk.kind", "resnet", "no trunk is called 'resnet'"),
        ("imagination.trunk.front_end.window_length", "4096", "front_end"),
        ("loop.precision", "16", "loop.precision"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(path: str, text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override(preset("transfer"), {path: text})
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "setting", [{"imagination.num_views": "-1"}, {"imagination.typical": "0.5"}, {"imagination.noise_dim": "4"}]
)
def test_impossible_and_abandoned_settings_are_refused(setting: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        override(preset("transfer"), setting)


def test_an_unknown_preset_and_field_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"choose one of .*transfer"):
        preset("huge")
    with pytest.raises(ConfigError, match="speed"):
        parse(Recipe, {"preset": "x", "speed": 3})
    with pytest.raises(ConfigError, match="preset"):
        parse(Recipe, {})


def test_a_configuration_cannot_be_changed_in_place() -> None:
    config = Recipe(preset="x")
    with pytest.raises(ValidationError):
        config.vqvae.num_steps = 3  # type: ignore[misc]


def test_a_setting_of_the_data_is_that_of_all_stages() -> None:
    recipe = override(preset("transfer"), {"data.window_s": "3", "vqvae.data.cache_gb": "1"})
    assert [getattr(recipe, kind).data.window_s for kind in STAGES] == [3.0, 3.0, 3.0]
    assert [getattr(recipe, kind).data.cache_gb for kind in STAGES] == [1.0, 4.0, 4.0]


def test_another_kind_of_trunk_brings_its_own_settings() -> None:
    settings = {"imagination.trunk.widths": "[4, 4, 8, 8]", "imagination.trunk.kind": "conv8"}
    changed = override(preset("transfer"), settings)
    assert changed.imagination.trunk == Conv8Config(widths=(4, 4, 8, 8))


def test_the_papers_presets_add_nothing_of_ours() -> None:
    """What the paper does not have is off: mirrored and sorted pictures, averages, copies, joint training."""
    for recipe in (preset("paper_dcase"), preset("paper_esc50")):
        vqvae, imagination, classifier = recipe.vqvae, recipe.imagination, recipe.classifier
        assert (vqvae.flip, vqvae.l1_weight, vqvae.schedule) == (False, 0.0, "constant")
        assert (imagination.flip, imagination.ema_decay, imagination.num_views) == (False, 0.0, 0)
        assert (classifier.mode, classifier.num_views, classifier.network.kind) == ("frozen", 1, "conv8")
        assert (classifier.mixup, classifier.label_smoothing, classifier.ema_decay) == (0, 0, 0)
        assert imagination.trunk == Conv8Config()
        assert recipe.rounds.num > 1


def test_another_kind_of_vqvae_brings_its_own_settings() -> None:
    changed = override(preset("compact"), {"vqvae.network.widths": "[8, 8, 8, 8]", "vqvae.network.kind": "residual"})
    assert changed.vqvae.network.kind == "residual"
    assert changed.vqvae.network.widths == (8, 8, 8, 8)
    with pytest.raises(ConfigError, match=r"vqvae\.network\.width"):
        override(changed, {"vqvae.network.width": "8"})


def test_the_weights_that_come_with_the_package_have_one_size() -> None:
    assert preset("transfer").vqvae.network.pretrained
    with pytest.raises(ConfigError, match="have sizes of their own: set pretrained=false"):
        override(preset("transfer"), {"vqvae.network.num_codes": "512"})
    changes = {"vqvae.network.num_codes": "512", "vqvae.network.pretrained": "false"}
    assert override(preset("transfer"), changes).vqvae.network.num_codes == 512


@pytest.mark.parametrize("small", [False, True])
def test_a_sampler_learns_from_the_sounds_of_its_recipe(small: bool) -> None:
    recipe = with_pictures(preset("places"), small=small)
    assert recipe.sampler is not None
    assert recipe.sampler.data == recipe.classifier.data
    assert recipe.sampler.data.images == recipe.vqvae.data.images == "photographs"
