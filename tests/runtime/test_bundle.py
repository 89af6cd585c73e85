"""A bundle is what its card says, or one line tells what is wrong with it."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from avgan.errors import BundleError
from avgan.runtime import load
from avgan.runtime.bundle import find_bundle, installed, open_bundle


@pytest.fixture
def bundle_copy(toy_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_bundle, tmp_path / "a bundle ü"))


def change_card(bundle: Path, **changes: Any) -> None:
    card = json.loads((bundle / "card.json").read_text())
    (bundle / "card.json").write_text(json.dumps(card | changes))


def zip_folder(folder: Path, path: Path, *, inside: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, inside + file.name)
    return path


def test_card(toy_bundle: Path) -> None:
    card = open_bundle(toy_bundle).card
    assert card.name == "toy"
    assert card.scenes == ("road", "beach", "church", "library")
    assert card.measured["accuracy"].interval_95 == (0.7, 0.8)


@pytest.mark.parametrize("inside", ["", "toy/"])
def test_zip_and_folder_are_the_same(toy_bundle: Path, tmp_path: Path, inside: str) -> None:
    zipped = open_bundle(zip_folder(toy_bundle, tmp_path / "toy.zip", inside=inside))
    assert zipped.card == open_bundle(toy_bundle).card
    assert zipped.read("model.onnx") == open_bundle(toy_bundle).read("model.onnx")
    assert load(zipped.path).card.name == "toy"


def test_a_changed_model_is_refused(bundle_copy: Path) -> None:
    model = bundle_copy / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleError, match="sha256"):
        load(bundle_copy)


def test_a_later_format_is_refused(bundle_copy: Path) -> None:
    change_card(bundle_copy, format=4)
    with pytest.raises(BundleError, match="upgrade avgan"):
        load(bundle_copy)


def test_facts_unknown_to_this_version_are_kept(bundle_copy: Path) -> None:
    change_card(bundle_copy, weather={"temperature": 1.3})
    assert open_bundle(bundle_copy).card.model_dump()["weather"] == {"temperature": 1.3}


GROUPS = {"road": "outdoor", "beach": "outdoor", "church": "indoor", "library": "indoor"}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": []}, "labels"),
        ({"noise_size": 8}, "format 3"),
        ({"labels": ["a", "a"]}, "twice"),
        ({"labels": ["a"]}, "misses 'a'"),
        ({"group_of_scene": {"road": "outdoor"}}, "group_of_scene and the scenes differ in"),
        ({"group_of_scene": GROUPS | {"moon": "outdoor"}}, "differ in 'moon'"),
        ({"group_of_scene": GROUPS | {"road": "beach"}}, "'beach' is both a scene and a group"),
        ({"group_of_scene": GROUPS | {"road": ""}}, "group_of_scene.road"),
        ({"group_of_scene": GROUPS | {"road": "x" * 300}}, "group_of_scene.road"),
        ({"group_of_scene": GROUPS, "scene_of_label": None}, "no groups of places"),
        ({"tags": {"names": ["a"], "thresholds": 0.5}}, "no tags beside them"),
        ({"tags": {"names": [], "thresholds": 0.5}}, "tags.names"),
        ({"tags": {"names": ["a", "b"] * 6_000, "thresholds": 0.5}}, "tags.names"),
        ({"tags": {"names": ["a" * 300], "thresholds": 0.5}}, "tags.names.0"),
        ({"tags": {"names": ["a", "b", "c"], "thresholds": [0.5, 0.5]}}, "2 thresholds for 3 tags"),
        ({"tags": {"names": ["a"], "thresholds": [1.5]}}, "tags.thresholds.0"),
        ({"tags": {"names": ["a"], "thresholds": []}}, "tags.thresholds"),
        ({"sample_rate_hz": 0}, "sample_rate_hz"),
        ({"window_s": "long"}, "window_s"),
        ({"short_clip_fill": "noise"}, "short_clip_fill"),
    ],
)
def test_a_card_that_makes_no_sense(bundle_copy: Path, changes: dict[str, Any], match: str) -> None:
    change_card(bundle_copy, **changes)
    with pytest.raises(BundleError, match=match) as caught:
        open_bundle(bundle_copy)
    assert "\n" not in str(caught.value)


def test_things_that_are_no_bundle(tmp_path: Path, bundle_copy: Path) -> None:
    text = tmp_path / "text.zip"
    text.write_text("no zip")
    empty_zip = tmp_path / "empty.zip"
    with zipfile.ZipFile(empty_zip, "w"):
        pass
    (bundle_copy / "card.json").write_text("{")
    (tmp_path / "folder").mkdir()
    for path in (text, empty_zip, bundle_copy, tmp_path / "folder", tmp_path / "missing"):
        with pytest.raises(BundleError) as caught:
            load(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_missing_model_file(bundle_copy: Path) -> None:
    (bundle_copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        load(bundle_copy)


def test_installed_bundles(monkeypatch: pytest.MonkeyPatch, toy_bundle: Path) -> None:
    monkeypatch.setattr("avgan.runtime.bundle.resources.files", lambda _: toy_bundle.parent / "no")
    assert installed() == []
    with pytest.raises(BundleError, match="no model"):
        find_bundle()
    monkeypatch.setattr("avgan.runtime.bundle.installed", lambda: [open_bundle(toy_bundle)])
    assert find_bundle().card.name == "toy"
    assert find_bundle("toy").card.name == "toy"


def test_shipped_bundles_are_whole() -> None:
    for bundle in installed():
        assert bundle.read("model.onnx")
        assert bundle.card.licences.keys() >= {"code", "weights"}
        assert bundle.card.data
        assert bundle.card.measured
