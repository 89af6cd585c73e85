"""The TAU protocols on trees in the official layout: who learns what, and what a report says of which city."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from avgan import checkpoint
from avgan.data.datasets import find
from avgan.errors import ConfigError, DataError, LeakageError
from avgan.evaluation import evaluate as evaluating
from avgan.evaluation.comparison import ours
from avgan.evaluation.comparison.answers import answers_path
from avgan.evaluation.evaluate import evaluate
from avgan.evaluation.protocols import read_protocol, tau
from avgan.evaluation.protocols.protocol import Scored
from avgan.evaluation.report import summary
from avgan.training.recipe import train

SCENES = ("airport", "bus", "metro_station", "public_square")


def places(first: int, *cities: str) -> list[str]:
    """A place for each scene in each city, with numbers from `first` on."""
    pairs = [(scene, city) for city in cities for scene in SCENES]
    return [f"{scene}-{city}-{first + number}" for number, (scene, city) in enumerate(pairs)]


PLACES = {
    "train": places(100, "lyon", "paris"),
    "test": [
        *("airport-lyon-4", "bus-lyon-5", "public_square-lyon-6", "metro_station-paris-7"),
        *("airport-milan-8", "bus-milan-9"),
    ],
    "unused": ["metro_station-milan-10"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tau_tree: Callable[..., Path]) -> Path:
    """TAU 2019, and an audio-visual set of other locations, where Milan is heard in training too."""
    root = tmp_path_factory.mktemp("tau")
    tau_tree(root / "tau2019", "tau2019", PLACES)
    parts = {"train": places(200, "lyon", "milan"), "test": places(300, "lyon", "milan")}
    tau_tree(root / "tau_av_2021", "tau_av_2021", parts)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path, tiny_config: Callable[..., Any]) -> Path:
    """A finished run on the audio-visual set: sound and frame of one moment, no test clip heard."""
    sets = {"data.sounds": "tau_av_2021", "data.images": "tau_av_2021"}
    return train(tiny_config(sets), data=data, out=tmp_path_factory.mktemp("run") / "av")


def ids(clips: Any) -> set[str]:
    return {clip.id for clip in clips}


def test_fold_1_is_the_publishers_and_milan_is_never_heard(data: Path) -> None:
    protocol = read_protocol("tau2019", data)
    (fold,) = protocol.folds
    assert {clip.split for clip in fold.train.clips} == {"train"}
    assert {clip.split for clip in fold.test.clips} == {"test"}
    assert protocol.window_s == 10.0
    assert protocol.labels == SCENES
    milan = ids(clip for clip in fold.test.clips if clip.place == "milan")
    assert protocol.parts == {tau.UNSEEN: milan, tau.SEEN: ids(fold.test.clips) - milan}


def test_each_city_is_left_out_once_and_answered_whole(data: Path) -> None:
    protocol = read_protocol("tau2019_cities", data)
    everything = find(data, "tau2019").clips
    assert [fold.name for fold in protocol.folds] == ["lyon", "milan", "paris"]
    for fold in protocol.folds:
        assert ids(fold.test.clips) == ids(clip for clip in everything if clip.place == fold.name)
        assert fold.name not in {clip.place for clip in fold.train.clips}
        assert {clip.split for clip in fold.train.clips} == {"train"}
    assert sum(len(fold.test) for fold in protocol.folds) == len(everything)


def test_the_audio_visual_protocol_learns_with_its_own_frames(data: Path) -> None:
    protocol = read_protocol("tau_av_2021", data)
    (fold,) = protocol.folds
    assert protocol.images == "tau_av_2021"
    assert all(clip.image_path and clip.frame_s for clip in fold.train.clips)
    assert list(protocol.parts) == [tau.SEEN]


def test_a_location_in_both_parts_is_refused(tmp_path: Path, tau_tree: Callable[..., Path]) -> None:
    places = {"train": ["bus-lyon-1", "tram-lyon-2"], "test": ["bus-lyon-2"]}
    tau_tree(tmp_path / "tau2019", "tau2019", places)
    with pytest.raises(LeakageError, match="'lyon-2' stands in training and test"):
        read_protocol("tau2019", tmp_path)


def test_a_set_without_a_test_says_what_to_do(tmp_path: Path, tau_tree: Callable[..., Path]) -> None:
    tau_tree(tmp_path / "tau2019", "tau2019", {"train": ["bus-lyon-1"]})
    (tmp_path / "tau2019" / "evaluation_setup" / "fold1_test.csv").write_text("filename\naudio/other.wav\n")
    with pytest.raises(DataError, match=r"fold 1 has no clips to test; unpack the set's meta\.zip"):
        read_protocol("tau2019", tmp_path)


def test_groups_are_those_of_the_clips_and_their_intervals_those_of_locations(data: Path) -> None:
    clips = find(data, "tau2019").select(lambda clip: clip.split == "test").clips
    right = np.array([clip.place == "lyon" for clip in clips])
    folds, targets = np.array(["1"] * len(clips)), np.zeros(len(clips), int)
    learnt_from = {"1": {"lyon-1", "paris-2"}}
    groups = tau.measures(Scored(clips, folds, targets, np.stack([right, ~right], 1).astype(float), learnt_from))[
        "groups"
    ]
    assert {name: part["num_clips"] for name, part in groups["seen"].items()} == {tau.SEEN: 8, tau.UNSEEN: 4}
    assert groups["seen"][tau.UNSEEN]["accuracy"] == 0.0
    assert groups["seen"][tau.SEEN]["accuracy"] == 0.75
    assert {name: part["accuracy"] for name, part in groups["city"].items()} == {
        "lyon": 1.0,
        "milan": 0.0,
        "paris": 0.0,
    }
    assert groups["city"]["paris"]["num_sources"] == 1
    assert groups["city"]["paris"]["interval_95"] is None
    assert tuple(groups["label"]) == SCENES
    assert groups["label"]["bus"]["accuracy"] == 0.5


def test_a_run_is_reported_by_city_seen_and_unseen(data: Path, run: Path, tmp_path: Path) -> None:
    report = evaluate(run, protocol="tau_av_2021", data=data, out=tmp_path / "av")
    assert report["num_clips"] == 16
    groups = report["groups"]
    assert set(groups) == {"seen", "city", "label", "picture"}
    assert list(groups["seen"]) == [tau.SEEN]
    assert set(groups["city"]) == {"lyon", "milan"}
    assert sum(part["num_clips"] for part in groups["label"].values()) == 16
    assert report["class_average"] == pytest.approx(np.mean([part["accuracy"] for part in groups["label"].values()]))
    assert report["log_loss"] > 0
    assert list(groups["picture"]) == [
        "the real frame",
        "the imagined picture",
        "a picture imagined for another recording",
    ]
    assert {part["num_sources"] for part in groups["picture"].values()} == {8}
    written = json.loads((tmp_path / "av" / "report.json").read_text())
    assert written == json.loads(json.dumps(report))
    answers = json.loads((answers_path(tmp_path / "av", "run", "1")).read_text())
    assert len(answers["clip_ids"]) == len(answers["probabilities"]) == 16
    page = (tmp_path / "av" / "report.html").read_text(encoding="utf-8")
    assert "milan" in page
    assert "the imagined picture" in page
    assert "the imagined picture" in summary(report, tmp_path)


def test_what_another_set_taught_is_scored_where_no_location_is_shared(
    data: Path, run: Path, tmp_path: Path, with_origin: Callable[..., Any]
) -> None:
    """Trained in Lyon and Milan of one set: Paris is the city never heard in the other."""
    report = evaluate(run, protocol="tau2019", data=data, out=tmp_path / "own")
    assert {name: part["num_clips"] for name, part in report["groups"]["seen"].items()} == {tau.SEEN: 10, tau.UNSEEN: 2}
    assert "picture" not in report["groups"]
    networks, described = checkpoint.load_networks(run)
    leaky = with_origin(described, sources=("milan-8",))
    checkpoint.save(tmp_path / "leaky" / "checkpoint", leaky, networks, {})
    with pytest.raises(LeakageError, match="'milan-8' stands in training and test"):
        evaluate(tmp_path / "leaky", protocol="tau2019", data=data, out=tmp_path / "out")


def test_real_recordings_are_answered_by_city(
    run: Path, tmp_path: Path, tau_tree: Callable[..., Path], data_root: Path
) -> None:
    """The few real recordings at hand as the test part, beside a made training part."""
    samples = sorted((data_root / "tau_samples" / "audio").glob("*.wav"))
    if not samples:
        pytest.skip(f"no tau_samples in {data_root}")
    root = tau_tree(tmp_path / "tau2019", "tau2019", {"train": places(100, "lyon")})
    for path in samples:
        (root / "audio" / path.name).symlink_to(path)
        scene, city, location, _, device = path.stem.split("-")
        name = f"audio/{path.name}"
        with (root / "meta.csv").open("a") as table:
            table.write(f"{name}\t{scene}\t{city}-{location}\t{device}\n")
        with (root / "evaluation_setup" / "fold1_test.csv").open("a") as table:
            table.write(f"{name}\n")
    (fold,) = read_protocol("tau2019", tmp_path).folds
    assert ids(fold.test.clips) == {path.stem for path in samples}
    report = evaluate(run, protocol="tau2019", data=tmp_path, out=tmp_path / "out")
    assert report["num_clips"] == len(samples)
    assert set(report["groups"]["city"]) == {path.stem.split("-")[1] for path in samples}
    assert report["groups"]["city"]["stockholm"]["num_sources"] == 1  # one place, two devices
    assert (tmp_path / "out" / "report.html").stat().st_size < 5e6


def test_a_picture_is_scored_against_its_own_sound_and_against_another(data: Path) -> None:
    """A judge that reads numbers: pictures that hold the right number are right, mixed up by chance alone."""
    test = tau.in_part(find(data, "tau_av_2021"), "test")
    targets = np.array([SCENES.index(clip.label) for clip in test.clips])
    right = torch.tensor(targets).float()[:, None, None, None].expand(-1, 1, 16, 16)
    same = SimpleNamespace(quantizer=lambda features: SimpleNamespace(vectors=features))

    class Reader:
        def probabilities(self, vectors: torch.Tensor) -> np.ndarray:
            return np.eye(len(SCENES))[vectors.flatten(1).mean(1).round().int().numpy()]

    def shares(features: torch.Tensor) -> dict[str, float]:
        networks: Any = SimpleNamespace(vqvae=same)
        judge: Any = Reader()
        found = tau.compare_frames(networks, judge, right, features, targets, test)
        return {name: part["accuracy"] for name, part in found["groups"]["picture"].items()}

    real, imagined, other = shares(right).values()
    assert (real, imagined) == (1.0, 1.0)
    assert other < 0.7
    real, imagined, _ = shares((right + 1) % len(SCENES)).values()
    assert (real, imagined) == (1.0, 0.0)


def test_ten_cities_take_ten_runs_each_without_one(
    data: Path, run: Path, tmp_path: Path, with_origin: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, described = checkpoint.load_networks(run)
    own = with_origin(described, data={"sounds": "tau2019"})
    monkeypatch.setattr(evaluating, "last_without", lambda run, fold: None)
    checkpoint.save(tmp_path / "run" / "checkpoint", own, networks, {})
    asked: list[str] = []

    def no_train(recipe: Any, *, data: Path, out: Path, parent: Any, sounds: Any) -> Path:
        asked.append(out.name)
        heard = {clip.source_id for clip in sounds.clips}
        trained = with_origin(own, sources=tuple(sorted(heard)))
        checkpoint.save(out / "checkpoint", trained, networks, {})
        return out

    monkeypatch.setattr(ours, "train", no_train)
    report = evaluate(tmp_path / "run", protocol="tau2019_cities", data=data)
    assert asked == ["fold-lyon", "fold-milan", "fold-paris"]
    assert list(report["by_fold"]) == ["lyon", "milan", "paris"]
    assert list(report["groups"]["seen"]) == [tau.UNSEEN]
    assert report["num_clips"] == len(find(data, "tau2019"))
    with pytest.raises(ConfigError, match="give a run of that data set"):
        evaluate(run, protocol="tau2019_cities", data=data, out=tmp_path / "no")
