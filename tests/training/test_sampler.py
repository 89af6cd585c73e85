"""The fourth stage: what it moves, that it learns, that a break changes nothing, and where it stands in a chain."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import assert_same_weights, break_at, rows

from avgan import checkpoint
from avgan.checkpoint import runs_of
from avgan.config import RunConfig
from avgan.errors import ConfigError
from avgan.model import AVGAN
from avgan.training import recipe as training_recipe
from avgan.training import run as training_run
from avgan.training.run import train_run
from avgan.training.sampler import SamplerStage

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path, tiny_sampled: Make) -> Path:
    """The runs of a recipe up to the classifier: what every sampler here goes on from."""
    recipe = tiny_sampled().model_copy(update={"sampler": None})
    return training_recipe.train(recipe, data=tiny_videos, out=tmp_path_factory.mktemp("named") / "run")


def make_stage(named: Path, run: RunConfig, data: Path) -> SamplerStage:
    """The stage of a run, begun from `named`, before its first step."""
    lineage = [*(origin.config for origin in checkpoint.describe(named).lineage), run]
    networks = AVGAN(lineage, len(checkpoint.describe(named).labels))
    checkpoint.load_weights(checkpoint.locate(named), networks, new="")
    loaded = training_run.training_data.load(run.stage, data, seed=0)
    stage = SamplerStage(run, networks, loaded, training_run.launch(run))
    stage.prepare()
    stage.before_first_step()
    return stage


def test_a_sampler_alone_is_moved(named: Path, tiny_videos: Path, tiny_sampled: Make) -> None:
    stage = make_stage(named, tiny_sampled().run("sampler"), tiny_videos)
    before = {name: value.clone() for name, value in stage.networks.state_dict().items()}
    for step in range(3):
        stage.step(step)
    stage.validate(3)
    after = stage.networks.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"sampler"}
    stage.finish()
    assert all(parameter.requires_grad for parameter in stage.networks.parameters())


def test_it_learns(named: Path, tiny_videos: Path, tiny_sampled: Make) -> None:
    """The loss falls from that of knowing nothing."""
    changes = {"sampler.num_steps": "150", "sampler.batch_size": "8", "sampler.condition_noise": "0"}
    run = tiny_sampled(changes).run("sampler")
    stage = make_stage(named, run, tiny_videos)
    found = []
    for step in range(150):
        torch.manual_seed(step)
        found.append({name: float(value) for name, value in stage.step(step).items()})
    assert found[0]["loss"] == pytest.approx(2.0, abs=0.4)
    assert np.mean([row["loss"] for row in found[-20:]]) < 0.7 * found[0]["loss"]


def test_broken_anywhere_it_equals_an_unbroken_one(
    named: Path, tmp_path: Path, tiny_videos: Path, tiny_sampled: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_sampled().run("sampler")
    whole = train_run(run, data=tiny_videos, out=tmp_path / "whole", parent=named)
    broken = tmp_path / "broken"
    steps = [(SamplerStage, step) for step in (1, 3, 5)]
    break_at(monkeypatch, steps, lambda: train_run(run, data=tiny_videos, out=broken, parent=named))
    assert rows(broken) == rows(whole)
    assert_same_weights(broken, whole)


def test_a_chain_ends_with_the_sampler_and_names_as_before(
    named: Path, tmp_path: Path, tiny_videos: Path, tiny_sampled: Make
) -> None:
    """Features and noise determine the picture; the label and the imagined features depend on no noise."""
    out = training_recipe.train(tiny_sampled(), data=tiny_videos, out=tmp_path / "run", parent=named)
    assert [run.name for run in runs_of(out)] == ["1-sampler"]
    networks, described = checkpoint.load_finished(out)
    plain, _ = checkpoint.load_finished(named)
    assert described.labels == ("a", "b", "c", "d")
    assert training_recipe.recipe_of(described).kinds[-1] == "sampler"
    waveform = torch.randn(3, 16_000) * 0.1
    with torch.no_grad():
        named_before, drawn = plain(waveform), networks(waveform)
        assert torch.equal(drawn.features, named_before.features)
        assert torch.equal(drawn.logits, named_before.logits)
        assert not torch.equal(drawn.image, named_before.image)
        first, again, other = (networks.render(drawn.codes, networks.noise(*[seed] * 3)) for seed in (0, 0, 1))
    assert torch.equal(first, drawn.image), "seed 0 where nothing is said"
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ConfigError, match="move what the sampler was taught with"):
        train_run(tiny_sampled().run("classifier"), data=tiny_videos, out=tmp_path / "x", parent=out)


def test_a_recipe_without_a_sampler_says_so(tiny_config: Make) -> None:
    with pytest.raises(ConfigError, match="has no stage sampler"):
        tiny_config().run("sampler")


def test_a_whole_recipe_has_four_runs_and_does_nothing_twice(
    tmp_path: Path, tiny_videos: Path, tiny_sampled: Make
) -> None:
    recipe = tiny_sampled()
    out = training_recipe.train(recipe, data=tiny_videos, out=tmp_path / "run")
    assert [run.name for run in runs_of(out)] == ["1-vqvae", "2-imagination", "3-classifier", "4-sampler"]
    assert list((out / "4-sampler" / "samples").glob("sampler-000006.png"))
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    training_recipe.train(recipe, data=tiny_videos, out=out)
    assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
