"""SDCNN-style (Chen et al. 2019, first in DCASE 2019): a fully convolutional net, and recordings that a GAN invents.

    1. a fully convolutional net learns the labels from mel filter banks (FBank);
    2. an auxiliary-classifier GAN (ACGAN) learns to make FBanks of a given label;
    3. the net of step 1 filters what it makes: kept is what is surely of its label;
    4. a new net learns from the recordings and from what was kept.

With further labelled recordings (`Clips.extra`) all four steps learn from both: "SDCNN + AV-10" of the paper's Table 2.

The winners fused many such nets with others on scalograms; this is one of them. No code of theirs was found.

Shapes: M clips, B batch, N labels, Z noise; FBanks (B, 1, 64, 128), in the GAN within [-1, 1].
"""

from dataclasses import replace
from itertools import pairwise

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

FRONT_END = FrontEndConfig(n_fft=1024, window_length=1024, hop_length=256)
NUM_STEPS = 128
"""Time steps of a clip, however long it is."""
RANGE = 3.0
"""Deviations of a band that the GAN's [-1, 1] stands for."""
WIDTHS = (32, 64, 128, 256)
GAN_WIDTHS = (16, 32, 64, 128)
NOISE = 100
BATCH = 32
NUM_EPOCHS = 60
GAN_EPOCHS = 150
GAN_RATE = 2e-4
LABEL_WEIGHT = 1.0
"""Of the label against real or made, in the GAN."""
TRIES = 4
"""Made for each recording; of those that the filter keeps, at most one for each recording is used."""
SURE = 0.6
"""Probability of its label above which the filter keeps what was made."""
SHARES = (0.3, 0.35)
"""Of the budget, for the first net, and of what is left, for the GAN."""

CARD = Card(
    name="sdcnn-style",
    title="SDCNN-style",
    source="Chen, Liu, Liu, Zhang, Yan: Integrating the data augmentation scheme with various classifiers for acoustic "
    "scene modeling, DCASE 2019 challenge (arXiv 1907.06639)",
    follows=(
        "a fully convolutional net on mel filter banks",
        "augmentation by an ACGAN, what it makes filtered by a classifier, and training anew with what is kept",
    ),
    differs=(
        "one net, where the winners fused many, among them nets on scalograms and a second kind of GAN",
        "one round of making and filtering; no adaptation to cities",
        "no code was published: layers and sizes are ours",
        "no figure of its authors on ESC-50 is known: 86.7 % (seen cities) and 77.9 % (unseen) are the challenge's own "
        "figures for their ensemble on DCASE 2019, on recordings whose labels were never published",
    ),
)
CARD_WITH_MORE = replace(
    CARD,
    name="sdcnn-av",
    title="SDCNN-style, with further audio-visual data",
    source=f"{CARD.source}; with further data as a row of the paper's Table 2 (SDCNN + AV-10)",
    pretrained_on="labelled clips of the further data set",
    takes_extra=True,
    follows=(*CARD.follows, "both sets of labelled clips learnt from together"),
    differs=(
        *CARD.differs[:-1],
        "the paper gives 87.1 % (seen cities) and 81.2 % (unseen) with its AV-10, which was not published: the further "
        "data set is the one named here",
    ),
)


class FCNN(nn.Module):
    """FBank (B, 1, F, T) -> logits (B, N): convolutions to the end, then the mean over the grid."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        layers = _convolution(1, WIDTHS[0], size=5, stride=2)
        layers += _convolution(WIDTHS[0], WIDTHS[0])
        for num_in, width in pairwise(WIDTHS):
            layers += [nn.MaxPool2d(2), nn.Dropout(0.2)]
            layers += _convolution(num_in, width) + _convolution(width, width)
        self.body = nn.Sequential(*layers)
        self.answer = nn.Sequential(nn.Dropout(0.2), nn.Conv2d(WIDTHS[-1], num_labels, 1))

    def forward(self, fbank: Tensor) -> Tensor:
        return self.answer(self.body(fbank)).mean((2, 3))


def _convolution(num_in: int, num_out: int, *, size: int = 3, stride: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(num_in, num_out, size, stride=stride, padding=size // 2, bias=False)
    return [layer, nn.BatchNorm2d(num_out), nn.ReLU()]


class Maker(nn.Module):
    """noise (B, Z), labels (B,) -> FBank (B, 1, 64, 128) in [-1, 1]."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_labels, NOISE)
        self.dense = nn.Linear(NOISE, GAN_WIDTHS[-1] * 4 * (NUM_STEPS // 16))
        self.body = rising(GAN_WIDTHS, 1)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self.body(self.dense(noise * self.embedding(labels)).unflatten(1, (GAN_WIDTHS[-1], 4, -1)))


class Examiner(nn.Module):
    """FBank (B, 1, 64, 128) -> logit of being a recording (B,), logits of the labels (B, N)."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        num_in = 1
        for width in GAN_WIDTHS:
            layers += [nn.Conv2d(num_in, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Dropout(0.25)]
            num_in = width
        self.body = nn.Sequential(*layers, nn.Flatten())
        flat = GAN_WIDTHS[-1] * 4 * (NUM_STEPS // 16)
        self.real, self.label = nn.Linear(flat, 1), nn.Linear(flat, num_labels)

    def forward(self, fbank: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(fbank)
        return self.real(hidden).squeeze(1).float(), self.label(hidden).float()


class GANTrainer(Adversaries):
    """Maker and examiner in training, step by step."""

    def __init__(self, fbanks: Tensor, targets: np.ndarray, num_labels: int) -> None:
        self.maker, self.examiner = Maker(num_labels), Examiner(num_labels)
        super().__init__(self.maker, self.examiner, GAN_RATE)
        place = fitting.device()
        self.fbanks, self.targets = fbanks.to(place), torch.from_numpy(targets).long().to(place)

    def step(self, items: np.ndarray, done: float, rng: np.random.Generator) -> None:
        """One turn of the examiner and one of the maker on items (B,)."""
        chosen = fitting.on_device(torch.from_numpy(items))
        real, labels = self.fbanks[chosen], self.targets[chosen]
        with fitting.in_fast_precision():
            made = self.maker(torch.randn(len(items), NOISE, device=real.device), labels)
            judged = self.examiner(real), self.examiner(made.detach())
            loss = verdict(judged[0], labels, real=True) + verdict(judged[1], labels, real=False)
        self.update(1, loss)
        self.examiner.requires_grad_(False)  # it only judges now
        with fitting.in_fast_precision():
            loss = verdict(self.examiner(made), labels, real=True)
        self.update(0, loss)
        self.examiner.requires_grad_(True)


def verdict(judged: tuple[Tensor, Tensor], labels: Tensor, *, real: bool) -> Tensor:
    """Cross-entropy of real or made, and of the label, which maker and examiner both want to be seen."""
    return real_or_made(judged[0], real) + LABEL_WEIGHT * F.cross_entropy(judged[1], labels)


@torch.inference_mode()
def invent(
    maker: nn.Module, network: nn.Module, targets: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, np.ndarray]:
    """FBanks (K, 1, 64, 128) with labels (K,) that the network is sure of, at most one for each of targets (M,)."""
    labels = np.repeat(targets, TRIES)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    noise = torch.randn(len(labels), NOISE, generator=generator).to(fitting.device())
    wanted = torch.from_numpy(labels).long().to(fitting.device())
    parts = zip(noise.split(BATCH), wanted.split(BATCH), strict=True)
    made = torch.cat([RANGE * maker(*part) for part in parts]).cpu()
    answers = fitting.predict_network(network, made, len(made))
    sure = answers[np.arange(len(labels)), labels].reshape(-1, TRIES)
    kept = np.flatnonzero(sure.max(1) >= SURE)
    chosen = kept * TRIES + sure.argmax(1)[kept]
    return made[chosen], labels[chosen]


class SDCNN:
    """Learns, invents, filters, and learns anew; from `Clips.extra` too where its card says so."""

    def __init__(self, card: Card = CARD) -> None:
        self.card = card

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        """Raises DataError where further recordings are to be learnt from and there are none."""
        known = [clips, self._further(clips)] if self.card.takes_extra else [clips]
        targets, num_labels = np.concatenate([part.targets for part in known]), len(clips.labels)
        log_mels = np.concatenate([log_mels_at(part) for part in known])
        self._statistics = BandStatistics.of(log_mels)
        fbanks = self._standardised(log_mels)
        parts = [budget.share(SHARES[0])]
        first = fit_net(fbanks, targets, num_labels, parts[0], rng)
        parts.append(budget.share(SHARES[1]))
        with fitting.seeded(rng):
            gan = GANTrainer((fbanks / RANGE).clamp(-1.0, 1.0), targets, num_labels)
        fitting.train(gan, len(targets), num_epochs=GAN_EPOCHS, batch_size=BATCH, budget=parts[1], rng=rng)
        invented, labels = invent(gan.maker.eval(), first, targets, rng)
        budget.say(f"{len(labels)} invented clips are kept beside {len(targets)} recordings")
        everything, all_targets = torch.cat((fbanks, invented)), np.concatenate((targets, labels))
        parts.append(budget.share())
        self._network = fit_net(everything, all_targets, num_labels, parts[2], rng)
        budget.count(parts)

    def predict(self, clips: Clips) -> np.ndarray:
        return fitting.predict_network(self._network, self._standardised(log_mels_at(clips)), len(clips))

    def cost(self) -> Cost:
        """Of the last net, which answers."""
        return fitting.cost_of(self._network, torch.zeros(1, 1, FRONT_END.num_mels, NUM_STEPS))

    def _further(self, clips: Clips) -> Clips:
        extra = clips.extra
        if extra is None or not len(extra):
            raise DataError(
                f"{self.card.name}: learns from a further set of labelled recordings too; name one whose labels are "
                "those of the protocol, such as a curated set, with --extra"
            )
        if extra.labels != clips.labels or not np.isin(extra.targets, range(len(clips.labels))).all():
            raise DataError(
                f"{self.card.name}: the further recordings have other labels than the protocol; give a set with "
                "the same"
            )
        return extra

    def _standardised(self, log_mels: np.ndarray) -> Tensor:
        """(M, 64, 128) -> (M, 1, 64, 128)."""
        return torch.from_numpy(self._statistics.standardise(log_mels))[:, None]


def fit_net(
    fbanks: Tensor, targets: np.ndarray, num_labels: int, budget: Budget, rng: np.random.Generator
) -> nn.Module:
    """A new net taught with FBanks (M, 1, 64, 128) of targets (M,)."""
    with fitting.seeded(rng):
        network = FCNN(num_labels)
    recipe = fitting.Recipe(
        num_epochs=NUM_EPOCHS,
        batch_size=BATCH,
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr=2e-3),
        schedule=fitting.one_cycle,
    )
    fitting.fit_network(network, fbanks, targets, num_labels=num_labels, recipe=recipe, budget=budget, rng=rng)
    return network


def log_mels_at(clips: Clips) -> np.ndarray:
    """(M, 64, 128) log-mel in dB."""
    return averaged_to(log_mels_of(clips, FRONT_END), NUM_STEPS)


def sdcnn_with_more() -> SDCNN:
    """A new one that learns from `Clips.extra` too, untrained."""
    return SDCNN(CARD_WITH_MORE)
