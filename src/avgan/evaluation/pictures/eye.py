"""The project's eye: a small network that looks at pixels, taught scenes by photographs; its weights never change.

It judges what was photographed, reconstructed, imagined, or drawn by a rival, all alike by their pixels; what it sees
in a picture, the layer before its answer, is what FID and KID are computed from. It lies in the package as
`eye.safetensors`, made by `recipes/eye.py`; whoever changes it makes all these numbers incomparable with the ones
before, so a report states its sha256. It is not the Inception network of the literature: FID and KID compare within
this project only.

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

from avgan.evaluation.pictures.second_eye import SecondEye
from avgan.training.schedule import generator_of, indices_at, rate_factor

WEIGHTS = Path(__file__).with_name("eye.safetensors")
SECOND_WEIGHTS = Path(__file__).with_name("second_eye.safetensors")
SIZE_PX = 64
WIDTHS = (24, 48, 96, 192)
BATCH = 64
LEARNING_RATE = 3e-3
NUM_SETTLING = 4_096
"""Pictures that middle and spread are taken from, at least, where there are as many."""
SHIFT_PX = 6
"""Training pictures are shifted by up to as many pixels."""


class Eye(nn.Module):
    """image (B, 3, H, W) in [0, 1], of any size -> what it sees (B, C); `name` says which scene that is.

    Buffers:
        middle, spread (C,): mean and deviation over the photographs it was taught with. What it sees is measured
        from there, so that a kernel distance looks at all features alike.
    """

    middle: Tensor
    spread: Tensor

    def __init__(self, num_scenes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        num_in = 3
        for level, width in enumerate(WIDTHS):
            layers += _convolution(num_in, width, stride=2)
            if level > 0:
                layers += _convolution(width, width, stride=1)
            num_in = width
        self.body = nn.Sequential(*layers)
        self.answer = nn.Linear(num_in, num_scenes)
        self.register_buffer("middle", torch.zeros(num_in))
        self.register_buffer("spread", torch.ones(num_in))

    def forward(self, image: Tensor) -> Tensor:
        small = F.adaptive_avg_pool2d(image, SIZE_PX)
        hidden = self.body((small - 0.45) / 0.27).mean((2, 3))
        return (hidden - self.middle) / self.spread

    def name(self, seen: Tensor) -> Tensor:
        """What it sees (B, C) -> logits (B, S)."""
        logits: Tensor = self.answer(seen * self.spread + self.middle)
        return logits


AnyEye = Eye | SecondEye
MAKES: dict[str, type[Eye] | type[SecondEye]] = {"first": Eye, "second": SecondEye}


def _convolution(num_in: int, num_out: int, *, stride: int) -> list[nn.Module]:
    layer = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)
    return [layer, nn.BatchNorm2d(num_out), nn.ReLU()]


@dataclass(frozen=True)
class Look:
    """What the eye makes of pictures."""

    features: np.ndarray
    """(M, C) float64"""
    logits: np.ndarray
    """(M, S), in the order of the eye's scenes."""


@dataclass(frozen=True)
class TrainedEye:
    """The eye with what it was taught."""

    network: AnyEye
    scenes: tuple[str, ...]
    sha256: str
    """Of its file."""

    @torch.no_grad()
    def look(self, pictures: np.ndarray) -> Look:
        """pictures (M, 3, H, W) uint8."""
        seen, logits = [], []
        for start in range(0, len(pictures), BATCH):
            image = torch.from_numpy(pictures[start : start + BATCH]).float() / 255.0
            seen.append(self.network(image))
            logits.append(self.network.name(seen[-1]))
        return Look(torch.cat(seen).double().numpy(), torch.cat(logits).double().numpy())


def load_eye(path: Path = WEIGHTS) -> TrainedEye:
    """The eye that comes with the package, or another one."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    scenes = tuple(json.loads(metadata["scenes"]))
    network = MAKES[metadata.get("make", "first")](len(scenes))
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return TrainedEye(network.eval(), scenes, hashlib.sha256(path.read_bytes()).hexdigest())


def load_second_eye() -> TrainedEye | None:
    """The second eye, where the package has one."""
    return load_eye(SECOND_WEIGHTS) if SECOND_WEIGHTS.exists() else None


def save_eye(network: AnyEye, scenes: tuple[str, ...], path: Path) -> None:
    """Write an eye with half-precision weights: they change no answer and halve the file."""
    state = network.state_dict()
    weights = {
        name: value.half().contiguous()
        for name, value in state.items()
        if value.is_floating_point()
    }
    weights |= {name: value for name, value in state.items() if name not in weights}
    make = next(name for name, kind in MAKES.items() if isinstance(network, kind))
    save_file(weights, path, metadata={"scenes": json.dumps(scenes), "make": make})


def train_eye(
    pictures: np.ndarray,
    targets: np.ndarray,
    *,
    num_scenes: int,
    num_epochs: float,
    make: str = "first",
    seed: int = 0,
) -> AnyEye:
    """Teach an eye with photographs (M, 3, H, W) uint8 of scene numbers (M,); in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: AnyEye = MAKES[make](num_scenes)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.05)
        num_steps = int(num_epochs * len(targets) / BATCH)
        for step in range(num_steps):
            items = indices_at(
                step, num_items=len(targets), batch_size=BATCH, seed=seed, stage="eye"
            )
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate_factor(
                "one_cycle", step, num_steps
            )
            image = torch.from_numpy(moved(pictures[items], generator_of(seed, "eye", step)))
            image = (image.float() / 255.0).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network.name(network(image)).float()
            loss = F.cross_entropy(logits, torch.from_numpy(targets[items]), label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    network.eval()
    settle(network, pictures[:: max(1, len(pictures) // NUM_SETTLING)])
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
def settle(network: AnyEye, pictures: np.ndarray) -> None:
    """Set the middle and spread of what an eye sees to those of pictures (M, 3, H, W) uint8."""
    seen = torch.from_numpy(TrainedEye(network, (), "").look(pictures).features)
    seen = seen * network.spread + network.middle
    network.middle.copy_(seen.mean(0))
    network.spread.copy_(seen.std(0).clamp(min=1e-4))
