"""YAMNet: Google's tagger of 521 AudioSet classes, as a pretrained trunk. Weights only.

Google publishes a Keras file with batch norm; the trunk wants it folded into the convolutions:

    y = (w * x - mean) / sqrt(variance + epsilon) + beta   ->   weight = w / sqrt(...),
                                                                bias = beta - mean / sqrt(...)

The result is compared with figures of the tested file, so that a wrong conversion cannot pass.
"""

import importlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avgan.data.datasets.declaration import Remote, Weights
from avgan.errors import DataError
from avgan.files import write_whole

_KERAS = "yamnet.h5"
_FILENAME = "yamnet.safetensors"
CLASS_MAP = "yamnet_class_map.csv"
_COMMIT = "dfffd623b6be8d1d9744b8e261fbac370d17c46d"  # of tensorflow/models: the map as it was last changed

NUM_LAYERS = 14  # the first an ordinary convolution, the others depthwise then pointwise
EPSILON = 1e-4  # of Google's batch norm, which has no scale

# Mean absolute value of some tensors of the tested file, from its beginning, middle and end.
_MEAN_ABS = {
    "features.1.weight": 0.2840862,
    "features.40.weight": 0.4499558,
    "features.40.bias": 0.4735083,
    "features.79.weight": 0.4527117,
    "features.79.bias": 1.7933886,
    "classifier.weight": 0.2734344,
    "classifier.bias": 0.0895398,
}
_TOLERANCE = 1e-4  # relative; float32 rounding is a thousand times smaller


def fold(keras: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return Google's arrays with batch norm folded, under the names that the trunk loads.

    `keras` names arrays as the Keras file does: layer/layer/array. Kernels there are
    (H, W, in, out), here (out, in, H, W).
    """
    folded: dict[str, np.ndarray] = {}
    convolutions = ["layer1/conv"]
    for layer in range(2, NUM_LAYERS + 1):
        convolutions += [f"layer{layer}/depthwise_conv", f"layer{layer}/pointwise_conv"]
    for index, name in enumerate(convolutions):
        is_depthwise = name.endswith("depthwise_conv")
        kernel = keras[f"{name}/{name}/{'depthwise_kernel' if is_depthwise else 'kernel'}:0"]
        # A depthwise kernel is (H, W, channels, 1): its channels are what comes out.
        kernel = kernel.transpose((2, 3, 0, 1) if is_depthwise else (3, 2, 0, 1))
        beta, mean, variance = (
            keras[f"{name}/bn/{name}/bn/{part}:0"]
            for part in ("beta", "moving_mean", "moving_variance")
        )
        deviation = np.sqrt(variance + EPSILON)
        position = 3 * index + 1  # in a sequence of (pad, convolution, ReLU)
        folded[f"features.{position}.weight"] = kernel / deviation[:, None, None, None]
        folded[f"features.{position}.bias"] = beta - mean / deviation
    folded["classifier.weight"] = keras["logits/logits/kernel:0"].T
    folded["classifier.bias"] = keras["logits/logits/bias:0"]
    return {name: np.ascontiguousarray(array, np.float32) for name, array in folded.items()}


def differences(weights: Mapping[str, np.ndarray]) -> list[str]:
    """Return in what respect weights are not those that were tested; empty: in none."""
    return [
        f"{name}: absent or not as tested"
        for name, expected in _MEAN_ABS.items()
        if name not in weights
        or not np.isclose(np.abs(weights[name]).mean(), expected, rtol=_TOLERANCE)
    ]


def _convert(folder: Path) -> None:
    """Write yamnet.safetensors from the Keras file in a folder, then delete the latter."""
    source = folder / _KERAS
    try:
        weights = fold(_read_keras(source))
    except KeyError as error:
        raise DataError(f"{source}: has no {error}; another version of YAMNet") from error
    if problems := differences(weights):
        raise DataError(f"{source}: another version of YAMNet ({problems[0]})")
    write_whole(folder / _FILENAME, _to_safetensors(weights))
    source.unlink()


def _read_keras(path: Path) -> dict[str, np.ndarray]:
    try:
        h5py = importlib.import_module("h5py")  # asked for by this one conversion, so no dependency
    except ImportError as error:
        raise DataError(
            f"converting {_KERAS} needs h5py: pip install h5py, and run the command again"
        ) from error
    arrays: dict[str, np.ndarray] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[...]

    try:
        with h5py.File(path) as file:
            file.visititems(collect)
    except OSError as error:
        path.unlink()
        raise DataError(f"{path}: damaged ({error}), deleted; run the command again") from error
    return arrays


# The format is a JSON header and the arrays one after the other: short enough to need no package,
# which the data layer would have for this file alone.


def _to_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    header, position = {}, 0
    for name, array in arrays.items():
        offsets = [position, position + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}
        position = offsets[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(a.tobytes() for a in arrays.values())


def _from_safetensors(content: bytes) -> dict[str, np.ndarray]:
    (length,) = struct.unpack_from("<Q", content)
    data = memoryview(content)[8 + length :]
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in header.items()
    }


def _verify(path: Path) -> list[str]:
    try:
        return differences(_from_safetensors(path.read_bytes()))
    except (struct.error, ValueError, KeyError, TypeError) as error:
        return [f"not a safetensors file ({error})"]


YAMNET = Weights(
    name="yamnet",
    title="YAMNet, audio tagger trained on AudioSet",
    story="""\
MobileNetV1 trained on AudioSet, 521 classes, 16 kHz mono in. The file holds the network with its
batch norm folded into the convolutions: features.N.weight and .bias, where N counts the layers of
(pad, convolution, ReLU) triples, and classifier.weight and .bias. It is made from the Keras file
that Google publishes. yamnet_class_map.csv beside it names the classes, for those who tag with it.
""",
    citation="""\
@misc{plakal2020yamnet,
  title        = {{YAMNet}},
  author       = {Plakal, Manoj and Ellis, Dan},
  year         = {2020},
  howpublished = {https://github.com/tensorflow/models/tree/master/research/audioset/yamnet}
}""",
    licence="Apache-2.0 (Google, tensorflow/models).",
    address="https://github.com/tensorflow/models/tree/master/research/audioset/yamnet",
    remotes=(Remote(url=f"https://storage.googleapis.com/audioset/{_KERAS}", filename=_KERAS),),
    companions=(
        Remote(
            url=f"https://raw.githubusercontent.com/tensorflow/models/{_COMMIT}/research/audioset/yamnet/{CLASS_MAP}",
            filename=CLASS_MAP,
            bytes=14_096,
            sha256="cdf24d193e196d9e95912a2667051ae203e92a2ba09449218ccb40ef787c6df2",
        ),
    ),
    folders=("yamnet", "weights"),
    matches=lambda root: (root / _FILENAME).is_file(),
    filename=_FILENAME,
    convert=_convert,
    verify=_verify,
)
