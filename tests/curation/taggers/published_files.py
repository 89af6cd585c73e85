"""Files of weights as their publishers lay them out, but narrow and random; not written by our modules."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

NARROW = {"cnn14": (2, 3, 4, 5, 6, 7), "cnn10": (2, 3, 4, 5), "vgg16": (2, 3, 4, 5, 6)}
NUM_DENSE = 8
NUM_SOUNDS, NUM_PLACES = 527, 365
CONVOLUTIONS = (2, 2, 3, 3, 3)

Arrays = dict[str, np.ndarray]


def cnn_arrays(widths: tuple[int, ...], num_labels: int = NUM_SOUNDS, seed: int = 0) -> Arrays:
    """Under the names of the PANNs checkpoints, with the mel filters of librosa."""
    librosa = pytest.importorskip("librosa")
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}

    def norm(name: str, width: int, mean: float = 0.0, spread: float = 1.0) -> None:
        arrays[f"{name}.weight"] = rng.uniform(0.5, 1.5, width)
        arrays[f"{name}.bias"] = rng.normal(0, 0.5, width)
        arrays[f"{name}.running_mean"] = rng.normal(mean, 1, width)
        arrays[f"{name}.running_var"] = spread * rng.uniform(0.5, 2, width)

    filters = librosa.filters.mel(sr=32_000, n_fft=1024, n_mels=64, fmin=50, fmax=14_000)
    arrays["spectrogram_extractor.stft.conv_real.weight"] = rng.normal(size=(513, 1, 4))
    arrays["logmel_extractor.melW"] = filters.T
    norm("bn0", 64, mean=-30, spread=400)
    for number, (num_in, num_out) in enumerate(zip((1, *widths), widths, strict=False), 1):
        for layer, before in (("1", num_in), ("2", num_out)):
            kernel = rng.normal(0, np.sqrt(2 / (9 * before)), (num_out, before, 3, 3))
            arrays[f"conv_block{number}.conv{layer}.weight"] = kernel
            norm(f"conv_block{number}.bn{layer}", num_out)
    for name, num_out in (("fc1", widths[-1]), ("fc_audioset", num_labels)):
        arrays[f"{name}.weight"] = rng.normal(0, 0.5, (num_out, widths[-1]))
        arrays[f"{name}.bias"] = rng.normal(0, 0.5, num_out)
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def save_checkpoint(arrays: Arrays, path: Path, prefix: str = "", key: str = "model") -> Path:
    """As torch saves it, with the number of batches that a training leaves behind."""
    tensors = {prefix + name: torch.from_numpy(array) for name, array in arrays.items()}
    tensors |= {
        name.replace("running_mean", "num_batches_tracked"): torch.tensor(9)
        for name in tensors
        if name.endswith("running_mean")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"iteration": 600_000, key: tensors}, path)
    return path


def vgg16_arrays(widths: tuple[int, ...], num_dense: int, num_labels: int = NUM_PLACES, seed: int = 0) -> Arrays:
    """Under Caffe's names."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}

    def layer(name: str, *shape: int) -> None:
        scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
        arrays[f"{name}.weight"] = rng.standard_normal(shape, np.float32) * scale
        arrays[f"{name}.bias"] = rng.standard_normal(shape[0], np.float32) * np.float32(0.1)

    num_in = 3
    for block, (width, count) in enumerate(zip(widths, CONVOLUTIONS, strict=True), 1):
        for number in range(1, count + 1):
            layer(f"conv{block}_{number}", width, num_in, 3, 3)
            num_in = width
    layer("fc6", num_dense, 49 * num_in)
    layer("fc7", num_dense, num_dense)
    layer("fc8a", num_labels, num_dense)
    return arrays


def varint(number: int) -> bytes:
    groups = []
    while number > 0x7F:
        groups.append(0x80 | number & 0x7F)
        number >>= 7
    return bytes([*groups, number])


def field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer: bytes with their length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def save_caffe(arrays: Arrays, path: Path) -> Path:
    """As Caffe writes it. Layers without weights stand among the others."""

    def blob(array: np.ndarray) -> bytes:
        shape = field(1, b"".join(varint(dim) for dim in array.shape))
        return field(7, field(7, shape) + field(5, array.astype("<f4").tobytes()))

    content = [field(1, b"VGG_ILSVRC_16_layers")]
    for name in dict.fromkeys(key.rpartition(".")[0] for key in arrays):
        layer = field(1, name.encode()) + blob(arrays[f"{name}.weight"]) + blob(arrays[f"{name}.bias"])
        content += [field(100, layer), field(100, field(1, b"relu"))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(content))
    return path


def squeezenet_arrays(seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}

    def layer(name: str, num_out: int, num_in: int, kernel: int) -> None:
        scale = np.sqrt(2 / (num_in * kernel**2))
        conv = f"{name}.conv" if name != "conv10" else name
        arrays[f"{conv}.weight"] = rng.normal(0, scale, (num_out, num_in, kernel, kernel))
        arrays[f"{conv}.bias"] = rng.normal(0, 0.1, num_out)
        if name != "conv10":
            arrays[f"{name}.scale"] = rng.uniform(0.5, 1.5, num_out)
            arrays[f"{name}.shift"] = rng.normal(0, 0.1, num_out)

    layer("conv1", 64, 3, 3)
    num_in = 64
    for number, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        layer(f"fires.{number}.sq", squeezed, num_in, 1)
        layer(f"fires.{number}.e1", 4 * squeezed, squeezed, 1)
        layer(f"fires.{number}.e3", 4 * squeezed, squeezed, 3)
        num_in = 8 * squeezed
    layer("conv10", NUM_PLACES, num_in, 1)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def save_safetensors(arrays: Arrays, path: Path) -> Path:
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, path)
    return path


def write_sounds(path: Path, num_labels: int) -> Path:
    """A list in the layout of AudioSet, with a comma within a name, as there."""
    names = ["Speech", '"Male speech, man speaking"', "Music"]
    names += [f"Sound {number}" for number in range(3, num_labels)]
    rows = [f"{number},/m/{number:05},{name}" for number, name in enumerate(names)]
    path.write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    return path


def write_places(path: Path, num_labels: int = NUM_PLACES) -> Path:
    """A list in the layout of Places365."""
    rows = [f"/{'abc'[n % 3]}/scene_{n}/indoor {n}" for n in range(num_labels)]
    path.write_text("\n".join(rows) + "\n")
    return path


def save_onnx(path: Path, shape: Iterable[str | int], num_labels: int, *, activate: str = "Softmax") -> Path:
    """A network of sounds (b, L): the mean power by window; or of pictures (b, 3, H, W): the mean colour."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    shape = list(shape)
    rng = np.random.default_rng(0)
    num_seen = 3 if len(shape) == 4 else 1
    weight = rng.normal(0, 2, (num_seen, num_labels)).astype(np.float32)
    if len(shape) == 4:
        axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
        first = [helper.make_node("ReduceMean", ["x", "axes"], ["seen"], keepdims=0)]
    else:
        axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
        first = [
            helper.make_node("Mul", ["x", "x"], ["power"]),
            helper.make_node("ReduceMean", ["power", "axes"], ["seen"], keepdims=1),
        ]
    last = [helper.make_node("MatMul", ["seen", "w"], ["logits"])]
    if activate:
        last.append(helper.make_node(activate, ["logits"], ["y"]))
    weights = helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.ravel())
    out = helper.make_tensor_value_info("y" if activate else "logits", TensorProto.FLOAT, ["b", num_labels])
    graph = helper.make_graph(
        [*first, *last], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], [out], [axes, weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    path.with_name(f"{path.stem}.labels.txt").write_text(
        "\n".join(f"label {number}" for number in range(num_labels)) + "\n"
    )
    return path


def noise(seconds: float, channels: int = 2, seed: int = 0) -> np.ndarray:
    """A sound (L, C) at 32 kHz."""
    rng = np.random.default_rng(seed)
    return (0.2 * rng.standard_normal((round(32_000 * seconds), channels))).astype(np.float32)


def blobs(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A picture (H, W, 3) of smooth colours."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


Maker = Callable[[Path], Path]


def make_cnn14(folder: Path) -> Path:
    write_sounds(folder / "class_labels_indices.csv", NUM_SOUNDS)
    return save_checkpoint(cnn_arrays(NARROW["cnn14"]), folder / "own.pth")


def make_cnn10(folder: Path) -> Path:
    write_sounds(folder / "class_labels_indices.csv", NUM_SOUNDS)
    return save_safetensors(cnn_arrays(NARROW["cnn10"]), folder / "own.safetensors")


def make_vgg16(folder: Path) -> Path:
    write_places(folder / "categories_places365.txt")
    return save_caffe(vgg16_arrays(NARROW["vgg16"], NUM_DENSE), folder / "own.caffemodel")


def make_squeezenet(folder: Path) -> Path:
    write_places(folder / "categories_places365.txt")
    return save_safetensors(squeezenet_arrays(), folder / "squeezenet_places365.safetensors")


def make_nothing(folder: Path) -> Path:
    """For a tagger whose weights come with the package."""
    return folder


def make_onnx(folder: Path) -> Path:
    return save_onnx(folder / "birds.onnx", ["b", 16_000], 7)
