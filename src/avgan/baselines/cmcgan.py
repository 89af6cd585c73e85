"""CMCGAN-style (Hao, Zhang and Guan 2018): spectrogram to picture and back directly, a cycle of four sub-networks.

    sound   -> encode_sound ----.               .-> decode_sound   -> sound      sound to sound, picture to sound
                                 bridge + noise
    picture -> encode_picture --'               '-> decode_picture -> picture    sound to picture, picture to picture

Each of the four ways is an encoder, a bridge vector, Gaussian noise beside it, and a decoder. One critic looks at a
sound and a picture together: a pair that belongs together is real; a pair with one side generated, or with the picture
of another label, is not. No code of the authors was found; sizes are those of pix2pix at 64 px. It needs pictures:
without them it names sounds only, and imagines nothing.

Shapes: M clips, B batch, N labels, C bridge, Z noise; sounds (B, 1, 64, 64) and pictures (B, 3, 64, 64) in [-1, 1].
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan.baselines import fitting
from avgan.baselines.adversaries import Adversaries, real_or_made, rising
from avgan.baselines.method import Budget, Card, Clips, Cost
from avgan.baselines.spectra import BandStatistics, averaged_to, log_mels_of
from avgan.errors import DataError
from avgan.features import FrontEndConfig

SIZE = 64
FRONT_END = FrontEndConfig(n_fft=1024, window_length=1024, hop_length=256)
WIDTHS = (24, 48, 96, 192)
BRIDGE = 128
NOISE = 64
BATCH = 32
NUM_EPOCHS = 200
LEARNING_RATE = 2e-4
ALIKE_WEIGHT = 10.0
"""Of the differences, against the critic's opinion: pictures paired by label share too little for pix2pix's 100."""
NUM_PICTURES = 4
"""Sampled for each recording; then the same come again."""
CYCLE_SHARE = 0.65
"""Of the budget, for the cycle; the rest is for the classifier."""

CARD = Card(
    name="cmcgan-style",
    title="CMCGAN-style",
    source="Hao, Zhang, Guan: CMCGAN, a uniform framework for cross-modal visual-audio mutual generation, AAAI 2018",
    follows=(
        "four ways between sound and picture in a cycle, each an encoder and a decoder with noise at the bridge",
        "one joint critic of real, generated and mismatched pairs",
    ),
    differs=(
        "no code was published: layers and sizes are ours, after pix2pix, at 64 px",
        "the four ways share two encoders and two decoders, which two processor cores can train",
        "labels are read from the bridge by a classifier that goes on training the sound encoder",
        "sounds and photographs are paired by label; the original had videos of instruments",
    ),
)


def convolutions(num_in: int) -> nn.Sequential:
    """(B, num_in, 64, 64) -> (B, 192, 4, 4)."""
    layers: list[nn.Module] = []
    for level, width in enumerate(WIDTHS):
        layers.append(nn.Conv2d(num_in, width, 4, stride=2, padding=1))
        if level > 0:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.LeakyReLU(0.2))
        num_in = width
    return nn.Sequential(*layers)


class Encoder(nn.Sequential):
    """(B, 1 or 3, 64, 64) -> bridge (B, C)."""

    def __init__(self, num_in: int) -> None:
        flat = WIDTHS[-1] * (SIZE // 16) ** 2
        super().__init__(convolutions(num_in), nn.Flatten(), nn.Linear(flat, BRIDGE))


class Decoder(nn.Module):
    """bridge (B, C), noise (B, Z) -> (B, 1 or 3, 64, 64) in [-1, 1]."""

    def __init__(self, num_out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(BRIDGE + NOISE, WIDTHS[-1] * (SIZE // 16) ** 2)
        self.body = rising(WIDTHS, num_out)

    def forward(self, bridge: Tensor, noise: Tensor) -> Tensor:
        return self.body(self.dense(torch.cat((bridge, noise), 1)).unflatten(1, (WIDTHS[-1], SIZE // 16, -1)))


class Critic(nn.Module):
    """sound, picture -> logit (B,): high for a real pair that belongs together."""

    def __init__(self) -> None:
        super().__init__()
        self.sound, self.picture = Encoder(1), Encoder(3)
        self.score = nn.Sequential(
            nn.LeakyReLU(0.2), nn.Linear(2 * BRIDGE, BRIDGE), nn.LeakyReLU(0.2), nn.Linear(BRIDGE, 1)
        )

    def forward(self, sound: Tensor, picture: Tensor) -> Tensor:
        return self.score(torch.cat((self.sound(sound), self.picture(picture)), 1)).squeeze(1)


@dataclass(frozen=True)
class Ways:
    """What the four ways, and the two round trips, make of a sound and a picture."""

    picture_of_sound: Tensor
    sound_of_picture: Tensor
    sound_again: Tensor
    picture_again: Tensor
    sound_back: Tensor
    """By way of the picture."""
    picture_back: Tensor
    """By way of the sound."""


class Cycle(nn.Module):
    """Two encoders and two decoders: four ways."""

    def __init__(self) -> None:
        super().__init__()
        self.encode_sound, self.encode_picture = Encoder(1), Encoder(3)
        self.decode_sound, self.decode_picture = Decoder(1), Decoder(3)

    def forward(self, sound: Tensor, picture: Tensor) -> Ways:
        def noise() -> Tensor:
            return torch.randn(len(sound), NOISE, device=sound.device)

        of_sound, of_picture = self.encode_sound(sound), self.encode_picture(picture)
        imagined, sounded = self.decode_picture(of_sound, noise()), self.decode_sound(of_picture, noise())
        return Ways(
            imagined,
            sounded,
            self.decode_sound(of_sound, noise()),
            self.decode_picture(of_picture, noise()),
            self.decode_sound(self.encode_picture(imagined), noise()),
            self.decode_picture(self.encode_sound(sounded), noise()),
        )


def alike_loss(ways: Ways, sound: Tensor, picture: Tensor) -> Tensor:
    """Mean absolute differences of all ways from what they should have made."""
    sounds = (ways.sound_of_picture, ways.sound_again, ways.sound_back)
    pictures = (ways.picture_of_sound, ways.picture_again, ways.picture_back)
    losses = [F.l1_loss(made.float(), sound) for made in sounds]
    losses += [F.l1_loss(made.float(), picture) for made in pictures]
    return torch.stack(losses).mean()


class CycleTrainer(Adversaries):
    """Cycle and critic in training, step by step."""

    def __init__(
        self, sounds: Tensor, targets: np.ndarray, sample_pictures: Callable[[np.random.Generator], np.ndarray]
    ) -> None:
        self.cycle, self.critic = Cycle(), Critic()
        super().__init__(self.cycle, self.critic, LEARNING_RATE)
        place = fitting.device()
        self.sounds, self.targets = sounds.to(place), torch.from_numpy(targets).to(place)
        self.sample_pictures = sample_pictures
        self.pictures: list[Tensor] = []
        self.num_items = 0
        """Learnt from so far."""

    def step(self, items: np.ndarray, done: float, rng: np.random.Generator) -> None:
        """One turn of the critic and one of the cycle on items (B,), with other pictures in each of the first epochs.

        Full rate for the first half of the training, then down to nothing, as in pix2pix.
        """
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, 2.0 * (1.0 - done))
        epoch = self.num_items // len(self.sounds)
        self.num_items += len(items)
        if len(self.pictures) <= epoch < NUM_PICTURES:
            self.pictures.append(small(self.sample_pictures(rng)))
        pictures = self.pictures[epoch % len(self.pictures)][items]
        self.learn(items, pictures.flip(3) if rng.random() < 0.5 else pictures, rng)

    def learn(self, items: np.ndarray, pictures: Tensor, rng: np.random.Generator) -> None:
        """The two turns on items (B,) and their pictures (B, 3, 64, 64)."""
        chosen, pictures = fitting.on_device(torch.from_numpy(items)), fitting.on_device(pictures)
        sounds, targets = self.sounds[chosen], self.targets[chosen]
        other = fitting.on_device(torch.from_numpy(rng.permutation(len(items))))
        mismatched = (targets[other] != targets).float()
        with fitting.in_fast_precision():
            ways = self.cycle(sounds, pictures)
            generated = ways.picture_of_sound.detach(), ways.sound_of_picture.detach()
            wrong = (
                real_or_made(self.critic(sounds, generated[0]), False)
                + real_or_made(self.critic(generated[1], pictures), False)
                + real_or_made(self.critic(sounds, pictures[other]), False, mismatched)
            )
            loss = real_or_made(self.critic(sounds, pictures), True) + wrong / 3.0
        self.update(1, loss)
        self.critic.requires_grad_(False)  # it only judges now; its gradients would cost a fifth of the step
        with fitting.in_fast_precision():
            convincing = real_or_made(self.critic(sounds, ways.picture_of_sound), True)
            convincing = convincing + real_or_made(self.critic(ways.sound_of_picture, pictures), True)
            loss = 0.5 * convincing + ALIKE_WEIGHT * alike_loss(ways, sounds, pictures)
        self.update(0, loss)
        self.critic.requires_grad_(True)


def small(pictures: np.ndarray) -> Tensor:
    """Pictures (M, 3, H, W) uint8 -> (M, 3, 64, 64) in [-1, 1]."""
    parts = torch.from_numpy(pictures).split(64)
    return torch.cat([F.adaptive_avg_pool2d(part.float(), SIZE) / 127.5 - 1.0 for part in parts])


class CMCGAN:
    """Learns the cycle, then labels on the bridge."""

    card = CARD

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        log_mels = self._log_mels(clips)
        self._statistics = BandStatistics.of(log_mels)
        sounds = self._standardised(log_mels)
        self._cycle: Cycle | None = None
        parts = []
        if clips.sample_pictures is None:
            with fitting.seeded(rng):
                encoder: nn.Module = Encoder(1)
        else:
            with fitting.seeded(rng):
                trainer = CycleTrainer(sounds, clips.targets, clips.sample_pictures)
            parts.append(budget.share(CYCLE_SHARE))
            fitting.train(trainer, len(clips), num_epochs=NUM_EPOCHS, batch_size=BATCH, budget=parts[0], rng=rng)
            self._cycle = trainer.cycle.eval()
            encoder = copy.deepcopy(self._cycle.encode_sound)
            budget.say(f"the cycle was trained for {parts[0].num_planned} of {NUM_EPOCHS} epochs")
        with fitting.seeded(rng):
            head = nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(BRIDGE, len(clips.labels)))
        self._network = nn.Sequential(encoder, head)
        recipe = fitting.Recipe(
            num_epochs=60,
            batch_size=BATCH,
            optimiser=lambda parameters: torch.optim.AdamW(parameters, 1e-3, weight_decay=0.02),
            schedule=fitting.one_cycle,
            rolls=True,
            mixup_alpha=0.3,
        )
        parts.append(budget.share())
        fitting.fit_network(
            self._network, sounds, clips.targets, num_labels=len(clips.labels), recipe=recipe, budget=parts[-1], rng=rng
        )
        budget.count(parts)

    def predict(self, clips: Clips) -> np.ndarray:
        return fitting.predict_network(self._network, self._standardised(self._log_mels(clips)), len(clips))

    @torch.inference_mode()
    def imagine(self, clips: Clips) -> np.ndarray:
        """A picture for each recording, (M, 3, 64, 64) uint8. Raises DataError when it was taught without pictures."""
        if self._cycle is None:
            raise DataError("it was taught without pictures and imagines none; give it pictures")
        sounds = self._standardised(self._log_mels(clips))
        noise = torch.randn(len(clips), NOISE, generator=torch.Generator().manual_seed(0))
        place = fitting.device()
        parts = [
            self._cycle.decode_picture(self._cycle.encode_sound(part.to(place)), its_noise.to(place)).cpu()
            for part, its_noise in zip(sounds.split(BATCH), noise.split(BATCH), strict=True)
        ]
        return (torch.cat(parts) * 127.5 + 127.5).round().clamp(0, 255).byte().numpy()

    def cost(self) -> Cost:
        """Of the way from a sound to its label; the cycle beside it is not counted."""
        return fitting.cost_of(self._network, torch.zeros(1, 1, SIZE, SIZE))

    def _log_mels(self, clips: Clips) -> np.ndarray:
        """(M, 64, 64) log-mel in dB."""
        return averaged_to(log_mels_of(clips, FRONT_END), SIZE)

    def _standardised(self, log_mels: np.ndarray) -> Tensor:
        """(M, 64, 64) -> (M, 1, 64, 64) in [-1, 1]: three deviations fill the range."""
        return torch.from_numpy((self._statistics.standardise(log_mels) / 3.0).clip(-1.0, 1.0))[:, None]
