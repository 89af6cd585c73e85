"""Cutting a graph: the parts together are the whole, and onnx itself cuts the same."""

import contextlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avgan.errors import BundleError
from avgan.runtime.bundle import installed
from avgan.runtime.graph import cut


@pytest.fixture(scope="module")
def shipped() -> bytes:
    return installed()[0].read("model.onnx")


@pytest.fixture
def toy(toy_bundle: Path) -> bytes:
    return (toy_bundle / "model.onnx").read_bytes()


def run(model: bytes, **feeds: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options).run(None, feeds)


def test_the_parts_are_the_whole(shipped: bytes, rng: np.random.Generator) -> None:
    waveform = rng.normal(0, 0.1, (2, 80_000)).astype(np.float32)
    noise = rng.normal(0, 1, (2, 2_048)).astype(np.float32)
    probabilities, codes, picture = run(shipped, waveform=waveform, noise=noise)
    (log_mel,) = run(cut(shipped, ["waveform"], ["log_mel"]), waveform=waveform)
    (heard,) = run(cut(shipped, ["waveform"], ["heard"]), waveform=waveform)
    later = cut(shipped, ["waveform", "log_mel"], ["heard"])
    (heard_later,) = run(later, waveform=waveform, log_mel=log_mel)
    answered, imagined = run(cut(shipped, ["heard"], ["probabilities", "codes"]), heard=heard)
    np.testing.assert_array_equal(heard_later, heard)
    # onnxruntime joins other layers of the whole than of its parts, so that their last digits differ
    np.testing.assert_allclose(answered, probabilities, rtol=1e-3)
    assert (imagined == codes).mean() > 0.99
    (rendered,) = run(cut(shipped, ["codes", "noise"], ["picture"]), codes=codes, noise=noise)
    assert np.abs(rendered - picture).mean() < 1e-3


def test_it_cuts_as_onnx_does(toy: bytes) -> None:
    ours = onnx.load_from_string(cut(toy, ["heard"], ["codes", "probabilities"]))
    extractor = onnx.utils.Extractor(onnx.load_from_string(toy))
    theirs = extractor.extract_model(["heard"], ["codes", "probabilities"])
    assert [node.output for node in ours.graph.node] == [node.output for node in theirs.graph.node]
    assert {t.name for t in ours.graph.initializer} == {t.name for t in theirs.graph.initializer}
    assert [value.name for value in ours.graph.output] == ["codes", "probabilities"]
    assert [value.name for value in ours.graph.input] == ["heard"]
    assert ours.opset_import == theirs.opset_import
    onnx.checker.check_model(ours)


def test_a_part_is_smaller(shipped: bytes) -> None:
    assert len(cut(shipped, ["waveform"], ["heard"])) < len(shipped) / 5


@pytest.mark.parametrize(
    ("inputs", "outputs", "match"),
    [
        (["waveform"], ["nothing"], "'nothing'"),
        (["nothing"], ["codes"], "'waveform'|'nothing'"),
        (["codes"], ["probabilities"], "'waveform'"),
    ],
)
def test_what_cannot_be_cut(toy: bytes, inputs: list[str], outputs: list[str], match: str) -> None:
    with pytest.raises(BundleError, match=match):
        cut(toy, inputs, outputs)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_files_are_refused_or_cut(toy_bundle: Path, data: st.DataObject) -> None:
    content = bytearray((toy_bundle / "model.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    with contextlib.suppress(BundleError):
        cut(bytes(content[:end]), ["heard"], ["codes"])
