"""Files of others: lists of labels, ONNX files with and without settings."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import published_files as files

from avgan.curation.taggers.onnx_file import onnx_file
from avgan.curation.taggers.tagger import read_labels, read_places
from avgan.errors import DataError
from avgan.runtime.graph import cut
from avgan.weights import read_arrays


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("a.csv", 'index,mid,display_name\r\n0,/m/1,Dog\r\n1,/m/2,"Bee, wasp, etc."\r\n', ("Dog", "Bee, wasp, etc.")),
        ("a.csv", "0,Dog\n1,Cat\n", ("Dog", "Cat")),
        ("a.txt", "\ufeffDog\n\n  Cat \n", ("Dog", "Cat")),
    ],
)
def test_a_list_of_labels_is_read_however_it_comes(
    name: str, text: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_labels(tmp_path / name) == labels


def test_places_lose_their_letter_and_number(tmp_path: Path) -> None:
    path = tmp_path / "categories_places365.txt"
    path.write_text("/a/airfield 0\n/a/arena/hockey 15\nplain 3\nbare\n")
    assert read_places(path) == ("airfield", "arena/hockey", "plain", "bare")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "holds no labels"),
        ("a.txt", b"Dog\nCat\nDog\n", "names 'Dog' twice"),
        ("a.txt", b"\xff\xfe\x00", "not text"),
        ("a.csv", b"index,display_name\n0\n", "a row is too short"),
        ("a.txt", b"x" * (5 << 20), "too large"),
        ("absent.txt", None, "No such file"),
    ],
)
def test_what_is_no_list_is_refused(name: str, content: bytes | None, reason: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_labels(tmp_path / name)


def test_weights_of_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF")
    with pytest.raises(DataError, match=r"not \.safetensors, \.npz or a PyTorch checkpoint"):
        read_arrays(tmp_path / "weights.h5")


def test_a_longer_sound_is_heard_in_windows(tmp_path: Path) -> None:
    tagger = onnx_file(files.save_onnx(tmp_path / "a.onnx", ["b", 16_000], 4))
    halves = [files.noise(1, seed=1), files.noise(1, seed=2) * np.float32(20)]
    silence = np.zeros_like(halves[0])
    long = tagger.tag([np.concatenate([halves[0], silence, halves[1]])])[0]
    single = tagger.tag([*halves, silence])
    np.testing.assert_allclose(long, single.mean(0), atol=0.01)  # but for the resampler's edges
    free = onnx_file(files.save_onnx(tmp_path / "b.onnx", ["b", "samples"], 4))
    assert np.abs(free.tag([np.concatenate(halves)])[0] - single[:2].mean(0)).max() > 0.01


def test_pictures_are_given_as_the_settings_say(tmp_path: Path) -> None:
    path = files.save_onnx(tmp_path / "scenes.onnx", ["b", 3, 8, 16], 5)
    picture = np.full((30, 20, 3), (255, 0, 51), np.uint8)
    plain = onnx_file(path)
    assert not plain.takes_sounds
    np.testing.assert_allclose(plain.prepare(picture)[:, 0, 0], [1, 0, 0.2], atol=1e-6)
    assert plain.prepare(picture).shape == (3, 8, 16)
    (tmp_path / "scenes.json").write_text(
        json.dumps({"mean": [0.5, 0.5, 0.2], "deviation": [0.5, 0.25, 1], "blue_first": True})
    )
    np.testing.assert_allclose(onnx_file(path).prepare(picture)[:, 0, 0], [0, -2, 1], atol=1e-6)
    free = onnx_file(files.save_onnx(tmp_path / "free.onnx", ["b", 3, "h", "w"], 5))
    assert free.prepare(picture).shape == (3, 224, 224)
    assert free.tag([picture]).shape == (1, 5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_logits_become_weights_where_the_settings_say_how(activation: str, tmp_path: Path) -> None:
    path = files.save_onnx(tmp_path / "bare.onnx", ["b", 3, 8, 8], 5, activate="")
    done = {"softmax": "Softmax", "sigmoid": "Sigmoid"}[activation]
    whole = files.save_onnx(tmp_path / "whole.onnx", ["b", 3, 8, 8], 5, activate=done)
    pictures = [files.blobs(16, 16, seed) for seed in range(3)]
    (tmp_path / "bare.json").write_text(json.dumps({"activation": activation, "labels": "l.csv"}))
    (tmp_path / "l.csv").write_text("a\nb\nc\nd\ne\n")
    tagger = onnx_file(path)
    assert tagger.labels == tuple("abcde")
    np.testing.assert_allclose(tagger.tag(pictures), onnx_file(whole).tag(pictures), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("{", "Invalid JSON"),
        ('{"activate": "softmax"}', "activate: Extra inputs"),
        ('{"activation": "tanh"}', "activation: Input should be"),
        ('{"labels": "../elsewhere.txt"}', "in the same folder"),
        ('{"labels": "absent.txt"}', "no absent.txt beside a.onnx"),
        ('{"output": "logits"}', "has no output 'logits'; it has y"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: str, reason: str, tmp_path: Path) -> None:
    path = files.save_onnx(tmp_path / "a.onnx", ["b", 3, 8, 8], 5)
    (tmp_path / "a.json").write_text(settings)
    with pytest.raises(DataError, match=reason) as caught:
        onnx_file(path)
    assert "\n" not in str(caught.value)


def test_a_network_that_is_no_tagger_is_refused(tmp_path: Path) -> None:
    path = files.save_onnx(tmp_path / "bare.onnx", ["b", 3, 8, 8], 5, activate="")
    bright = [np.full((8, 8, 3), 255, np.uint8)]
    with pytest.raises(DataError, match=r"answers outside \[0, 1\]; say in bare.json which activation"):
        onnx_file(path).tag(bright)
    with pytest.raises(DataError, match=r"sounds \(b, L\) or pictures"):
        onnx_file(files.save_onnx(tmp_path / "odd.onnx", ["b", 9, 1], 5))


def test_a_bundle_of_ours_is_such_a_file(tmp_path: Path) -> None:
    """A real network, less what draws its pictures; its labels are in its card."""
    from importlib import resources

    bundle = Path(str(resources.files("avgan"))) / "bundles" / "esc50"
    labels = json.loads((bundle / "card.json").read_text())["labels"]
    part = cut((bundle / "model.onnx").read_bytes(), ["waveform"], ["probabilities"])
    (tmp_path / "esc50.onnx").write_bytes(part)
    (tmp_path / "esc50.labels.txt").write_text("\n".join(labels))
    tagger = onnx_file(tmp_path / "esc50.onnx")
    weights = tagger.tag([files.noise(5), np.zeros((160_000, 2), np.float32)])
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-4)
    assert len(tagger.labels) == 50
