"""AVGAN among the methods: trained on a fold's training side alone, resumed, its answers in the table's order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avgan import checkpoint
from avgan.config import STAGES, override
from avgan.errors import CheckpointError, ConfigError
from avgan.evaluation.comparison import contestants, ours
from avgan.evaluation.comparison.answers import read_answers
from avgan.evaluation.comparison.compare import compare
from avgan.evaluation.comparison.folds import read_protocol
from avgan.model import AVGAN
from avgan.presets import preset
from avgan.training.run import train_run


@pytest.fixture
def tiny_preset(tiny_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "preset", lambda name: tiny_config())


@pytest.mark.usefixtures("tiny_preset")
def test_each_fold_is_trained_without_it_and_a_stop_is_resumed(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> dict[str, Any]:
        return compare(
            protocol="folder", methods=("avgan-compact",), data=tiny_videos, out=tmp_path
        )

    score = ours.score
    with monkeypatch.context() as patch:
        patch.setattr(ours, "score", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ask()
    assert ours.score is score
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
        own = score(networks, trained, fold.test, name="")
        np.testing.assert_allclose(stored.probabilities, own.probabilities, atol=1e-5)


@pytest.mark.usefixtures("tiny_preset")
def test_a_run_of_answers_from_elsewhere_tells_its_cost(tiny_videos: Path, tmp_path: Path) -> None:
    protocol = read_protocol("folder", tiny_videos)
    config = ours.recipe_of_method("avgan-transfer", protocol, 0)
    ours.train(config, data=tiny_videos, out=tmp_path / "fold-1", sounds=protocol.folds[0].train)
    task = contestants.Task(
        protocol=protocol,
        settings=None,  # type: ignore[arg-type]
        data=tiny_videos,
        out=tmp_path,
        sounds=contestants.Sounds(protocol),
        pictures=None,
        data_sha256={},
        parent=None,
        against=None,
        say=print,
        show=print,
    )
    known = contestants.costs_of_run(tmp_path / "fold-1", protocol.folds[0], task)
    networks, _ = checkpoint.load_networks(tmp_path / "fold-1")
    counted = [*networks.generator.parameters(), *networks.classifier.parameters()]
    assert known["num_parameters"] == sum(parameter.numel() for parameter in counted)
    assert known["answering_s"] > 0
    assert contestants.costs_of_run(tmp_path / "none", protocol.folds[0], task) == {}


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
    whole = ours.recipe_of_method("avgan-transfer", protocol, 7)
    for name, ablation in ours.ABLATED.items():
        assert ours.is_ours(name)
        config = ours.recipe_of_method(name, protocol, 7)
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
        ours.of_photographs(override(recipe, changes), data=tmp_path, out=tmp_path)
    folders = [out for _, out in trained]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3
    assert {config.stage.data.images for config, _ in trained} == {"miniplaces"}
    assert all(out.parent == tmp_path / "runs" for out in folders)


@pytest.mark.usefixtures("tiny_preset")
def test_with_a_budget_and_a_parent_the_rest_alone_is_shortened(
    tiny_videos: Path, tiny_config: Callable[..., Any], tmp_path: Path
) -> None:
    protocol = read_protocol("folder", tiny_videos)
    recipe = ours.recipe_of_method("avgan-compact", protocol, 0)
    pictures = train_run(
        recipe.run("vqvae"),
        data=tiny_videos,
        out=tmp_path / "pictures",
        sounds=protocol.folds[0].train,
    )
    asked = {
        "protocol": "folder",
        "methods": ("avgan-compact",),
        "data": tiny_videos,
        "folds": ("1",),
        "budget_s": 1e-3,
        "out": tmp_path / "out",
    }
    report = compare(**asked, parent=pictures)
    assert report["parent"].startswith(tiny_config().preset)
    described = checkpoint.describe(tmp_path / "out" / "runs" / "avgan-compact" / "fold-1")
    assert described.classifier.num_steps == 1
    assert described.vqvae.num_steps == tiny_config().vqvae.num_steps
    with pytest.raises(ConfigError, match="parent"):
        compare(**asked)
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        compare(**asked, parent=tiny_videos)
    fit = tmp_path / "out" / "runs" / "avgan-compact" / "fold-1"
    with pytest.raises(ConfigError, match="has heard sounds; name one of pictures"):
        compare(**asked | {"out": tmp_path / "other"}, parent=fit)


def test_the_work_grows_with_the_recording() -> None:
    recipe = preset("transfer")
    networks = AVGAN([recipe.run(kind) for kind in STAGES], 3).eval()
    short, long = (ours.cost(networks, torch.zeros(1, seconds * 16_000)) for seconds in (2, 4))
    assert short.num_parameters == long.num_parameters
    assert 1.8 * short.num_macs < long.num_macs + short.num_macs < 3 * short.num_macs


def test_probabilities_are_put_in_the_order_of_the_table() -> None:
    rows = ours.in_order([[0.9, 0.1]], ("b", "c"), ("a", "b", "c"))
    assert rows == [[0.0, 0.9, 0.1]]
