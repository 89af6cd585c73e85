"""The scene classifier of pictures: a small network over pixels, taught by photographs, with weights that never change.

It scores what was photographed, reconstructed, imagined or made by another method, all alike by their pixels; the layer
before its answer is what FID and KID are computed from. `recipes/scene_classifier.py` makes its file. New weights make
all these figures incomparable with the ones before, so a report states the sha256. It is not the Inception network of
the literature: FID and KID compare within this project only.

The first classifier was looked at while pictures were chosen. A second one, of another architecture and seed, on which
no choice is made, says whether the first was flattered.

Shapes: B batch, M pictures, H W pixels, C features, S scenes.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avgan.evaluation.pictures.judge import train_network
from avgan.training.schedule import generator_of

WEIGHTS = Path(__file__).with_name("scene_classifier.safetensors")
SECOND_WEIGHTS = Path(__file__).with_name("second_scene_classifier.safetensors")
BATCH = 64
LEARNING_RATE = 3e-3
NUM_FOR_STATISTICS = 4_096
"""Pictures that mean and deviation are taken from, at least, where there are as many."""
SHIFT_PX = 6
"""Training pictures are shifted by up to as many pixels."""
PIXEL_MEAN, PIXEL_DEVIATION = 0.45, 0.27
"""Of photographs, all channels together."""


class SceneClassifier(nn.Module):
    """image (B, 3, H, W) in [0, 1], of any size -> features (B, C); `logits` says which scene that is.

    Buffers:
        middle, spread (C,): mean and deviation of the features over the photographs it was taught with. Features are
        standardised by them, so that a kernel distance weighs all alike.
    """

    size_px = 64
    middle: Tensor
    spread: Tensor

    def __init__(self, num_scenes: int) -> None:
        super().__init__()
        self.body, width = self.layers()
        self.answer = nn.Linear(width, num_scenes)
        self.register_buffer("middle", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def layers(self) -> tuple[nn.Sequential, int]:
        """A chain of convolutions with batch norm, and the width of the last."""
        layers: list[nn.Module] = []
        num_in = 3
        for level, width in enumerate((24, 48, 96, 192)):
            for stride in (2,) if level == 0 else (2, 1):
                convolution = nn.Conv2d(num_in, width, 3, stride=stride, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                num_in = width
        return nn.Sequential(*layers), num_in

    def forward(self, image: Tensor) -> Tensor:
        small = F.adaptive_avg_pool2d(image, self.size_px)
        hidden = self.body((small - PIXEL_MEAN) / PIXEL_DEVIATION).mean((2, 3))
        return (hidden - self.middle) / self.spread

    def logits(self, features: Tensor) -> Tensor:
        """features (B, C) -> logits (B, S)."""
        logits: Tensor = self.answer(features * self.spread + self.middle)
        return logits


class SecondSceneClassifier(SceneClassifier):
    """Patches of 4 px of 128, residual blocks with group norm."""

    size_px = 128

    def layers(self) -> tuple[nn.Sequential, int]:
        widths = (48, 96, 192)  # at 32, 16 and 8 px
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=4)]
        for level, width in enumerate(widths):
            if level:
                layers.append(nn.Conv2d(widths[level - 1], width, 3, stride=2, padding=1))
            layers += [_Block(width), _Block(width)]
        return nn.Sequential(*layers, nn.GroupNorm(8, widths[-1]), nn.GELU()), widths[-1]


class _Block(nn.Module):
    """hidden (B, C, H, W) -> the same shape: two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.GroupNorm(8, width), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)]
        self.body = nn.Sequential(*layers)

    def forward(self, hidden: Tensor) -> Tensor:
        total: Tensor = hidden + self.body(hidden)
        return total


MAKES = {"first": SceneClassifier, "second": SecondSceneClassifier}


@dataclass(frozen=True)
class Outputs:
    """What a scene classifier computes from pictures."""

    features: np.ndarray
    """(M, C) float64"""
    logits: np.ndarray
    """(M, S), in the order of its scenes."""


@dataclass(frozen=True)
class TrainedClassifier:
    """A scene classifier with the scenes it was taught."""

    network: SceneClassifier
    scenes: tuple[str, ...]
    sha256: str
    """Of its file."""

    @torch.no_grad()
    def apply(self, pictures: np.ndarray) -> Outputs:
        """pictures (M, 3, H, W) uint8."""
        features, logits = [], []
        for start in range(0, len(pictures), BATCH):
            image = torch.from_numpy(pictures[start : start + BATCH]).float() / 255.0
            features.append(self.network(image))
            logits.append(self.network.logits(features[-1]))
        return Outputs(torch.cat(features).double().numpy(), torch.cat(logits).double().numpy())


def load_classifier(path: Path = WEIGHTS) -> TrainedClassifier:
    """The first scene classifier that comes with the package, or that of another file."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    scenes = tuple(json.loads(metadata["scenes"]))
    network = MAKES[metadata.get("make", "first")](len(scenes))
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return TrainedClassifier(network.eval(), scenes, hashlib.sha256(path.read_bytes()).hexdigest())


def save_classifier(network: SceneClassifier, scenes: tuple[str, ...], path: Path) -> None:
    """Write half-precision weights: they change no answer and halve the file."""
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    make = next(name for name, kind in MAKES.items() if type(network) is kind)
    save_file(weights, path, metadata={"scenes": json.dumps(scenes), "make": make})


def train_classifier(
    pictures: np.ndarray, targets: np.ndarray, *, num_scenes: int, num_epochs: float, make: str = "first", seed: int = 0
) -> SceneClassifier:
    """Teach a scene classifier photographs (M, 3, H, W) uint8 of scene numbers (M,); in evaluation mode."""

    def images(items: np.ndarray, step: int) -> Tensor:
        image = torch.from_numpy(moved(pictures[items], generator_of(seed, "eye", step)))
        return (image.float() / 255.0).contiguous(memory_format=torch.channels_last)

    network = train_network(
        lambda: MAKES[make](num_scenes),
        images,
        targets,
        num_epochs=num_epochs,
        batch_size=BATCH,
        rate=LEARNING_RATE,
        seed=seed,
        stage="eye",  # part of the seed, kept so that the recipe makes the weights it made
        logits=lambda network, image: network.logits(network(image)),
    )
    standardise(network, pictures[:: max(1, len(pictures) // NUM_FOR_STATISTICS)])
    return network


def moved(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pictures (B, 3, H, W), half of them mirrored, all shifted alike by a few pixels with their borders repeated."""
    mirror = rng.random(len(pictures)) < 0.5
    pictures = np.where(mirror[:, None, None, None], pictures[..., ::-1], pictures)
    padding = ((0, 0), (0, 0), (SHIFT_PX, SHIFT_PX), (SHIFT_PX, SHIFT_PX))
    top, left = rng.integers(2 * SHIFT_PX + 1, size=2)
    size = pictures.shape[-1]
    wide = np.pad(pictures, padding, mode="edge")
    return np.ascontiguousarray(wide[..., top : top + size, left : left + size])


@torch.no_grad()
def standardise(network: SceneClassifier, pictures: np.ndarray) -> None:
    """Set mean and deviation of the features to those of pictures (M, 3, H, W) uint8; no answer changes."""
    features = torch.from_numpy(TrainedClassifier(network, (), "").apply(pictures).features)
    features = features * network.spread + network.middle
    network.middle.copy_(features.mean(0))
    network.spread.copy_(features.std(0).clamp(min=1e-4))
