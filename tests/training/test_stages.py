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
from avgan.training import run as training_run
from avgan.training.classifier import ClassifierStage
from avgan.training.imagination import ImaginationStage, one_a_scene
from avgan.training.recipe import train
from avgan.training.stage import Context
from avgan.training.vqvae import VQVAEStage, named_scenes

Make = Callable[..., Context]


@pytest.fixture
def context(tiny_videos: Path, tiny_config: Callable[..., Any]) -> Make:
    """A function that gives the context of a stage with fresh networks, with changes to the tiny recipe."""

    def make(kind: str, changes: dict[str, str] | None = None) -> Context:
        recipe = tiny_config(changes)
        fabric = training_run.launch(recipe.run(kind))
        loaded = training_data.load(getattr(recipe, kind), tiny_videos, seed=recipe.loop.seed)
        networks = AVGAN([recipe.run(each) for each in STAGES], len(loaded.labels))
        return Context(recipe.run(kind), networks, loaded, fabric)

    return make


def moved(networks: nn.Module, action: Callable[[], object]) -> set[str]:
    """The networks whose parameters an action changes; the generator's two halves apart."""
    before = {name: value.detach().clone() for name, value in networks.named_parameters()}
    action()
    changed = [name for name, value in networks.named_parameters() if not torch.equal(value, before[name])]
    parts = [name.split(".") for name in changed]
    return {".".join(part[:2]) if part[0] == "generator" else part[0] for part in parts}


def test_the_vqvae_stage_moves_the_vqvae_alone(context: Make) -> None:
    made = context("vqvae")
    stage = VQVAEStage(made)
    stage.before_first_step()
    assert moved(made.networks, lambda: stage.step(0)) == {"vqvae"}


def test_image_variance_is_that_of_the_training_pictures(context: Make) -> None:
    made = context("vqvae")
    VQVAEStage(made).before_first_step()
    pixels = made.data.images.get(range(len(made.data.images))) / 255.0
    assert float(made.networks.vqvae.image_variance) == pytest.approx(pixels.var(), rel=1e-5)


def test_dead_codes_are_revived_where_the_encoder_is_and_forgotten_by_adam(context: Make) -> None:
    made = context("vqvae", {"vqvae.revive_every": "2", "vqvae.num_steps": "100"})
    stage, quantizer = VQVAEStage(made), made.networks.vqvae.quantizer
    stage.step(0)
    quantizer.usage.zero_()
    quantizer.usage[0] = 1.0
    memory = stage.optimizers["vqvae"].state[quantizer.codebook]
    for name in ("exp_avg", "exp_avg_sq"):
        memory[name].fill_(0.1)
    with torch.no_grad():
        candidates = made.networks.vqvae.encoder(stage.batch(1)).flatten()
    stage.step(1)
    assert quantizer.health().num_dead == 0
    moved_codes = quantizer.usage == 1.0 / len(quantizer.usage)
    assert 8 < moved_codes.sum() < 16
    nearest = (quantizer.codebook.detach()[moved_codes] - candidates).abs().amin(1)
    assert nearest.max() < 1e-6
    for name in ("exp_avg", "exp_avg_sq"):
        assert not memory[name][moved_codes].any()
        assert memory[name][~moved_codes].any()


def test_late_in_the_stage_codes_rest(context: Make) -> None:
    made = context("vqvae", {"vqvae.revive_every": "1", "vqvae.num_steps": "9"})
    stage, quantizer = VQVAEStage(made), made.networks.vqvae.quantizer
    quantizer.usage.zero_()
    quantizer.usage[0] = 1.0
    stage.step(6)
    assert quantizer.health().num_dead > 0


def test_the_terms_beside_equation_1_move_the_vqvae_and_the_patch_critic_alone(
    context: Make, sharp: dict[str, str]
) -> None:
    made = context("vqvae", sharp)
    stage = VQVAEStage(made)
    stage.before_first_step()
    assert stage.perceptual is not None
    assert stage.patch_critic is not None
    seen, judged = (
        {name: value.clone() for name, value in network.state_dict().items()}
        for network in (stage.perceptual, stage.patch_critic)
    )
    metrics: dict[str, torch.Tensor] = {}
    assert moved(made.networks, lambda: metrics.update(stage.step(0))) == {"vqvae"}
    assert "perceptual" in metrics
    assert "verdict" not in metrics, "the patch critic is silent during the first two of five steps"
    assert moved(stage.patch_critic, lambda: stage.step(1)) == set()
    stage.step(2)
    after = stage.perceptual.state_dict()
    assert all(torch.equal(after[name], value) for name, value in seen.items())
    after = stage.patch_critic.state_dict()
    assert all(not torch.equal(after[name], value) for name, value in judged.items())
    assert all(parameter.requires_grad for parameter in stage.patch_critic.parameters())


def test_a_sharp_stage_1_learns_its_pictures(context: Make, sharp: dict[str, str]) -> None:
    changes = {"vqvae.num_steps": "60", "vqvae.learning_rate": "3e-3", "vqvae.perceptual.num_steps": "20"}
    stage = VQVAEStage(context("vqvae", sharp | changes))
    stage.before_first_step()
    found = [stage.step(step) for step in range(60)]
    for name, share in (("reconstruction", 0.3), ("perceptual", 0.7)):
        assert float(found[-1][name]) < share * float(found[0][name])
    # the average lags behind and is what is shown and kept
    worn = stage.vqvae.decoder.state_dict()["0.weight"].clone()
    stage.finish()
    assert not torch.equal(stage.vqvae.decoder.state_dict()["0.weight"], worn)


def test_the_perceptual_network_learns_the_scenes(context: Make, sharp: dict[str, str]) -> None:
    changes = {
        "vqvae.perceptual.num_steps": "150",
        "vqvae.perceptual.batch_size": "8",
        "vqvae.perceptual.widths": "[8, 8, 8, 8, 16]",
    }
    made = context("vqvae", sharp | changes)
    stage = VQVAEStage(made)
    stage.before_first_step()
    assert stage.perceptual is not None
    image = made.images(made.data.images, np.arange(len(made.data.images)))
    scenes = named_scenes(made.data)
    wanted = [scenes.index(scene) for scene in made.data.image_scenes]
    right = stage.perceptual(image).argmax(1) == torch.tensor(wanted)
    assert float(right.float().mean()) > 0.9


def test_pictures_without_scenes_have_no_perceptual_term(tmp_path: Path, context: Make, sharp: dict[str, str]) -> None:
    made = context("vqvae", sharp)
    unnamed = replace(made, data=replace(made.data, image_scenes=("",) * len(made.data.images)))
    with pytest.raises(DataError, match=r"fewer than two: set vqvae\.perceptual_weight=0"):
        VQVAEStage(unnamed)


@pytest.mark.parametrize("cached", ["0", "2"])
def test_critic_and_generator_steps_move_each_other_never(cached: str, context: Make) -> None:
    gamma = {"imagination.gamma_on": "features"} if cached != "0" else {}
    made = context("imagination", {"imagination.num_views": cached} | gamma)
    stage = ImaginationStage(made)
    stage.prepare()
    generator = {"generator.head"} | ({"generator.trunk"} if cached == "0" else set())
    assert moved(made.networks, lambda: stage.critic_step(0, 0, penalised=True)) == {"critic"}
    assert moved(made.networks, lambda: stage.generator_step(1, 0)) == generator
    assert all(parameter.requires_grad for parameter in made.networks.critic.parameters())
    stage.finish()
    assert all(parameter.requires_grad for parameter in made.networks.vqvae.parameters())


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
def test_every_term_of_equation_2_can_be_left_out(changes: dict[str, str], context: Make) -> None:
    made = context("imagination", changes)
    stage = ImaginationStage(made)
    stage.prepare()
    metrics: dict[str, torch.Tensor] = {}
    found = moved(made.networks, lambda: metrics.update(stage.step(0)))
    without_critic = "imagination.adversarial_weight" in changes
    assert ("critic" in found) is not without_critic
    assert "generator.head" in found
    assert ("reconstruction" in metrics) is ("imagination.gamma" not in changes)
    assert all(torch.isfinite(value) for value in metrics.values())


def test_the_frozen_classifier_stage_moves_the_classifier_alone(context: Make) -> None:
    made = context("classifier", {"classifier.mode": "frozen"})
    stage = ClassifierStage(made)
    stage.prepare()
    buffers = {name: value.clone() for name, value in made.networks.generator.named_buffers()}
    assert moved(made.networks, lambda: stage.step(0)) == {"classifier"}
    for name, value in made.networks.generator.named_buffers():
        assert torch.equal(value, buffers[name]), f"{name}: statistics moved"


def test_the_joint_classifier_stage_moves_the_generator_too(context: Make) -> None:
    made = context("classifier", {"classifier.mode": "joint"})
    stage = ClassifierStage(made)
    stage.prepare()
    expected = {"classifier", "generator.head", "generator.trunk"}
    assert moved(made.networks, lambda: stage.step(0)) == expected


def test_the_anchor_holds_features_where_stage_2_left_them(context: Make) -> None:
    drift = {}
    for anchor in ("0.001", "100.0"):
        made = context("classifier", {"classifier.mode": "joint", "classifier.anchor": anchor})
        stage = ClassifierStage(made)
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
