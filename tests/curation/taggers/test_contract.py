"""What holds for every tagger: any sound or picture in, a weight for each label out, whatever else is in the batch."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import published_files as files
import torch

from avgan.curation.taggers import TAGGERS, Tagger, first_tags, open_tagger
from avgan.curation.taggers.audioset import cnn10, cnn14, mn04
from avgan.curation.taggers.onnx_file import onnx_file
from avgan.curation.taggers.places365 import squeezenet, vgg16
from avgan.errors import DataError
from avgan.networks.trunks.mn04 import weights

Opener = Callable[[Path], Tagger]

OPENERS: dict[str, tuple[files.Maker, Opener]] = {
    "mn04": (files.make_nothing, mn04),
    "cnn14": (files.make_cnn14, lambda path: cnn14(path, widths=files.NARROW["cnn14"])),
    "cnn10": (files.make_cnn10, lambda path: cnn10(path, widths=files.NARROW["cnn10"])),
    "vgg16-places365": (
        files.make_vgg16,
        lambda path: vgg16(path, widths=files.NARROW["vgg16"], num_dense=files.NUM_DENSE),
    ),
    "squeezenet-places365": (files.make_squeezenet, squeezenet),
    "onnx": (files.make_onnx, onnx_file),
}
NUM_LABELS = {"mn04": 527, "cnn14": 527, "cnn10": 527, "onnx": 7}

every_tagger = pytest.mark.parametrize("name", list(OPENERS))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Tagger]]:
    """Each tagger with its file of random weights."""
    found = {}
    for name, (make, opener) in OPENERS.items():
        path = make(tmp_path_factory.mktemp(name))
        found[name] = (path, opener(path))
    return found


def batch_for(tagger: Tagger) -> list[np.ndarray]:
    """Of several lengths or sizes, more than fit into one block."""
    if tagger.takes_sounds:
        lengths = (1.0, 1.0, 0.05, 2.0, 1.0, 1.0, 2.0, 1.0)
        return [files.noise(length, 1 + seed % 2, seed) for seed, length in enumerate(lengths)]
    sizes = ((64, 48), (64, 48), (40, 80), (1, 1), (64, 48))
    return [files.blobs(*size, seed) for seed, size in enumerate(sizes)]


def test_every_tagger_is_tested_here() -> None:
    assert set(OPENERS) == set(TAGGERS)


@every_tagger
def test_it_says_what_it_is(name: str, made: dict[str, tuple[Path, Tagger]]) -> None:
    path, tagger = made[name]
    assert isinstance(tagger, Tagger)
    assert tagger.name == ("birds" if name == "onnx" else name)
    assert tagger.takes_sounds == (name not in {"vgg16-places365", "squeezenet-places365"})
    assert len(tagger.labels) == len(set(tagger.labels)) == NUM_LABELS.get(name, 365)
    assert tagger.licence.endswith(".")
    assert "\n" not in tagger.licence
    content = weights() if name == "mn04" else path.read_bytes()
    assert tagger.sha256 == hashlib.sha256(content).hexdigest()


@every_tagger
def test_an_answer_depends_on_its_own_input_alone(name: str, made: dict[str, tuple[Path, Tagger]]) -> None:
    tagger = made[name][1]
    batch = batch_for(tagger)
    before = [item.copy() for item in batch]
    for item in batch:
        item.setflags(write=False)
    weights = tagger.tag(batch)
    assert weights.shape == (len(batch), len(tagger.labels))
    assert weights.dtype == np.float32
    assert ((weights >= 0) & (weights <= 1)).all()
    assert weights.std(0).max() > 1e-4  # inputs that differ are told apart
    np.testing.assert_array_equal(tagger.tag(batch), weights)
    np.testing.assert_allclose(tagger.tag(batch[::-1])[::-1], weights, atol=1e-5)
    alone = np.concatenate([tagger.tag([item]) for item in batch])
    np.testing.assert_allclose(alone, weights, atol=1e-5)
    assert all(map(np.array_equal, batch, before))
    assert tagger.tag([]).shape == (0, len(tagger.labels))


@every_tagger
def test_nothing_to_hear_or_see_is_an_answer_too(name: str, made: dict[str, tuple[Path, Tagger]]) -> None:
    tagger = made[name][1]
    if tagger.takes_sounds:
        batch = [np.zeros((32_000, 2), np.float32), np.ones((500, 1), np.float32)]
    else:
        batch = [np.zeros((9, 9, 3), np.uint8), np.full((300, 2, 3), 255, np.uint8)]
    assert np.isfinite(tagger.tag(batch)).all()


@every_tagger
def test_it_leaves_torch_as_it_found_it(name: str, made: dict[str, tuple[Path, Tagger]]) -> None:
    tagger = made[name][1]
    batch = batch_for(tagger)[:1]
    expected = tagger.tag(batch)
    torch.set_num_threads(2)
    try:
        np.testing.assert_array_equal(tagger.tag(batch), expected)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_what_comes_with_the_package_takes_no_file(tmp_path: Path) -> None:
    assert open_tagger("mn04", tmp_path / "nowhere").labels[0] == "Speech"
    path = tmp_path / "mn04.safetensors"
    path.touch()
    assert_refused(lambda: open_tagger(f"mn04={path}"), "comes with its own weights")


@pytest.mark.parametrize("name", [name for name in OPENERS if name != "mn04"])
def test_what_is_missing_is_said_on_one_line(name: str, tmp_path: Path) -> None:
    make, opener = OPENERS[name]
    path = make(tmp_path / "whole" if name == "onnx" else _folder(tmp_path / "whole"))
    for lists in path.parent.iterdir():
        if lists != path:
            names = lists.read_text()
            lists.write_text(names.rpartition("\n")[0].rpartition("\n")[0] + "\n")  # one too few
            assert_refused(lambda: opener(path), "labels for a network of")
            lists.unlink()
            assert_refused(lambda: opener(path), f"{path.parent}: no ")
            lists.write_text(names)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"nothing of the kind", b""):
        path.write_bytes(broken)
        assert_refused(lambda: opener(path), str(path))
    assert_refused(lambda: opener(tmp_path / "absent"), "absent")
    if name != "onnx":
        assert_refused(lambda: open_tagger(name, tmp_path), str(tmp_path))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def assert_refused(open_it: Callable[[], object], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        open_it()
    text = str(caught.value)
    assert expected in text
    assert "\n" not in text
    assert len(text) < 500


def test_a_tagger_is_opened_from_a_line_of_text(tmp_path: Path) -> None:
    path = files.make_onnx(tmp_path)
    assert open_tagger(str(path)).name == "birds"
    assert open_tagger(f"onnx={path}").labels[0] == "label 0"
    squeezed = files.make_squeezenet(_folder(tmp_path / "weights"))
    for named, folder in (("", tmp_path), ("", squeezed.parent), (f"={squeezed}", "elsewhere")):
        assert open_tagger(f"squeezenet-places365{named}", folder).labels[2] == "scene_2/indoor"
    assert_refused(lambda: open_tagger("vggish"), "known are mn04, cnn14")
    assert_refused(lambda: open_tagger("onnx"), "which file")


def test_the_heaviest_come_first_and_of_equals_the_first() -> None:
    weights = np.array([0.25, 0.5, 0.25, 0.123456, 0.0, 0.1], np.float32)
    expected = (("b", 0.5), ("a", 0.25), ("c", 0.25), ("d", 0.1235), ("f", 0.1))
    assert first_tags("abcdef", weights) == expected
    assert first_tags(["a"], np.array([1.0])) == (("a", 1.0),)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("run by a file of weights",))


@pytest.mark.parametrize("protocol", [None, 2])
def test_a_checkpoint_that_would_run_code_is_refused(
    protocol: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = files.make_cnn14(tmp_path)
    if protocol is None:
        torch.save({"model": Evil()}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Evil()}, protocol))
    assert_refused(lambda: cnn14(path), str(path))
    assert "run by" not in capsys.readouterr().out
