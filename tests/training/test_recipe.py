"""Chains of runs: parents, rounds, other data for each stage, and a guard that goes over all ancestors."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from runs import Killed, assert_same_weights, kill_at, weights

from avgan import checkpoint
from avgan.baselines.method import Clips
from avgan.config import Recipe
from avgan.errors import CheckpointError, ConfigError, LeakageError
from avgan.evaluation.comparison.ours import CARDS, Trained
from avgan.training import progress
from avgan.training.data import read_sounds
from avgan.training.imagination import ImaginationStage
from avgan.training.recipe import recipe_of, train
from avgan.training.run import ancestors, train_run
from avgan.training.stage import Stage

Config = Callable[..., Recipe]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audio set without pictures: tones of three labels that the videos do not have."""
    root = tmp_path_factory.mktemp("recordings")
    times = np.arange(16_000) / 16_000
    for number, label in enumerate("xyz"):
        (root / label).mkdir()
        for take in range(4):
            tone = 0.3 * np.sin(2 * np.pi * 300 * 2**number * (1 + 0.02 * take) * times)
            soundfile.write(root / label / f"{label}{take}.wav", tone, 16_000)
    return root


def names_of_runs(recipe: Path) -> list[str]:
    return [run.name for run in checkpoint.runs_of(recipe)]


def test_imagination_is_learnt_from_videos_and_the_classifier_from_another_audio_set(
    tmp_path: Path, tiny_videos: Path, recordings: Path, tiny_config: Config
) -> None:
    """The paper's experiment: the generator is frozen, and no label of the videos is ever used."""
    out = train(tiny_config(), videos=tiny_videos, data=recordings, out=tmp_path / "run")
    described = checkpoint.describe(out)
    assert described.labels == ("x", "y", "z")
    sounds = [origin.provenance.get("sounds") for origin in described.lineage]
    assert sounds[0] == sounds[1] != sounds[2]
    for prefix in ("vqvae.", "generator.", "critic."):
        assert_same_weights(out / "2-imagination", out, prefix)
    assert described.sources == {source for origin in described.lineage for source in origin.sources}
    assert len(described.lineage[1].sources) == 8
    assert len(described.origin.sources) == 12


def test_videos_need_no_labels(tmp_path: Path, tiny_videos: Path, recordings: Path, tiny_config: Config) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    for path in tiny_videos.rglob("*.mp4"):
        (loose / path.name).symlink_to(path)
    out = train(tiny_config(), videos=loose, data=recordings, out=tmp_path / "run")
    described = checkpoint.describe(out / "2-imagination")
    assert described.origin.provenance["pairing"] == "synchronous"
    assert described.labels == ()
    assert checkpoint.describe_finished(out).labels == ("x", "y", "z")


def test_what_a_parent_has_done_is_not_done_again(
    tmp_path: Path, tiny_run: Path, tiny_videos: Path, tiny_config: Config
) -> None:
    recipe = tiny_config({"vqvae.num_steps": "1000000", "imagination.gamma": "0"})
    pictures = tiny_run / "1-vqvae"
    out = train(recipe, data=tiny_videos, out=tmp_path / "a", parent=pictures)
    assert names_of_runs(out) == ["1-imagination", "2-classifier"]
    assert_same_weights(pictures, out, "vqvae.")
    assert ancestors(out) == [pictures.resolve(), (out / "1-imagination").resolve()]
    other = train(recipe, data=tiny_videos, out=tmp_path / "b", parent=tiny_run / "2-imagination")
    assert names_of_runs(other) == ["1-classifier"]
    assert_same_weights(tiny_run, other, "generator.")


@pytest.mark.parametrize("real", ["encoded", "quantized"])
def test_pictures_are_encoded_once_for_all_that_begin_from_a_vqvae(
    real: str, tmp_path: Path, tiny_run: Path, tiny_videos: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And anew where a picture, a weight or what is kept has changed; a run is the same either way."""
    recipe = tiny_config({"imagination.num_views": "1", "imagination.gamma_on": "features", "imagination.real": real})
    encoded: list[int] = []
    own = Stage.images

    def images(self: Any, store: Any, indices: np.ndarray) -> torch.Tensor:
        encoded.append(len(indices))
        return own(self, store, indices)

    monkeypatch.setattr(Stage, "images", images)

    def child(name: str, parent: Path) -> int:
        """How many pictures were looked at."""
        encoded.clear()
        run = recipe.run("imagination")
        train_run(run, data=videos, out=tmp_path / name, parent=parent)
        return sum(encoded)

    videos, pictures = tmp_path / "videos", tmp_path / "pictures"
    shutil.copytree(tiny_videos, videos)
    shutil.copytree(tiny_run / "1-vqvae", pictures)
    first = child("first", pictures)
    shown = child("again", pictures)
    assert first == shown + 8
    assert_same_weights(tmp_path / "first", tmp_path / "again")
    (kept,) = (pictures / "encoded").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert child("damaged", pictures) == first
    assert child("mended", pictures) == shown
    next(videos.rglob("*.mp4")).touch()
    assert child("touched", pictures) == first
    other = train_run(tiny_config({"loop.seed": "5"}).run("vqvae"), data=videos, out=tmp_path / "other")
    shutil.copytree(pictures / "encoded", other / "encoded")
    assert child("of another", other) == first
    for name in ("damaged", "mended", "touched"):
        assert_same_weights(tmp_path / "first", tmp_path / name)


def test_one_stage_can_be_trained_alone(tmp_path: Path, tiny_run: Path, tiny_videos: Path, tiny_config: Config) -> None:
    recipe = tiny_config({"data.sounds": "auto", "data.images": "auto"})
    run = train_run(recipe.run("classifier"), data=tiny_videos, out=tmp_path, parent=tiny_run / "2-imagination")
    assert_same_weights(tiny_run, run)
    config = json.loads((run / "config.json").read_text())
    assert config["stage"]["data"]["sounds"] == "folder"
    assert config["parent"]["path"].endswith("2-imagination")


@pytest.mark.parametrize(
    ("kind", "parent", "problem"),
    [
        ("imagination", None, "imagination goes on from a run of vqvae"),
        ("classifier", "1-vqvae", "classifier goes on from a run of imagination"),
    ],
)
def test_a_stage_without_the_one_before_it_is_refused(
    kind: str, parent: str | None, problem: str, tmp_path: Path, tiny_run: Path, tiny_videos: Path, tiny_config: Config
) -> None:
    run = tiny_config().run(kind)
    with pytest.raises(ConfigError, match=problem):
        train_run(run, data=tiny_videos, out=tmp_path, parent=None if parent is None else tiny_run / parent)
    assert not list(tmp_path.iterdir())


def test_networks_that_are_gone_on_with_keep_their_sizes(
    tmp_path: Path, tiny_run: Path, tiny_videos: Path, tiny_config: Config
) -> None:
    run = tiny_config({"vqvae.network.width": "16"}).run("vqvae")
    with pytest.raises(ConfigError, match=r"network\.width is 8 there and 16 here"):
        train_run(run, data=tiny_videos, out=tmp_path, parent=tiny_run / "2-imagination")


def test_an_unfinished_or_missing_parent_is_refused(
    tmp_path: Path, tiny_videos: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        train(tiny_config(), data=tiny_videos, out=tmp_path / "a", parent=tmp_path / "nowhere")

    kill_at(monkeypatch, ImaginationStage, 3)
    with pytest.raises(Killed):
        train(tiny_config(), data=tiny_videos, out=tmp_path / "b")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="its training is unfinished, so nothing can begin"):
        train(tiny_config(), data=tiny_videos, out=tmp_path / "c", parent=tmp_path / "b")


def test_another_parent_under_a_run_that_has_begun_is_noticed(
    tmp_path: Path, tiny_run: Path, tiny_videos: Path, tiny_config: Config
) -> None:
    first = train(tiny_config(), data=tiny_videos, out=tmp_path / "run", parent=tiny_run / "1-vqvae")
    other = train_run(tiny_config({"loop.seed": "5"}).run("vqvae"), data=tiny_videos, out=tmp_path / "other")
    with pytest.raises(ConfigError, match=r"parent\.weights_sha256"):
        train(tiny_config(), data=tiny_videos, out=first, parent=other)


ROUNDS = {"rounds.num": "3", "vqvae.num_steps": "3", "imagination.num_steps": "2"}


def test_rounds_go_on_with_the_networks_of_the_round_before(
    tmp_path: Path, tiny_videos: Path, tiny_config: Config
) -> None:
    """The encoder trains on while the generator rests, and the other way round."""
    out = train(tiny_config(ROUNDS), data=tiny_videos, out=tmp_path)
    assert names_of_runs(out) == [
        "1-vqvae",
        "2-imagination",
        "3-vqvae",
        "4-imagination",
        "5-vqvae",
        "6-imagination",
        "7-classifier",
    ]
    assert_same_weights(out / "2-imagination", out / "3-vqvae", "generator.")
    assert_same_weights(out / "2-imagination", out / "3-vqvae", "critic.")
    assert_same_weights(out / "3-vqvae", out / "4-imagination", "vqvae.encoder.")
    second, third, fourth = (weights(out / name) for name in ("2-imagination", "3-vqvae", "4-imagination"))
    assert not torch.equal(second["vqvae.encoder.0.weight"], third["vqvae.encoder.0.weight"])
    head = "generator.head.body.2.weight"
    assert 0 < (fourth[head] - third[head]).abs().max() < 0.1  # on from where it was, not anew
    assert recipe_of(checkpoint.describe(out)).rounds.num == 3


@pytest.mark.parametrize(
    ("rule", "num_rounds"),
    [
        ({"rounds.largest_gap": "1e9", "rounds.least_diversity": "0"}, 1),
        ({"rounds.largest_gap": "1e9", "rounds.least_diversity": "1e9"}, 3),
        ({"rounds.largest_gap": "-1e9", "rounds.least_diversity": "0"}, 3),
    ],
)
def test_rounds_stop_where_the_critic_is_deceived_and_nothing_has_collapsed(
    rule: dict[str, str], num_rounds: int, tmp_path: Path, tiny_videos: Path, tiny_config: Config
) -> None:
    out = train(tiny_config(ROUNDS | rule), data=tiny_videos, out=tmp_path)
    assert len(names_of_runs(out)) == 2 * num_rounds + 1
    measured = checkpoint.describe(out / "2-imagination").measured
    assert measured["relative_diversity"] > 0
    assert np.isfinite(measured["relative_gap"])


def test_nobody_is_scored_on_what_an_ancestor_learnt_from(
    tmp_path: Path, tiny_run: Path, tiny_videos: Path, tiny_config: Config
) -> None:
    """The classifier heard half of the videos, its parent all of them."""
    recipe = tiny_config({"classifier.data.validation_fraction": "0.5"})
    with pytest.raises(LeakageError, match=r"vqvae learnt from .*, which classifier validates on"):
        train(recipe, data=tiny_videos, out=tmp_path, parent=tiny_run / "2-imagination")
    sounds = read_sounds(checkpoint.describe(tiny_run).config.stage.data, tiny_videos)
    asked = Clips(
        ids=tuple(clip.id for clip in sounds.clips),
        sources=tuple(clip.source_id for clip in sounds.clips),
        targets=np.zeros(len(sounds), np.int64),
        labels=("a", "b"),
        window_s=1.0,
        read_rows=lambda rate_hz, rows: np.empty((0, rate_hz)),
        manifest=sounds,
    )
    with pytest.raises(LeakageError):
        Trained(CARDS["avgan-compact"], tiny_run).predict(asked)


def test_a_recipe_of_another_format_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint" / "classifier-000100"
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(CheckpointError, match="format 1 is not 3; train again with this version"):
        checkpoint.load_networks(tmp_path)


def test_what_a_folder_leaves_out_is_said_once_before_anything_is_trained(
    tiny_videos: Path, tiny_config: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(tiny_videos, videos)
    (videos / "a" / "broken.mp4").write_bytes(b"no video" * 99)
    train(tiny_config(), data=videos, out=tmp_path / "out")
    told = capsys.readouterr().err
    line = f"{videos}: left out: cannot be decoded: 1 (a/broken.mp4: "
    assert told.startswith(line)
    assert told.count("left out") == 1


def test_what_takes_long_says_what_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LONG_S", 0.05)
    with progress.say_if_long("looking through a"):
        time.sleep(0.5)
    with progress.say_if_long("looking through b"):
        pass
    time.sleep(0.2)
    assert capsys.readouterr().err == "looking through a\n"
    for number in progress.progress(range(4), "counting"):
        time.sleep(0.1 * (number < 2))
    for _ in progress.progress(range(4), "counting fast"):
        pass
    first, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"counting: (25|50) %, 0 s left", first)
    assert last == "counting: 0 s"
