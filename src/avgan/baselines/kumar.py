"""The network of Kumar et al. 2018, here without what made it known: its weights from AudioSet.

A VGG-like stack whose last layers slide along time, so that each 1.5 s of sound gets scores of its own and a clip the
mean of them.
"""

import numpy as np
import torch
from torch import Tensor, nn

from avgan.baselines.fitting import Recipe, one_cycle
from avgan.baselines.rival import Card, Clips
from avgan.baselines.spectra import lengthened, log_mels
from avgan.baselines.spectrogram import SpectrogramRival
from avgan.features import FrontEndConfig

FRONT_END = FrontEndConfig(sample_rate_hz=44_100, num_mels=128, f_max_hz=22_050.0)
WIDTHS = ((16, 16), (32, 32), (64, 64), (128, 128), (256, 256), (512,))
SHORTEST = 128
"""Time steps of one segment, 1.5 s: six poolings and a kernel of 2 leave one of them."""

CARD = Card(
    name="kumar",
    title="CNN of Kumar et al., from scratch",
    source="Kumar, Khadkevich, Fügen 2018, Knowledge transfer from weakly labeled audio using convolutional neural "
    "network for sound events and scenes (ICASSP)",
    published=83.5,
    follows=(
        "44 100 Hz, window 1024, hop 512, 128 mel bands, decibels; clips of at least 128 time steps",
        "layers and widths up to the 1024 channels of each segment, the mean over segments",
    ),
    differs=(
        "not pretrained: the published figure is of a linear SVM on the 1024 channels of a network trained on the "
        "balanced part of AudioSet, whose weights are not used here",
        "trained on the labels directly: softmax over the mean of the segments' logits, where the original scores "
        "each of 527 sounds by a sigmoid",
        "how it is trained is our choice: Adam 0.001 in one cycle over 60 epochs, batches of 32, mixup 0.3, random "
        "time roll",
    ),
)


class SegmentCNN(nn.Module):
    """Log-mel (B, 1, 128, T) -> logits (B, N)."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        num_in = 1
        for widths in WIDTHS:
            for width in widths:
                layers += _convolution(num_in, width, kernel=3, padding=1)
                num_in = width
            layers.append(nn.MaxPool2d(2))
        layers += _convolution(num_in, 1024, kernel=2, padding=0)
        self.layers = nn.Sequential(*layers, nn.Conv2d(1024, num_labels, 1))

    def forward(self, log_mel: Tensor) -> Tensor:
        logits: Tensor = self.layers(log_mel).mean((2, 3))
        return logits


def _convolution(num_in: int, num_out: int, *, kernel: int, padding: int) -> list[nn.Module]:
    convolution = nn.Conv2d(num_in, num_out, kernel, padding=padding)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(num_out), nn.ReLU(inplace=True)]


def hear(clips: Clips) -> np.ndarray:
    """Log-mel (M, 128, T) in dB."""
    return lengthened(log_mels(clips.read(FRONT_END.sample_rate_hz), FRONT_END), SHORTEST)


def kumar() -> SpectrogramRival:
    """The rival, untrained."""
    recipe = Recipe(
        num_epochs=60,
        batch_size=32,
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        schedule=one_cycle,
        mixup_alpha=0.3,
    )
    return SpectrogramRival(CARD, hear, SegmentCNN, recipe, rolls=True)
