"""Taking over another run's stages: what would be trained alike, and nothing that heard what this run may not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from avgan import checkpoint
from avgan.checkpoint import Checkpoint, Position
from avgan.config import RunConfig
from avgan.errors import CheckpointError
from avgan.training.imagination import ImaginationStage
from avgan.training.run import NAMES, taught_alike, train


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load_networks(run)[0].state_dict())


def finished_before(run: Path) -> set[str]:
    """Stages without a row in a run's metrics: they were taken over."""
    rows = (run / "metrics.jsonl").read_text().splitlines()
    return set(NAMES) - {json.loads(row)["stage"] for row in rows}


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"classifier.learning_rate": "0.01"}, {"vqvae", "imagination"}),
        ({"imagination.gamma": "0"}, {"vqvae"}),
        ({"vqvae.learning_rate": "0.01"}, {"vqvae", "imagination"}),
        ({"networks.generator.hidden": "16"}, {"vqvae"}),
    ],
)
def test_stages_that_would_be_trained_alike_are_taken_over(
    changes: dict[str, str],
    taken: set[str],
    tmp_path: Path,
    tiny_run: Path,
    tiny_videos: Path,
    tiny_config: Callable[..., Any],
) -> None:
    run = train(tiny_config(changes), data=tiny_videos, out=tmp_path / "run", start_from=tiny_run)
    assert finished_before(run) == taken
    mine, theirs = weights(run), weights(tiny_run)
    for name, value in mine.items():
        if name.startswith("vqvae."):
            assert torch.equal(value, theirs[name]), name


def test_imagination_is_not_taken_from_a_run_that_went_on_to_train_it_jointly(
    tmp_path: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    config = tiny_config({"classifier.mode": "joint"})
    first = train(config, data=tiny_videos, out=tmp_path / "first")
    second = tiny_config({"classifier.mode": "joint", "classifier.label_smoothing": "0.1"})
    run = train(second, data=tiny_videos, out=tmp_path / "second", start_from=first)
    assert finished_before(run) == {"vqvae"}


SOURCES = ("s1", "s2")


def taught(config: RunConfig, *, finished: tuple[str, ...] = NAMES) -> Checkpoint:
    """What is known of a run on SOURCES."""
    return Checkpoint(
        config=config,
        labels=("a", "b"),
        scene_of_label=None,
        position=Position(finished[-1], 5, finished),
        sources=SOURCES,
    )


JOINT = {"classifier.mode": "joint"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"classifier.mode": "frozen"}, True),  # the other's classifier taught the trunk
        ({"imagination.gamma": "7", "networks.critic.hears": "true"}, True),
        ({"networks.generator.hidden": "16", "classifier.learning_rate": "0.1"}, True),
        ({"data.held_out_folds": '["1"]'}, False),
        ({"data.held_out_folds": '["1", "2"]'}, False),
        ({"data.validation_fraction": "0.2"}, False),
        ({"data.window_s": "2.0"}, False),
        ({"data.sounds": "esc50"}, False),
        ({"front_end.num_mels": "32"}, False),
        ({"front_end.num_time_steps": "64"}, False),
        ({"networks.trunk.widths": "[4, 4, 8, 16]"}, False),
        ({"networks.trunk.kind": "yamnet"}, False),
    ],
)
def test_a_trunk_is_worth_keeping_only_if_it_heard_the_same(
    changes: dict[str, str], expected: bool, tiny_config: Callable[..., Any]
) -> None:
    other = taught(tiny_config(JOINT))
    assert taught_alike(tiny_config(JOINT | changes), other, SOURCES) is expected
    if "data.held_out_folds" in changes:  # nor the other way round
        assert not taught_alike(tiny_config(JOINT), taught(tiny_config(JOINT | changes)), SOURCES)


def test_a_trunk_nobody_taught_to_the_end_is_not_kept(tiny_config: Callable[..., Any]) -> None:
    config = tiny_config(JOINT)
    assert taught_alike(config, taught(config), SOURCES)
    assert not taught_alike(config, taught(config, finished=NAMES[:2]), SOURCES)
    assert not taught_alike(config, taught(tiny_config()), SOURCES)


def test_a_trunk_that_heard_what_this_run_keeps_away_is_not_kept(
    tiny_config: Callable[..., Any],
) -> None:
    """Equal settings with another seed keep other recordings aside."""
    config = tiny_config(JOINT | {"data.validation_fraction": "0.2"})
    assert taught_alike(config, taught(config), (*SOURCES, "s3"))
    assert not taught_alike(config, taught(config), ("s1", "s3"))
    assert not taught_alike(config, replace(taught(config), sources=("s1", "s4")), SOURCES)


def first_weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Filled, when a run starts, with the weights its second stage starts with."""
    seen: dict[str, torch.Tensor] = {}
    own = ImaginationStage.prepare

    def prepare(stage: ImaginationStage) -> None:
        seen.update({name: value.clone() for name, value in stage.networks.state_dict().items()})
        own(stage)

    monkeypatch.setattr(ImaginationStage, "prepare", prepare)
    return seen


def test_a_trunk_that_was_taught_is_taken_over_and_its_head_is_not(
    tmp_path: Path,
    tiny_videos: Path,
    tiny_config: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = train(tiny_config(JOINT), data=tiny_videos, out=tmp_path / "first")
    theirs = weights(first)
    trunk = [name for name in theirs if name.startswith("generator.trunk.")]
    head = "generator.head.body.0.weight"
    assert trunk
    seen = first_weights(monkeypatch)
    for kept, changes in ((True, {"imagination.gamma": "2"}), (False, {"data.cache_gb": "0.2"})):
        config = tiny_config(JOINT | changes)
        run = train(config, data=tiny_videos, out=tmp_path / f"{kept}", start_from=first)
        assert finished_before(run) == {"vqvae"}
        assert all(torch.equal(seen[name], theirs[name]) for name in trunk) is kept
        assert not torch.equal(seen[head], theirs[head])


def test_what_heard_recordings_this_run_keeps_aside_is_not_taken_over(
    tmp_path: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    """Two seeds keep different recordings aside under the same settings."""
    aside = {"data.validation_fraction": "0.3"}
    first = train(tiny_config(aside), data=tiny_videos, out=tmp_path / "first")
    heard = {}
    for seed in ("0", "1", "2", "3"):
        out = tmp_path / seed
        config = tiny_config(aside | {"loop.seed": seed})
        run = train(config, data=tiny_videos, out=out, start_from=first)
        heard[seed] = set(checkpoint.load_networks(run)[1].sources)
        same = heard[seed] == heard["0"]
        assert finished_before(run) == ({"vqvae", "imagination"} if same else {"vqvae"})
    assert any(sources != heard["0"] for sources in heard.values())


def test_a_vqvae_of_another_size_is_refused(
    tmp_path: Path, tiny_run: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    config = tiny_config({"networks.vqvae.width": "16"})
    with pytest.raises(CheckpointError, match="of another size"):
        train(config, data=tiny_videos, out=tmp_path / "run", start_from=tiny_run)
