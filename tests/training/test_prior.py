"""The prior: what it moves, that it learns from photographs alone, and that a break changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import assert_same_weights, break_at, rows

from avgan import checkpoint
from avgan.config import PriorSection, RunConfig
from avgan.errors import ConfigError
from avgan.model import AVGAN
from avgan.networks.samplers import FlowConfig
from avgan.training import run as training_run
from avgan.training.prior import PriorStage
from avgan.training.run import train_run

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path, tiny_config: Make) -> Path:
    """A run of stage 1."""
    return train_run(tiny_config().run("vqvae"), data=tiny_videos, out=tmp_path_factory.mktemp("pictures") / "run")


@pytest.fixture(scope="module")
def prior(pictures: Path) -> RunConfig:
    """A prior of few steps on the same pictures."""
    before = checkpoint.describe(pictures).config
    section = PriorSection(
        data=before.stage.data,
        network=FlowConfig(width=64, depth=1, condition_width=16, num_steps=2),
        num_steps=6,
        batch_size=4,
        ema_decay=0.5,
    )
    return RunConfig(preset="prior", stage=section, loop=before.loop)


def make_stage(pictures: Path, run: RunConfig, data: Path) -> PriorStage:
    """The stage of a run, begun from `pictures`, before its first step."""
    networks = AVGAN([checkpoint.describe(pictures).config, run], 0)
    checkpoint.load_weights(checkpoint.locate(pictures), networks, new="")
    loaded = training_run.training_data.load(run.stage, data, seed=0)
    assert not len(loaded.train), "it hears nothing"
    stage = PriorStage(run, networks, loaded, training_run.launch(run))
    stage.prepare()
    stage.before_first_step()
    return stage


def test_the_sampler_alone_is_moved_and_learns(pictures: Path, prior: RunConfig, tiny_videos: Path) -> None:
    section = prior.stage.changed(num_steps=150, batch_size=8, condition_noise=0.0, learning_rate=3e-3)
    stage = make_stage(pictures, prior.changed(stage=section), tiny_videos)
    # the codebook of a few steps has one code for everything
    generator = torch.Generator().manual_seed(0)
    stage.vqvae.quantizer.codebook.data.normal_(generator=generator)
    stage.kept["codes"].random_(len(stage.vqvae.quantizer.codebook), generator=generator)
    stage.sampler.set_statistics(stage.batch(0).real, stage.batch(0).imagined)
    before = {name: value.clone() for name, value in stage.networks.state_dict().items()}
    found = []
    for step in range(150):
        torch.manual_seed(step)
        found.append(float(stage.step(step)["loss"]))
    after = stage.networks.state_dict()
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == {"sampler"}
    assert np.mean(found[-20:]) < 0.85 * found[0]
    assert 0.0 < stage.validate(150).metrics["relative_diversity"] < 3.0


def test_a_mean_is_of_photographs_of_its_scene(pictures: Path, prior: RunConfig, tiny_videos: Path) -> None:
    stage = make_stage(pictures, prior, tiny_videos)
    quantizer = stage.vqvae.quantizer
    # each scene gets codes of its own, so that its means can have no other
    scene_of_code = np.arange(quantizer.health().num_dead + 4) % len(stage.of_scene)
    for scene, rows_of_scene in enumerate(stage.of_scene):
        stage.kept["codes"][rows_of_scene] = int(np.flatnonzero(scene_of_code == scene)[0])
    batch = stage.batch(0)
    assert torch.equal(batch.imagined, batch.real)


def test_broken_anywhere_it_equals_an_unbroken_one(
    tmp_path: Path, pictures: Path, prior: RunConfig, tiny_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_run(prior, data=tiny_videos, out=tmp_path / "whole", parent=pictures)
    broken = tmp_path / "broken"
    break_at(
        monkeypatch,
        [(PriorStage, 1), (PriorStage, 3)],
        lambda: train_run(prior, data=tiny_videos, out=broken, parent=pictures),
    )
    assert rows(broken) == rows(whole)
    assert_same_weights(broken, whole)
    assert (whole / "samples").exists()


def test_it_stands_on_pictures(tmp_path: Path, prior: RunConfig, tiny_videos: Path) -> None:
    with pytest.raises(ConfigError, match="goes on from a run of vqvae"):
        train_run(prior, data=tiny_videos, out=tmp_path / "alone")
