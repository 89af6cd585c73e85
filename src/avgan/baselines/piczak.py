"""The convolutional network of Piczak 2015: short segments of a clip, which vote by their probabilities.

A segment is 41 frames (0.95 s) of log-mel and its slope. The first kernels are nearly as high as the spectrum. Silent
segments are left out, in training and in voting.

Shapes: M clips, S segments, B batch, F = 60 bands, T time steps, N labels.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avgan.baselines.fitting import Recipe, cost_of, fit_network, one_cycle, predict_network, seeded
from avgan.baselines.method import Budget, Card, Clips, Cost
from avgan.baselines.spectra import deltas, lengthened, limit_range, log_mels
from avgan.features import FrontEndConfig

FRONT_END = FrontEndConfig(sample_rate_hz=22_050, num_mels=60, f_max_hz=11_025.0)
LENGTH, STEP = 41, 20
"""Of segments, in frames."""
SILENT_DB = -70.0
TOP_DB = 80.0
WIDTH, NUM_HIDDEN = 80, 5000
DECAY = 0.002

CARD = Card(
    name="piczak",
    title="Piczak ConvNet",
    source="Piczak 2015, Environmental sound classification with convolutional neural networks (MLSP)",
    published=64.5,
    published_by_fold={"1": 62.25, "2": 60.75, "3": 63.75, "4": 71.5, "5": 64.5},
    follows=(
        "22 050 Hz, each clip at full scale, window 1024, hop 512, 60 mel bands in dB, one mean and deviation for all",
        "segments of 41 frames, half overlapping, without those below -70 dB; log-mel and its slope as two channels",
        "layers, poolings and dropout; gradient descent with Nesterov's momentum 0.9 and the same decay of weights",
        "a clip's answer is the mean of its segments' probabilities (the variant published with 64.5 %)",
    ),
    differs=(
        "trained on all four folds, where the original keeps one of them for validation",
        "in place of four delayed copies of each clip, each epoch cuts the segments at other random places",
        "batches of 200, learning rate 0.01 in one cycle and larger first kernels, where the original takes "
        "batches of 1000 and 0.002 throughout, for 300 epochs of five copies: there is time for fewer steps",
        "segments are cut from the spectrogram of the clip, not transformed each by itself",
    ),
)


class PiczakNet(nn.Module):
    """Segments (B, 2, 60, 41) -> logits (B, N)."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.high = nn.Conv2d(2, WIDTH, (57, 6))
        self.wide = nn.Conv2d(WIDTH, WIDTH, (1, 3))
        # 41 frames -> 36 -> 12 -> 10 -> 3, 60 bands -> 4 -> 1
        self.dense = nn.Linear(WIDTH * 3, NUM_HIDDEN)
        self.denser = nn.Linear(NUM_HIDDEN, NUM_HIDDEN)
        self.out = nn.Linear(NUM_HIDDEN, num_labels)
        for convolution in (self.high, self.wide):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        for dense in (self.dense, self.denser, self.out):
            nn.init.normal_(dense.weight, std=0.01)

    def forward(self, segments: Tensor) -> Tensor:
        hidden = functional.max_pool2d(self.high(segments).relu(), (4, 3), (1, 3))
        hidden = functional.dropout(hidden, 0.5, self.training)
        hidden = functional.max_pool2d(self.wide(hidden).relu(), (1, 3), (1, 3))
        hidden = self.dense(hidden.flatten(1)).relu()
        hidden = functional.dropout(hidden, 0.5, self.training)
        hidden = self.denser(hidden).relu()
        hidden = functional.dropout(hidden, 0.5, self.training)
        return self.out(hidden)


@dataclass(frozen=True, eq=False)
class Segments:
    """Where the segments of some clips lie."""

    log_mel: np.ndarray = field(repr=False)
    """(M, F, T) in dB."""
    clips: np.ndarray
    """(S,) the number of each segment's clip."""
    starts: np.ndarray
    """(S,) its first frame."""

    def cut(self, items: np.ndarray, shifting: np.random.Generator | None) -> np.ndarray:
        """The segments with these numbers (B, F, 41), moved by up to half of what lies between two where shifting."""
        starts = self.starts[items]
        if shifting is not None:
            moves = shifting.integers(-(STEP // 2), STEP // 2 + 1, len(items))
            starts = np.clip(starts + moves, 0, self.log_mel.shape[-1] - LENGTH)
        frames = starts[:, None] + np.arange(LENGTH)
        cut = self.log_mel[self.clips[items][:, None], :, frames]  # (B, 41, F)
        return limit_range(cut.transpose(0, 2, 1), TOP_DB)


def segments_of(clips: Clips) -> Segments:
    """All segments that are not silent; of a clip with nothing else, its first."""

    def transform(waveforms: np.ndarray) -> np.ndarray:
        # faint noise is no sound: what a codec leaves in silence stays where it is
        peaks = np.maximum(np.abs(waveforms).max(axis=1, keepdims=True), 1e-4)
        return lengthened(log_mels(waveforms / peaks, FRONT_END), LENGTH)

    log_mel = clips.in_blocks(FRONT_END.sample_rate_hz, transform)
    starts = np.arange(0, log_mel.shape[-1] - LENGTH + 1, STEP)
    loud = np.stack([log_mel[:, :, start : start + LENGTH].mean((1, 2)) > SILENT_DB for start in starts], axis=1)
    loud[~loud.any(1), 0] = True
    numbers, places = np.nonzero(loud)
    return Segments(log_mel, numbers, starts[places])


def optimiser(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """SGD whose decay is for weights only."""
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True, fused=True)


class Piczak:
    """Learns segments, answers for clips."""

    card = CARD
    recipe = Recipe(num_epochs=300, batch_size=200, optimiser=optimiser, schedule=one_cycle)

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        segments, num_labels = segments_of(clips), len(clips.labels)
        everything = segments.cut(np.arange(len(segments.clips)), None)
        self._mean, self._deviation = float(everything.mean()), float(everything.std())
        del everything
        with seeded(rng):
            self._network = PiczakNet(num_labels)
        single = cost_of(self._network, torch.zeros(1, 2, FRONT_END.num_mels, LENGTH))
        self._cost = single.times(1 + (segments.log_mel.shape[-1] - LENGTH) // STEP)
        fit_network(
            self._network,
            lambda items, shifting: self._as_images(segments.cut(items, shifting)),
            clips.targets[segments.clips],
            num_labels=num_labels,
            recipe=self.recipe,
            budget=budget,
            rng=rng,
        )

    def predict(self, clips: Clips) -> np.ndarray:
        segments = segments_of(clips)
        votes = predict_network(
            self._network,
            lambda items, _: self._as_images(segments.cut(items, None)),
            len(segments.clips),
            batch_size=self.recipe.batch_size,
        )
        answers = np.zeros((len(clips), votes.shape[1]))
        np.add.at(answers, segments.clips, votes)
        return answers / np.bincount(segments.clips, minlength=len(clips))[:, None]

    def cost(self) -> Cost:
        return self._cost

    def _as_images(self, cut: np.ndarray) -> Tensor:
        """(B, F, 41) in dB -> log-mel and its slope (B, 2, F, 41)."""
        log_mel = (cut - self._mean) / self._deviation
        return torch.from_numpy(np.stack([log_mel, deltas(log_mel)], axis=1).astype(np.float32))
