"""Stage 3: the classifier learns labels from imagined features (Sec. 3.4, Fig. 6).

`frozen` is the paper's: the generator is fixed. `head` trains the generator's head along with the classifier, `joint`
its trunk too, while an anchor holds the features near those of stage 2, so that the pictures stay what they were.
Where the trunk is fixed, recordings are embedded once, beforehand. With a teacher (`training.teacher`) its
probabilities are learnt in place of the labels.

Shapes: B batch, L samples, C embedding, F mel bands, T time steps, D code dimension, N labels.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan.config import ClassifierSection
from avgan.training.stage import Stage, Validation, chunks, rolled
from avgan.training.teacher import Teacher

BATCH = 64
"""Recordings that are evaluated at once."""


class ClassifierStage(Stage[ClassifierSection]):
    """Cross-entropy on labels, read from the imagined features alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.generator, self.classifier = self.networks.generator, self.networks.classifier
        groups: list[tuple[nn.Module, float]] = [(self.classifier, self.section.learning_rate)]
        if self.section.mode != "frozen":
            groups = [(self.generator.head, self.section.learning_rate), *groups]
        if self.section.mode == "joint":
            groups = [(self.generator.trunk, self.section.trunk_learning_rate), *groups]
        self.optimizers["classifier"] = self.adam(*groups)
        self.keep_average(*(network for network, _ in groups))
        self.targets = self.to_device(self.data.train.targets)
        self.embeddings: Tensor | None = None
        self.teacher: Teacher | None = None

    def prepare(self) -> None:
        """Embed everything once where the trunk is fixed."""
        if self.section.mode == "joint":
            return
        self.embeddings = self.embed_all(self.section.num_views)
        self.spread = self.embeddings[:, 0].std(0)
        if self.section.teacher_c:
            self.teacher = Teacher(
                self.embeddings[:, 0].cpu().numpy(),
                self.data.train.targets,
                sources=[clip.source_id for clip in self.data.train.clips],
                devices=[clip.device for clip in self.data.train.clips],
                c=self.section.teacher_c,
            ).to(self.device)

    def before_first_step(self) -> None:
        """Remember what stage 2 imagines for each recording: what the anchor holds on to."""
        if self.section.mode != "frozen" and self.section.anchor:
            known = self.embed_all(1) if self.embeddings is None else self.embeddings
            self.generator.eval()
            with torch.no_grad():
                self.kept["anchors"] = torch.cat([self.generator.imagine(rows) for rows in known[:, 0].split(BATCH)])
            self.generator.train()

    def prefetch(self, step: int) -> None:
        if self.section.mode == "joint":
            self.data.train.waveforms.prefetch(self.indices(step))

    def step(self, step: int) -> dict[str, Tensor]:
        batch = self.batch(step)
        taught = None
        if self.embeddings is None:
            features = self.generator(self._log_mel(batch, step))
        else:
            embedding = self._embedding(self.embeddings, batch, step)
            taught = None if self.teacher is None else self.teacher(embedding)
            features = self._imagine(embedding)
        logits = self.classifier(features).float()
        loss = self._entropy(logits, batch) if taught is None else F.cross_entropy(logits, taught)
        metrics = {"entropy": loss.detach()}
        if "anchors" in self.kept:
            anchors = self.kept["anchors"]
            drift = batch.mix(*((features - anchors[rows]).square().mean((1, 2, 3)) for rows in batch.rows)).mean()
            loss = loss + self.section.anchor * drift
            metrics["drift"] = drift.detach()
        norm = self.descend("classifier", loss, step)
        self.update_average()
        own, other = (self.targets[rows] for rows in batch.rows)
        accuracy = (logits.argmax(1) == torch.where(batch.share >= 0.5, own, other)).float()
        return metrics | {"accuracy": accuracy.mean(), "gradient_norm": norm}

    def batch(self, step: int) -> "Mixed":
        """Recordings of a step, each with one that it is mixed with."""
        size, alpha = self.section.batch_size, self.section.mixup
        items = self.indices(step), self.local(self.rng(step, "partner").integers(self.num_items, size=size))
        share = np.ones(size)
        if alpha:
            drawn = self.rng(step, "mixup").beta(alpha, alpha, size)
            share = np.maximum(drawn, 1.0 - drawn)
        rows = self.to_device(items[0]), self.to_device(items[1])
        return Mixed(items, rows, self.to_device(self.local(share.astype(np.float32))))

    def _entropy(self, logits: Tensor, batch: "Mixed") -> Tensor:
        """Cross-entropy with the labels of both recordings that were mixed."""
        smoothing = self.section.label_smoothing
        own, other = (
            F.cross_entropy(logits, self.targets[rows], reduction="none", label_smoothing=smoothing)
            for rows in batch.rows
        )
        return batch.mix(own, other).mean()

    def _embedding(self, embeddings: Tensor, batch: "Mixed", step: int) -> Tensor:
        """(B, C) of recordings embedded beforehand (N, V, C), mixed."""
        views = self.rng(step, "view").integers(self.section.num_views, size=(2, self.section.batch_size))
        own, other = (
            embeddings[rows, self.to_device(self.local(each))] for rows, each in zip(batch.rows, views, strict=True)
        )
        embedding = batch.mix(own, other)
        if self.section.noise:
            noise = self.random_rows(torch.randn, *embedding.shape, step=step, purpose="noise")
            embedding = embedding + self.section.noise * self.spread * noise
        if self.teacher is not None:
            size = len(self.teacher.steps)
            chance = self.random_rows(torch.randn, len(embedding), size, step=step, purpose="recorder")
            embedding = self.teacher.as_if_elsewhere(embedding, chance)
        return embedding

    def _imagine(self, embedding: Tensor) -> Tensor:
        """Features of embeddings; a fixed head stays in evaluation mode."""
        if self.section.mode == "head":
            return self.generator.imagine(embedding)
        self.generator.eval()
        with torch.no_grad():
            return self.generator.imagine(embedding)

    def _log_mel(self, batch: "Mixed", step: int) -> Tensor:
        """Of augmented recordings, mixed as amplitudes, so that the energies mix as the labels do."""
        waveform = self._augment(batch.items[0], step, "own")
        if self.section.mixup:
            weight = batch.share[:, None]
            other = self._augment(batch.items[1], step, "partner's")
            waveform = weight.sqrt() * waveform + (1.0 - weight).sqrt() * other
        return self._mask(self.networks.log_mel(waveform), step)

    def _augment(self, items: np.ndarray, step: int, whose: str) -> Tensor:
        """Waveforms (B, L), each shifted and changed in loudness."""
        waveform = self.waveforms(self.data.train.waveforms, items)
        rng, size = self.rng(step, f"{whose} augmentation"), self.section.batch_size
        if self.section.roll:
            waveform = rolled(waveform, self.local(rng.integers(waveform.shape[1], size=size)))
        if self.section.gain_db:
            gain = 10.0 ** (rng.uniform(-1.0, 1.0, size) * self.section.gain_db / 20.0)
            waveform = waveform * self.to_device(self.local(gain.astype(np.float32)))[:, None]
        return waveform

    def _mask(self, log_mel: Tensor, step: int) -> Tensor:
        """Replace a span of time steps and a group of bands of each row by the row's mean."""
        rng, size = self.rng(step, "mask"), self.section.batch_size
        keep = torch.ones_like(log_mel, dtype=torch.bool)
        for axis, longest in ((2, self.section.band_mask), (3, self.section.time_mask)):
            length = log_mel.shape[axis]
            spans = (rng.uniform(0.0, longest, size) * length).astype(np.int64)
            starts = rng.integers(length - spans + 1)
            first, last = (self.to_device(self.local(ends)) for ends in (starts, starts + spans))
            place = torch.arange(length, device=log_mel.device)
            masked = (place >= first[:, None]) & (place < last[:, None])
            keep &= ~(masked[:, None, :, None] if axis == 2 else masked[:, None, None, :])
        return torch.where(keep, log_mel, log_mel.mean((1, 2, 3), keepdim=True))

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        """Accuracy on the validation recordings; no pictures."""
        recordings = self.data.validation
        if not len(recordings):
            return Validation({})
        self.networks.eval()
        num_right = 0
        for rows in chunks(np.arange(len(recordings)), BATCH):
            waveform = self.waveforms(recordings.waveforms, rows)
            answer = self.classifier(self.generator(self.networks.log_mel(waveform))).argmax(1).cpu().numpy()
            num_right += int((answer == recordings.targets[rows]).sum())
        self.networks.train()
        return Validation({"accuracy": num_right / len(recordings)})


@dataclass(frozen=True)
class Mixed:
    """A batch of recordings, each mixed with another one."""

    items: tuple[np.ndarray, np.ndarray]
    """Numbers of the recordings and of those that they are mixed with, both (B,)."""
    rows: tuple[Tensor, Tensor]
    """The same on the training device."""
    share: Tensor
    """(B,) of the first of both, at least a half; 1 without mixup."""

    def mix(self, own: Tensor, other: Tensor) -> Tensor:
        """What belongs to the recordings and to the others, (B,) or (B, C), weighed by their shares."""
        share = self.share.view(-1, *[1] * (own.dim() - 1))
        return share * own + (1.0 - share) * other
