"""A convolutional autoencoder: it learns to reconstruct sounds, and a linear classifier is given its codes.

The row of the paper's Table 3 (39.9 %) comes from SoundNet's authors, who trained an autoencoder on the waveforms of
two million videos and say little more of it. Here it is a small one on log-mel, trained on the training clips only.

Shapes: M clips, B batch, F mel bands, T time steps, C channels, N labels.
"""

import numpy as np
import torch
from torch import Tensor, nn

from avgan.baselines import fitting
from avgan.baselines.fitting import Recipe, cost_of, fit_network, one_cycle, seeded
from avgan.baselines.method import Budget, Card, Clips
from avgan.baselines.probes import Probe
from avgan.baselines.spectra import BandStatistics, lengthened, log_mels_of
from avgan.features import FrontEndConfig

FRONT_END = FrontEndConfig(sample_rate_hz=22_050, n_fft=1024, hop_length=512, num_mels=64, f_max_hz=11_025.0)
WIDTHS = (32, 64, 128, 256)
CODE_WIDTH = 32
STRIDE = 2 ** len(WIDTHS)
SHORTEST = 2 * STRIDE
"""Time steps, 0.7 s. Codes of one step came out at random, or as no numbers, in bfloat16 on the CPU (PyTorch 2.13)."""
SHARE_OF_CLASSIFIER = 0.2
"""Of a budget, kept for the choice of the classifier's settings."""


class Autoencoder(nn.Module):
    """Log-mel (B, 1, F, T) -> mean squared error (B, 1) of its reconstruction; F and T are multiples of STRIDE."""

    def __init__(self) -> None:
        super().__init__()
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for num_in, width in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True):
            encoder += [nn.Conv2d(num_in, width, 4, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            unless_last = [] if num_in == 1 else [nn.BatchNorm2d(num_in), nn.ReLU()]
            decoder = [nn.ConvTranspose2d(width, num_in, 4, stride=2, padding=1), *unless_last, *decoder]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(WIDTHS[-1], CODE_WIDTH, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(CODE_WIDTH, WIDTHS[-1], 1), nn.BatchNorm2d(WIDTHS[-1]), nn.ReLU(), *decoder
        )

    def forward(self, log_mel: Tensor) -> Tensor:
        reconstructed = self.decoder(self.encoder(log_mel)).float()
        return (reconstructed - log_mel.float()).square().mean((1, 2, 3))[:, None]


class AutoencoderRival(Probe):
    """Codes from a network that has learnt to reconstruct the training clips, and a support vector machine on them."""

    card = Card(
        name="autoencoder",
        title="Convolutional autoencoder",
        source="Aytar, Vondrick, Torralba: SoundNet, NIPS 2016, Table 2; as a row of the paper's Table 3",
        published=39.9,
        follows=("codes that were learnt without labels, and a linear support vector machine on them",),
        differs=(
            "learnt from the training clips instead of two million videos",
            "on log-mel (64 bands, 23 ms steps) instead of the waveform; layers are ours, theirs are not published",
            "a clip's vector is mean and maximum of its codes over time",
        ),
    )
    recipe = Recipe(
        num_epochs=100,
        batch_size=32,
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr=2e-3),
        schedule=one_cycle,
        rolls=True,
        loss=lambda errors, labels: errors.mean(),
    )

    def learn(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> np.ndarray:
        """Learn to reconstruct; the decoder is not needed to answer."""
        spectra = log_mels(clips)
        self._statistics = BandStatistics.of(spectra)
        inputs = self._standardised(spectra)
        with seeded(rng):
            self._network = Autoencoder()
        for_network, no_labels = budget.share(1 - SHARE_OF_CLASSIFIER), np.zeros(len(clips), np.int64)
        fit_network(self._network, inputs, no_labels, num_labels=1, recipe=self.recipe, budget=for_network, rng=rng)
        budget.count([for_network])
        self.embedding_cost = cost_of(self._network.encoder, inputs[:1])
        return self._embed(inputs)

    def vectors(self, clips: Clips) -> np.ndarray:
        return self._embed(self._standardised(log_mels(clips)))

    def _standardised(self, spectra: np.ndarray) -> Tensor:
        """(M, F, T) -> (M, 1, F, T)."""
        return torch.from_numpy(self._statistics.standardise(spectra))[:, None]

    def _embed(self, inputs: Tensor) -> np.ndarray:
        """Standardised log-mel (M, 1, F, T) -> (M, 2 * C * F / STRIDE): mean and maximum over time of each code."""

        def vectors(batch: Tensor) -> Tensor:
            codes = self._network.encoder(batch)
            return torch.cat([codes.mean(3), codes.amax(3)], 1).flatten(1)

        self._network.eval()
        return fitting.embed(vectors, inputs.split(fitting.BATCH))


def log_mels(clips: Clips) -> np.ndarray:
    """Log-mel (M, F, T) in dB, T a multiple of STRIDE: what is over at the end is left out."""
    spectra = lengthened(log_mels_of(clips, FRONT_END), SHORTEST)
    return np.ascontiguousarray(spectra[..., : spectra.shape[-1] // STRIDE * STRIDE])
