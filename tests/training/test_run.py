"""A run as a whole: what it writes, and that breaking it anywhere changes nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from avgan import checkpoint
from avgan.checkpoint import Checkpoint, Position
from avgan.config import RunConfig
from avgan.errors import CheckpointError, ConfigError, DataError
from avgan.training.classifier import ClassifierStage
from avgan.training.imagination import ImaginationStage
from avgan.training.loop import DivergedError
from avgan.training.run import NAMES, STAGES, taught_alike, train
from avgan.training.vqvae import VQVAEStage

VARIANTS = {
    "paper": {},
    "cached, conditional": {
        "networks.critic.hears": "true",
        "networks.generator.dropout": "0.3",
        "imagination.num_views": "2",
        "imagination.gamma_on": "features",
        "imagination.real": "encoded",
        "imagination.mismatch_weight": "0.5",
        "classifier.mode": "joint",
        "classifier.anchor": "1.0",
        "classifier.mixup": "0.3",
        "classifier.roll": "true",
        "classifier.gain_db": "6",
        "classifier.time_mask": "0.3",
        "classifier.band_mask": "0.3",
        "classifier.schedule": "one_cycle",
        "classifier.ema_decay": "0.9",
        "classifier.clip_norm": "1.0",
    },
    "half precision": {"loop.precision": "bf16-mixed", "loop.channels_last": "true"},
}


LOOKS = {
    "imagination.num_views": "2",
    "imagination.typical": "0.5",
    "imagination.num_looks": "2",
    "imagination.gamma_on": "features",
    "imagination.real": "encoded",
}


@pytest.fixture(scope="module")
def tiny_labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one's own, paired by label: under each of three, four recordings and eight pictures."""
    root = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    times = np.arange(16_000) / 16_000
    for number, label in enumerate("abc"):
        (root / label).mkdir()
        for index in range(4):
            tone = 0.5 * np.sin(2 * np.pi * (200.0 + 300.0 * number + 40.0 * index) * times)
            soundfile.write(root / label / f"{index}.wav", tone, 16_000)
        for index in range(8):
            bands = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(bands).resize((128, 128)).save(root / label / f"{index}.png")
    return root


class Killed(BaseException):
    """Stands for the end of the process."""


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load_networks(run)[0].state_dict())


def assert_same_weights(one: Path, other: Path) -> None:
    found, expected = weights(one), weights(other)
    assert list(found) == list(expected)
    different = [name for name in found if not torch.equal(found[name], expected[name])]
    assert not different


def kill_at(monkeypatch: pytest.MonkeyPatch, stage: type, step: int) -> None:
    """Let a stage die at the beginning of a step."""
    own = stage.step

    def dying(self: Any, number: int) -> Any:
        if number == step:
            raise Killed
        return own(self, number)

    monkeypatch.setattr(stage, "step", dying)


def test_a_run_writes_what_it_promises(tiny_run: Path) -> None:
    assert json.loads((tiny_run / "config.json").read_text())["preset"] == "paper_esc50"
    seen = rows(tiny_run)
    assert [row["stage"] for row in seen] == sorted((row["stage"] for row in seen), key=NAMES.index)
    steps = [row["step"] for row in seen if row["stage"] == "vqvae" and "loss" in row]
    assert steps == [1, 2, 3, 4, 5]
    sheets = {path.name for path in (tiny_run / "samples").iterdir()}
    assert {"vqvae-000003.png", "vqvae-000005.png", "imagination-000004.png"} <= sheets
    assert list((tiny_run / "tensorboard").glob("events.*"))
    networks, described = checkpoint.load_networks(tiny_run)
    assert described.position.finished == NAMES
    assert described.labels == ("a", "b", "c", "d")
    assert described.provenance["pairing"] == "synchronous"
    assert len(described.sources) == 8
    assert networks.vqvae.image_variance < 0.2
    assert all(torch.isfinite(value).all() for value in weights(tiny_run).values())


def test_starting_a_finished_run_again_does_nothing(
    tiny_run: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    before = (tiny_run / "metrics.jsonl").read_text()
    train(tiny_config(), data=tiny_videos, out=tiny_run)
    assert (tiny_run / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_broken_in_every_stage_equals_an_unbroken_one(
    variant: str,
    tmp_path: Path,
    tiny_videos: Path,
    tiny_config: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_config(VARIANTS[variant])
    whole = train(config, data=tiny_videos, out=tmp_path / "whole")
    broken = tmp_path / "broken"
    for stage, step in (
        (VQVAEStage, 1),
        (VQVAEStage, 3),
        (ImaginationStage, 3),
        (ClassifierStage, 3),
    ):
        with monkeypatch.context() as patch:
            kill_at(patch, stage, step)
            with pytest.raises(Killed):
                train(config, data=tiny_videos, out=broken)
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "classifier", "st')  # what a process was writing when it was killed
    train(config, data=tiny_videos, out=broken)
    assert rows(broken) == rows(whole)
    assert_same_weights(broken, whole)


def test_a_run_with_looks_settles_the_same_ones_after_a_break(
    tmp_path: Path,
    tiny_labelled: Path,
    tiny_config: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settled: list[list[list[int]]] = []
    own = ImaginationStage.prepare

    def prepare(stage: ImaginationStage) -> None:
        own(stage)
        settled.append([choices.tolist() for choices in stage.pairing.image_choices])

    monkeypatch.setattr(ImaginationStage, "prepare", prepare)
    config = tiny_config(LOOKS)
    whole = train(config, data=tiny_labelled, out=tmp_path / "whole")
    broken = tmp_path / "broken"
    with monkeypatch.context() as patch:
        kill_at(patch, ImaginationStage, 3)
        with pytest.raises(Killed):
            train(config, data=tiny_labelled, out=broken)
    train(config, data=tiny_labelled, out=broken)
    assert len(settled) == 3
    assert settled[0] == settled[1] == settled[2]
    assert all(len(choices) <= 2 for choices in settled[0])  # half of eight, in two looks
    assert rows(broken) == rows(whole)
    assert_same_weights(broken, whole)


@pytest.mark.parametrize("change", [{"typical": "0.5"}, {"num_looks": "2"}])
def test_pictures_are_not_sorted_where_each_sound_has_its_own(
    change: dict[str, str], tmp_path: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    changes = {"imagination.num_views": "1"}
    changes |= {f"imagination.{name}": text for name, text in change.items()}
    with pytest.raises(ConfigError, match=r"a picture of its own.*set imagination\.typical=1"):
        train(tiny_config(changes), data=tiny_videos, out=tmp_path / "run")
    # nothing is left in the way of the same command with other settings
    assert not (tmp_path / "run").exists()


def test_a_seed_is_repeatable_and_matters(
    tmp_path: Path, tiny_run: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    again = train(tiny_config(), data=tiny_videos, out=tmp_path / "again")
    assert rows(again) == rows(tiny_run)
    assert_same_weights(again, tiny_run)
    other = train(tiny_config({"loop.seed": "1"}), data=tiny_videos, out=tmp_path / "other")
    assert rows(other) != rows(tiny_run)


def test_another_configuration_in_the_same_folder_is_refused(
    tiny_run: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match="another configuration"):
        train(tiny_config({"vqvae.beta": "2"}), data=tiny_videos, out=tiny_run)


@pytest.mark.parametrize("stage", STAGES)
def test_divergence_stops_with_one_line_and_keeps_the_last_good_checkpoint(
    stage: type,
    tmp_path: Path,
    tiny_videos: Path,
    tiny_config: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = stage.step

    def diverging(self: Any, number: int) -> dict[str, torch.Tensor]:
        metrics = own(self, number)
        return metrics | ({"loss": torch.tensor(float("nan"))} if number == 3 else {})

    monkeypatch.setattr(stage, "step", diverging)
    # logged too rarely to be noticed before the checkpoint of step 4
    config = tiny_config({"loop.log_every": "100", f"{stage.name}.num_steps": "6"})
    with pytest.raises(DivergedError) as caught:
        train(config, data=tiny_videos, out=tmp_path)
    assert "\n" not in str(caught.value)
    assert f"{stage.name}: loss is nan at step 4; lower" in str(caught.value)
    path = checkpoint.newest(tmp_path)
    assert path is not None
    assert checkpoint.read(path).position.step == 2


# Taking over another run's stages


def finished_before(run: Path) -> set[str]:
    """Stages without a row in a run's metrics: they were taken over."""
    return set(NAMES) - {row["stage"] for row in rows(run)}


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


def test_a_place_without_data_is_named(tmp_path: Path, tiny_config: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="nowhere"):
        train(tiny_config(), data=tmp_path / "nowhere", out=tmp_path / "run")
