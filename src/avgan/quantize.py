"""A bundle with the heavy layers before its features in 8 bits: a little more than half the size, and what that costs.

Static quantisation with ranges from training clips. In 8 bits are the dense layers on the way from the log-mel to the
features: what multiplies many channels with each other, which is nearly all of the work. In floating point stay the
front end, whose range is wide; depthwise layers, of which each channel has a range of its own; classifier and codes,
whose choices are between close numbers; and the decoder. A range is the mean over clips of their
smallest and largest value: the extremes over all clips would spend the 256 steps on outliers.

Shapes: L samples, M clips, N labels.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from avgan import checkpoint
from avgan.checkpoint import Checkpoint
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.export import INNER, bundle_folder, check_place, write_card
from avgan.metrics import bootstrap_interval
from avgan.neighbours import first_windows, training_clips
from avgan.runtime.bundle import MODEL_FILE, Bundle, open_bundle
from avgan.runtime.network import FEATURES, NOISE, WAVEFORM, Network
from avgan.training.data import read_sounds

NUM_CLIPS = 128
BATCH = 4


def quantize_bundle(full: Path, out: Path, *, run: Path, data: Path) -> Path:
    """Write the 8-bit bundle `out` of the bundle `full` that was exported from `run`. Returns `out`.

    Its card says what was lost on the clips that the run held out. Raises BundleError when `out` holds
    something else than a bundle, DataError when `data` is not what the run was trained on.
    """
    check_place(out)
    bundle = open_bundle(full)
    described = checkpoint.describe(run)
    sounds = read_sounds(described.config.stage.data, data)
    clips = training_clips(sounds, described)
    if not clips:
        raise DataError(f"{data}: holds no recording that the run was trained on; name its folder")
    chosen = clips[:: max(1, len(clips) // NUM_CLIPS)][:NUM_CLIPS]
    waveforms = list(first_windows(sounds.root, chosen, bundle))
    content = quantize(bundle.read(MODEL_FILE), waveforms, noise_size=bundle.card.noise_size)
    card = json.loads(bundle.card.model_dump_json())
    card["name"] = f"{bundle.card.name}-int8"
    card["description"] += "; heavy layers in 8 bits"
    card["sha256"][MODEL_FILE] = hashlib.sha256(content).hexdigest()
    with bundle_folder(out) as folder:
        shutil.copytree(full, folder, dirs_exist_ok=True)
        (folder / MODEL_FILE).write_bytes(content)
        write_card(folder, card)
        card["measured"] = compare(bundle, open_bundle(folder), sounds, held_out(sounds, described))
        write_card(folder, card)
    return out


def quantize(model: bytes, waveforms: Sequence[np.ndarray], *, noise_size: int | None = None) -> bytes:
    """The graph of a bundle with its heavy layers in 8 bits, ranges taken from waveforms (L,) of one length.

    `noise_size`: the card's. The sampler, like the decoder, stays as it is.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    graph = onnx.load_from_string(model)
    heavy = heavy_layers(graph)
    unhalve(graph, {node.input[1] for node in heavy})
    described = {value.name: value for value in graph.graph.value_info}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / MODEL_FILE
        quantize_static(
            graph,
            path,
            _Clips(waveforms, noise_size),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=[node.name for node in heavy],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"CalibMovingAverage": True},
        )
        small = onnx.load(path)
    kept = {value.name for value in small.graph.value_info}
    small.graph.value_info.extend(described[name] for name in INNER if name not in kept)
    onnx.checker.check_model(small)
    content: bytes = small.SerializeToString()
    return content


def heavy_layers(model: Any) -> list[Any]:
    """The nodes before FEATURES that multiply several channels with each other."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    shapes |= {
        node.output[0]: shapes[node.input[0]]
        for node in model.graph.node
        if node.op_type == "Cast" and node.input[0] in shapes
    }
    needed = {FEATURES}
    found = []
    for node in reversed(model.graph.node):  # those of an ONNX graph stand after what they need
        if needed.isdisjoint(node.output):
            continue
        needed.update(node.input)
        groups = next((item.i for item in node.attribute if item.name == "group"), 1)
        if node.op_type in ("Conv", "Gemm") and groups == 1 and shapes.get(node.input[1], (1, 1))[1] > 1:
            found.append(node)
    return found[::-1]


def unhalve(model: Any, names: Iterable[str]) -> None:
    """Store these weights in single precision again, without the Cast that made them so."""
    from onnx import numpy_helper

    wanted = set(names)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    for cast in casts:
        tensor = tensors.get(cast.input[0])
        if tensor is not None and cast.output[0] in wanted:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, cast.output[0]))
            model.graph.node.remove(cast)


def held_out(sounds: Manifest, described: Checkpoint) -> list[Clip]:
    """The clips that a run was never trained on, of the folds it held out, or else of its validation part."""
    folds, aside = described.config.stage.data.held_out_folds, set(described.origin.validation_sources)
    chosen = [clip for clip in sounds.clips if clip.audio_path and clip.label in described.labels]
    if folds:
        return [clip for clip in chosen if clip.fold in folds]
    return [clip for clip in chosen if clip.source_id in aside]


def compare(full: Bundle, small: Bundle, sounds: Manifest, clips: Sequence[Clip]) -> dict[str, dict[str, Any]]:
    """What a smaller bundle loses on clips, for its card; nothing where there are no clips."""
    if not clips:
        return {}
    answers = [_answers(bundle, sounds, clips) for bundle in (full, small)]
    labels, codes = ([answer[part] for answer in answers] for part in (0, 1))
    targets = np.array([full.card.labels.index(clip.label) for clip in clips])
    sources = np.array([clip.source_id for clip in clips])
    right = [(found == targets).astype(float) for found in labels]
    protocol = f"{len(clips)} clips held out, against the same bundle in single precision"
    figures = {
        "accuracy": (right[1], "held-out clips"),
        "accuracy_change": (right[1] - right[0], protocol),
        "labels_unchanged": ((labels[0] == labels[1]).astype(float), protocol),
        "codes_unchanged": ((codes[0] == codes[1]).mean((1, 2)), protocol),
    }
    return {
        name: {
            "value": float(values.mean()),
            "interval_95": bootstrap_interval(values, sources),
            "protocol": how,
            "command": "avgan export --int8",
        }
        for name, (values, how) in figures.items()
    }


def _answers(bundle: Bundle, sounds: Manifest, clips: Sequence[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """Labels (M,) and codes (M, 16, 16) of clips."""
    network = Network(bundle)
    answers = [network.predict(network.embed(waveform[None])) for waveform in first_windows(sounds.root, clips, bundle)]
    labels = np.array([int(answer.probabilities.argmax()) for answer in answers])
    return labels, np.concatenate([network.codes(answer.features) for answer in answers])


class _Clips:
    """Hands batches of waveforms to the calibration, which wants a `CalibrationDataReader`."""

    def __init__(self, waveforms: Sequence[np.ndarray], noise_size: int | None) -> None:
        self._noise_size = noise_size
        self._batches: Iterator[np.ndarray] = (
            np.stack(waveforms[start : start + BATCH]) for start in range(0, len(waveforms), BATCH)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        if self._noise_size is None:
            return {WAVEFORM: batch}
        # nothing in 8 bits lies behind the noise
        return {WAVEFORM: batch, NOISE: np.zeros((len(batch), self._noise_size), np.float32)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice on preparing a model, which ours does not need, from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
