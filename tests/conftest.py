"""Fixtures shared by all tests: where the real data is, small real recordings, one thread for torch."""

import os

# Before anything imports torch or onnxruntime: OpenMP threads that spin make a busy machine twenty
# times slower, and results should not depend on the number of cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import io
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import settings

# A busy machine is no defect (no deadline), and a failure should come back when the test is run again.
settings.register_profile("avgan", deadline=None, derandomize=True)
settings.load_profile("avgan")

CHECKOUT = Path(__file__).resolve().parents[1]


def find_data_root() -> Path | None:
    """The folder with the real data sets, or None.

    `$AVGAN_DATA` decides alone when it is set; else a data folder `shared/data` inside or beside
    the checkout.
    """
    named = os.environ.get("AVGAN_DATA")
    if named:
        return Path(named) if Path(named).is_dir() else None
    for folder in (CHECKOUT, CHECKOUT.parent):
        if (folder / "shared" / "data").is_dir():
            return folder / "shared" / "data"
    return None


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets; skips the test, saying why, where there is none."""
    root = find_data_root()
    if root is None:
        pytest.skip("real data not found: set AVGAN_DATA to the folder that holds esc50/, miniplaces/")
    return root


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Keep torch to one thread, in the tests that use torch at all (importing it here is slow)."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _honest_small_numbers() -> Iterator[None]:
    """Undo what training sets for the whole process: numbers too small for it become zero."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator that is the same for every test."""
    return np.random.default_rng(20_191_020)


@pytest.fixture
def make_tone() -> Callable[..., np.ndarray]:
    """A function that makes a sine: `(L,)` float32 at half of full scale."""

    def tone(*, frequency_hz: float = 440.0, duration_s: float = 1.0, rate_hz: int = 16_000) -> np.ndarray:
        times = np.arange(round(duration_s * rate_hz)) / rate_hz
        return (0.5 * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32)

    return tone


@pytest.fixture
def tone_wav(tmp_path: Path, make_tone: Callable[..., np.ndarray]) -> Path:
    """A real WAV file: 2 s of a 440 Hz sine, 16 kHz, mono, 16 bit."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, make_tone(duration_s=2.0), 16_000, subtype="PCM_16")
    return path


TOY_LABELS = {"rumble": "road", "hiss": "beach", "bells": "church", "quiet": "library"}


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model bundle small enough to reason about, its window 1 s at 16 kHz.

    Silence is `quiet`; the louder, the surer it is something else: `hiss` where neighbouring samples
    differ much, `rumble` where they do not. The picture is as bright as its codes are high, which are the
    sizes of the first 256 samples. It hears in patches of a quarter of a second.
    """
    import hashlib
    import json

    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(value, name)

    def node(kind: str, inputs: list[str], output: str, **attributes: int) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output], **attributes)

    nodes = [
        node("Unsqueeze", ["waveform", "inner_axes"], "log_mel"),
        node("Reshape", ["log_mel", "flat"], "samples"),
        node("Abs", ["samples"], "size"),
        node("ReduceMean", ["size", "time"], "loudness", keepdims=1),
        node("Slice", ["samples", "one", "end", "time"], "later"),
        node("Slice", ["samples", "zero", "minus_one", "time"], "earlier"),
        node("Sub", ["later", "earlier"], "step"),
        node("Abs", ["step"], "step_size"),
        node("ReduceMean", ["step_size", "time"], "roughness", keepdims=1),
        node("Slice", ["size", "zero", "cells", "time"], "start"),
        node("Concat", ["loudness", "roughness", "start"], "heard", axis=1),
        node("Slice", ["heard", "two", "end", "time"], "features"),
        node("Slice", ["heard", "zero", "two", "time"], "both"),
        node("Gemm", ["both", "weight", "bias"], "logits"),
        node("Softmax", ["logits"], "probabilities", axis=1),
        node("Mul", ["features", "fifteen"], "levels"),
        node("Reshape", ["levels", "code_shape"], "grid"),
        node("Cast", ["grid"], "codes", to=TensorProto.INT64),
        node("Cast", ["codes"], "shades", to=TensorProto.FLOAT),
        node("ReduceMean", ["shades", "code_axes"], "shade", keepdims=1),
        node("Div", ["shade", "fifteen"], "brightness"),
        node("Unsqueeze", ["brightness", "one"], "pixel"),
        node("Expand", ["pixel", "picture_shape"], "picture"),
    ]
    constants = [
        constant("time", np.array([1], np.int64)),
        constant("zero", np.array([0], np.int64)),
        constant("one", np.array([1], np.int64)),
        constant("two", np.array([2], np.int64)),
        constant("inner_axes", np.array([1, 2], np.int64)),
        constant("code_axes", np.array([1, 2], np.int64)),
        constant("flat", np.array([0, -1], np.int64)),
        constant("minus_one", np.array([-1], np.int64)),
        constant("end", np.array([2**31], np.int64)),
        constant("cells", np.array([256], np.int64)),
        constant("fifteen", np.array(15, np.float32)),
        constant("weight", np.array([[60, 0, 20, -60], [-50, 50, 0, 0]], np.float32)),
        constant("bias", np.array([0, 0, 0, 3], np.float32)),
        constant("code_shape", np.array([-1, 16, 16], np.int64)),
        constant("picture_shape", np.array([1, 3, 128, 128], np.int64)),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "toy",
        [value("waveform", TensorProto.FLOAT, ["B", "L"])],
        [
            value("probabilities", TensorProto.FLOAT, ["B", len(TOY_LABELS)]),
            value("codes", TensorProto.INT64, ["B", 16, 16]),
            value("picture", TensorProto.FLOAT, ["B", 3, 128, 128]),
        ],
        constants,
        value_info=[
            value("log_mel", TensorProto.FLOAT, ["B", 1, 1, "L"]),
            value("heard", TensorProto.FLOAT, ["B", 258]),
            value("features", TensorProto.FLOAT, ["B", 256]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    card = {
        "format": 2,
        "name": "toy",
        "version": "1",
        "description": "Loudness and roughness.",
        "labels": list(TOY_LABELS),
        "label_kind": "sound",
        "scene_of_label": TOY_LABELS,
        "sample_rate_hz": 16_000,
        "window_s": 1.0,
        "fixed_length": False,
        "measured": {
            "accuracy": {"value": 0.75, "interval_95": [0.7, 0.8], "protocol": "none", "command": "avgan evaluate"}
        },
        "data": [{"name": "nothing", "licence": "none needed", "address": ""}],
        "licences": {"code": "Apache-2.0", "weights": "Apache-2.0"},
        "trained": {},
        "parity": {},
        "sha256": {"model.onnx": hashlib.sha256(content).hexdigest()},
    }
    folder = tmp_path_factory.mktemp("bundle") / "toy"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(content)
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


TOY_GROUPS = {"road": "outdoor", "beach": "outdoor", "church": "indoor", "library": "indoor"}
TOY_TAGS = ("Animal", "Dog", "Traffic noise, roadway noise", "Inside, small room")


@pytest.fixture(scope="session")
def toy_places(toy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy as a model of scenes that belong to groups, and that hears sounds beside them.

    Its labels are `road`, `beach`, `church` and `library`; what hisses is heard as a dog, what rumbles as traffic, what
    is quiet as nothing. A scene below 60 % is answered with its group, a group below 60 % with nothing.
    """
    import hashlib
    import json
    import shutil

    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = shutil.copytree(toy_bundle, tmp_path_factory.mktemp("places") / "toy-places")
    model = onnx.load(folder / "model.onnx")
    weight = np.array([[0, 0, 60, 0], [100, 100, -50, 0]], np.float32)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(weight, "tag_weight"),
            numpy_helper.from_array(np.array([-2, -3, -3, 3], np.float32), "tag_bias"),
        ]
    )
    model.graph.node.extend(
        [
            helper.make_node("Gemm", ["both", "tag_weight", "tag_bias"], ["tag_logits"]),
            helper.make_node("Sigmoid", ["tag_logits"], ["tags"]),
        ]
    )
    shape = ["B", len(TOY_TAGS)]
    model.graph.output.append(helper.make_tensor_value_info("tags", TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    error = {"value": 0.03, "interval_95": [0.02, 0.05], "num_bins": 10}
    card |= {
        "name": "toy-places",
        "labels": list(TOY_LABELS.values()),
        "label_kind": "scene",
        "scene_of_label": None,
        "group_of_scene": TOY_GROUPS,
        "tags": {"names": TOY_TAGS, "thresholds": [0.5, 0.5, 0.5, 0.5]},
        "calibration": {
            "num_clips": 100,
            "num_sources": 50,
            "temperature": 1.0,
            "likelihood": [0.5, 0.4],
            "error_before": error,
            "error_after": error,
            "least_probability": 0.6,
            "least_group_probability": 0.6,
            "needed": [0.3] * 99,
        },
        "sha256": {"model.onnx": hashlib.sha256(content).hexdigest()},
    }
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def walk_samples() -> np.ndarray:
    """(L,) at 16 kHz, for `toy_places`: 4 s of a loud rumble (a road with traffic), 4 s of a faint one (some place
    outdoors), 4 s of a hiss (a beach, a dog)."""
    times_s = np.arange(64_000) / 16_000
    rumble = np.sin(2 * np.pi * 100 * times_s)
    hiss = 0.2 * np.random.default_rng(0).standard_normal(64_000)
    return np.concatenate((0.2 * rumble, 0.05 * rumble, hiss)).clip(-1, 1).astype(np.float32)


@pytest.fixture(scope="session")
def toy_sounds(toy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy as a model of sounds that knows no places."""
    import json
    import shutil

    folder = shutil.copytree(toy_bundle, tmp_path_factory.mktemp("sounds") / "toy-sounds")
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card |= {"name": "toy-sounds", "scene_of_label": None}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


@pytest.fixture
def run(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command line in this process, in an empty folder; `model=True` appends the toy bundle.

    What decoders in C write to standard error is seen too. A process of its own takes seconds, most of them to import.
    """
    from avgan import cli

    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: object, model: bool = False, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        command = list(map(str, arguments))
        if model:
            command += ["--model", str(request.getfixturevalue("toy_bundle"))]
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfd.readouterr()
        status = cli.main(command)
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(command, status, out, err)

    return run_command


@pytest.fixture
def avgan(run: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., tuple[int, str, list[str]]]:
    """The same; gives exit status, standard output, and the lines of standard error."""

    def call(*arguments: object, **options: Any) -> tuple[int, str, list[str]]:
        done = run(*arguments, **options)
        return done.returncode, done.stdout, done.stderr.splitlines()

    return call


@pytest.fixture(scope="session")
def noisy_bundle(toy_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy bundle with pictures that take noise: the mean of four numbers is added to the brightness."""
    import hashlib
    import json

    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(toy_bundle / "model.onnx")
    graph = model.graph
    (last,) = [node for node in graph.node if "picture" in node.output]
    last.input[0] = "noisy_pixel"
    graph.node.remove(last)
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["noise", "time"], ["noise_mean"], keepdims=1),
            helper.make_node("Unsqueeze", ["noise_mean", "inner_axes"], ["noise_pixel"]),
            helper.make_node("Add", ["pixel", "noise_pixel"], ["noisy_pixel"]),
            last,
        ]
    )
    graph.input.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["B", 4]))
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    card = json.loads((toy_bundle / "card.json").read_text())
    card |= {"format": 3, "name": "noisy", "noise_size": 4}
    card["sha256"] = {"model.onnx": hashlib.sha256(content).hexdigest()}
    folder = tmp_path_factory.mktemp("bundle") / "noisy"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(content)
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one's own: eight videos of 1 s under four labels, each with its own picture and tone.

    The pictures are their own mirror images, so that mirroring in training changes nothing.
    """
    from fractions import Fraction

    import av

    root = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for number in range(8):
        path = root / "abcd"[number // 2] / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        bands = rng.integers(0, 256, (2, 1, 3), dtype=np.uint8)  # a sky and a ground
        pixels = np.kron(bands, np.ones((64, 128, 1), np.uint8))
        times = np.arange(16_384) / 16_000
        samples = (0.5 * np.sin(2 * np.pi * 200.0 * 1.5**number * times)).astype(np.float32)
        with av.open(str(path), mode="w") as container:
            picture = container.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 128
            picture.pix_fmt = "yuv420p"
            sound = container.add_stream("aac", rate=16_000, layout="mono")
            for _ in range(10):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
            for start in range(0, len(samples), 1024):
                part = np.ascontiguousarray(samples[None, start : start + 1024])
                block = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 16_000, start, Fraction(1, 16_000)
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return root


@pytest.fixture(scope="session")
def tau_tree() -> Callable[..., Path]:
    """A function that lays out a TAU set as published, with short files of tones and colours.

    `tau_tree(root, "tau2019", {"train": ["bus-lisbon-1"], "test": ["bus-milan-2"]}, num_clips=2)`: two clips of each
    place, a tone and a colour for each scene; what stands under another name than train and test is in no part.
    """
    from avgan.scenes import DCASE_SCENES

    def make(root: Path, name: str, places: Mapping[str, list[str]], *, num_clips: int = 2) -> Path:
        both = name == "tau_av_2021"
        columns = ["filename_audio", "filename_video"] if both else ["filename"]
        rows: dict[str, list[list[str]]] = {"meta": [], "train": [], "test": [], "evaluate": []}
        rng = np.random.default_rng(0)
        for split, place in ((part, place) for part in places for place in places[part]):
            scene, city, location = place.split("-")
            number = DCASE_SCENES.index(scene)
            for clip in range(num_clips):
                stem = f"{place}-{clip}"
                files = [f"audio/{stem}.wav", f"video/{stem}.mp4"]
                files = files if both else [f"audio/{stem}-a.wav"]
                times = np.arange(16_000) / 16_000
                tone = 0.3 * np.sin(2 * np.pi * 200 * 1.4**number * times)
                (root / "audio").mkdir(parents=True, exist_ok=True)
                noise = 0.01 * rng.standard_normal(16_000)
                soundfile.write(root / files[0], tone + noise, 16_000)
                if both:
                    write_video(root / files[1], (20 * number, 250 - 20 * number, 90))
                rows["meta"].append([*files, scene, f"{city}-{location}", *([] if both else "a")])
                if split in ("train", "test"):
                    rows[split].append(files if split == "test" else [*files, scene])
                if split == "test":
                    rows["evaluate"].append([*files, scene])
        headers = {
            "meta": [*columns, "scene_label", "identifier", *([] if both else ["source_label"])],
            "test": columns,
        }
        (root / "evaluation_setup").mkdir(parents=True, exist_ok=True)
        for part, lines in rows.items():
            header = headers.get(part, [*columns, "scene_label"])
            text = "\n".join("\t".join(line) for line in [header, *lines]) + "\n"
            path = root / ("meta.csv" if part == "meta" else f"evaluation_setup/fold1_{part}.csv")
            path.write_text(text)
        return root

    return make


def write_video(path: Path, colour: tuple[int, int, int]) -> None:
    """A second of one colour, 64 x 64, without sound."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((64, 64, 3), colour, np.uint8)
    with av.open(str(path), mode="w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


TINY = {
    "data.sounds": "folder",
    "data.images": "folder",
    "data.window_s": "1.0",
    "data.validation_fraction": "0",
    "data.cache_gb": "0.1",
    "vqvae.network.width": "8",
    "vqvae.network.num_residual_blocks": "1",
    "imagination.trunk.front_end.n_fft": "512",
    "imagination.trunk.front_end.window_length": "512",
    "imagination.trunk.front_end.hop_length": "256",
    "imagination.trunk.front_end.num_time_steps": "32",
    "imagination.trunk.widths": "[4, 4, 8, 8]",
    "imagination.generator.hidden": "32",
    "imagination.critic.width": "4",
    "imagination.critic.num_kernels": "4",
    "imagination.flip": "true",
    "imagination.ema_decay": "0.999",
    "classifier.network.kind": "linear",
    "classifier.num_views": "4",
    "vqvae.flip": "true",
    "vqvae.num_steps": "5",
    "vqvae.batch_size": "4",
    "vqvae.revive_every": "2",
    "imagination.num_steps": "4",
    "imagination.batch_size": "4",
    "imagination.critic_steps": "2",
    "classifier.num_steps": "5",
    "classifier.batch_size": "4",
    "rounds.num": "1",
    "rounds.largest_gap": "null",
    "loop.precision": "32-true",
    "loop.channels_last": "false",
    "loop.log_every": "1",
    "loop.validate_every": "3",
    "loop.checkpoint_every": "2",
}
"""All three stages in a few seconds on `tiny_videos`."""

SHARP = {
    "vqvae.network.kind": "residual",
    "vqvae.network.widths": "[8, 8, 8, 8]",
    "vqvae.network.num_blocks": "[0, 1, 1, 1]",
    "vqvae.network.code_dim": "4",
    "vqvae.network.num_codes": "32",
    "vqvae.l1_weight": "1",
    "vqvae.perceptual_weight": "1",
    "vqvae.perceptual.widths": "[4, 4, 4, 4, 4]",
    "vqvae.perceptual.num_steps": "2",
    "vqvae.perceptual.batch_size": "4",
    "vqvae.patch_weight": "0.1",
    "vqvae.patch_critic.width": "8",
    "vqvae.patch_from": "0.4",
    "vqvae.ema_decay": "0.9",
}
"""Changes to the tiny recipe: every term that may stand beside Eq. 1."""


@pytest.fixture(scope="session")
def sharp() -> dict[str, str]:
    """SHARP, for tests of stage 1."""
    return SHARP


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., Any]:
    """A function that gives a recipe of seconds, with changes: `{"vqvae.beta": "2"}`."""
    from avgan.config import Recipe, override
    from avgan.presets import preset

    def make(changes: Mapping[str, str] | None = None) -> Recipe:
        changes = dict(changes or {})
        tiny = TINY
        if "vqvae.network.kind" in changes:  # another kind has other settings
            tiny = {name: TINY[name] for name in TINY if not name.startswith("vqvae.network.")}
        return override(preset("paper_esc50"), tiny | changes)

    return make


@pytest.fixture(scope="session")
def tiny_sampled(tiny_config: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives the tiny recipe with a sampler: `tiny_sampled({"sampler.num_steps": "9"})`."""
    from avgan.config import Recipe, SamplerSection, override
    from avgan.networks.flow import FlowConfig

    def make(changes: Mapping[str, str] | None = None) -> Recipe:
        recipe = tiny_config(SHARP)
        section = SamplerSection(
            data=recipe.classifier.data,
            network=FlowConfig(width=64, depth=1, condition_width=16, num_steps=3),
            num_views=2,
            num_steps=6,
            batch_size=4,
            learning_rate=2e-3,
            ema_decay=0.9,
        )
        return override(recipe.model_copy(update={"sampler": section}), changes or {})

    return make


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path, tiny_config: Callable[..., Any]) -> Path:
    """The finished runs of `tiny_config` on `tiny_videos`. Read them, do not change them."""
    from avgan.training.recipe import train

    return train(tiny_config(), data=tiny_videos, out=tmp_path_factory.mktemp("run") / "tiny")


@pytest.fixture(scope="session")
def with_origin() -> Callable[..., Any]:
    """A function: a run that learnt from something else, `with_origin(described, data={...}, sources=...)`."""
    from dataclasses import replace

    from avgan.checkpoint import Checkpoint

    def changed(described: Checkpoint, *, data: Mapping[str, Any] = {}, **fields: Any) -> Checkpoint:
        config = described.config
        section = config.stage.data.model_copy(update=dict(data))
        stage = config.stage.model_copy(update={"data": section})
        origin = replace(described.origin, config=config.model_copy(update={"stage": stage}), **fields)
        return replace(described, lineage=(*described.lineage[:-1], origin))

    return changed
