"""AVGAN among the methods: trained on a fold's training side alone, resumed, its answers in the table's order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avgan import checkpoint
from avgan.config import STAGES, override
from avgan.data.datasets import DATASETS
from avgan.data.loading import WaveformStore
from avgan.evaluation.comparison import ours
from avgan.evaluation.comparison.answers import read_answers
from avgan.evaluation.comparison.compare import compare
from avgan.evaluation.protocols import read_protocol
from avgan.model import AVGAN
from avgan.presets import preset


@pytest.fixture
def tiny_preset(tiny_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "preset", lambda name: tiny_config())


@pytest.mark.usefixtures("tiny_preset")
def test_each_fold_is_trained_without_it_and_a_stop_is_resumed(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> dict[str, Any]:
        return compare(protocol="folder", methods=("avgan-compact",), data=tiny_videos, out=tmp_path, seeds=(0,))

    with monkeypatch.context() as patch:
        patch.setattr(ours.Trained, "predict", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ask()
    (row,) = ask()["methods"]
    assert list(row["by_fold"]) == ["1", "2"]
    assert row["num_clips"] == 8
    assert row["num_parameters"] > row["num_macs"] / 1_000 > 0
    assert row["num_epochs"] == row["num_epochs_wanted"] > 0
    protocol = read_protocol("folder", tiny_videos)
    for fold in protocol.folds:
        run = tmp_path / "runs" / "avgan-compact" / f"fold-{fold.name}"
        networks, trained = checkpoint.load_networks(run)
        assert trained.sources == {clip.source_id for clip in fold.train.clips}
        stored = read_answers(tmp_path, "avgan-compact", fold.name)
        assert stored is not None
        assert stored.clip_ids == [clip.id for clip in fold.test.clips]
        assert (stored.fitting_s is None) == (fold.name == "1"), "of a resumed fit it is unknown"
        store = WaveformStore(fold.test, rate_hz=16_000, window_s=protocol.window_s)
        with torch.no_grad():
            logits = networks(torch.from_numpy(store.get(range(len(fold.test))))).logits
        own = torch.softmax(logits.double(), 1).numpy()
        np.testing.assert_allclose(stored.probabilities, own, atol=1e-5)


@pytest.mark.usefixtures("tiny_preset")
def test_a_run_of_other_recordings_is_not_taken_for_this_fold(tiny_videos: Path, tmp_path: Path) -> None:
    """The answers are gone or others, the run that gave them lies there still."""
    first, second = read_protocol("folder", tiny_videos).folds
    recipe = ours.recipe_of_method("avgan-compact", read_protocol("folder", tiny_videos), 0)
    run = tmp_path / "runs" / "avgan-compact" / "fold-1"
    ours.train(recipe, data=tiny_videos, out=run, sounds=second.train)
    assert first.name == "1"
    report = compare(protocol="folder", methods=("avgan-compact",), data=tiny_videos, out=tmp_path, seeds=(0,))
    assert "learnt from other recordings" in report["failed"]["avgan-compact"]


@pytest.mark.usefixtures("tiny_preset")
def test_several_seeds_are_several_runs_and_their_spread_is_said(tiny_videos: Path, tmp_path: Path) -> None:
    asked = {"protocol": "folder", "methods": ("avgan-compact",), "data": tiny_videos}
    report = compare(**asked, out=tmp_path, folds=("1",), seeds=(5, 6))
    (row,) = report["methods"]
    assert row["seeds"] == [5, 6]
    assert row["accuracy"] == pytest.approx(np.mean(row["by_seed"]))
    assert row["deviation_over_seeds"] == pytest.approx(np.std(row["by_seed"], ddof=1))
    assert row["num_clips"] == 4
    runs = tmp_path / "runs" / "avgan-compact"
    seeds = [checkpoint.describe(runs / name).config.loop.seed for name in ("fold-1", "fold-1.seed-6")]
    assert seeds == [5, 6]
    first, second = (read_answers(tmp_path, "avgan-compact", "1", seed=seed) for seed in (None, 6))
    assert first is not None
    assert second is not None
    assert first.probabilities != second.probabilities


def test_a_preset_is_settled_for_the_protocol(tiny_videos: Path) -> None:
    protocol = read_protocol("folder", tiny_videos)
    for name in ours.PRESETS:
        config = ours.recipe_of_method(name, protocol, 7)
        assert config.preset == ours.PRESETS[name]
        assert config.loop.seed == 7
        for stage in (config.vqvae, config.imagination, config.classifier):
            assert (stage.data.sounds, stage.data.images) == ("folder", "folder")
            assert stage.data.validation_fraction == 0
        assert ours.CARDS[name].name == name


def test_an_ablation_is_the_whole_method_but_for_what_it_says(tiny_videos: Path) -> None:
    protocol = read_protocol("folder", tiny_videos)
    for name, ablation in ours.ABLATED.items():
        assert ours.is_ours(name)
        config = ours.recipe_of_method(name, protocol, 7)
        whole = ours.recipe_of_method(f"avgan-{ablation.base}", protocol, 7)
        assert override(whole, ablation.settings) == config
        card = ours.card_of(name)
        assert card.name == name
        assert card.published is None
        assert ablation.asks in card.differs[0]


def test_fits_begin_from_one_run_of_photographs(
    tiny_config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is said of the sounds, the same photographs and network are trained once."""
    trained = []

    def train_once(config: Any, *, data: Path, out: Path) -> Path:
        trained.append((config, out))
        return out

    monkeypatch.setattr(ours, "train_run", train_once)
    recipe = tiny_config({"data.images": "miniplaces"})
    for changes in (
        {},
        {"classifier.mode": "joint", "data.held_out_folds": '["1"]'},
        {"vqvae.network.num_codes": "5"},
        {"vqvae.num_steps": "99"},
    ):
        ours.of_photographs(override(recipe, changes), data=tmp_path, out=tmp_path / "runs")
    folders = [out for _, out in trained]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3
    assert {config.stage.data.images for config, _ in trained} == {"miniplaces"}
    assert all(out.parent == tmp_path / "runs" for out in folders)


def test_what_was_in_sight_is_named_by_data_set() -> None:
    """Else a report would not find it, and call a choice that was made on a fold unknown."""
    assert {dataset for card in ours.CARDS.values() for dataset in card.chosen_on} <= set(DATASETS)


def test_the_work_grows_with_the_recording() -> None:
    recipe = preset("transfer")
    networks = AVGAN([recipe.run(kind) for kind in STAGES], 3).eval()
    short, long = (ours.cost(networks, torch.zeros(1, seconds * 16_000)) for seconds in (2, 4))
    assert short.num_parameters == long.num_parameters
    assert 1.8 * short.num_macs < long.num_macs + short.num_macs < 3 * short.num_macs
