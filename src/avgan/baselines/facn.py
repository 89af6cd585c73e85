"""The frequency-aware CP-ResNet of Koutini et al. 2019 ("FACN"), receptive field number rho = 5.

A residual network whose small kernels keep its receptive field small, since large ones overfit to scenes. Small fields
cannot tell how high a sound is, so every convolution of a block is also given the frequency as one more channel.
"""

import numpy as np
import torch
from torch import Tensor, nn

from avgan.baselines.fitting import Recipe
from avgan.baselines.method import Card, Clips
from avgan.baselines.network import NetworkRival
from avgan.baselines.spectra import a_weights_db, energy_spectra, lengthened, limit_range
from avgan.features import FrontEndConfig, mel_filterbank

KERNELS = ((3, 1), (3, 3), (3, 3), (3, 1)) + 8 * ((1, 1),)
"""Of both convolutions of the twelve blocks, by the authors' rule for rho 5: 3 up to a depth, 1 beyond."""
WIDTHS = (128, 256, 512)
BLOCKS_PER_STAGE = 4
POOLED_AFTER = (0, 1, 3)
"""Blocks of the first stage."""
FRONT_END = FrontEndConfig(sample_rate_hz=22_050, n_fft=2048, window_length=2048, num_mels=256, f_max_hz=11_025.0)
TOP_DB = 80.0
SHORTEST = 20
"""Time steps that the first convolution and three poolings leave one of."""

CARD = Card(
    name="facn",
    title="Frequency-aware CP-ResNet (FACN)",
    source="Koutini, Eghbal-zadeh, Widmer 2019, Receptive-field-regularized CNN variants for acoustic scene "
    "classification (DCASE workshop)",
    follows=(
        "22 050 Hz, window 2048, hop 512, mirrored ends, energies in dB with A-weighting (80 dB below the loudest at "
        "most), and only then 256 mel bands",
        "kernel sizes by the rule for rho 5, widths 128, 256, 512, four blocks a stage, poolings after blocks 1, 2, 4",
        "frequency coordinate in [-1, 1) as a channel of each convolution in a block",
        "first weights: the second convolution of each block and the last of all zero, the first scaled by depth",
        "Adam 0.0001, flat for a seventh of the training, falling to a twentieth until five sevenths; batches of 10, "
        "mixup 0.3, random time roll, weights averaged over the last two sevenths",
    ),
    differs=(
        "recordings are mono here: both channels of its input are the same",
        "one network, where the challenge entry is an ensemble of several",
        "fewer epochs than 350 where the budget ends before: the schedule is scaled to those there are",
        "weights are averaged after every epoch, not every third",
        "no figure of its authors on ESC-50 is known: 84.9 % (seen cities) and 78.1 % (unseen) are the challenge's own "
        "figures for their ensemble on DCASE 2019, on recordings whose labels were never published",
    ),
)


def heights(hidden: Tensor) -> Tensor:
    """(B, C, F, T) -> (1, 1, F, T): -1 at the lowest band, rising to nearly 1 at the highest."""
    num_rows = hidden.shape[2]
    rising = torch.arange(num_rows, device=hidden.device) * (2.0 / num_rows) - 1.0
    return rising.to(hidden.dtype)[None, None, :, None].expand(1, 1, -1, hidden.shape[3])


class FrequencyAwareConvolution(nn.Module):
    """A convolution that is given the height as one more channel: (B, C, F, T) -> (B, C', F, T).

    That channel is the same for all clips, so it is convolved once and added: no copy of the others is made for it.
    """

    def __init__(self, num_in: int, num_out: int, kernel: int) -> None:
        super().__init__()
        self.of_sound = nn.Conv2d(num_in, num_out, kernel, padding=kernel // 3, bias=False)
        self.of_height = nn.Conv2d(1, num_out, kernel, padding=kernel // 3, bias=False)

    def start(self, deviation: float) -> None:
        """First weights, normally distributed."""
        for part in (self.of_sound, self.of_height):
            nn.init.normal_(part.weight, std=deviation)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.of_sound(hidden).add_(self.of_height(heights(hidden)))


class FrequencyAwareBlock(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, num_in: int, num_out: int, kernels: tuple[int, int]) -> None:
        super().__init__()
        self.first = FrequencyAwareConvolution(num_in, num_out, kernels[0])
        self.first_norm = nn.BatchNorm2d(num_out)
        self.second = FrequencyAwareConvolution(num_out, num_out, kernels[1])
        self.second_norm = nn.BatchNorm2d(num_out)
        self.around: nn.Module = nn.Identity()
        if num_in != num_out:
            around = nn.Conv2d(num_in, num_out, 1, bias=False)
            nn.init.normal_(around.weight, std=(2 / num_out) ** 0.5)
            self.around = nn.Sequential(around, nn.BatchNorm2d(num_out))
        depth = len(KERNELS)
        self.first.start((2 / (kernels[0] ** 2 * num_out)) ** 0.5 / depth**0.5)
        self.second.start(0.0)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.first_norm(self.first(hidden)).relu_()
        inner = self.second_norm(self.second(inner))
        return (inner + self.around(hidden)).relu_()


class FrequencyAwareCPResNet(nn.Module):
    """Spectra (B, 1, F, T), which stand for both channels of the original -> logits (B, N)."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        stem = nn.Conv2d(2, WIDTHS[0], 5, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight, nonlinearity="relu")
        layers: list[nn.Module] = [stem, nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(inplace=True)]
        num_in = WIDTHS[0]
        for index, kernels in enumerate(KERNELS):
            width = WIDTHS[index // BLOCKS_PER_STAGE]
            layers.append(FrequencyAwareBlock(num_in, width, kernels))
            num_in = width
            if index in POOLED_AFTER:
                layers.append(nn.MaxPool2d(2))
        head = nn.Conv2d(num_in, num_labels, 1, bias=False)
        nn.init.zeros_(head.weight)
        self.layers = nn.Sequential(*layers, head, nn.BatchNorm2d(num_labels))

    def forward(self, spectra: Tensor) -> Tensor:
        return self.layers(spectra.expand(-1, 2, -1, -1)).mean((2, 3))


def log_mels(clips: Clips) -> np.ndarray:
    """Mel bands (M, 1, 256, T) of weighted decibels."""
    bins_hz = np.linspace(0, FRONT_END.sample_rate_hz / 2, FRONT_END.n_fft // 2 + 1)
    weights_db, filters = a_weights_db(bins_hz)[:, None].astype(np.float32), mel_filterbank(FRONT_END)

    def transform(waveforms: np.ndarray) -> np.ndarray:
        energies = energy_spectra(waveforms, n_fft=FRONT_END.n_fft, hop_length=FRONT_END.hop_length)
        decibels = limit_range(10 * np.log10(np.maximum(energies, FRONT_END.floor)), TOP_DB)
        return np.matmul(filters, decibels + weights_db)

    return lengthened(clips.in_blocks(FRONT_END.sample_rate_hz, transform), SHORTEST)[:, None]


def falling(done: float) -> float:
    """The schedule: 1 for a seventh, then in a straight line to 0.05 at five sevenths."""
    return float(np.interp(done, [1 / 7, 5 / 7], [1.0, 0.05]))


def facn() -> NetworkRival:
    """The rival, untrained."""
    recipe = Recipe(
        num_epochs=350,
        batch_size=10,
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr=1e-4),
        schedule=falling,
        rolls=True,
        mixup_alpha=0.3,
        average_from=5 / 7,
    )
    return NetworkRival(CARD, log_mels, FrequencyAwareCPResNet, recipe)
