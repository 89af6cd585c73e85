"""Bundles of strangers: none reads a file of the machine, none takes much memory or time, each is refused in a line."""

import hashlib
import io
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from avgan.errors import BundleError
from avgan.runtime import library, load
from avgan.runtime.bundle import open_bundle
from avgan.runtime.graph import check_graph, cut

Change = Callable[[onnx.ModelProto], Any]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVGAN_HOME", str(tmp_path / "home"))


@pytest.fixture
def forged(toy_bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies the toy bundle with a changed graph, card or files; its checksums hold."""

    def forge(change: Change | None = None, **card: Any) -> Path:
        folder = Path(shutil.copytree(toy_bundle, tmp_path / f"forged-{len(list(tmp_path.iterdir()))}"))
        model = onnx.load(folder / "model.onnx")
        content = (folder / "model.onnx").read_bytes()
        if change is not None:
            changed = change(model)
            content = changed if isinstance(changed, bytes) else model.SerializeToString()
        (folder / "model.onnx").write_bytes(content)
        described = json.loads((folder / "card.json").read_text())
        described["sha256"] = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in folder.iterdir()
            if file.name != "card.json"
        }
        (folder / "card.json").write_text(json.dumps(described | card))
        return folder

    return forge


def refusal(act: Callable[[], object], *, within_s: float = 30) -> str:
    """The one line with which something is refused, soon, and without much memory here."""
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began_s = time.monotonic()
    with pytest.raises(BundleError) as caught:
        act()
    assert time.monotonic() - began_s < within_s
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 150_000
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused_everywhere(bundle: Path, **limits: float) -> str:
    """The same refusal by `--model` and by `models add`."""
    refused = refusal(lambda: load(bundle), **limits)
    assert str(bundle) in refused
    added = refusal(lambda: library.add(bundle, say=lambda line: None), **limits)
    assert refused.removeprefix(str(bundle)) == added.removeprefix(str(bundle))
    return refused


def outside(tensor: onnx.TensorProto, place: Path) -> onnx.TensorProto:
    """A tensor whose numbers are said to lie in a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", str(place)), ("offset", "0"), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def a_tensor() -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(4, np.float32), "secret")


def with_node(model: onnx.ModelProto, *attributes: Any, kind: str = "Constant") -> None:
    node = helper.make_node(kind, [], ["unused"])
    node.attribute.extend(attributes)
    model.graph.node.append(node)


def subgraph(*tensors: onnx.TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], tensors)


def in_function(model: onnx.ModelProto, secret: onnx.TensorProto) -> None:
    node = helper.make_node("Constant", [], ["y"], value=secret)
    function = helper.make_function("own", "f", [], ["y"], [node], model.opset_import)
    model.functions.append(function)


def sparse(secret: onnx.TensorProto) -> onnx.SparseTensorProto:
    indices = numpy_helper.from_array(np.zeros(4, np.int64), "places")
    return helper.make_sparse_tensor(secret, indices, [8])


DEPTHS: dict[str, Callable[[onnx.ModelProto, onnx.TensorProto], Any]] = {
    "initializer": lambda model, secret: model.graph.initializer.append(secret),
    "sparse initializer": lambda model, secret: model.graph.sparse_initializer.append(sparse(secret)),
    "attribute": lambda model, secret: with_node(model, helper.make_attribute("value", secret)),
    "list of tensors": lambda model, secret: with_node(model, helper.make_attribute("values", [secret])),
    "sparse attribute": lambda model, secret: with_node(model, helper.make_attribute("sparse_value", sparse(secret))),
    "branch": lambda model, secret: with_node(model, helper.make_attribute("then_branch", subgraph(secret)), kind="If"),
    "list of graphs": lambda model, secret: with_node(model, helper.make_attribute("g", [subgraph(secret)]), kind="If"),
    "function": in_function,
}


@pytest.mark.parametrize("depth", DEPTHS)
def test_numbers_in_another_file_are_refused_at_every_depth(
    forged: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: str
) -> None:
    (tmp_path / "secret").write_bytes(b"0123456789abcdef")
    monkeypatch.chdir(tmp_path)  # where onnxruntime looks for it
    for place in (Path("secret"), tmp_path / "secret", Path("/etc/passwd")):
        bundle = forged(lambda model, place=place: DEPTHS[depth](model, outside(a_tensor(), place)))
        assert "no bundle needs" in refused_everywhere(bundle)


def test_a_place_that_is_named_alone_is_refused_too(toy_bundle: Path) -> None:
    """Without saying that the data is external; and saying so without a place."""
    for field in ("place", "location"):
        model = onnx.load(toy_bundle / "model.onnx")
        tensor = outside(model.graph.initializer[0], Path("secret"))
        if field == "place":
            tensor.data_location = TensorProto.DEFAULT
        else:
            tensor.ClearField("external_data")
        with pytest.raises(BundleError, match="another file"):
            check_graph(model.SerializeToString())


def loop(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still_on"])],
        "body",
        [value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, [])],
        [value("still_on", TensorProto.BOOL, [])],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "on"))
    model.graph.node.append(helper.make_node("Loop", ["", "on"], [], body=body))


def test_a_loop_is_refused_before_it_runs(forged: Callable[..., Path]) -> None:
    assert "a graph within the graph" in refused_everywhere(forged(loop))


def test_operators_of_others_are_refused(toy_bundle: Path) -> None:
    for kind, domain in (("EPContext", "com.microsoft"), ("ImageDecoder", ""), ("f", "own")):
        model = onnx.load(toy_bundle / "model.onnx")
        model.graph.node.append(helper.make_node(kind, ["waveform"], ["x"], domain=domain))
        with pytest.raises(BundleError, match=f"asks for '{kind}'"):
            check_graph(model.SerializeToString())


def multiplied(model: onnx.ModelProto, size: list[int]) -> None:
    """Make `heard` depend on a tensor of that size; it is computed when the model is opened or run."""
    nodes = [
        helper.make_node("ConstantOfShape", ["wide"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["loudness_before", "nothing"], ["loudness"]),
    ]
    for node in model.graph.node:
        if "loudness" in node.output:
            node.output[0] = "loudness_before"
    place = next(i for i, node in enumerate(model.graph.node) if "heard" in node.output)
    for node in reversed(nodes):
        model.graph.node.insert(place, node)
    model.graph.initializer.append(numpy_helper.from_array(np.array(size, np.int64), "wide"))


def test_a_small_model_that_takes_gigabytes_is_refused(forged: Callable[..., Path]) -> None:
    bundle = forged(lambda model: multiplied(model, [800_000_000]))
    assert "more memory" in refused_everywhere(bundle)
    load(forged(lambda model: multiplied(model, [1_000_000])))  # 4 MB are nothing


def test_what_is_heard_decides_no_size(toy_bundle: Path) -> None:
    model = onnx.load(toy_bundle / "model.onnx")
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["loudness"], ["size_heard"], to=TensorProto.INT64),
            helper.make_node("ConstantOfShape", ["size_heard"], ["large"]),
        ]
    )
    with pytest.raises(BundleError, match="as large as what is heard"):
        check_graph(model.SerializeToString())
    model = onnx.load(toy_bundle / "model.onnx")
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["loudness"], ["size_given"]),
            helper.make_node("ConstantOfShape", ["size_given"], ["large"]),
        ]
    )
    check_graph(model.SerializeToString())


def test_a_model_that_computes_for_ever_is_ended(forged: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "avgan.runtime.trial._START",
        "import sys; from avgan.runtime import trial; trial.CPU_S = 1; trial.main(sys.argv[1])",
    )

    def slow(model: onnx.ModelProto) -> None:
        multiplied(model, [1_000, 1_000])
        nodes = model.graph.node
        place = next(i for i, node in enumerate(nodes) if node.op_type == "ReduceMax")
        nodes[place].input[0] = "product400"
        for number in reversed(range(400)):
            names = [f"product{number}"] * 2
            nodes.insert(place, helper.make_node("MatMul", names, [f"product{number + 1}"]))
        # What depends on the sound is not computed when the model is opened.
        nodes.insert(place, helper.make_node("Add", ["large", "level"], ["product0"]))
        nodes.insert(place, helper.make_node("ReduceMax", ["loudness_before"], ["level"]))

    assert "more time or memory" in refusal(lambda: load(forged(slow)))


def test_small_files_that_cost_much_to_read(toy_bundle: Path) -> None:
    with pytest.raises(BundleError):
        cut(b"\xff" * 400_000, ["waveform"], ["heard"])
    content = (toy_bundle / "model.onnx").read_bytes()
    graph = next(end for end in range(len(content)) if content[end] == 7 << 3 | 2)
    cases = {
        "a number without end": b"\xff" * 400_000,
        "many graphs": content + content[graph:] * 20,
        "a key beyond 32 bits": bytes([0xBA, 0x80, 0x80, 0x80, 0x10, 0]) + content,
        "parts without end": content[:graph] + b"\x3a\x84\x89\x7a" + b"\x6a\x00" * 1_000_002,
        "nodes without end": content[:graph] + b"\x3a\x84\x89\x7a" + b"\x0a\x00" * 1_000_002,
    }
    for name, bad in cases.items():
        began_s = time.monotonic()
        with pytest.raises(BundleError):
            check_graph(bad)
        assert time.monotonic() - began_s < 10, name


@pytest.mark.parametrize(
    "changes",
    [
        {"window_s": float("inf")},
        {"window_s": 1e308},
        {"window_s": float("nan")},
        {"window_s": 1e-9},
        {"sample_rate_hz": 10**9},
        {"sample_rate_hz": 10**400},
        {"sample_rate_hz": 1},
        {"window_s": 3_000.0},
        {"labels": [str(n) for n in range(20_000)]},
        {"version": "1" * 1_000},
        {"name": "x" * 1_000_000},
        {"measured": {"a": {"value": float("-inf")}}},
        {"trained": json.loads("[" * 500 + "]" * 500)},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_cards_with_numbers_that_cannot_be(forged: Callable[..., Path], changes: dict[str, Any]) -> None:
    assert "card.json is not valid" in refused_everywhere(forged(**changes))


SCENES = {"label_kind": "scene", "scene_of_label": None}


def with_tags(num: int, value: float) -> Change:
    """A graph whose tensor `tags` has so many columns, all of one value."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        numbers = {"tag_weight": np.zeros((2, num)), "tag_bias": np.full(num, value)}
        graph.initializer.extend(
            numpy_helper.from_array(array.astype(np.float32), name) for name, array in numbers.items()
        )
        inputs = ["both", *numbers]
        graph.node.append(onnx.helper.make_node("Gemm", inputs, ["tags"]))
        shape = ["B", num]
        info = onnx.helper.make_tensor_value_info("tags", onnx.TensorProto.FLOAT, shape)
        graph.value_info.append(info)

    return change


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (None, "needs 'tags'"),
        (with_tags(3, 0.5), "tags has the shape (1, 3)"),
        (with_tags(2, 1.5), "tags lie outside [0, 1]"),
        (with_tags(2, float("nan")), "tags has the shape (1, 2), or is not finite"),
    ],
)
def test_tags_of_the_graph_must_be_those_of_the_card(
    forged: Callable[..., Path], change: Change | None, refused: str
) -> None:
    tags = {"names": ["Dog", "Rain"], "thresholds": 0.2}
    assert refused in refused_everywhere(forged(change, tags=tags, **SCENES))
    assert load(forged(with_tags(2, 0.5), tags=tags, **SCENES)).card.tags is not None


def test_a_huge_card_is_not_read(forged: Callable[..., Path], tmp_path: Path) -> None:
    folder = forged()
    with (folder / "card.json").open("ab") as file:
        file.truncate(200 << 20)
    assert "1,048,576 bytes" in refused_everywhere(folder)
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("card.json", bytes(200 << 20))
    assert packed.stat().st_size < 1 << 20
    assert "209,715,200 bytes" in refused_everywhere(packed)


def test_a_list_of_a_million_files_is_not_read(tmp_path: Path) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    entries = (entry + b"x") * 1_200_000
    said_64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, *(1_200_000,) * 2, len(entries), 0)
    found_64 = struct.pack("<4sLQL", b"PK\6\7", 0, len(entries), 1)
    ends = {
        "many": struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(entries), 0, 0),
        "few": struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entries), 0, 0),
        "remark": struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entries), 0, 3) + b"abc",
        "64": said_64 + found_64 + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0),
    }
    for name, end in ends.items():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(entries + end)
        assert "1,000 files" in refusal(lambda path=path: load(path), within_s=5)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_not_waited_for(toy_bundle: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "a pipe or device" in refused_everywhere(pipe, within_s=5)
    assert "a pipe or device" in refused_everywhere(Path("/dev/zero"), within_s=5)
    folder = Path(shutil.copytree(toy_bundle, tmp_path / "folder"))
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    assert "a pipe or device" in refusal(lambda: load(folder), within_s=5)


def test_nothing_outside_a_folder_is_opened(toy_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(toy_bundle, tmp_path / "folder"))
    outer = tmp_path / "outer.json"
    (folder / "card.json").rename(outer)
    (folder / "card.json").symlink_to(outer)
    assert "lies elsewhere" in refusal(lambda: load(folder))
    card = json.loads(outer.read_text())
    card["sha256"] = {"../outer.json": "0" * 64}
    (folder / "card.json").unlink()
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match="lies elsewhere"):
        open_bundle(folder).read("../outer.json")
    link = tmp_path / "link"  # a bundle may itself be a link
    link.symlink_to(toy_bundle)
    assert load(link).card.name == "toy"


def test_arrays_that_unpack_to_gigabytes(forged: Callable[..., Path], toy_bundle: Path) -> None:
    header = io.BytesIO()
    shape = {"descr": "<f2", "fortran_order": False, "shape": (1 << 40, 2)}
    np.lib.format.write_array_header_1_0(header, shape)
    nested = b"\x93NUMPY\1\0" + struct.pack("<H", 9_000) + b"[" * 9_000
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("ids", "label_names", "labels", "codes", "codebook"):
            archive.writestr(f"{name}.npy", bytes(60 << 20))
    calibration = {
        "num_clips": 1,
        "num_sources": 1,
        "temperature": 1.0,
        "likelihood": [0, 0],
        "error_before": {"value": 0, "interval_95": [0, 0], "num_bins": 1},
        "error_after": {"value": 0, "interval_95": [0, 0], "num_bins": 1},
    }
    for name, content in (
        ("known.npy", header.getvalue()),
        ("known.npy", nested),
        ("neighbours.npz", packed.getvalue()),
    ):
        folder = forged(calibration=calibration)
        (folder / name).write_bytes(content)
        card = json.loads((folder / "card.json").read_text())
        card["sha256"][name] = hashlib.sha256(content).hexdigest()
        (folder / "card.json").write_text(json.dumps(card))
        refused = refusal(lambda folder=folder: library.add(folder, say=lambda line: None))
        assert f"{name} cannot be read" in refused
        assert f"{name} cannot be read" in refusal(lambda folder=folder: load(folder).neighbours)


def test_ctrl_c_ends_a_trial(forged: Callable[..., Path], tmp_path: Path) -> None:
    """The process that tries a bundle ends with whoever waits for it."""
    started = tmp_path / "started"
    wait = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(60)"
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where tests run in the background
        "from avgan.runtime import trial\n"
        f"trial._START = {wait!r}\n"
        "import avgan; avgan.load(sys.argv[1])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(forged())], stderr=subprocess.PIPE)
    give_up_s = time.monotonic() + 30
    while not started.exists() and time.monotonic() < give_up_s:  # on a busy machine it takes seconds to start
        time.sleep(0.1)
    began_s = time.monotonic()
    process.send_signal(2)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began_s < 10
    assert b"KeyboardInterrupt" in err
