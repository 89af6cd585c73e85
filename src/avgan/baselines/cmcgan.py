"""CMCGAN-style (Hao, Zhang and Guan 2018): spectrogram to picture and back directly, a cycle of four sub-networks.

    sound   -> hear --.               .-> sing -> sound         sound to sound, picture to sound
                       bridge + noise
    picture -> look --'               '-> draw -> picture       sound to picture, picture to picture

Each of the four ways is an encoder, a bridge vector, Gaussian noise beside it, and a decoder. One critic looks at a
sound and a picture together: a pair that belongs together is real; a pair with one side generated, or with the picture
of another label, is not. No code of the authors was found; sizes are those of pix2pix at 64 px. It needs pictures:
without them it hears only, and imagines nothing.

Shapes: M clips, B batch, N labels, C bridge, Z noise; sounds (B, 1, 64, 64) and pictures (B, 3, 64, 64) in [-1, 1].
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan.baselines import fitting, spectra
from avgan.baselines.method import Budget, Card, Clips, Cost
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
NUM_DRAWS = 4
"""Pictures drawn for each recording; then the same come again."""
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
        layers: list[nn.Module] = []
        for width, following in zip(WIDTHS[::-1], (*WIDTHS[-2::-1], num_out), strict=True):
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.ConvTranspose2d(width, following, 4, stride=2, padding=1)]
        self.body = nn.Sequential(*layers, nn.Tanh())

    def forward(self, bridge: Tensor, noise: Tensor) -> Tensor:
        grid = self.dense(torch.cat((bridge, noise), 1)).unflatten(1, (WIDTHS[-1], SIZE // 16, -1))
        made: Tensor = self.body(grid)
        return made


class Critic(nn.Module):
    """sound, picture -> logit (B,): high for a real pair that belongs together."""

    def __init__(self) -> None:
        super().__init__()
        self.sound, self.picture = Encoder(1), Encoder(3)
        self.score = nn.Sequential(
            nn.LeakyReLU(0.2), nn.Linear(2 * BRIDGE, BRIDGE), nn.LeakyReLU(0.2), nn.Linear(BRIDGE, 1)
        )

    def forward(self, sound: Tensor, picture: Tensor) -> Tensor:
        both = torch.cat((self.sound(sound), self.picture(picture)), 1)
        logits: Tensor = self.score(both).squeeze(1)
        return logits


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
        self.hear, self.look = Encoder(1), Encoder(3)
        self.sing, self.draw = Decoder(1), Decoder(3)

    def forward(self, sound: Tensor, picture: Tensor) -> Ways:
        def noise() -> Tensor:
            return torch.randn(len(sound), NOISE, device=sound.device)

        heard, seen = self.hear(sound), self.look(picture)
        imagined, sung = self.draw(heard, noise()), self.sing(seen, noise())
        return Ways(
            imagined,
            sung,
            self.sing(heard, noise()),
            self.draw(seen, noise()),
            self.sing(self.look(imagined), noise()),
            self.draw(self.hear(sung), noise()),
        )


def alike_loss(ways: Ways, sound: Tensor, picture: Tensor) -> Tensor:
    """Mean absolute differences of all ways from what they should have made."""
    sounds = (ways.sound_of_picture, ways.sound_again, ways.sound_back)
    pictures = (ways.picture_of_sound, ways.picture_again, ways.picture_back)
    losses = [F.l1_loss(made.float(), sound) for made in sounds]
    losses += [F.l1_loss(made.float(), picture) for made in pictures]
    return torch.stack(losses).mean()


def opinion(logits: Tensor, real: bool, weight: Tensor | None = None) -> Tensor:
    """The critic's cross-entropy for logits (B,) of pairs that are all real or all not."""
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits.float(), float(real)), weight)


class CycleTrainer(fitting.Adversaries):
    """Cycle and critic in training, step by step."""

    def __init__(self, sounds: Tensor, targets: np.ndarray) -> None:
        place = fitting.device()
        self.cycle, self.critic = Cycle(), Critic()
        super().__init__(self.cycle, self.critic, LEARNING_RATE)
        self.sounds, self.targets = sounds.to(place), torch.from_numpy(targets).to(place)

    def step(self, items: np.ndarray, pictures: Tensor, rng: np.random.Generator) -> None:
        """One turn of the critic and one of the cycle on items (B,) and their pictures (B, 3, 64, 64)."""
        torch.manual_seed(int(rng.integers(2**62)))
        chosen, pictures = fitting.on_device(torch.from_numpy(items)), fitting.on_device(pictures)
        sounds, targets = self.sounds[chosen], self.targets[chosen]
        other = fitting.on_device(torch.from_numpy(rng.permutation(len(items))))
        mismatched = (targets[other] != targets).float()
        cast = fitting.in_fast_precision()
        with cast:
            ways = self.cycle(sounds, pictures)
            generated = ways.picture_of_sound.detach(), ways.sound_of_picture.detach()
            wrong = (
                opinion(self.critic(sounds, generated[0]), False)
                + opinion(self.critic(generated[1], pictures), False)
                + opinion(self.critic(sounds, pictures[other]), False, mismatched)
            )
            loss = opinion(self.critic(sounds, pictures), True) + wrong / 3.0
        self.update(1, loss)
        self.critic.requires_grad_(False)  # it only judges now; its gradients would cost a fifth of the step
        with cast:
            convincing = opinion(self.critic(sounds, ways.picture_of_sound), True)
            convincing = convincing + opinion(self.critic(ways.sound_of_picture, pictures), True)
            loss = 0.5 * convincing + ALIKE_WEIGHT * alike_loss(ways, sounds, pictures)
        self.update(0, loss)
        self.critic.requires_grad_(True)

    def slow_down(self, done: float) -> None:
        """Full rate for the first half of the training, then down to nothing, as in pix2pix."""
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, 2.0 * (1.0 - done))


def train_cycle(sounds: Tensor, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> Cycle:
    """A cycle taught with sounds (M, 1, 64, 64) and the pictures that go with them, in evaluation mode."""
    assert clips.draw is not None
    with fitting.seeded(rng):
        trainer = CycleTrainer(sounds, clips.targets)
    draw, drawn = clips.draw, [small(clips.draw(rng))]

    def step(networks: CycleTrainer, items: np.ndarray, done: float, num: int, draws: np.random.Generator) -> None:
        if len(drawn) <= done < NUM_DRAWS:
            drawn.append(small(draw(draws)))
        shown = drawn[int(done) % len(drawn)][items]
        networks.slow_down(done / num)
        networks.step(items, shown.flip(3) if draws.random() < 0.5 else shown, draws)

    fitting.fit_adversaries(trainer, step, len(clips), num_epochs=NUM_EPOCHS, batch_size=BATCH, budget=budget, rng=rng)
    return trainer.cycle.eval()


def small(pictures: np.ndarray) -> Tensor:
    """Pictures (M, 3, H, W) uint8 -> (M, 3, 64, 64) in [-1, 1]."""
    parts = [
        F.adaptive_avg_pool2d(torch.from_numpy(part).float(), SIZE) / 127.5 - 1.0
        for part in np.array_split(pictures, max(1, len(pictures) // 64))
    ]
    return torch.cat(parts)


class CMCGAN:
    """Learns the cycle, then labels on the bridge."""

    card = CARD

    def __init__(self) -> None:
        self._cycle: Cycle | None = None
        self._network: nn.Module = nn.Identity()
        self._statistics: tuple[np.ndarray, np.ndarray] = (np.zeros(1), np.ones(1))

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        log_mels = self._hear(clips)
        self._statistics = fitting.band_statistics(log_mels)
        sounds = self._standardised(log_mels)
        with fitting.seeded(rng):
            encoder: nn.Module = Encoder(1)
        part = Budget()
        if clips.draw is not None:
            part = budget.share(CYCLE_SHARE)
            self._cycle = train_cycle(sounds, clips, budget=part, rng=rng)
            encoder = copy.deepcopy(self._cycle.hear)
            budget.say(f"the cycle was trained for {part.num_planned} of {NUM_EPOCHS} epochs")
        with fitting.seeded(rng):
            head = nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(BRIDGE, clips.num_labels))
        self._network = nn.Sequential(encoder, head)

        def draw(items: np.ndarray, augment: np.random.Generator | None) -> Tensor:
            chosen = sounds[items]
            return chosen if augment is None else fitting.rolled(chosen, augment)

        recipe = fitting.Recipe(
            num_epochs=60,
            batch_size=BATCH,
            optimiser=lambda parameters: torch.optim.AdamW(parameters, 1e-3, weight_decay=0.02),
            schedule=fitting.one_cycle,
            mixup_alpha=0.3,
        )
        rest = budget.share()
        fitting.fit_network(
            self._network, draw, clips.targets, num_labels=clips.num_labels, recipe=recipe, budget=rest, rng=rng
        )
        budget.num_planned = part.num_planned + rest.num_planned
        budget.num_wanted = part.num_wanted + rest.num_wanted

    def predict(self, clips: Clips) -> np.ndarray:
        sounds = self._standardised(self._hear(clips))
        return fitting.predict_network(self._network, lambda items, _: sounds[items], len(clips))

    @torch.inference_mode()
    def imagine(self, clips: Clips) -> np.ndarray:
        """A picture for each recording, (M, 3, 64, 64) uint8. Raises DataError when it was taught without pictures."""
        if self._cycle is None:
            raise DataError("it was taught without pictures and imagines none; give it pictures")
        sounds = self._standardised(self._hear(clips))
        noise = torch.randn(len(clips), NOISE, generator=torch.Generator().manual_seed(0))
        place = fitting.device()
        parts = [
            self._cycle.draw(self._cycle.hear(part.to(place)), its_noise.to(place)).cpu()
            for part, its_noise in zip(sounds.split(BATCH), noise.split(BATCH), strict=True)
        ]
        pixels = (torch.cat(parts) * 127.5 + 127.5).round().clamp(0, 255)
        pictures: np.ndarray = pixels.byte().numpy()
        return pictures

    def cost(self) -> Cost:
        """Of the way from a sound to its label; the cycle beside it is not counted."""
        return fitting.cost_of(self._network, torch.zeros(1, 1, SIZE, SIZE))

    def _hear(self, clips: Clips) -> np.ndarray:
        """(M, 64, 64) log-mel, however long the clips are: time steps averaged, or repeated in very short ones."""
        log_mels = spectra.log_mels(clips.read(FRONT_END.sample_rate_hz), FRONT_END)
        return F.adaptive_avg_pool1d(torch.from_numpy(log_mels), SIZE).numpy()

    def _standardised(self, log_mels: np.ndarray) -> Tensor:
        """(M, 64, 64) -> (M, 1, 64, 64) in [-1, 1]: three deviations fill the range."""
        mean, spread = self._statistics
        return torch.from_numpy(((log_mels - mean) / (3.0 * spread)).clip(-1.0, 1.0))[:, None]


def cmcgan() -> CMCGAN:
    """A new one, untrained."""
    return CMCGAN()
