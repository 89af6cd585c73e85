"""A trained run as one file anybody can run: ONNX from waveform to probabilities, codes and picture, and its card.

The graph holds the front end too, so nothing is left for the reader to get wrong. It is checked against torch at batch
sizes and lengths it was not traced with. Weights are stored in half precision and the graph computes in single; torch's
weights are rounded the same way before the comparison, so that what is compared is what is shipped.

Shapes: B batch, L samples, N labels.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from avgan import checkpoint
from avgan.calibration import Fitted, calibrate, shortcomings
from avgan.cards import describe_outputs, make_card
from avgan.errors import BundleError
from avgan.model import AVGAN
from avgan.neighbours import find_own, imagine_all
from avgan.networks.trunks.mn04 import MN04
from avgan.runtime.bundle import CARD_FILE, MODEL_FILE, Bundle, Card
from avgan.runtime.neighbours import NEIGHBOURS_FILE
from avgan.runtime.network import (
    CODES,
    EMBEDDING,
    FEATURES,
    LOG_MEL,
    NOISE,
    PICTURE,
    PROBABILITIES,
    STEPS,
    TAGS,
    WAVEFORM,
)
from avgan.runtime.unknown import KNOWN_FILE

OPSET = 20
TOLERANCE = 1e-4
DIFFERING_PIXELS = 0.02
"""Share of a sampler's pixels that may differ: a code that falls the other way changes those that its block sees."""
SMALLEST_HALVED = 1_024
"""Tensors with fewer numbers stay in single precision: biases cost nothing."""

OUTPUTS = (PROBABILITIES, CODES, PICTURE)
"""And TAGS of trunks that were taught to name sounds: their probabilities, each for itself."""
INNER = (LOG_MEL, EMBEDDING, FEATURES)
"""Tensors inside the graph that keep their names, so that readers can cut it there (`runtime.graph`); of trunks that go
step by step STEPS as well."""


class Shipped(nn.Module):
    """waveform (B, L), noise (B, Z) where there is a sampler -> probabilities (B, N), codes (B, 16, 16), picture
    (B, 3, 128, 128), tags (B, M), and INNER.

    `outputs` names those that there are: no tags where the trunk was taught none, nor where they are not asked for;
    `inner` the tensors inside, with the steps of a trunk that goes by `step_frames`.
    """

    def __init__(
        self, networks: AVGAN, temperature: float = 1.0, *, tags: bool = True, step_frames: int | None = None
    ) -> None:
        super().__init__()
        self.networks = networks
        self.temperature = temperature
        trunk = networks.generator.trunk
        self.tagger = trunk if tags and isinstance(trunk, MN04) else None
        self.outputs = (*OUTPUTS, TAGS) if self.tagger is not None else OUTPUTS
        self.step_frames = step_frames
        self.inner = (*INNER, STEPS) if step_frames else INNER

    @property
    def noise_size(self) -> int | None:
        """Z, or None where the picture takes no noise."""
        sampler = self.networks.sampler
        return None if sampler is None else sampler.noise_size

    def forward(self, waveform: Tensor, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        generator, networks = self.networks.generator, self.networks
        log_mel = networks.log_mel(waveform)
        steps = [generator.steps(log_mel, self.step_frames)] if self.step_frames else []
        embedding = generator.summarize(*steps) if steps else generator.embed(log_mel)
        imagined = networks.imagine(embedding, noise)
        probabilities = torch.softmax(imagined.logits / self.temperature, 1)
        tags = () if self.tagger is None else (self.tagger.tag(embedding).sigmoid(),)
        outputs = (probabilities, imagined.codes, imagined.image, *tags)
        return *outputs, log_mel, embedding, imagined.features, *steps


def export_bundle(
    run: Path,
    out: Path,
    *,
    name: str | None = None,
    measured: dict[str, Any] | None = None,
    data: Path | None = None,
    fitted: Fitted | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the bundle folder `out`: model.onnx and card.json. Returns `out`.

    `data`: the folder that the run was trained on, for the bundle to know its training clips as neighbours, and what it
    does not know where the run held clips out. `fitted`: the latter, where `calibrate` found it already. `say` hears
    what the bundle cannot tell of the unknown.

    Raises BundleError when `out` holds something else than a bundle, CheckpointError when the run is unfinished,
    DataError when `data` is not what it was trained on, RuntimeError when the graph disagrees with torch.
    """
    check_place(out)
    networks, described = checkpoint.load_finished(run)
    own = None if data is None else find_own(described, data)
    if fitted is None and data is not None and described.origin.validation_sources:
        fitted = calibrate(run, data)
    networks.cpu()
    simplify(networks)
    temperature = fitted.calibration.temperature if fitted else 1.0
    of_scenes = described.scene_of_label is None  # labels that are sounds need no tags beside them
    step_frames = described.imagination.trunk.step_frames
    shipped = Shipped(networks, temperature, tags=of_scenes, step_frames=step_frames).eval()
    fixed_length = described.front_end.num_time_steps is not None
    with bundle_folder(out) as folder:
        graph = folder / MODEL_FILE
        length = round(described.window_s * described.front_end.sample_rate_hz)
        write_graph(shipped, graph, length=length, fixed_length=fixed_length)
        parity = check_parity(shipped, graph, length=length, fixed_length=fixed_length)
        card = make_card(described, name or out.name, fixed_length, parity, measured or {})
        card |= describe_outputs(tags=shipped.tagger is not None, noise_size=shipped.noise_size)
        card["sha256"] = {MODEL_FILE: hashlib.sha256(graph.read_bytes()).hexdigest()}
        if fitted is not None:
            card["calibration"] = fitted.calibration.model_dump(mode="json")
            add_file(folder, card, KNOWN_FILE, fitted.known.pack())
        if own is not None:
            bundle = Bundle(folder, Card.model_validate(card))
            codebook = networks.vqvae.quantizer.codebook.detach().numpy()
            add_file(folder, card, NEIGHBOURS_FILE, imagine_all(own, bundle, codebook).pack())
        write_card(folder, card)
    if lacking := shortcomings(fitted.calibration if fitted else None):
        say(f"note: {lacking}")
    return out


def add_file(folder: Path, card: dict[str, Any], name: str, content: bytes) -> None:
    """Write a file of a bundle and its checksum into the card."""
    (folder / name).write_bytes(content)
    card["sha256"][name] = hashlib.sha256(content).hexdigest()


def write_card(folder: Path, card: dict[str, Any]) -> None:
    (folder / CARD_FILE).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def check_place(out: Path) -> None:
    """Raise BundleError where something would be lost by a bundle in the place of `out`: else than an older bundle, or
    an empty folder."""
    is_free = out.is_dir() and ((out / CARD_FILE).is_file() or not any(out.iterdir()))
    if out.exists() and not is_free:
        raise BundleError(f"{out}: holds something else than a bundle; choose another -o")


@contextmanager
def bundle_folder(out: Path) -> Iterator[Path]:
    """An empty folder to write a bundle to; moved to `out` at the end, removed on any error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=out.parent))
    try:
        yield folder
        folder.chmod(0o755)
        replace_folder(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_folder(new: Path, old: Path) -> None:
    """Put a folder in the place of another, which is removed only once the new one stands there."""
    aside = Path(tempfile.mkdtemp(prefix=".old-", dir=old.parent)) / old.name
    try:
        if old.exists():
            os.replace(old, aside)
        try:
            os.replace(new, old)
        except OSError:
            if aside.exists():
                os.replace(aside, old)
            raise
    finally:
        shutil.rmtree(aside.parent, ignore_errors=True)


@torch.no_grad()
def simplify(networks: nn.Module) -> None:
    """Networks as they are shipped, in evaluation mode: batch norms folded into the layers before them, large weights
    rounded to what half precision can hold. In this order: whoever optimises the graph folds them too, and a rounded
    weight times a scale is no rounded weight any more.
    """
    for sequence in [module for module in networks.modules() if isinstance(module, nn.Sequential)]:
        for index, (layer, norm) in enumerate(pairwise(list(sequence))):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[index] = fuse_conv_bn_eval(layer, norm)
            elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                sequence[index] = fuse_linear_bn_eval(layer, norm)
            else:
                continue
            sequence[index + 1] = nn.Identity()
    for parameter in networks.parameters():
        if parameter.numel() >= SMALLEST_HALVED:
            parameter.copy_(parameter.half().float())


def write_graph(shipped: Shipped, path: Path, *, length: int, fixed_length: bool) -> None:
    """Trace and write the ONNX graph; the batch is free, the length too unless the front end needs a fixed one."""
    import onnx

    batch = torch.export.Dim("batch", min=1, max=4096)
    shape: dict[int, Any] = {0: batch}
    if not fixed_length:
        shape[1] = torch.export.Dim("samples", min=16_000, max=16_000 * 60)
    inputs, shapes = {WAVEFORM: 0.1 * torch.randn(3, length)}, {WAVEFORM: shape}
    if shipped.noise_size is not None:
        inputs[NOISE], shapes[NOISE] = torch.randn(3, shipped.noise_size), {0: batch}
    # the exporter names every operator of torchvision, which no network here uses and nobody needs to install
    for talkative in ("onnxscript", "torch.onnx._internal.exporter._registration"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            shipped,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[*shipped.outputs, *shipped.inner],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    hide_inner_outputs(model, shipped.inner)
    halve_initializers(model)
    for node in model.graph.node:  # where in our source it came from, a quarter of a large graph's bytes
        node.ClearField("metadata_props")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def hide_inner_outputs(model: Any, inner: tuple[str, ...]) -> None:
    """Make inner tensors ordinary ones again: named and described, but not answered with."""
    outputs = {value.name: value for value in model.graph.output}
    for name in inner:
        described = [value for value in model.graph.value_info if value.name == name]
        model.graph.value_info.extend([] if described else [outputs[name]])
        model.graph.output.remove(outputs[name])


def halve_initializers(model: Any) -> None:
    """Store large float32 initialisers as float16, each behind a Cast that the reader folds away on loading."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_HALVED:
            continue
        name = tensor.name
        values = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.array_equal(values.astype(np.float32), numpy_helper.to_array(tensor)):
            continue  # not a rounded weight, such as the mel filters: keep it exact
        tensor.CopyFrom(numpy_helper.from_array(values, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    for index, cast in enumerate(casts):
        model.graph.node.insert(index, cast)


def check_parity(shipped: Shipped, path: Path, *, length: int, fixed_length: bool) -> dict[str, float]:
    """Largest difference from torch for each output, over several batch sizes and lengths, none of them the traced.

    Codes are compared as the share that differs: a feature half-way between two codes may fall either way. The picture
    is compared where all codes agree; a sampler chooses codes once more, so of its pictures the share of pixels that
    differ is counted as that of codes. Raises RuntimeError above the tolerance.
    """
    lengths = (length,) if fixed_length else (length, length + length // 2, 2 * length + 123)
    worst: dict[str, float] = {}
    session = _session(path)
    rng = np.random.default_rng(0)
    for num_samples, batch in product(lengths, (1, 2, 5)):
        inputs = {WAVEFORM: test_signals(batch, num_samples, rng)}
        if shipped.noise_size is not None:
            inputs[NOISE] = rng.standard_normal((batch, shipped.noise_size), dtype=np.float32)
        with torch.no_grad():
            tensors = shipped(*map(torch.from_numpy, inputs.values()))
        expected = {name: tensor.numpy() for name, tensor in zip(shipped.outputs, tensors, strict=False)}
        found = dict(zip(shipped.outputs, session.run(list(shipped.outputs), inputs), strict=True))
        apart = {name: np.abs(found[name] - expected[name]) for name in shipped.outputs}
        pictures = apart[PICTURE][(apart[CODES] == 0).all((1, 2))]
        differences = {
            PROBABILITIES: apart[PROBABILITIES].max(),
            PICTURE: pictures.max(initial=0.0),
            "codes_differing": (apart[CODES] != 0).mean(),
        }
        if shipped.noise_size is not None:
            differing = float((pictures > TOLERANCE).mean()) if pictures.size else 0.0
            differences[PICTURE] = 0.0 if differing <= DIFFERING_PIXELS else differing
        if TAGS in apart:
            differences[TAGS] = apart[TAGS].max()
        worst = {key: max(worst.get(key, 0.0), float(value)) for key, value in differences.items()}
    most = dict.fromkeys(worst, TOLERANCE) | {"codes_differing": 1e-3}
    if any(worst[key] > most[key] for key in worst):
        raise RuntimeError(f"the exported graph disagrees with torch: {worst}")
    return worst | {"tolerance": TOLERANCE}


def test_signals(batch: int, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """(B, L) noise, tones and silence, float32."""
    time_s = np.arange(num_samples) / 16_000
    rows = []
    for row in range(batch):
        noise = rng.standard_normal(num_samples) * 10.0 ** rng.uniform(-3, -0.5)
        tone = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 6_000) * time_s)
        rows.append((noise, noise + tone, tone, np.zeros(num_samples))[row % 4])
    return np.stack(rows).astype(np.float32)


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
