"""A convolutional autoencoder: it learns to repeat what it hears, and a linear classifier is given its codes.

The row of the paper's Table 3 (39.9 %) comes from SoundNet's authors, who let an autoencoder repeat the waveforms of
two million videos and say little more of it. Here it is a small one on log-mel, which hears the training clips only.

Shapes: M clips, B batch, F mel bands, T time steps, C channels, N labels.
"""

import numpy as np
import torch
from torch import Tensor, nn

from avgan.baselines import fitting, probes
from avgan.baselines.fitting import Recipe, band_statistics, cost_of, fit_network, one_cycle, rolled, seeded
from avgan.baselines.method import Budget, Card, Clips
from avgan.baselines.spectra import lengthened, log_mels
from avgan.features import FrontEndConfig

FRONT_END = FrontEndConfig(sample_rate_hz=22_050, n_fft=1024, hop_length=512, num_mels=64, f_max_hz=11_025.0)
WIDTHS = (32, 64, 128, 256)
CODE_WIDTH = 32
STRIDE = 2 ** len(WIDTHS)
SHORTEST = 2 * STRIDE
"""Time steps, 0.7 s. Codes of one step came out at random, or as no numbers, in bfloat16 on the CPU (PyTorch 2.13)."""
BLOCK = 32
SHARE_OF_CLASSIFIER = 0.2
"""Of a budget, kept for the choice of the classifier's settings."""


class Autoencoder(nn.Module):
    """Log-mel (B, 1, F, T) -> mean squared error (B, 1) of its repetition; F and T are multiples of STRIDE."""

    def __init__(self) -> None:
        super().__init__()
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for num_in, width in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True):
            encoder += [nn.Conv2d(num_in, width, 4, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            rises = [nn.ConvTranspose2d(width, num_in, 4, stride=2, padding=1)]
            decoder = [*rises, *_unless_last(num_in), *decoder]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(WIDTHS[-1], CODE_WIDTH, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(CODE_WIDTH, WIDTHS[-1], 1), nn.BatchNorm2d(WIDTHS[-1]), nn.ReLU(), *decoder
        )

    def forward(self, log_mel: Tensor) -> Tensor:
        repeated = self.decoder(self.encoder(log_mel)).float()
        return (repeated - log_mel.float()).square().mean((1, 2, 3))[:, None]


def _unless_last(width: int) -> list[nn.Module]:
    """What follows a layer that is not the picture itself."""
    return [] if width == 1 else [nn.BatchNorm2d(width), nn.ReLU()]


class AutoencoderRival(probes.Probed):
    """Codes from a network that has learnt to repeat the training clips, and a support vector machine on them."""

    card = Card(
        name="autoencoder",
        title="Convolutional autoencoder",
        source="Aytar, Vondrick, Torralba: SoundNet, NIPS 2016, Table 2; as a row of the paper's Table 3",
        published=39.9,
        follows=("codes that were learnt without labels, and a linear support vector machine on them",),
        differs=(
            "learnt from the training clips instead of two million videos",
            "on log-mel (64 bands, 23 ms steps) instead of the waveform; theirs being untold, the layers are our own",
            "a clip's vector is mean and maximum of its codes over time",
        ),
    )
    recipe = Recipe(
        num_epochs=100,
        batch_size=32,
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr=2e-3),
        schedule=one_cycle,
        loss=lambda errors, labels: errors.mean(),
    )

    def learn(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> np.ndarray:
        """Learn to repeat; what repeats is not needed to answer."""
        spectra = hear(clips)
        self._statistics = band_statistics(spectra)
        inputs = self._standardised(spectra)
        with seeded(rng):
            self._network = Autoencoder()

        def draw(items: np.ndarray, augmenting: np.random.Generator | None) -> Tensor:
            images = torch.from_numpy(inputs[items])[:, None]
            return rolled(images, augmenting) if augmenting else images

        for_network = budget.share(1 - SHARE_OF_CLASSIFIER)
        fit_network(
            self._network,
            draw,
            np.zeros(len(clips), np.int64),
            num_labels=1,
            recipe=self.recipe,
            budget=for_network,
            rng=rng,
        )
        budget.num_planned, budget.num_wanted = for_network.num_planned, for_network.num_wanted
        example = torch.from_numpy(inputs[:1, None])
        self.embedding_cost = cost_of(self._network.encoder, example)
        return self._encode(inputs)

    def vectors(self, clips: Clips) -> np.ndarray:
        return self._encode(self._standardised(hear(clips)))

    def _standardised(self, spectra: np.ndarray) -> np.ndarray:
        mean, spread = self._statistics
        spectra -= mean
        spectra /= spread
        return spectra

    @torch.inference_mode()
    def _encode(self, inputs: np.ndarray) -> np.ndarray:
        """Standardised log-mel (M, F, T) -> (M, 2 * C * F / STRIDE): mean and maximum over time of each code."""
        self._network.eval()
        rows = []
        for start in range(0, len(inputs), BLOCK):
            block = fitting.on_device(torch.from_numpy(inputs[start : start + BLOCK, None]))
            codes = self._network.encoder(block)
            rows.append(torch.cat([codes.mean(3), codes.amax(3)], 1).flatten(1).cpu().numpy())
        return np.concatenate(rows)


def hear(clips: Clips) -> np.ndarray:
    """Log-mel (M, F, T) in dB, T a multiple of STRIDE: what is over at the end is left out."""
    blocks = probes.waveform_blocks(clips, FRONT_END.sample_rate_hz, BLOCK)
    spectra = np.concatenate([log_mels(block, FRONT_END) for block in blocks])
    spectra = lengthened(spectra, SHORTEST)
    return np.ascontiguousarray(spectra[..., : spectra.shape[-1] // STRIDE * STRIDE])
