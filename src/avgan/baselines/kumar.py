"""The network of Kumar et al. 2018: from scratch, and with the weights from AudioSet that made it known.

A VGG-like stack whose last layers slide along time, so that each 1.5 s of sound gets scores of its own and a clip the
mean of them. Its authors publish a network that learnt the 527 sounds of the balanced part of AudioSet from weak
labels; on ESC-50 they gave the 1024 channels of its last layer but one, averaged over the clip, to a linear support
vector machine. A user brings that file, named as in FILENAMES, in the data folder, or in `kumar` or `weights` below it.

Shapes: M clips, B batch, F mel bands, T time steps, N labels.
"""

import numpy as np
import torch
from torch import Tensor, nn

from avgan.baselines import fitting
from avgan.baselines.fitting import Recipe, one_cycle
from avgan.baselines.method import Budget, Card, Clips
from avgan.baselines.network import NetworkRival
from avgan.baselines.probes import Probe
from avgan.baselines.spectra import limit_range, log_mels_of
from avgan.features import FrontEndConfig
from avgan.weights import fill, find_weights, read_arrays

FRONT_END = FrontEndConfig(sample_rate_hz=44_100, num_mels=128, f_max_hz=22_050.0, padding="reflect")
TOP_DB = 80.0
WIDTHS = ((16, 16), (32, 32), (64, 64), (128, 128), (256, 256), (512,))
WIDTH = 1024
"""Channels of each segment."""
SHORTEST = 128
"""Time steps of one segment, 1.5 s: six poolings and a kernel of 2 leave one of them."""

SOURCE = (
    "Kumar, Khadkevich, Fügen 2018, Knowledge transfer from weakly labeled audio using convolutional neural network "
    "for sound events and scenes (ICASSP)"
)
INPUT = (
    "44 100 Hz, window 1024, hop 512, mirrored ends, 128 mel bands, decibels (80 dB below the loudest at most); clips "
    "of fewer than 128 time steps end in zeros"
)
CARD = Card(
    name="kumar",
    title="CNN of Kumar et al., from scratch",
    source=SOURCE,
    published=83.5,
    follows=(INPUT, "layers and widths up to the 1024 channels of each segment, the mean over segments"),
    differs=(
        "not pretrained: the published figure is that of the original with its weights, see kumar-pretrained",
        "trained on the labels directly: softmax over the mean of the segments' logits, where the original scores "
        "each of 527 sounds by a sigmoid",
        "how it is trained is our choice: bands standardised, Adam 0.001 in one cycle over 60 epochs, batches of 32, "
        "mixup 0.3, random time roll",
    ),
)

FILENAMES = ("kumar.safetensors", "kumar.pth", "mx-h64-1024_0d3-1.17.pkl")
"""The last is the published name. Arrays are named as published: layer1.0.weight, layer1.1.running_mean, ..."""
ADVICE = (
    "get mx-h64-1024_0d3-1.17.pkl from https://github.com/anuragkr90/weak_feature_extractor and put it there, by that "
    "name or converted to .safetensors"
)


def trunk() -> nn.Sequential:
    """Log-mel (B, 1, F, T) -> (B, 1024, F', T'), T' segments; the layers 1 to 18 of the original, in its order."""
    layers: list[nn.Module] = []
    num_in = 1
    for widths in WIDTHS:
        for width in widths:
            layers.append(_convolution(num_in, width, kernel=3, padding=1))
            num_in = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, _convolution(num_in, WIDTH, kernel=2, padding=0))


def _convolution(num_in: int, num_out: int, *, kernel: int, padding: int) -> nn.Sequential:
    convolution = nn.Conv2d(num_in, num_out, kernel, padding=padding)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(num_out), nn.ReLU(inplace=True))


class SegmentCNN(nn.Module):
    """Log-mel (B, 1, 128, T) -> logits (B, N)."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.trunk = trunk()
        self.head = nn.Conv2d(WIDTH, num_labels, 1)

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.head(self.trunk(log_mel)).mean((2, 3))


def log_mels(clips: Clips) -> np.ndarray:
    """Log-mel (M, 1, 128, T) in dB; what is shorter than a segment ends in zeros, which are 0 dB."""
    decibels = limit_range(log_mels_of(clips, FRONT_END), TOP_DB)
    lacking = max(0, SHORTEST - decibels.shape[-1])
    return np.pad(decibels, ((0, 0), (0, 0), (0, lacking)))[:, None]


def kumar() -> NetworkRival:
    """The rival from scratch, untrained."""
    recipe = Recipe(
        num_epochs=60,
        batch_size=32,
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        schedule=one_cycle,
        rolls=True,
        mixup_alpha=0.3,
    )
    return NetworkRival(CARD, log_mels, SegmentCNN, recipe)


class Pretrained(Probe):
    """The published network, and a linear support vector machine on the mean of its segments' 1024 channels."""

    card = Card(
        name="kumar-pretrained",
        title="CNN of Kumar et al., pretrained",
        source=SOURCE,
        published=83.5,
        pretrained_on="AudioSet, balanced part",
        follows=(
            "the authors' weights, which a user brings, and their layers",
            INPUT,
            "1024 channels averaged over the clip, and a linear support vector machine on them",
        ),
        differs=(
            "the machine's settings are chosen by cross-validation within the training clips, by source, on "
            "standardised vectors",
        ),
    )

    def learn(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> np.ndarray:
        """Load the weights. Raises DataError where there are none."""
        path = find_weights(clips.folder, FILENAMES, ADVICE, below=("kumar", "weights"))
        self._trunk = trunk()
        fill(self._trunk, read_arrays(path), path, name_of=published_name)
        spectra = log_mels(clips)
        self.embedding_cost = fitting.cost_of(self._trunk, torch.from_numpy(spectra[:1]).transpose(2, 3))
        self._trunk.to(fitting.device())
        return self.embed(spectra)

    def vectors(self, clips: Clips) -> np.ndarray:
        return self.embed(log_mels(clips))

    def embed(self, spectra: np.ndarray) -> np.ndarray:
        """Log-mel (M, 1, F, T) -> (M, 1024); the original's pictures lie on their side."""
        batches = torch.from_numpy(spectra).transpose(2, 3).split(fitting.BATCH)
        return fitting.embed(lambda batch: self._trunk(batch).mean((2, 3)), batches)


def published_name(name: str) -> str:
    """`0.1.weight` of the trunk -> `layer1.1.weight`: the original counts layers from 1."""
    layer, _, rest = name.partition(".")
    return f"layer{int(layer) + 1}.{rest}"
