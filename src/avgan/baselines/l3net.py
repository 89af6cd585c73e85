"""AV learning: "Look, Listen and Learn" (Arandjelovic and Zisserman 2017).

Two towers of convolutions, one for a picture, one for a second of sound, learn to say whether the two belong together.
The embedding of the sound tower is then given to a linear classifier. Its authors learnt from half a million videos;
here it is the recordings and pictures at hand, which were not filmed but paired by label.

Shapes: M clips, B batch, L samples of one second, K bins, T time steps, H W pixels, S sets of pictures.
"""

import numpy as np
import torch
from torch import Tensor, nn

from avgan.baselines import fitting
from avgan.baselines.fitting import Recipe, cost_of, fit_network, one_cycle, seeded
from avgan.baselines.method import Budget, Card, Clips
from avgan.baselines.probes import Probe
from avgan.baselines.spectra import int16_samples
from avgan.data.loading import INT16_PEAK
from avgan.errors import DataError

RATE_HZ = 48_000
WINDOW = 480
HOP = 240
N_FFT = 512
FLOOR = 1e-10
WIDTHS = (64, 128, 256, 512)
DENSE = 128
NUM_PICTURES = 4
"""Sampled for each clip."""
BLOCK = 16
"""Clips embedded at once."""
SHARE_OF_CLASSIFIER = 0.25
"""Of a budget, kept to embed the clips and to choose the classifier's settings."""


class Tower(nn.Module):
    """(B, C, H, W) -> (B, 512), the maximum over the grid after four blocks of two 3 x 3 convolutions."""

    def __init__(self, num_in: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm2d(num_in)]
        for index, width in enumerate(WIDTHS):
            for stride in (2 if index == 0 else 1, 1):
                layers += [nn.Conv2d(num_in, width, 3, stride=stride, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                num_in = width
            if index < len(WIDTHS) - 1:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).amax((2, 3))


class L3Net(nn.Module):
    """Packed pairs (B, L + 3 H W), see `pairs_of` -> logits (B, 2): they do not belong together, they do."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.picture_tower, self.sound_tower = Tower(3), Tower(1)
        self.joining = nn.Sequential(nn.Linear(2 * WIDTHS[-1], DENSE), nn.ReLU(), nn.Linear(DENSE, 2))

    def forward(self, pairs: Tensor) -> Tensor:
        sounds, pictures = pairs[:, :RATE_HZ], pairs[:, RATE_HZ:]
        picture = self.picture_tower(_channels_last(pictures.reshape(-1, 3, self.side, self.side)))
        return self.joining(torch.cat([picture, self.embed(sounds)], 1))

    def embed(self, sounds: Tensor) -> Tensor:
        """A second of sound each (B, L) -> vectors (B, 512)."""
        return self.sound_tower(_channels_last(decibels(sounds)))


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def decibels(sounds: Tensor) -> Tensor:
    """(B, L) -> spectrograms (B, 1, K, T) in dB, for a second 257 x 199: windows of 10 ms, 5 ms apart."""
    with torch.autocast(sounds.device.type, enabled=False):
        windows = sounds.float().unfold(1, WINDOW, HOP)
        hann = torch.hann_window(WINDOW, device=sounds.device)
        energies = torch.fft.rfft(windows * hann, N_FFT).abs().square()
        return (10.0 * energies.clamp(min=FLOOR).log10()).transpose(1, 2)[:, None]


def read_samples(clips: Clips) -> np.ndarray:
    """(M, at least one second) int16; shorter clips end in silence."""
    samples = int16_samples(clips, RATE_HZ)
    return np.pad(samples, ((0, 0), (0, max(0, RATE_HZ - samples.shape[1]))))


def pairs_of(samples: np.ndarray, pictures: np.ndarray, items: np.ndarray, rng: np.random.Generator | None) -> Tensor:
    """Samples (M, L), pictures (S, M, 3, H, W) and numbers of items (B,) -> packed pairs (B, one second + 3 H W).

    An item below M is the sound of that clip, from a random moment, with one of its own pictures; one from M on is the
    sound of clip item - M with a picture of any other clip.
    """
    rng = rng or np.random.default_rng(0)
    num_clips = len(samples)
    clips = items % num_clips
    away = rng.integers(1, num_clips, len(items))
    pictured = np.where(items < num_clips, clips, (clips + away) % num_clips)
    starts = rng.integers(0, samples.shape[1] - RATE_HZ + 1, len(items))
    sounds = np.stack([samples[clip, at : at + RATE_HZ] for clip, at in zip(clips, starts, strict=True)])
    shown = pictures[rng.integers(0, len(pictures), len(items)), pictured].reshape(len(items), -1)
    return torch.from_numpy(np.concatenate([sounds / np.float32(INT16_PEAK), shown / np.float32(255)], 1))


class L3NetRival(Probe):
    """A sound tower that learnt which picture belongs to a sound, and a linear machine on its vectors."""

    card = Card(
        name="l3net",
        title="AV learning (Look, Listen and Learn)",
        source="Arandjelovic, Zisserman: Look, Listen and Learn, ICCV 2017",
        published=79.3,
        follows=(
            "one second of sound at 48 kHz as a spectrogram of 257 x 199 in dB; towers of 64, 128, 256, 512 channels, "
            "joined by a dense layer of 128; weight decay 1e-5",
            "a linear support vector machine on standardised vectors of the sound tower, averaged over the clip",
        ),
        differs=(
            "learnt from the training clips and pictures paired with them by label, not from half a million videos: "
            "so the pairing holds the labels, which the original never sees",
            "the first convolution of each tower has stride 2, as in the authors' later work; pictures are as small as "
            "they come (128 pixels, not 224)",
            "the vector is the maximum over the grid (512 numbers)",
        ),
    )
    recipe = Recipe(
        num_epochs=60,
        batch_size=32,
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr=5e-4, weight_decay=1e-5),
        schedule=one_cycle,
    )

    def learn(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> np.ndarray:
        """Learn what belongs together. Raises DataError without pictures."""
        if clips.sample_pictures is None or len(clips) < 2:
            raise DataError(f"{self.card.name}: learns from pictures too, give a data set of them")
        samples = read_samples(clips)
        pictures = np.stack([clips.sample_pictures(rng) for _ in range(NUM_PICTURES)])
        with seeded(rng):
            self._network = L3Net(pictures.shape[-1])
        for_network = budget.share(1 - SHARE_OF_CLASSIFIER)
        # the first half of the items are pairs that belong together, the second half are not
        belongs = np.arange(2 * len(clips)) < len(clips)
        fit_network(
            self._network,
            lambda items, rng: pairs_of(samples, pictures, items, rng),
            belongs.astype(np.int64),
            num_labels=2,
            recipe=self.recipe,
            budget=for_network,
            rng=rng,
        )
        budget.count([for_network])
        tower = cost_of(self._network.sound_tower, decibels(torch.zeros(1, RATE_HZ)))
        self.embedding_cost = tower.times(samples.shape[1] // RATE_HZ)
        return self._embed(samples)

    def vectors(self, clips: Clips) -> np.ndarray:
        """From the sounds alone."""
        return self._embed(read_samples(clips))

    def _embed(self, samples: np.ndarray) -> np.ndarray:
        """(M, L) int16 -> (M, 512): the mean over the seconds of each clip, which lie side by side."""
        num_seconds = samples.shape[1] // RATE_HZ

        def vectors(batch: Tensor) -> Tensor:
            sounds = batch[:, : num_seconds * RATE_HZ].reshape(-1, RATE_HZ) / INT16_PEAK
            with fitting.in_fast_precision():
                return self._network.embed(sounds).float().unflatten(0, (-1, num_seconds)).mean(1)

        self._network.eval()
        return fitting.embed(vectors, torch.from_numpy(samples).split(BLOCK))
