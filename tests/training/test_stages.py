"""What a step of each stage moves and what it leaves alone, and the chain from pictures to answers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from avgan import checkpoint
from avgan.config import STAGES
from avgan.errors import DataError
from avgan.model import AVGAN
from avgan.training import data as training_data
from avgan.training.imagination import one_a_scene
from avgan.training.recipe import train
from avgan.training.run import STAGE_TYPES, launch
from avgan.training.stage import Stage
from avgan.training.vqvae import VQVAEStage, named_scenes

Make = Callable[..., Any]


@pytest.fixture
def make(tiny_videos: Path, tiny_config: Callable[..., Any]) -> Make:
    """A function that gives a stage with fresh networks, with changes to the tiny recipe."""

    def made(kind: str, changes: dict[str, str] | None = None) -> Stage[Any]:
        recipe = tiny_config(changes)
        fabric = launch(recipe.run(kind))
        loaded = training_data.load(getattr(recipe, kind), tiny_videos, seed=recipe.loop.seed)
        networks = AVGAN([recipe.run(each) for each in STAGES], len(loaded.labels))
        return STAGE_TYPES[kind](recipe.run(kind), networks, loaded, fabric)

    return made


def moved(networks: nn.Module, action: Callable[[], object]) -> set[str]:
    """The networks whose parameters an action changes; the generator's two halves apart."""
    before = {name: value.detach().clone() for name, value in networks.named_parameters()}
    action()
    changed = [name for name, value in networks.named_parameters() if not torch.equal(value, before[name])]
    parts = [name.split(".") for name in changed]
    return {".".join(part[:2]) if part[0] == "generator" else part[0] for part in parts}


@pytest.mark.parametrize(
    ("kind", "mode", "expected"),
    [
        ("vqvae", "frozen", {"vqvae"}),
        ("classifier", "frozen", {"classifier"}),
        ("classifier", "head", {"classifier", "generator.head"}),
        ("classifier", "joint", {"classifier", "generator.head", "generator.trunk"}),
    ],
)
def test_a_step_moves_what_its_stage_trains(kind: str, mode: str, expected: set[str], make: Make) -> None:
    stage = make(kind, {"classifier.mode": mode})
    stage.prepare()
    stage.before_first_step()
    buffers = {name: value.clone() for name, value in stage.networks.generator.named_buffers()}
    assert moved(stage.networks, lambda: stage.step(0)) == expected
    if mode == "frozen":  # statistics too
        assert all(torch.equal(value, buffers[name]) for name, value in stage.networks.generator.named_buffers())


def test_image_variance_is_that_of_the_training_pictures(make: Make) -> None:
    stage = make("vqvae")
    stage.before_first_step()
    pixels = stage.data.images.get(range(len(stage.data.images))) / 255.0
    assert float(stage.networks.vqvae.image_variance) == pytest.approx(pixels.var(), rel=1e-5)


def test_dead_codes_are_revived_where_the_encoder_is_and_forgotten_by_adam(make: Make) -> None:
    stage = make("vqvae", {"vqvae.revive_every": "2", "vqvae.num_steps": "100"})
    quantizer = stage.networks.vqvae.quantizer
    stage.step(0)
    quantizer.usage.zero_()
    quantizer.usage[0] = 1.0
    memory = stage.optimizers["vqvae"].state[quantizer.codebook]
    for name in ("exp_avg", "exp_avg_sq"):
        memory[name].fill_(0.1)
    with torch.no_grad():
        candidates = stage.networks.vqvae.encoder(stage.batch(1)).flatten()
    stage.step(1)
    assert quantizer.health().num_dead == 0
    moved_codes = quantizer.usage == 1.0 / len(quantizer.usage)
    assert 8 < moved_codes.sum() < 16
    nearest = (quantizer.codebook.detach()[moved_codes] - candidates).abs().amin(1)
    assert nearest.max() < 1e-6
    for name in ("exp_avg", "exp_avg_sq"):
        assert not memory[name][moved_codes].any()
        assert memory[name][~moved_codes].any()


def test_late_in_the_stage_codes_rest(make: Make) -> None:
    stage = make("vqvae", {"vqvae.revive_every": "1", "vqvae.num_steps": "9"})
    quantizer = stage.networks.vqvae.quantizer
    quantizer.usage.zero_()
    quantizer.usage[0] = 1.0
    stage.step(6)
    assert quantizer.health().num_dead > 0


def test_the_terms_beside_equation_1_move_the_vqvae_and_the_patch_critic_alone(
    make: Make, sharp: dict[str, str]
) -> None:
    stage = make("vqvae", sharp)
    stage.before_first_step()
    assert stage.perceptual is not None
    assert stage.patch_critic is not None
    seen, judged = (
        {name: value.clone() for name, value in network.state_dict().items()}
        for network in (stage.perceptual, stage.patch_critic)
    )
    metrics: dict[str, torch.Tensor] = {}
    assert moved(stage.networks, lambda: metrics.update(stage.step(0))) == {"vqvae"}
    assert "perceptual" in metrics
    assert "verdict" not in metrics, "the patch critic is silent during the first two of five steps"
    assert moved(stage.patch_critic, lambda: stage.step(1)) == set()
    stage.step(2)
    after = stage.perceptual.state_dict()
    assert all(torch.equal(after[name], value) for name, value in seen.items())
    after = stage.patch_critic.state_dict()
    assert all(not torch.equal(after[name], value) for name, value in judged.items())
    assert all(parameter.requires_grad for parameter in stage.patch_critic.parameters())


def test_a_sharp_stage_1_learns_its_pictures(make: Make, sharp: dict[str, str]) -> None:
    changes = {"vqvae.num_steps": "60", "vqvae.learning_rate": "3e-3", "vqvae.perceptual.num_steps": "20"}
    stage = make("vqvae", sharp | changes)
    stage.before_first_step()
    found = [stage.step(step) for step in range(60)]
    for name, share in (("reconstruction", 0.3), ("perceptual", 0.7)):
        assert float(found[-1][name]) < share * float(found[0][name])
    # the average lags behind and is what is shown and kept
    worn = stage.vqvae.decoder.state_dict()["0.weight"].clone()
    stage.finish()
    assert not torch.equal(stage.vqvae.decoder.state_dict()["0.weight"], worn)


def test_the_perceptual_network_learns_the_scenes(make: Make, sharp: dict[str, str]) -> None:
    changes = {
        "vqvae.perceptual.num_steps": "150",
        "vqvae.perceptual.batch_size": "8",
        "vqvae.perceptual.widths": "[8, 8, 8, 8, 16]",
    }
    stage = make("vqvae", sharp | changes)
    stage.before_first_step()
    assert stage.perceptual is not None
    image = stage.images(stage.data.images, np.arange(len(stage.data.images)))
    scenes = named_scenes(stage.data)
    wanted = [scenes.index(scene) for scene in stage.data.image_scenes]
    right = stage.perceptual(image).argmax(1) == torch.tensor(wanted)
    assert float(right.float().mean()) > 0.9


def test_pictures_without_scenes_have_no_perceptual_term(make: Make, sharp: dict[str, str]) -> None:
    stage = make("vqvae", sharp)
    unnamed = replace(stage.data, image_scenes=("",) * len(stage.data.images))
    with pytest.raises(DataError, match=r"fewer than two: set vqvae\.perceptual_weight=0"):
        VQVAEStage(stage.config, stage.networks, unnamed, stage.fabric)


@pytest.mark.parametrize("cached", ["0", "2"])
def test_critic_and_generator_steps_move_each_other_never(cached: str, make: Make) -> None:
    gamma = {"imagination.gamma_on": "features"} if cached != "0" else {}
    stage = make("imagination", {"imagination.num_views": cached} | gamma)
    stage.prepare()
    generator = {"generator.head"} | ({"generator.trunk"} if cached == "0" else set())
    assert moved(stage.networks, lambda: stage.critic_step(0, 0, penalised=True)) == {"critic"}
    assert moved(stage.networks, lambda: stage.generator_step(1, 0)) == generator
    assert all(parameter.requires_grad for parameter in stage.networks.critic.parameters())
    stage.finish()
    assert all(parameter.requires_grad for parameter in stage.networks.vqvae.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"imagination.adversarial_weight": "0"},
        {"imagination.gamma": "0"},
        {"imagination.penalty_weight": "0"},
        {"imagination.penalty_every": "2"},
        {"imagination.real": "encoded"},
    ],
)
def test_every_term_of_equation_2_can_be_left_out(changes: dict[str, str], make: Make) -> None:
    stage = make("imagination", changes)
    stage.prepare()
    metrics: dict[str, torch.Tensor] = {}
    found = moved(stage.networks, lambda: metrics.update(stage.step(0)))
    without_critic = "imagination.adversarial_weight" in changes
    assert ("critic" in found) is not without_critic
    assert "generator.head" in found
    assert ("reconstruction" in metrics) is ("imagination.gamma" not in changes)
    assert all(torch.isfinite(value) for value in metrics.values())


def test_the_anchor_holds_features_where_stage_2_left_them(make: Make) -> None:
    drift = {}
    for anchor in ("0.001", "100.0"):
        stage = make("classifier", {"classifier.mode": "joint", "classifier.anchor": anchor})
        stage.prepare()
        stage.before_first_step()
        drift[anchor] = [float(stage.step(step)["drift"]) for step in range(12)][-1]
    assert drift["100.0"] < drift["0.001"]


def test_one_a_scene_shows_as_many_scenes_as_there_is_room_for() -> None:
    scenes = np.array([3, 3, 1, 1, 0, 2, 2, 2])
    assert sorted(scenes[one_a_scene(scenes, 4)]) == [0, 1, 2, 3]
    assert sorted(scenes[one_a_scene(scenes, 12)]) == [0, 1, 2, 3]
    assert len(one_a_scene(scenes, 2)) == 2


@pytest.mark.slow
def test_the_whole_chain_learns_eight_pairs_by_heart(
    tmp_path: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    """Pictures, then imagination, then answers: every stage must have learnt for the last to be right."""
    recipe = tiny_config(
        {
            "loop.seed": "3",  # of four, the one whose VQ-VAE of these few steps is the best
            "vqvae.network.width": "16",
            "vqvae.network.code_dim": "4",
            "vqvae.network.num_codes": "32",
            "imagination.trunk.widths": "[8, 16, 16, 32]",
            "imagination.generator.hidden": "64",
            "imagination.critic.num_kernels": "0",
            "vqvae.num_steps": "600",
            "vqvae.batch_size": "8",
            "vqvae.learning_rate": "5e-3",
            "vqvae.betas": "[0.9, 0.99]",
            "vqvae.schedule": "linear",
            "vqvae.flip": "false",
            "vqvae.revive_every": "20",
            # of eight recordings a batch norm learns a variance an eighth larger than it divides by
            "imagination.generator.standardize": "false",
            "imagination.num_steps": "120",
            "imagination.batch_size": "8",
            "imagination.critic_steps": "1",
            "imagination.learning_rate": "3e-3",
            "imagination.schedule": "linear",
            "imagination.gamma": "100",
            "imagination.gamma_on": "features",
            "imagination.ema_decay": "0.9",
            "classifier.num_steps": "200",
            "classifier.batch_size": "8",
            "classifier.learning_rate": "3e-3",
            "loop.log_every": "50",
            "loop.validate_every": "1000",
            "loop.checkpoint_every": "1000",
        }
    )
    run = train(recipe, data=tiny_videos, out=tmp_path / "run")
    networks, described = checkpoint.load_networks(run)
    data = training_data.load(recipe.imagination, tiny_videos, seed=0)
    images = torch.from_numpy(data.images.get(range(8))).float() / 255.0
    with torch.no_grad():
        imagined = networks(torch.from_numpy(data.train.waveforms.get(range(8))))
        reconstructed = networks.vqvae(images)[0]
    variance = images.var()
    assert described.labels == data.labels
    assert (reconstructed - images).square().mean() < 0.12 * variance
    assert (imagined.image - images).square().mean() < 0.12 * variance
    assert imagined.logits.argmax(1).tolist() == data.train.targets.tolist()
