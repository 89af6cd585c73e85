"""Stage 3: the classifier learns labels from imagined features (Sec. 3.4, Fig. 6).

`frozen` is the paper's: the generator is fixed. `head` trains the generator's head along with the classifier, `joint`
its trunk too, while an anchor holds the features near those of stage 2, so that the pictures stay what they were.
Where the trunk is fixed, recordings are embedded once, beforehand. With a teacher (`Teacher`) its probabilities
are learnt in place of the labels.

Shapes: B batch, L samples, C embedding, F mel bands, T time steps, D code dimension, N labels.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan.config import ClassifierSection
from avgan.training.stage import Context, MovingAverage, Stage, Validation, embed_all, rolled

BATCH = 64
"""Recordings that are evaluated at once."""
EVENNESS = 0.7
"""0 gives each recording the same weight, 1 each label; between them rare labels count for more, but one of three
recordings not as much as one of sixty."""
MAX_DIRECTIONS = 12
"""Of places by collection, as they are and shifted as if by another recorder, % of clips: none 60.4 and 49.9, 2
directions 57.0 and 57.5, 6 56.3 and 56.1, 12 57.7 and 58.2, 20 57.1 and 57.3."""
STRETCH = 2.0
"""Steps along the directions in teaching, in multiples of how far apart the known recorders lie: others lie further."""


class ClassifierStage(Stage):
    """Cross-entropy on labels, read from the imagined features alone."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.config.stage, ClassifierSection)
        self.section: ClassifierSection = context.config.stage
        self.generator = context.networks.generator
        self.classifier = context.networks.classifier
        rate = self.section.learning_rate
        self.trained: tuple[nn.Module, ...] = (self.classifier,)
        groups = [(self.classifier, rate)]
        if self.section.mode != "frozen":
            self.trained = (self.generator.head, self.classifier)
            groups = [(self.generator.head, rate), *groups]
        if self.section.mode == "joint":
            self.trained = (self.generator, self.classifier)
            groups = [(self.generator.trunk, self.section.trunk_learning_rate), *groups]
        self.optimizers["classifier"] = self.adam(*groups)
        if self.section.ema_decay:
            for index, network in enumerate(self.trained):
                self.averages[str(index)] = MovingAverage(network, self.section.ema_decay)
        self.targets = context.to_device(self.data.train.targets)
        self.embeddings: Tensor | None = None
        self.anchors: Tensor | None = None
        self.teacher: Teacher | None = None
        self.spread: Tensor | None = None

    @property
    def num_items(self) -> int:
        return len(self.data.train)

    def prepare(self) -> None:
        """Embed everything once where the trunk is fixed."""
        if self.section.mode != "joint":
            views = self.section.num_views
            self.embeddings = embed_all(self.context, self.data.train, num_views=views)
            self.spread = self.embeddings[:, 0].std(0)
            if self.section.teacher_c:
                self.teacher = Teacher(
                    self.embeddings[:, 0].cpu().numpy(),
                    self.data.train.targets,
                    sources=[clip.source_id for clip in self.data.train.clips],
                    devices=[clip.device for clip in self.data.train.clips],
                    c=self.section.teacher_c,
                ).to(self.context.device)

    def before_first_step(self) -> None:
        """Remember what stage 2 imagines for each recording: what the anchor holds on to."""
        if self.section.mode != "frozen" and self.section.anchor:
            known = self.embeddings
            if known is None:
                known = embed_all(self.context, self.data.train, num_views=1)
            self.generator.eval()
            with torch.no_grad():
                features = [self.generator.imagine(rows) for rows in known[:, 0].split(BATCH)]
            self.anchors = torch.cat(features)
            self.generator.train()

    def prefetch(self, step: int) -> None:
        if self.section.mode == "joint":
            self.data.train.waveforms.prefetch(self.indices(step))

    def step(self, step: int) -> dict[str, Tensor]:
        items = self.indices(step)
        size = self.section.batch_size
        partners = self.own(self.rng(step, "partner").integers(self.num_items, size=size))
        share = self.context.to_device(self._shares(step))
        taught = None
        if self.section.mode == "joint":
            features = self._imagine(items, partners, share, step)
        else:
            embedding = self._embedding(items, partners, share, step)
            features = self._imagine_embedded(embedding)
            taught = None if self.teacher is None else self.teacher(embedding)
        logits = self.classifier(features).float()
        targets, others = (self.targets[self.context.to_device(rows)] for rows in (items, partners))
        loss = self._entropy(logits, targets, others, share) if taught is None else F.cross_entropy(logits, taught)
        metrics = {"entropy": loss.detach()}
        if self.anchors is not None:
            drift = self._drift(features, items, partners, share)
            loss = loss + self.section.anchor * drift
            metrics["drift"] = drift.detach()
        norm = self.descend("classifier", loss, self.trained, step)
        self.update_averages()
        accuracy = (logits.argmax(1) == torch.where(share >= 0.5, targets, others)).float()
        return metrics | {"accuracy": accuracy.mean(), "gradient_norm": norm}

    def _entropy(self, logits: Tensor, targets: Tensor, others: Tensor, share: Tensor) -> Tensor:
        """Cross-entropy with the labels (B,) of both recordings that were mixed."""
        own, other = (
            F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.section.label_smoothing)
            for labels in (targets, others)
        )
        return (share * own + (1.0 - share) * other).mean()

    def _drift(self, features: Tensor, items: np.ndarray, partners: np.ndarray, share: Tensor) -> Tensor:
        """Mean square of how far features (B, D, 16, 16) went from those stage 2 imagined, mixed as the sounds are."""
        assert self.anchors is not None
        own, other = (
            (features - self.anchors[self.context.to_device(rows)]).square().mean((1, 2, 3))
            for rows in (items, partners)
        )
        return (share * own + (1.0 - share) * other).mean()

    def _shares(self, step: int) -> np.ndarray:
        """(B,) share of the first of two recordings, at least a half; 1 without mixup."""
        alpha = self.section.mixup
        if not alpha:
            return self.own(np.ones(self.section.batch_size, dtype=np.float32))
        drawn = self.rng(step, "mixup").beta(alpha, alpha, self.section.batch_size)
        return self.own(np.maximum(drawn, 1.0 - drawn).astype(np.float32))

    def _imagine(self, items: np.ndarray, partners: np.ndarray, share: Tensor, step: int) -> Tensor:
        """Features of augmented recordings, with their gradient into the generator."""
        waveform = self._augment(items, step, "own")
        if self.section.mixup:
            other = self._augment(partners, step, "partner's")
            # amplitudes, so that the energies mix as the labels do
            weight = share[:, None]
            waveform = weight.sqrt() * waveform + (1.0 - weight).sqrt() * other
        features: Tensor = self.generator(self._mask(self.networks.log_mel(waveform), step))
        return features

    def _embedding(self, items: np.ndarray, partners: np.ndarray, share: Tensor, step: int) -> Tensor:
        """(B, C) of recordings embedded beforehand, mixed."""
        assert self.embeddings is not None
        size = self.section.batch_size
        views = self.rng(step, "view").integers(self.section.num_views, size=(2, size))
        own, other = (
            self.embeddings[self.context.to_device(rows), self.context.to_device(self.own(each))]
            for rows, each in zip((items, partners), views, strict=True)
        )
        embedding = share[:, None] * own + (1.0 - share[:, None]) * other
        if self.section.noise:
            assert self.spread is not None
            noise = self.random_rows(torch.randn, *embedding.shape, step=step, purpose="noise")
            embedding = embedding + self.section.noise * self.spread * noise
        if self.teacher is not None:
            size = len(self.teacher.steps)
            chance = self.random_rows(torch.randn, len(embedding), size, step=step, purpose="recorder")
            embedding = self.teacher.as_if_elsewhere(embedding, chance)
        return embedding

    def _imagine_embedded(self, embedding: Tensor) -> Tensor:
        """Features of embeddings; a fixed head stays in evaluation mode."""
        if self.section.mode == "head":
            return self.generator.imagine(embedding)
        self.generator.eval()
        with torch.no_grad():
            return self.generator.imagine(embedding)

    def _augment(self, items: np.ndarray, step: int, whose: str) -> Tensor:
        """Waveforms (B, L), each shifted and changed in loudness."""
        waveform = self.context.waveforms(self.data.train.waveforms, items)
        rng, size = self.rng(step, f"{whose} augmentation"), self.section.batch_size
        if self.section.roll:
            waveform = rolled(waveform, self.own(rng.integers(waveform.shape[1], size=size)))
        if self.section.gain_db:
            gain = 10.0 ** (rng.uniform(-1.0, 1.0, size) * self.section.gain_db / 20.0)
            waveform = waveform * self.context.to_device(self.own(gain.astype(np.float32)))[:, None]
        return waveform

    def _mask(self, log_mel: Tensor, step: int) -> Tensor:
        """Replace a span of time steps and a group of bands of each row by the row's mean."""
        rng, size = self.rng(step, "mask"), self.section.batch_size
        keep = torch.ones_like(log_mel, dtype=torch.bool)
        for axis, longest in ((2, self.section.band_mask), (3, self.section.time_mask)):
            length = log_mel.shape[axis]
            spans = (rng.uniform(0.0, longest, size) * length).astype(np.int64)
            starts = rng.integers(length - spans + 1)
            first, last = (self.context.to_device(self.own(ends)) for ends in (starts, starts + spans))
            place = torch.arange(length, device=log_mel.device)
            masked = (place >= first[:, None]) & (place < last[:, None])
            keep &= ~(masked[:, None, :, None] if axis == 2 else masked[:, None, None, :])
        mean = log_mel.mean((1, 2, 3), keepdim=True)
        return torch.where(keep, log_mel, mean)

    def state_dict(self) -> dict[str, Any]:
        extra = {} if self.anchors is None else {"anchors": self.anchors}
        return super().state_dict() | extra

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        anchors = state.get("anchors")
        self.anchors = None if anchors is None else anchors.to(self.context.device)

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        """Accuracy on the recordings kept aside; no pictures."""
        recordings = self.data.validation
        if not len(recordings):
            return Validation({})
        self.networks.eval()
        hits = 0
        for start in range(0, len(recordings), BATCH):
            rows = np.arange(start, min(start + BATCH, len(recordings)))
            waveform = self.context.waveforms(recordings.waveforms, rows)
            features = self.generator(self.networks.log_mel(waveform))
            answer = self.classifier(features).argmax(1).cpu().numpy()
            hits += int((answer == recordings.targets[rows]).sum())
        self.networks.train()
        return Validation({"accuracy": hits / len(recordings)})


class Teacher(nn.Module):
    """embedding (B, C) -> probabilities (B, N): a logistic regression, for head and classifier to learn from.

    Of 450 recordings of places a head of two dense layers, trained on their labels, was right in 54 % of the clips of
    new ones, a strongly penalised logistic regression on the same numbers in 60 %, the same head taught by it in 60 %
    (distillation: Hinton, Vinyals and Dean 2015). The label is still read from the imagined features.

    It gets the recorder of each recording, to learn the place and not the recorder: the directions in which recordings
    of one label differ from recorder to recorder are projected out of the embedding (nuisance attribute projection:
    Solomonoff, Campbell and Boardman 2005), and the head is trained with random steps along them. Otherwise a recorder
    that made most of the metro stations finds one in every airport.

    Shapes: M recordings, R directions.
    """

    mean: Tensor
    spread: Tensor
    weight: Tensor
    bias: Tensor
    steps: Tensor
    """(R, C) directions of the recorders, each as long as they lie apart along it."""

    def __init__(
        self, embeddings: np.ndarray, targets: np.ndarray, *, sources: Sequence[str], devices: Sequence[str], c: float
    ) -> None:
        """From recordings (M, C), their labels (M,), the source that each was cut from and its recorder."""
        from sklearn.linear_model import LogisticRegression

        super().__init__()
        mean, spread = embeddings.mean(0), embeddings.std(0) + 1e-6
        standard = (embeddings - mean) / spread
        directions, widths = recorder_directions(standard, targets, devices)
        probe = LogisticRegression(C=c, max_iter=500)
        weights = source_weights(targets, sources)
        probe.fit(standard - standard @ directions.T @ directions, targets, sample_weight=weights)
        weight, bias = probe.coef_, probe.intercept_
        if len(weight) == 1:  # of two labels it only says the second
            weight, bias = np.concatenate((-weight, weight)) / 2, np.concatenate((-bias, bias)) / 2
        weight = weight - weight @ directions.T @ directions
        for name, value in (
            ("mean", mean),
            ("spread", spread),
            ("weight", weight),
            ("bias", bias),
            ("steps", widths[:, None] * directions * spread),
        ):
            self.register_buffer(name, torch.from_numpy(np.asarray(value, np.float32)))

    def forward(self, embedding: Tensor) -> Tensor:
        standard = (embedding - self.mean) / self.spread
        return (standard @ self.weight.T + self.bias).softmax(1)

    def as_if_elsewhere(self, embedding: Tensor, chance: Tensor) -> Tensor:
        """embedding (B, C) as another recorder might have given it; chance (B, R) normal numbers."""
        return embedding + STRETCH * chance @ self.steps


def recorder_directions(
    embeddings: np.ndarray, targets: np.ndarray, devices: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(R, C) of length 1 at right angles, and (R,) how far recorders lie apart along each.

    None where no label was recorded by two of them.
    """
    names = np.array(devices)
    apart: list[np.ndarray] = []
    for target in np.unique(targets):
        own = targets == target
        means = [embeddings[own & (names == name)].mean(0) for name in sorted(set(names[own].tolist()))]
        if len(means) > 1:
            apart += [mean - np.mean(means, 0) for mean in means]
    if not apart:
        return np.empty((0, embeddings.shape[1])), np.empty(0)
    _, widths, directions = np.linalg.svd(np.array(apart), full_matrices=False)
    num = min(MAX_DIRECTIONS, int((widths > 1e-6).sum()))
    return directions[:num], widths[:num] / np.sqrt(len(apart))


def source_weights(targets: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """(M,) with mean 1: a source counts once however many clips it gave, a label by `EVENNESS`."""
    num_clips = Counter(sources)
    weights = np.array([1.0 / num_clips[source] for source in sources])
    of_label: defaultdict[int, float] = defaultdict(float)
    for target, weight in zip(targets.tolist(), weights, strict=True):
        of_label[target] += weight
    weights *= np.array([of_label[target] ** -EVENNESS for target in targets.tolist()])
    balanced: np.ndarray = weights / weights.mean()
    return balanced
