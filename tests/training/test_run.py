"""A run as a whole: what it writes, and that breaking it anywhere changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import assert_same_weights, break_at, rows, weights

from avgan import checkpoint
from avgan.config import SAMPLER, STAGES
from avgan.errors import ConfigError, DataError
from avgan.training.classifier import ClassifierStage
from avgan.training.imagination import ImaginationStage
from avgan.training.loop import DivergedError
from avgan.training.recipe import train
from avgan.training.run import STAGE_TYPES, train_run
from avgan.training.vqvae import VQVAEStage

VARIANTS = {
    "paper": {},
    "cached": {
        "imagination.generator.dropout": "0.3",
        "imagination.num_views": "2",
        "imagination.gamma_on": "features",
        "imagination.real": "encoded",
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


def test_a_recipe_writes_what_it_promises(tiny_run: Path) -> None:
    assert json.loads((tiny_run / "recipe.json").read_text())["preset"] == "paper_esc50"
    runs = checkpoint.runs_of(tiny_run)
    assert [run.name for run in runs] == ["1-vqvae", "2-imagination", "3-classifier"]
    seen = rows(tiny_run)
    assert [row["stage"] for row in seen] == sorted((row["stage"] for row in seen), key=STAGES.index)
    steps = [row["step"] for row in seen if row["stage"] == "vqvae" and "loss" in row]
    assert steps == [1, 2, 3, 4, 5]
    sheets = {path.name for run in runs for path in run.glob("samples/*")}
    assert {"vqvae-000003.png", "vqvae-000005.png", "imagination-000004.png"} <= sheets
    assert all(list((run / "tensorboard").glob("events.*")) for run in runs)
    networks, described = checkpoint.load_networks(tiny_run)
    assert described.finished
    assert described.labels == ("a", "b", "c", "d")
    pairing = [origin.provenance.get("pairing") for origin in described.lineage]
    assert pairing == [None, "synchronous", None]
    assert len(described.sources) == 8
    assert networks.vqvae.image_variance < 0.2
    assert all(torch.isfinite(value).all() for value in weights(tiny_run).values())


def test_starting_a_finished_recipe_again_does_nothing(
    tiny_run: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*") if path.is_file()}

    before = stamps()
    train(tiny_config(), data=tiny_videos, out=tiny_run)
    assert stamps() == before


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_broken_in_every_stage_equals_an_unbroken_one(
    variant: str, tmp_path: Path, tiny_videos: Path, tiny_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(VARIANTS[variant])
    whole = train(config, data=tiny_videos, out=tmp_path / "whole")
    broken, metrics = tmp_path / "broken", tmp_path / "broken" / "3-classifier" / "metrics.jsonl"

    def go_on() -> None:
        if metrics.exists():
            with metrics.open("a") as file:
                file.write('{"stage": "classifier", "st')  # what a process was writing when it was killed
        train(config, data=tiny_videos, out=broken)

    break_at(monkeypatch, [(VQVAEStage, 1), (VQVAEStage, 3), (ImaginationStage, 3), (ClassifierStage, 3)], go_on)
    assert rows(broken) == rows(whole)
    assert_same_weights(broken, whole)


def test_a_sharp_stage_1_broken_anywhere_equals_an_unbroken_one(
    tmp_path: Path,
    tiny_videos: Path,
    tiny_config: Callable[..., Any],
    sharp: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its perceptual network, its patch critic and the decoder's average are part of the state."""
    run = tiny_config(sharp).run("vqvae")
    whole = train_run(run, data=tiny_videos, out=tmp_path / "whole")
    broken = tmp_path / "broken"
    steps = [(VQVAEStage, step) for step in (1, 3, 4)]
    break_at(monkeypatch, steps, lambda: train_run(run, data=tiny_videos, out=broken))
    assert rows(broken) == rows(whole)
    assert_same_weights(broken, whole)


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
    with pytest.raises(ConfigError, match="another recipe"):
        train(tiny_config({"vqvae.beta": "2"}), data=tiny_videos, out=tiny_run)


@pytest.mark.parametrize("kind", [*STAGES, SAMPLER])
def test_divergence_stops_with_one_line_and_keeps_the_last_good_checkpoint(
    kind: str, tmp_path: Path, tiny_videos: Path, tiny_sampled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = STAGE_TYPES[kind]
    own = stage.step

    def diverging(self: Any, number: int) -> dict[str, torch.Tensor]:
        metrics = own(self, number)
        return metrics | ({"loss": torch.tensor(float("nan"))} if number == 3 else {})

    monkeypatch.setattr(stage, "step", diverging)
    # logged too rarely to be noticed before the checkpoint of step 4
    config = tiny_sampled({"loop.log_every": "100", f"{kind}.num_steps": "6"})
    with pytest.raises(DivergedError) as caught:
        train(config, data=tiny_videos, out=tmp_path)
    assert "\n" not in str(caught.value)
    assert f"{kind}: loss is nan at step 4; lower" in str(caught.value)
    path = checkpoint.newest(tmp_path)
    assert path is not None
    assert checkpoint.read(path).step == 2


def test_a_place_without_data_is_named(tmp_path: Path, tiny_config: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="nowhere"):
        train(tiny_config(), data=tmp_path / "nowhere", out=tmp_path / "run")
