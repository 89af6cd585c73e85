"""Folding gives the function that Google's network computes, in a file that safetensors reads."""

from pathlib import Path

import numpy as np
import pytest

from avgan.data import acquire
from avgan.data.datasets import yamnet
from avgan.data.datasets.yamnet import EPSILON, NUM_LAYERS, YAMNET, differences, fold
from avgan.errors import DataError


def keras_like(rng: np.random.Generator, width: int = 4) -> dict[str, np.ndarray]:
    """Random arrays under the names and in the layout of Google's file, but narrow."""
    arrays: dict[str, np.ndarray] = {}

    def add(name: str, kernel: str, shape: tuple[int, ...]) -> None:
        arrays[f"{name}/{name}/{kernel}:0"] = rng.normal(size=shape)
        for part in ("beta", "moving_mean"):
            arrays[f"{name}/bn/{name}/bn/{part}:0"] = rng.normal(size=width)
        arrays[f"{name}/bn/{name}/bn/moving_variance:0"] = rng.uniform(0.1, 2, size=width)

    add("layer1/conv", "kernel", (3, 3, 1, width))
    for layer in range(2, NUM_LAYERS + 1):
        add(f"layer{layer}/depthwise_conv", "depthwise_kernel", (3, 3, width, 1))
        add(f"layer{layer}/pointwise_conv", "kernel", (1, 1, width, width))
    arrays["logits/logits/kernel:0"] = rng.normal(size=(width, 7))
    arrays["logits/logits/bias:0"] = rng.normal(size=7)
    return arrays


def test_folding_equals_convolution_then_batch_norm(rng: np.random.Generator) -> None:
    keras = keras_like(rng)
    folded = fold(keras)
    patch = rng.normal(size=(3, 3, 4))  # one output of a convolution needs one patch (H, W, in)
    cases = {
        "layer2/depthwise_conv": (4, "depthwise_kernel", "hwc,hwcm->c", "chw,hwc->c", True),
        "layer14/pointwise_conv": (79, "kernel", "hwi,hwio->o", "oihw,hwi->o", False),
    }
    for name, (position, kernel, keras_sum, own_sum, is_depthwise) in cases.items():
        weight, bias = (folded[f"features.{position}.{part}"] for part in ("weight", "bias"))
        its_patch = patch if is_depthwise else patch[:1, :1]
        raw = np.einsum(keras_sum, its_patch, keras[f"{name}/{name}/{kernel}:0"])
        beta, mean, variance = (
            keras[f"{name}/bn/{name}/bn/{part}:0"]
            for part in ("beta", "moving_mean", "moving_variance")
        )
        expected = (raw - mean) / np.sqrt(variance + EPSILON) + beta
        own = np.einsum(own_sum, weight[:, 0] if is_depthwise else weight, its_patch) + bias
        np.testing.assert_allclose(own, expected, rtol=1e-5)


def test_names_and_shapes_are_those_of_the_tested_file(
    rng: np.random.Generator, data_root: Path
) -> None:
    numpy_io = pytest.importorskip("safetensors.numpy")
    tested = numpy_io.load_file(data_root / "weights" / "yamnet.safetensors")
    folded = fold(keras_like(rng))
    assert set(folded) == set(tested)
    assert all(folded[name].ndim == array.ndim for name, array in tested.items())
    assert folded["features.4.weight"].shape == (4, 1, 3, 3)
    assert differences(tested) == []
    assert len(differences(folded)) == 7


def test_the_file_is_what_safetensors_reads(rng: np.random.Generator, tmp_path: Path) -> None:
    numpy_io = pytest.importorskip("safetensors.numpy")
    folded = fold(keras_like(rng))
    path = tmp_path / "own.safetensors"
    path.write_bytes(yamnet._to_safetensors(folded))
    loaded = numpy_io.load_file(path)
    assert set(loaded) == set(folded)
    for name, array in folded.items():
        np.testing.assert_array_equal(loaded[name], array)
        np.testing.assert_array_equal(yamnet._from_safetensors(path.read_bytes())[name], array)


def test_get_converts_what_it_downloads(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py", reason="only the conversion of yamnet.h5 needs h5py")

    def download(remote: object, target: Path, say: object) -> None:
        with h5py.File(target, "w") as file:
            for name, array in keras_like(rng).items():
                file[name] = array

    monkeypatch.setattr(acquire, "download", download)
    with pytest.raises(DataError, match=r"another version of YAMNet \(features\.1\.weight"):
        acquire.get("yamnet", tmp_path, say=lambda line: None)
    monkeypatch.setattr(yamnet, "differences", lambda weights: [])
    folder = acquire.get("yamnet", tmp_path, say=lambda line: None)
    assert YAMNET.matches(folder)
    assert not (folder / "yamnet.h5").exists()


def test_without_h5py_the_next_step_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    monkeypatch.setattr(acquire, "download", lambda remote, target, say: target.touch())
    with pytest.raises(DataError, match="pip install h5py"):
        acquire.get("yamnet", tmp_path, say=lambda line: None)
