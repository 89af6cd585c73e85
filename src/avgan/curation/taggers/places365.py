"""Taggers of pictures that were taught on Places365, 365 scenes: VGG16 (the paper's) and a SqueezeNet.

Their authors published VGG16 for Caffe. It is read as it is, or from a conversion to safetensors or PyTorch under
Caffe's names (`conv1_1.weight` ... `fc8a.bias`). Both networks are given blue, green, red, less the mean of Places365,
and look at the central 224 px of the picture squeezed to 256 x 256 px, as all pictures of Places365 were.

Shapes: b pictures, H W pixels, N labels.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor, nn

from avgan.curation.privacy import opencv
from avgan.curation.taggers.tagger import Tagger, beside, check_count, check_published, on_one_thread, read_places
from avgan.download import Remote
from avgan.errors import DataError
from avgan.images import as_picture
from avgan.weights import fill, find_weights, read_arrays

ADDRESS = "https://github.com/CSAILVision/places365"
LABEL_FILE = "categories_places365.txt"
VGG16_FILE = Remote(
    filename="vgg16_places365.caffemodel",
    url="http://places2.csail.mit.edu/models_places365/vgg16_places365.caffemodel",
)
VGG16_LICENCE = "CC BY (MIT CSAIL, Places365-CNNs)."
SQUEEZENET_FILE = "squeezenet_places365.safetensors"
SQUEEZENET_LICENCE = "None stated: for tests and experiments, not to be passed on."
RESIZED_PX, CROP_PX = 256, 224  # as published
MEAN_BGR = (104.05, 112.51, 116.68)
"""Of Places365, in 0 ... 255."""
VGG16_CONVOLUTIONS = (2, 2, 3, 3, 3)
"""In each of its five blocks; a block ends in a maximum over 2 x 2."""
VGG16_WIDTHS = (64, 128, 256, 512, 512)  # as published
VGG16_LAYERS = (
    *(f"conv{block}_{n}" for block, num in enumerate(VGG16_CONVOLUTIONS, 1) for n in range(1, num + 1)),
    *("fc6", "fc7", "fc8a"),
)
BLOCK = 8  # pictures in one pass: more are no faster on a core
SLOPE = 0.55
"""Of the SqueezeNet's leaky ReLU."""
SQUEEZED = (16, 16, 32, 32, 48, 48, 64, 64)  # as published
POOLED_AFTER = (1, 3)
"""Numbers of the fire modules, from 0, that a maximum over 3 x 3 follows."""


def read_caffe(path: Path) -> dict[str, np.ndarray]:
    """Arrays of VGG16's .caffemodel as `<layer>.weight` and `<layer>.bias`, float32; layers that it lacks are left out.

    OpenCV reads it. It wants the network described, too, of which only the names of layers matter for their weights.

    Raises DataError: it is no such file, or a damaged one.
    """
    cv2 = opencv()
    described = 'input: "x" input_shape { dim: [1, 1, 1, 1] }' + "".join(
        f'layer {{ name: "{name}" type: "Convolution" bottom: "x" top: "{name}"'
        " convolution_param { num_output: 1 kernel_size: 1 } }"
        for name in VGG16_LAYERS
    )
    arrays = {}
    try:
        net = cv2.dnn.readNetFromCaffe(np.frombuffer(described.encode(), np.uint8), np.fromfile(path, np.uint8))
        for name, (place, part) in product(VGG16_LAYERS, enumerate(("weight", "bias"))):
            with suppress(cv2.error):  # raised where a layer has no such array
                arrays[f"{name}.{part}"] = net.getParam(name, place)
    except cv2.error:
        arrays = {}
    if not arrays:
        raise DataError(f"{path}: not a whole Caffe model of VGG16; download it again")
    return arrays


class VGG16(nn.Module):
    """Pictures (b, 3, 224, 224) -> logits (b, N). Its parts are named as Caffe's."""

    def __init__(self, widths: tuple[int, ...], num_dense: int, num_labels: int) -> None:
        super().__init__()
        num_in = 3
        for block, (width, num_convolutions) in enumerate(zip(widths, VGG16_CONVOLUTIONS, strict=True), 1):
            for number in range(1, num_convolutions + 1):
                self.add_module(f"conv{block}_{number}", nn.Conv2d(num_in, width, 3, padding=1))
                num_in = width
        self.fc6 = nn.Linear(num_in * (CROP_PX // 2 ** len(widths)) ** 2, num_dense)
        self.fc7 = nn.Linear(num_dense, num_dense)
        self.fc8a = nn.Linear(num_dense, num_labels)

    def forward(self, hidden: Tensor) -> Tensor:
        for block, num_convolutions in enumerate(VGG16_CONVOLUTIONS, 1):
            for number in range(1, num_convolutions + 1):
                hidden = F.relu(self.get_submodule(f"conv{block}_{number}")(hidden))
            hidden = F.max_pool2d(hidden, 2)
        hidden = F.relu(self.fc6(hidden.flatten(1)))
        logits: Tensor = self.fc8a(F.relu(self.fc7(hidden)))
        return logits


class Convolution(nn.Module):
    """A convolution, scale and shift for each channel (its batch norm, folded), leaky ReLU."""

    def __init__(self, num_in: int, num_out: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(num_in, num_out, kernel, stride=stride, padding=padding)
        self.scale = nn.Parameter(torch.ones(num_out))
        self.shift = nn.Parameter(torch.zeros(num_out))

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.conv(hidden) * self.scale[:, None, None] + self.shift[:, None, None]
        return F.leaky_relu(hidden, SLOPE)


class Fire(nn.Module):
    """(b, C, H, W) -> (b, 8 s, H, W): to s channels, and from there 1 x 1 and 3 x 3 side by side."""

    def __init__(self, num_in: int, num_squeezed: int) -> None:
        super().__init__()
        self.sq = Convolution(num_in, num_squeezed, 1)
        self.e1 = Convolution(num_squeezed, 4 * num_squeezed, 1)
        self.e3 = Convolution(num_squeezed, 4 * num_squeezed, 3)

    def forward(self, hidden: Tensor) -> Tensor:
        squeezed = self.sq(hidden)
        return torch.cat([self.e1(squeezed), self.e3(squeezed)], 1)


class SqueezeNet(nn.Module):
    """Pictures (b, 3, 224, 224) -> logits (b, N). Its parts are named as in the file."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.conv1 = Convolution(3, 64, 3, stride=2)
        fires, num_in = [], 64
        for num_squeezed in SQUEEZED:
            fires.append(Fire(num_in, num_squeezed))
            num_in = 8 * num_squeezed
        self.fires = nn.ModuleList(fires)
        self.conv10 = nn.Conv2d(num_in, num_labels, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        hidden = self.conv1(pictures.contiguous(memory_format=torch.channels_last))
        hidden = F.max_pool2d(hidden, 3, 2)
        for number, fire in enumerate(self.fires):
            hidden = fire(hidden)
            if number in POOLED_AFTER:
                hidden = F.max_pool2d(hidden, 3, 2)
        logits: Tensor = F.leaky_relu(self.conv10(hidden), SLOPE).mean((2, 3))
        return logits


def vgg16(named: Path, *, widths: tuple[int, ...] = VGG16_WIDTHS, num_dense: int = 4096) -> Tagger:
    """VGG16 from its file, or from a folder that holds the published one, with the 365 labels beside it.

    Raises DataError: one of them is missing, damaged, or of another network.
    """
    path = find_weights(
        named, [VGG16_FILE.filename], f"get it from {VGG16_FILE.url}, or do without: --sounds none, --scenes none"
    )
    sha256 = check_published(path, VGG16_FILE)
    arrays = read_arrays(path, {".caffemodel": read_caffe})
    with torch.device("meta"):
        network = VGG16(widths, num_dense, _num_labels(arrays, "fc8a.bias"))
    fill(network, arrays, path)
    return _tagger("vgg16-places365", network, path, as_caffe, licence=VGG16_LICENCE, sha256=sha256)


def squeezenet(named: Path) -> Tagger:
    """The SqueezeNet from its file, or from a folder that holds it, with the 365 labels beside it.

    Raises DataError: one of them is missing, damaged, or of another network.
    """
    path = find_weights(named, [SQUEEZENET_FILE], "get it where you got your other weights")
    sha256 = check_published(path)
    arrays = read_arrays(path)
    with torch.device("meta"):
        network = SqueezeNet(_num_labels(arrays, "conv10.bias"))
    fill(network, arrays, path)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster

    def prepare(picture: np.ndarray) -> np.ndarray:
        return as_caffe(picture) / 255

    return _tagger("squeezenet-places365", network, path, prepare, licence=SQUEEZENET_LICENCE, sha256=sha256)


def _num_labels(arrays: Mapping[str, Tensor], bias: str) -> int:
    """By the bias of the last layer; a blob of Caffe may come with leading axes of length 1."""
    return arrays[bias].numel() if bias in arrays else 0


def _tagger(
    name: str, network: nn.Module, path: Path, prepare: Callable[[np.ndarray], np.ndarray], *, licence: str, sha256: str
) -> Tagger:
    """With the labels that lie beside the weights at `path`."""
    list_path = beside(path, (LABEL_FILE,), ADDRESS)
    labels = read_places(list_path)
    check_count(labels, len(list(network.parameters())[-1]), list_path)
    return Tagger(
        name=name,
        takes_sounds=False,
        labels=labels,
        licence=licence,
        sha256=sha256,
        prepare=prepare,
        run=on_one_thread(lambda pictures: network(pictures).softmax(1)),
        block=BLOCK,
    )


def as_caffe(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) RGB -> (3, 224, 224): blue, green, red, less their means, in 0 ... 255.

    It is squeezed to a square, of which the border is left out.
    """
    resized = as_picture(picture).resize((RESIZED_PX, RESIZED_PX), Image.Resampling.LANCZOS)
    border = (RESIZED_PX - CROP_PX) // 2
    crop = np.asarray(resized, np.float32)[border : border + CROP_PX, border : border + CROP_PX, ::-1]
    return np.ascontiguousarray((crop - np.array(MEAN_BGR, np.float32)).transpose(2, 0, 1))
