"""AVGAN among the methods: trained on a fold's training side alone, resumed, its answers in the table's order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avgan import checkpoint
from avgan.config import override, preset
from avgan.errors import CheckpointError, ConfigError
from avgan.evaluation.comparison import contestants, ours
from avgan.evaluation.comparison.answers import read_answers
from avgan.evaluation.comparison.compare import compare
from avgan.evaluation.comparison.folds import read_protocol
from avgan.model import build


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
        assert set(trained.sources) == {clip.source_id for clip in fold.train.clips}
        stored = read_answers(tmp_path, "avgan-compact", fold.name)
        assert stored is not None
        assert stored.clip_ids == [clip.id for clip in fold.test.clips]
        assert (stored.fitting_s is None) == (fold.name == "1"), "of a resumed fit it is unknown"
        own = score(networks, trained, fold.test, name="")
        np.testing.assert_allclose(stored.probabilities, own.probabilities, atol=1e-5)


@pytest.mark.usefixtures("tiny_preset")
def test_a_run_of_answers_from_elsewhere_tells_its_cost(tiny_videos: Path, tmp_path: Path) -> None:
    protocol = read_protocol("folder", tiny_videos)
    config = ours.configuration("avgan-transfer", protocol, 0)
    ours.train(config, data=tiny_videos, out=tmp_path / "fold-1", sounds=protocol.folds[0].train)
    task = contestants.Task(
        protocol=protocol,
        settings=None,  # type: ignore[arg-type]
        data=tiny_videos,
        out=tmp_path,
        sounds=contestants.Sounds(protocol),
        pictures=None,
        data_sha256={},
        vqvae_from=None,
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
        config = ours.configuration(name, protocol, 7)
        assert config.preset == ours.PRESETS[name]
        assert config.loop.seed == 7
        assert (config.data.sounds, config.data.images) == ("folder", "folder")
        assert config.data.validation_fraction == 0
        assert ours.CARDS[name].name == name


def test_an_ablation_is_the_whole_method_but_for_what_it_says(tiny_videos: Path) -> None:
    protocol = read_protocol("folder", tiny_videos)
    whole = ours.configuration("avgan-transfer", protocol, 7)
    for name, ablation in ours.ABLATED.items():
        assert ours.is_ours(name)
        config = ours.configuration(name, protocol, 7)
        assert override(whole, ablation.settings) == config
        card = ours.card_of(name)
        assert card.name == name
        assert card.published is None
        assert ablation.asks in card.differs[0]


def test_a_vqvae_is_shared_where_it_would_be_trained_alike(
    tiny_videos: Path, tiny_config: Callable[..., Any], tmp_path: Path
) -> None:
    """It alone is: the trunk of the other run may have heard what this one is asked about."""
    protocol = read_protocol("folder", tiny_videos)
    config = tiny_config()
    run = tmp_path / "avgan-transfer" / "fold-1"
    heard = protocol.folds[0].train
    ours.train(config, data=tiny_videos, out=run, sounds=heard)
    assert ours.other_run(run, config) is None
    for fold in ("fold-1", "fold-2"):
        assert ours.other_run(tmp_path / "transfer-frozen" / fold, config) == run
    other = override(config, {"networks.vqvae.num_codes": "5"})
    assert ours.other_run(tmp_path / "transfer-codes-5" / "fold-2", other) is None
    longer = override(config, {"vqvae.num_steps": "99"})
    assert not ours.trains_vqvae_alike(run, longer)

    second = ours.train(
        override(config, {"imagination.num_steps": "1", "classifier.num_steps": "1"}),
        data=tiny_videos,
        out=tmp_path / "second",
        vqvae_from=run,
        sounds=protocol.folds[1].train,
    )
    (networks, _), (others, _) = map(checkpoint.load_networks, (second, run))
    theirs = others.vqvae.state_dict()
    assert all(
        torch.equal(value, theirs[name]) for name, value in networks.vqvae.state_dict().items()
    )
    trunk, taught = (one.generator.trunk.state_dict() for one in (networks, others))
    assert any(not torch.equal(value, taught[name]) for name, value in trunk.items())


@pytest.mark.usefixtures("tiny_preset")
def test_with_a_budget_and_a_vqvae_the_rest_alone_is_shortened(
    tiny_videos: Path, tiny_config: Callable[..., Any], tmp_path: Path
) -> None:
    protocol = read_protocol("folder", tiny_videos)
    run = ours.train(
        ours.configuration("avgan-compact", protocol, 0), data=tiny_videos, out=tmp_path / "run"
    )
    asked = {
        "protocol": "folder",
        "methods": ("avgan-compact",),
        "data": tiny_videos,
        "folds": ("1",),
        "budget_s": 1e-3,
        "out": tmp_path / "out",
    }
    report = compare(**asked, vqvae_from=run)
    assert report["vqvae"].startswith(tiny_config().preset)
    path = checkpoint.newest(tmp_path / "out" / "runs" / "avgan-compact" / "fold-1")
    assert path is not None
    shortened = checkpoint.read(path).config
    assert shortened.classifier.num_steps == 1
    assert shortened.vqvae.num_steps == tiny_config().vqvae.num_steps
    with pytest.raises(ConfigError, match="vqvae"):
        compare(**asked)
    with pytest.raises(CheckpointError, match="no finished VQ-VAE"):
        compare(**asked, vqvae_from=tiny_videos)


def test_all_patches_of_a_recording_are_counted(tiny_config: Callable[..., Any]) -> None:
    config = override(preset("transfer"), {"data.window_s": "2.0"})
    networks = build(config, 3).eval()
    short, long = (ours.cost(networks, torch.zeros(1, seconds * 16_000)) for seconds in (1, 2))
    assert short.num_parameters == long.num_parameters
    # one patch and two; the dense layers come once
    dense = sum(p.numel() for p in networks.generator.head.parameters() if p.dim() == 2)
    dense += sum(p.numel() for p in networks.classifier.parameters() if p.dim() == 2)
    assert short.num_macs > dense
    assert long.num_macs - dense == 2 * (short.num_macs - dense)


def test_probabilities_are_put_in_the_order_of_the_table() -> None:
    rows = ours.in_order([[0.9, 0.1]], ("b", "c"), ("a", "b", "c"))
    assert rows == [[0.0, 0.9, 0.1]]
