"""Pictures side by side: photographs that serve once, controls, a rival's folder, the table and Fig. 8."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from avgan import checkpoint
from avgan.baselines.method import Clips
from avgan.data.manifest import Clip, Manifest
from avgan.errors import ConfigError, DataError
from avgan.evaluation.evaluate import evaluate
from avgan.evaluation.pictures import judge
from avgan.evaluation.pictures import protocol as pictures
from avgan.evaluation.pictures.exhibits import (
    Exhibit,
    choose_photographs,
    keep_pictures,
    photographs,
    plot_figure8,
    read_pictures,
    score_exhibit,
    shuffled,
    write_pictures,
)
from avgan.evaluation.pictures.protocol import (
    Gallery,
    evaluate_pictures,
    exhibits_of,
    figure8,
    score_exhibits,
    score_retrieval,
)
from avgan.evaluation.pictures.scene_classifier import Outputs, TrainedClassifier
from avgan.evaluation.report import pictures_table, summary
from avgan.images import to_png

SCENES = ("beach", "road", "wood")
COLOURS = {"beach": (230, 200, 40), "road": (90, 90, 90), "wood": (20, 140, 30)}


class Colours(torch.nn.Module):
    """A scene classifier by the mean colour of each quarter."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        mean = features.unflatten(1, (3, 4)).mean(2)
        known = torch.tensor([COLOURS[scene] for scene in SCENES]) / 255.0
        return -torch.cdist(mean, known)


CLASSIFIER = TrainedClassifier(Colours(), SCENES, "0" * 64)  # type: ignore[arg-type]


def picture_of(scene: str, rng: np.random.Generator) -> np.ndarray:
    colour = np.array(COLOURS[scene])[:, None, None]
    noise = rng.integers(-20, 21, (3, 2, 2)).repeat(64, 1).repeat(64, 2)
    return (colour + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Manifest:
    """20 photographs of each scene."""
    clips = []
    for scene in SCENES:
        for number in range(20):
            name = f"{scene}{number}.png"
            to_png(picture_of(scene, rng), tmp_path / name)
            clips.append(Clip(id=name, source_id=name, label=scene, image_path=name))
    return Manifest("photographs", tmp_path, tuple(clips))


@pytest.fixture
def gallery() -> Gallery:
    """Two labels a scene, four recordings a label, features that a tiny VQ-VAE can draw."""
    clips = tuple(
        Clip(id=f"{label}-{n}", source_id=f"{label}-{n // 2}", label=label)
        for label in ("waves", "gulls", "car", "horn", "wind", "birds")
        for n in range(4)
    )
    scenes = tuple(SCENES[index // 8] for index in range(24))
    features = torch.rand(24, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return Gallery(Manifest("sounds", Path("."), clips), scenes, features * 2 - 1)


def test_no_photograph_serves_twice(images: Manifest) -> None:
    scenes = SCENES * 9
    chosen = choose_photographs(images, scenes, num_each=2)
    assert chosen.shape == (2, 27)
    assert len(set(chosen.ravel())) == 54
    for row in chosen:
        assert tuple(images.clips[index].label for index in row) == scenes
    np.testing.assert_array_equal(chosen, choose_photographs(images, scenes, num_each=2))
    assert (chosen != choose_photographs(images, scenes, num_each=2, seed=1)).any()


def test_where_photographs_are_few_each_row_goes_round_its_own(images: Manifest) -> None:
    first, second = choose_photographs(images, ("road",) * 11, num_each=2)
    assert len(set(first)) == len(set(second)) == 10
    assert not set(first) & set(second)
    road = images.select(lambda clip: clip.label == "road")
    one = Manifest(images.name, images.root, road.clips[:1])
    with pytest.raises(DataError, match="1 held-out photographs of 'road', and 2 are needed"):
        choose_photographs(one, ("road",), num_each=2)


def test_photographs_of_the_scene_agree_and_lie_near_each_other(
    images: Manifest, gallery: Gallery, tiny_run: Path
) -> None:
    networks, _ = checkpoint.load_networks(tiny_run)
    exhibits = exhibits_of(networks, gallery, images, None)
    assert set(exhibits) == {"reference", "photographs", "reconstructed", "imagined"}
    report = score_exhibits(exhibits, CLASSIFIER)
    real, imagined = (report["exhibits"][kind] for kind in ("photographs", "imagined"))
    assert real["agreement"] == 1.0
    assert real["fid"] < imagined["fid"]
    assert abs(real["kid"]) < imagined["kid"]
    assert real["effective_number"] > imagined["effective_number"]
    assert real["distinct"] == 1.0
    assert report["scene_classifier"]["sha256"] == "0" * 64


def outputs(pictures: np.ndarray) -> Outputs:
    return CLASSIFIER.apply(pictures)


def test_the_shuffled_control_keeps_likeness_and_loses_agreement(rng: np.random.Generator) -> None:
    scenes = SCENES * 20
    pictures = np.stack([picture_of(scene, rng) for scene in scenes])
    ids = tuple(str(number) for number in range(60))
    right = Exhibit("mine", pictures, scenes, scenes, ids)
    reference = outputs(np.stack([picture_of(scene, rng) for scene in scenes]))
    kinds = reference.features[:6]
    scores: list[dict[str, Any]] = [
        score_exhibit(side, outputs(side.pictures), reference, classifier=CLASSIFIER, kinds=kinds)
        for side in (right, shuffled(right))
    ]
    assert scores[0]["agreement"] == 1.0
    assert scores[1]["agreement"] < 0.6
    assert scores[0]["fid"] == pytest.approx(scores[1]["fid"])
    assert scores[0]["kid"] == pytest.approx(scores[1]["kid"])
    assert scores[0]["distance_within_labels"] < 0.5 * scores[1]["distance_within_labels"]
    low, high = scores[0]["distance_within_labels_interval_95"]
    assert low <= scores[0]["distance_within_labels"] <= high


def test_collapse_shows(rng: np.random.Generator) -> None:
    scenes = SCENES * 8
    same = np.stack([picture_of("road", np.random.default_rng(0))] * 24)
    reference = outputs(np.stack([picture_of(scene, rng) for scene in scenes]))
    fallen = Exhibit("fallen", same, scenes, scenes, tuple(map(str, range(24))))
    score = score_exhibit(fallen, outputs(same), reference, classifier=CLASSIFIER, kinds=reference.features[:3])
    assert score["agreement"] == pytest.approx(1 / 3)
    assert score["effective_number"] == pytest.approx(1.0)
    assert score["distance_within_labels"] == pytest.approx(0.0, abs=1e-6)
    assert score["distinct"] == pytest.approx(1 / 24)


def test_a_rival_is_read_by_the_ids_of_the_recordings_and_shown(
    tmp_path: Path, images: Manifest, gallery: Gallery, tiny_run: Path
) -> None:
    ids = tuple(clip.id for clip in gallery.clips.clips)
    first = choose_photographs(images, gallery.scenes, num_each=1)[0]
    write_pictures(tmp_path / "theirs", ids, photographs(images, first))
    read = read_pictures(tmp_path / "theirs", ids)
    np.testing.assert_array_equal(read, photographs(images, first))

    networks, _ = checkpoint.load_networks(tiny_run)
    exhibits = exhibits_of(networks, gallery, images, ("theirs", read))
    report = score_exhibits(exhibits, CLASSIFIER)
    assert report["exhibits"]["rival"]["name"] == "theirs"
    assert report["exhibits"]["rival"]["agreement"] == 1.0
    figure8(exhibits, ("waves", "gulls", "car"), tmp_path / "figure8.png")
    sheet = Image.open(tmp_path / "figure8.png")
    assert sheet.height > 4 * 128  # photograph, theirs, reconstruction, imagined
    assert 2 * 128 < sheet.width < 4 * 128  # gulls are heard where waves are

    (tmp_path / "theirs" / f"{ids[3]}.png").unlink()
    with pytest.raises(DataError, match="1 of 24 are missing"):
        read_pictures(tmp_path / "theirs", ids)


class Painter:
    """A rival that imagines its answer: black for clip 0, white for clip 1."""

    def imagine(self, clips: Clips) -> np.ndarray:
        return np.stack([np.full((3, 64, 64), 255 * number, np.uint8) for number in range(2)])


def test_what_a_rival_imagines_is_kept_where_it_saw_pictures(tmp_path: Path) -> None:
    ids = ("a/0", "a/1")
    plain = Clips(ids, ids, np.zeros(2), ("a", "b"), 1.0, lambda rate_hz, rows: np.zeros((2, 9), np.float32))
    shown = replace(plain, sample_pictures=lambda rng: np.zeros((2, 3, 8, 8), np.uint8))
    painter: Any = Painter()
    keep_pictures(painter, plain, plain, tmp_path / "none")
    keep_pictures(object(), shown, plain, tmp_path / "none")  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists()
    keep_pictures(painter, shown, plain, tmp_path / "some")
    kept = read_pictures(tmp_path / "some", ids)
    np.testing.assert_array_equal(kept.mean((1, 2, 3)), [0, 255])


def test_the_table_holds_every_exhibit_and_every_k(images: Manifest, gallery: Gallery, tiny_run: Path) -> None:
    networks, _ = checkpoint.load_networks(tiny_run)
    report = score_exhibits(exhibits_of(networks, gallery, images, None), CLASSIFIER)
    report["second_classifier"] = score_exhibits(exhibits_of(networks, gallery, images, None), CLASSIFIER)
    wall = (torch.rand(30, 1, 1, 16, 16), np.arange(30) % 3)
    report["retrieval"] = score_retrieval(networks, gallery, wall, SCENES)
    report |= {
        "preset": "tiny",
        "seed": 0,
        "num_pictures": 24,
        "judge_accuracy_on_photographs": 0.4,
        "agreement": 0.2,
        "agreement_interval_95": (0.1, 0.3),
        "shuffled": 0.05,
    }
    table = pictures_table(report)
    for name in ("photographs", "reconstructed", "imagined", "shuffled"):
        assert f"| {name} |" in table
    assert "| 10 of 30 |" in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {6, 10}
    assert "A second scene classifier of another make" in table


def test_the_whole_protocol_writes_what_it_says(
    tmp_path: Path, tiny_run: Path, images: Manifest, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a stand-in for ESC-50: its names, and nobody's recordings."""
    heard = {"sea_waves": "beach", "train": "road", "chirping_birds": "wood"}
    clips = tuple(replace(clip, label=list(heard)[index // 8]) for index, clip in enumerate(gallery.clips.clips))
    networks, trained = checkpoint.load_networks(tiny_run)
    known_scenes = tuple(sorted(set(gallery.scenes)))
    gallery = replace(gallery, clips=replace(gallery.clips, clips=clips), known=known_scenes)
    half = [
        replace(clip, split="validation" if index % 20 < 17 else "train") for index, clip in enumerate(images.clips)
    ]
    known = replace(trained, scene_of_label=heard)
    monkeypatch.setattr(checkpoint, "load_networks", lambda run: (networks, known))
    monkeypatch.setattr(pictures, "imagine_held_out", lambda *_: gallery)
    monkeypatch.setattr(pictures, "find", lambda *_: replace(images, clips=tuple(half)))
    monkeypatch.setattr(pictures, "load_classifier", lambda *_: CLASSIFIER)
    monkeypatch.setattr(judge, "BATCH", 4)

    report = evaluate_pictures(tiny_run, data=tmp_path, out=tmp_path / "out")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"report.json", "pictures.md", "figure8.png", "contact_sheet.jpg"}
    assert json.loads((tmp_path / "out" / "report.json").read_text())["num_pictures"] == 24
    assert list(report["exhibits"]) == ["photographs", "reconstructed", "imagined", "shuffled"]
    assert report["retrieval"]["num_photographs"] == 51
    assert "nearest photograph" in summary(report, tmp_path)


def test_a_rival_is_for_pictures_alone(tmp_path: Path, tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match="protocol pictures alone"):
        evaluate(tiny_run, protocol="holdout", data=tmp_path, rival=tmp_path)


def test_figure8_puts_each_picture_where_it_belongs(tmp_path: Path) -> None:
    red, blue = np.zeros((2, 3, 8, 8), np.uint8)
    red[0], blue[2] = 255, 255
    rows = [("photograph", np.stack((red, blue))), ("imagined", np.stack((blue, red)))]
    plot_figure8(rows, ("construction_site", "sea"), tmp_path / "figure8.png")
    sheet = np.asarray(Image.open(tmp_path / "figure8.png"))
    last = sheet[-20, [-200, -20]]
    np.testing.assert_array_equal(last, [[0, 0, 255], [255, 0, 0]])
    first = sheet[-200, [-200, -20]]
    np.testing.assert_array_equal(first, [[255, 0, 0], [0, 0, 255]])
