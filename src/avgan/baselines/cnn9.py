"""The nine-layer CNN of Kong et al. 2019, whose classifier the paper took over.

Four blocks of two 3 x 3 convolutions with average pooling, the mean over frequency, the maximum over time, one dense
layer. Its authors trained 5000 batches on scenes; on the 1600 training clips of ESC-50 these are 100 epochs.
"""

import numpy as np
import torch
from torch import Tensor, nn

from avgan.baselines.fitting import Recipe
from avgan.baselines.method import Card, Clips
from avgan.baselines.network import NetworkRival
from avgan.baselines.spectra import lengthened, log_mels_of
from avgan.features import FrontEndConfig

FRONT_END = FrontEndConfig(
    sample_rate_hz=32_000, hop_length=500, num_mels=64, f_min_hz=50.0, f_max_hz=14_000.0, padding="reflect"
)
WIDTHS = (64, 128, 256, 512)
SHORTEST = 8
"""Time steps that three poolings leave one of."""

CARD = Card(
    name="cnn9",
    title="CNN, 9 layers, average pooling",
    source="Kong, Cao, Iqbal, Xu, Wang, Plumbley 2019, Cross-task learning for audio tagging, sound event detection "
    "and spatial localization (arXiv 1904.03476)",
    follows=(
        "32 kHz, window 1024, hop 500, mirrored ends, 64 mel bands from 50 to 14 000 Hz, decibels, bands standardised",
        "layers, pooling, 4.69 M parameters with 10 labels",
        "Adam 0.001 with AMSGrad, batches of 32, cross-entropy, no augmentation",
        "learning rate times 0.9 after each 25th part of the training (each 200 of 5000 batches there)",
    ),
    differs=(
        "no figure of its authors on ESC-50 is known: 70.3 % is theirs on the scenes of DCASE 2019",
        "a periodic Hann window, where theirs is symmetric",
        "convolutions and products in bfloat16 where the processor has it",
        "fewer epochs where the budget ends before the hundredth",
    ),
)
RECIPE = Recipe(
    num_epochs=100,
    batch_size=32,
    optimiser=lambda parameters: torch.optim.Adam(parameters, lr=1e-3, amsgrad=True),
    schedule=lambda done: 0.9 ** int(25 * done),
)
"""How Kong et al. train it."""


class CNN9(nn.Module):
    """Log-mel (B, 1, F, T) -> logits (B, N)."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        num_in = 1
        for index, width in enumerate(WIDTHS):
            for _ in range(2):
                convolution = nn.Conv2d(num_in, width, 3, padding=1, bias=False)
                nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                num_in = width
            if index < 3:  # the fourth pooling of the original is 1 x 1
                layers.append(nn.AvgPool2d(2))
        self.body = nn.Sequential(*layers)
        self.dense = nn.Linear(num_in, num_labels)

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.dense(self.body(log_mel).mean(2).amax(2))


def log_mels(clips: Clips) -> np.ndarray:
    """Log-mel (M, 1, 64, T) in dB."""
    return lengthened(log_mels_of(clips, FRONT_END), SHORTEST)[:, None]


def cnn9() -> NetworkRival:
    """The rival, untrained."""
    return NetworkRival(CARD, log_mels, CNN9, RECIPE)
