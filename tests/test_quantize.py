"""The 8-bit bundle: smaller, cut and read like any other, and close to the one it was made from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from avgan.audio import read_audio
from avgan.cli import main
from avgan.demo import write_recordings
from avgan.errors import BundleError, CheckpointError
from avgan.export import INNER, export_bundle
from avgan.quantize import heavy_layers, quantize, quantize_bundle
from avgan.runtime import installed, load
from avgan.runtime.bundle import MODEL_FILE, open_bundle
from avgan.runtime.graph import cut
from avgan.runtime.network import Network
from avgan.training.recipe import train


@pytest.fixture(scope="module")
def shipped() -> bytes:
    return installed()[0].read(MODEL_FILE)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """A window (L,) of each recording of the demo."""
    paths = write_recordings(tmp_path_factory.mktemp("demo"))
    return [np.resize(read_audio(path), 80_000) for path in paths]


@pytest.fixture(scope="module")
def small(shipped: bytes, windows: list[np.ndarray]) -> bytes:
    return quantize(shipped, windows, noise_size=installed()[0].card.noise_size)


def test_what_is_heavy(shipped: bytes) -> None:
    graph = onnx.load_from_string(shipped).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    heavy = heavy_layers(onnx.load_from_string(shipped))
    assert {node.op_type for node in heavy} == {"Conv", "Gemm"}
    assert len(heavy) > 40  # of mn04's 15 blocks three each, and the head
    for node in heavy:
        shape = shapes.get(node.input[1]) or shapes[f"{node.input[1]}_half"]
        assert len(shape) == 2 or shape[1] > 1, "a depthwise layer"
        assert "vqvae" not in node.input[1]
        assert "sampler" not in node.input[1]
        assert "classifier" not in node.input[1]


def test_heavy_layers_are_in_8_bits_and_nothing_else_is(shipped: bytes, small: bytes) -> None:
    before, after = (onnx.load_from_string(content).graph for content in (shipped, small))
    in_8_bits = [t for t in after.initializer if t.data_type == onnx.TensorProto.INT8 and t.dims]
    num_heavy = len(heavy_layers(onnx.load_from_string(shipped)))
    assert len([tensor for tensor in in_8_bits if len(tensor.dims) > 1]) == num_heavy
    heard = [["waveform"], ["probabilities"]]
    assert len(cut(small, *heard)) < 0.8 * len(cut(shipped, *heard))
    kept = {t.name: t for t in after.initializer if t.name.startswith("networks.vqvae")}
    for tensor in before.initializer:
        if tensor.name.startswith("networks.vqvae"):
            assert kept[tensor.name].data_type == tensor.data_type


def test_it_can_be_cut_where_the_other_can(small: bytes) -> None:
    whole = ("probabilities", "codes", "picture")
    for inputs, outputs in [
        (("waveform",), ("log_mel",)),
        (("waveform",), ("heard",)),
        (("heard",), ("probabilities", "codes")),
        (("heard",), ("features",)),
        (("codes", "noise"), ("picture",)),
        (("waveform", "noise"), (*INNER, *whole)),
    ]:
        onnx.checker.check_model(onnx.load_from_string(cut(small, inputs, outputs)))


def test_a_sampler_stays_as_it_is(tmp_path: Path, tiny_videos: Path, tiny_sampled: Callable[..., Any]) -> None:
    """Its ears go to 8 bits; what draws takes noise as before and draws the same."""
    run = train(tiny_sampled(), data=tiny_videos, out=tmp_path / "run")
    full = open_bundle(export_bundle(run, tmp_path / "full"))
    waveforms = [0.1 * np.random.default_rng(n).standard_normal(16_000, np.float32) for n in range(4)]
    content = quantize(full.read(MODEL_FILE), waveforms, noise_size=full.card.noise_size)
    codes = np.arange(256).reshape(1, 16, 16) % 32
    drawn = [
        onnxruntime.InferenceSession(cut(model, ("codes", "noise"), ("picture",))).run(
            None, {"codes": codes, "noise": np.ones((1, full.card.noise_size or 0), np.float32)}
        )[0]
        for model in (full.read(MODEL_FILE), content)
    ]
    np.testing.assert_allclose(drawn[0], drawn[1], atol=1e-4)


@pytest.mark.slow
def test_it_answers_much_like_the_other(
    shipped: bytes, windows: list[np.ndarray], data_root: Path, tmp_path: Path
) -> None:
    paths = sorted((data_root / "esc50" / "audio").glob("5-*"))
    chosen = [np.resize(read_audio(path), 80_000) for path in paths[::10]]
    others = sorted((data_root / "esc50" / "audio").glob("1-*"))
    content = quantize(shipped, [np.resize(read_audio(path), 80_000) for path in others[::10]])
    full = installed()[0]
    folder = tmp_path / "small"
    folder.mkdir()
    write_like(full.path, folder, content)
    networks = Network(full), Network(open_bundle(folder))
    heard = [np.concatenate([network.embed(w[None]) for w in chosen]) for network in networks]
    likeness = [np.corrcoef(a, b)[0, 1] for a, b in zip(*heard, strict=True)]
    assert np.median(likeness) > 0.98
    labels, codes, _ = networks[0].predict(heard[0])
    other_labels, other_codes, _ = networks[1].predict(heard[1])
    assert (labels.argmax(1) == other_labels.argmax(1)).mean() >= 0.9
    assert (codes == other_codes).mean() > 0.5


def write_like(other: Path, folder: Path, content: bytes) -> None:
    """Write a bundle with the card of another and a model of its own."""
    import hashlib

    card = json.loads((other / "card.json").read_text())
    card["sha256"] = {MODEL_FILE: hashlib.sha256(content).hexdigest()}
    (folder / MODEL_FILE).write_bytes(content)
    (folder / "card.json").write_text(json.dumps(card))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path, tiny_config: Callable[..., Any]) -> Path:
    """A run that held a part of its clips out."""
    config = tiny_config({"data.validation_fraction": "0.5"})
    return train(config, data=tiny_videos, out=tmp_path_factory.mktemp("kept") / "run")


def test_a_bundle_beside_its_bundle(run: Path, tiny_videos: Path, tmp_path: Path) -> None:
    full = export_bundle(run, tmp_path / "own", data=tiny_videos)
    small = quantize_bundle(full, tmp_path / "own-int8", run=run, data=tiny_videos)
    model, other = load(small), load(full)
    assert model.card.name == "own-int8"
    assert {path.name for path in small.iterdir()} == {path.name for path in full.iterdir()}
    assert (small / MODEL_FILE).stat().st_size < (full / MODEL_FILE).stat().st_size
    measured = model.card.measured
    assert set(measured) == {"accuracy", "accuracy_change", "labels_unchanged", "codes_unchanged"}
    assert "4 clips held out" in measured["accuracy_change"].protocol
    low, high = measured["accuracy_change"].interval_95 or (1, 0)
    assert low <= measured["accuracy_change"].value <= high
    tone = (0.3 * np.sin(np.arange(16_000) / 10)).astype(np.float32)
    found, expected = model.classify(tone, 16_000), other.classify(tone, 16_000)
    assert found.scenes[expected.scene] == pytest.approx(expected.probability, abs=0.2)
    with pytest.raises(CheckpointError):
        quantize_bundle(full, tmp_path / "x", run=tmp_path, data=tiny_videos)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").touch()
    with pytest.raises(BundleError, match="something else"):
        quantize_bundle(full, tmp_path / "other", run=run, data=tiny_videos)
    assert {path.name for path in tmp_path.iterdir()} == {"own", "own-int8", "other"}


def test_the_command_needs_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "run", "-o", "bundle", "--int8"]) == 2
    assert "--data" in capsys.readouterr().err
