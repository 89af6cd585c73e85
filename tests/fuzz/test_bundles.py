"""`avgan models add` of thousands of bundles that somebody changed: refused in a line, or sound, and never dear.

The number can be chosen: `AVGAN_FUZZ_BUNDLES=10000 pytest -m slow tests/fuzz/test_bundles.py`.
"""

import ast
import hashlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from avgan.errors import AvganError
from avgan.runtime import library, trial
from avgan.runtime.bundle import Bundle, open_bundle
from avgan.runtime.model import Model

NUM_BUNDLES = int(os.environ.get("AVGAN_FUZZ_BUNDLES", "1000"))
MAX_SECONDS = 10
MAX_MIB = 300

Random = np.random.Generator

VALUES: list[Any] = [
    0,
    -1,
    1,
    2**31,
    2**63,
    10**30,
    1e308,
    -1e308,
    float("inf"),
    float("nan"),
    "",
    "x" * 5_000,
    None,
    True,
    [],
    {},
    ["a"] * 50,
    {"a": "b"},
    "../x",
    "\x1b[2J",
    "\u0000",
    0.001,
    16_000,
    384_000,
    3600,
]


def flip_bits(content: bytes, rng: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 8))):
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut_out(content: bytes, rng: Random) -> bytes:
    start, end = sorted(rng.integers(0, len(content), 2))
    return content[:start] + content[end:] if rng.random() < 0.5 else content[:end]


def repeat(content: bytes, rng: Random) -> bytes:
    start, end = sorted(rng.integers(0, len(content), 2))
    return content[:end] + content[start:end] * int(rng.integers(1, 20)) + content[end:]


def set_bytes(content: bytes, rng: Random) -> bytes:
    start = int(rng.integers(len(content)))
    filled = bytes([int(rng.choice([0, 0x7F, 0x80, 0xFF]))]) * int(rng.integers(1, 40))
    return content[:start] + filled + content[start + len(filled) :]


BYTES = (flip_bits, cut_out, repeat, set_bytes)


def change_graph(content: bytes, rng: Random) -> bytes:
    """Change what a graph means: numbers, shapes, operators, connections."""
    model = onnx.load_from_string(content)
    graph = model.graph
    for _ in range(int(rng.integers(1, 4))):
        node = graph.node[rng.integers(len(graph.node))]
        tensor = graph.initializer[rng.integers(len(graph.initializer))]
        kind = rng.integers(7)
        if kind == 0 and tensor.raw_data:
            tensor.raw_data = flip_bits(tensor.raw_data, rng)
        elif kind == 1 and tensor.dims:
            tensor.dims[rng.integers(len(tensor.dims))] = int(rng.choice([0, -1, 2, 2**20, 2**40]))
        elif kind == 2:
            node.op_type = str(
                rng.choice(["Tile", "Expand", "ConstantOfShape", "Range", "Pad", "Loop", "Resize", "Gather"])
            )
        elif kind == 3 and node.input:
            names = [name for other in graph.node for name in (*other.input, *other.output)]
            node.input[rng.integers(len(node.input))] = str(rng.choice(names))
        elif kind == 4:
            graph.node.append(node)
        elif kind == 5:
            tensor.data_type = int(rng.integers(0, 24))
        else:
            numbers = np.array([int(rng.choice([1, 2**16, 2**24, 2**31])) for _ in range(2)])
            tensor.CopyFrom(onnx.numpy_helper.from_array(numbers, tensor.name))
    return model.SerializeToString()


def change_card(card: dict[str, Any], rng: Random) -> dict[str, Any]:
    changed = json.loads(json.dumps(card))
    for _ in range(int(rng.integers(1, 3))):
        place: Any = changed
        while True:
            key = rng.choice(list(place))
            if not isinstance(place[key], dict) or not place[key] or rng.random() < 0.3:
                break
            place = place[key]
        place[key] = VALUES[rng.integers(len(VALUES))]
    return changed


def mutant(toy: Path, rng: Random) -> tuple[str, dict[str, bytes], Callable[[bytes], bytes]]:
    """What was changed, the files of the bundle, and what is done to the zip."""
    files = {file.name: file.read_bytes() for file in toy.iterdir()}
    card = json.loads(files["card.json"])
    way = ("graph", "model", "card", "card bytes", "zip")[rng.choice(5, p=[0.35, 0.25, 0.2, 0.1, 0.1])]
    as_it_is: Callable[[bytes], bytes] = bytes
    if way == "graph":
        files["model.onnx"] = change_graph(files["model.onnx"], rng)
    elif way == "model":
        files["model.onnx"] = BYTES[rng.integers(4)](files["model.onnx"], rng)
    card["sha256"] = {"model.onnx": hashlib.sha256(files["model.onnx"]).hexdigest()}
    if way == "card":
        card = change_card(card, rng)
    files["card.json"] = json.dumps(card).encode()
    if way == "card bytes":
        files["card.json"] = BYTES[rng.integers(4)](files["card.json"], rng)
    if way == "zip":
        change = BYTES[rng.integers(4)]
        return way, files, lambda content: change(content, rng)
    return way, files, as_it_is


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def check_accepted(bundle: Bundle) -> None:
    """What was accepted is a bundle: it can be read, run, and answers with probabilities and a picture."""
    card = open_bundle(bundle.path).card
    model = Model(bundle, num_threads=1)
    rng = np.random.default_rng(0)
    num_samples = round(card.window_s * card.sample_rate_hz)
    for waveform in (np.zeros((1, num_samples)), rng.uniform(-1, 1, (2, num_samples))):
        probabilities, codes, _ = model.network.predict(model.network.embed(waveform))
        assert probabilities.shape == (len(waveform), len(card.labels))
        assert codes.shape == (len(waveform), 16, 16)


def most_mib(of: int) -> float:
    return resource.getrusage(of).ru_maxrss / 1024


WARM = """
import os, sys
import numpy, onnxruntime
from avgan.runtime import trial
for line in sys.stdin:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writer, 1)
        trial.main(line.rstrip("\\n"))
    os.close(writer)
    with open(reader, "rb") as said:
        content = said.read()
    _, status, used = os.wait4(child, 0)
    print(repr((content, used.ru_utime + used.ru_stime, used.ru_maxrss)), flush=True)
"""


class WarmTrials:
    """Trials in forks of a process that has loaded all it needs: a start of Python takes longer than most trials.

    Limits are the same, for they are set in the trial. In place of `trial.subprocess.run`.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.most_mib = 0.0
        self._process = subprocess.Popen(
            [sys.executable, "-c", WARM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command[-1] + "\n")
        self._process.stdin.flush()
        content, took_s, most_kib = ast.literal_eval(self._process.stdout.readline())
        self.longest_s = max(self.longest_s, took_s)
        self.most_mib = max(self.most_mib, most_kib / 1024)
        return subprocess.CompletedProcess(command, 0, content)

    def close(self) -> None:
        self._process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_bundles_that_somebody_changed(toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVGAN_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(2_026)
    began_mib = most_mib(resource.RUSAGE_SELF)
    outcomes: Counter[str] = Counter()
    lines: list[str] = []
    trials = WarmTrials()
    monkeypatch.setattr(trial.subprocess, "run", trials.run)
    longest_s = 0.0
    for number in range(NUM_BUNDLES):
        if number and number % 1_000 == 0:  # hours pass over many
            print(
                f"{number}: {dict(outcomes)}, longest {longest_s:.1f} s here, {trials.longest_s:.1f} s "
                f"and {trials.most_mib:.0f} MiB in a trial",
                flush=True,
            )
        way, files, change = mutant(toy_bundle, rng)
        path = tmp_path / "mutant.zip"
        path.write_bytes(change(packed(files)))
        began_s = time.process_time()  # not of the clock, which goes on while others work
        try:
            bundle = library.add(path, say=lambda line: None)
        except AvganError as error:
            lines.append(str(error))
            outcomes[f"{way}: refused"] += 1
        else:
            outcomes[f"{way}: accepted"] += 1
            # A mutant whose answers depend on what is heard may be refused when it is used, in a line of onnxruntime.
            try:
                check_accepted(bundle)
            except Exception as error:
                outcomes[f"{way}: accepted, then {type(error).__name__}"] += 1
            shutil.rmtree(bundle.path)
        trial._tried.clear()
        longest_s = max(longest_s, time.process_time() - began_s)
        assert longest_s + trials.longest_s < MAX_SECONDS, files["card.json"][:300]
    trials.close()
    print(json.dumps(outcomes, indent=1))
    print(
        f"longest {longest_s:.1f} s here, {trials.longest_s:.1f} s in a trial; {trials.most_mib:.0f} MiB in a trial, "
        f"{most_mib(resource.RUSAGE_SELF) - began_mib:.0f} more here"
    )
    assert [line for line in lines if "\n" in line] == []
    assert trials.most_mib < MAX_MIB
    assert most_mib(resource.RUSAGE_SELF) - began_mib < MAX_MIB
    assert not list((tmp_path / "home" / "incoming").iterdir())
