"""Stage 3: the classifier learns scenes from imagined features (Sec. 3.4, Fig. 6).

`frozen` is the paper's: the generator is fixed. `joint` trains trunk and head along with the classifier, while an
anchor holds the features near those of stage 2, so that the pictures stay what they were.

Shapes: B batch, L samples, F mel bands, T time steps, D code dimension, N labels.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan.config import ClassifierSection
from avgan.training.average import MovingAverage
from avgan.training.hearing import hear_all
from avgan.training.stage import Context, Stage, Validation

NUM_FROZEN_VIEWS = 4


class ClassifierStage(Stage):
    """Cross-entropy on labels, read from the imagined features alone."""

    name = "classifier"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.section: ClassifierSection = context.config.classifier
        self.generator = context.networks.generator
        self.classifier = context.networks.classifier
        rate = self.section.learning_rate
        self.trained: tuple[nn.Module, ...]
        if self.joint:
            self.trained = (self.generator, self.classifier)
            self.optimizers["classifier"] = self.adam(
                (self.generator.trunk, self.section.trunk_learning_rate),
                (self.generator.head, rate),
                (self.classifier, rate),
            )
        else:
            self.trained = (self.classifier,)
            self.optimizers["classifier"] = self.adam((self.classifier, rate))
        if self.section.ema_decay:
            for index, network in enumerate(self.trained):
                self.averages[str(index)] = MovingAverage(network, self.section.ema_decay)
        self.heard_views: Tensor | None = None
        self.anchors: Tensor | None = None

    @property
    def joint(self) -> bool:
        return self.section.mode == "joint"

    @property
    def num_items(self) -> int:
        return len(self.data.train)

    def prepare(self) -> None:
        """Hear everything once when the generator is fixed."""
        if not self.joint:
            self.heard_views = hear_all(self.context, self.data.train, num_views=NUM_FROZEN_VIEWS)

    def before_first_step(self) -> None:
        """Remember what stage 2 imagines for each recording: what the anchor holds on to."""
        if self.joint and self.section.anchor:
            heard = hear_all(self.context, self.data.train, num_views=1)[:, 0]
            self.generator.eval()
            with torch.no_grad():
                features = [self.generator.imagine(rows) for rows in heard.split(64)]
            self.anchors = torch.cat(features)
            self.generator.train()

    def step(self, step: int) -> dict[str, Tensor]:
        items = self.indices(step)
        rngs = self.row_generators(step, "augment")
        partners = np.array([int(rng.integers(self.num_items)) for rng in rngs])
        weights = self._mixing_weights(rngs)
        if self.joint:
            features = self._imagine(items, partners, weights, rngs, step)
        else:
            features = self._imagine_fixed(items, rngs)
            weights = np.ones_like(weights)
        logits = self.classifier(features).float()
        share = self.context.to_device(weights)
        targets = self.context.to_device(self.data.train.targets[items])
        other_targets = self.context.to_device(self.data.train.targets[partners])
        smoothing = self.section.label_smoothing
        entropy = share * F.cross_entropy(
            logits, targets, reduction="none", label_smoothing=smoothing
        ) + (1.0 - share) * F.cross_entropy(
            logits, other_targets, reduction="none", label_smoothing=smoothing
        )
        loss = entropy.mean()
        metrics = {"entropy": loss.detach()}
        if self.anchors is not None:
            drift = self._drift(features, items, partners, share)
            loss = loss + self.section.anchor * drift
            metrics["drift"] = drift.detach()
        norm = self.descend("classifier", loss, self.trained, step)
        for average in self.averages.values():
            average.update()
        accuracy = (logits.argmax(1) == torch.where(share >= 0.5, targets, other_targets)).float()
        return metrics | {"accuracy": accuracy.mean(), "gradient_norm": norm}

    def _drift(
        self, features: Tensor, items: np.ndarray, partners: np.ndarray, share: Tensor
    ) -> Tensor:
        """Mean square of how far features (B, D, 16, 16) went from those stage 2 imagined, mixed as the sounds are."""
        assert self.anchors is not None
        anchors = self.anchors.to(features.device)
        own = (features - anchors[items]).square().mean((1, 2, 3))
        other = (features - anchors[partners]).square().mean((1, 2, 3))
        return (share * own + (1.0 - share) * other).mean()

    def _mixing_weights(self, rngs: list[np.random.Generator]) -> np.ndarray:
        """(B,) share of the first of two recordings, at least a half; 1 without mixup."""
        if not self.section.mixup:
            return np.ones(len(rngs), dtype=np.float32)
        alpha = self.section.mixup
        shares = np.array([rng.beta(alpha, alpha) for rng in rngs], dtype=np.float32)
        return np.maximum(shares, 1.0 - shares)

    def _imagine(
        self,
        items: np.ndarray,
        partners: np.ndarray,
        weights: np.ndarray,
        rngs: list[np.random.Generator],
        step: int,
    ) -> Tensor:
        """Features of augmented recordings, with their gradient into the generator."""
        waveform = self._augment(self.data.train.waveforms.get(items), rngs)
        if self.section.mixup:
            others = self._augment(self.data.train.waveforms.get(partners), rngs)
            # amplitudes, so that the energies mix as the labels do
            share = weights[:, None]
            waveform = np.sqrt(share) * waveform + np.sqrt(1.0 - share) * others
        log_mel = self.networks.log_mel(self.context.to_device(waveform.astype(np.float32)))
        log_mel = self._mask(log_mel, rngs)
        features: Tensor = self.generator(log_mel)
        return features

    @torch.no_grad()
    def _imagine_fixed(self, items: np.ndarray, rngs: list[np.random.Generator]) -> Tensor:
        """Features of recordings heard beforehand; the generator stays in evaluation mode."""
        assert self.heard_views is not None
        self.generator.eval()
        views = np.array([int(rng.integers(NUM_FROZEN_VIEWS)) for rng in rngs])
        heard = self.heard_views[items, views].to(self.context.fabric.device)
        return self.generator.imagine(heard)

    def _augment(self, waveform: np.ndarray, rngs: list[np.random.Generator]) -> np.ndarray:
        """Shift and change the loudness of each row of (B, L)."""
        rows = []
        for row, rng in zip(waveform, rngs, strict=True):
            if self.section.roll:
                row = np.roll(row, int(rng.integers(len(row))))
            if self.section.gain_db:
                row = row * 10.0 ** (rng.uniform(-1.0, 1.0) * self.section.gain_db / 20.0)
            rows.append(row)
        return np.stack(rows).astype(np.float32)

    def _mask(self, log_mel: Tensor, rngs: list[np.random.Generator]) -> Tensor:
        """Replace a span of time steps and a group of bands of each row by the row's mean."""
        if not (self.section.time_mask or self.section.band_mask):
            return log_mel
        keep = torch.ones_like(log_mel)
        for row, rng in enumerate(rngs):
            for axis, longest in ((1, self.section.band_mask), (2, self.section.time_mask)):
                size = log_mel.shape[axis + 1]
                length = int(rng.uniform(0.0, longest) * size)
                start = int(rng.integers(size - length + 1))
                keep[row].narrow(axis, start, length).zero_()
        mean = log_mel.mean((1, 2, 3), keepdim=True)
        return log_mel * keep + mean * (1.0 - keep)

    def state_dict(self) -> dict[str, Any]:
        extra = {} if self.anchors is None else {"anchors": self.anchors}
        return super().state_dict() | extra

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.anchors = state.get("anchors")

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        """Accuracy on the recordings kept aside; no pictures."""
        recordings = self.data.validation
        if not len(recordings):
            return Validation({})
        self.networks.eval()
        hits = 0
        for start in range(0, len(recordings), 32):
            rows = np.arange(start, min(start + 32, len(recordings)))
            waveform = self.context.to_device(recordings.waveforms.get(rows))
            features = self.generator(self.networks.log_mel(waveform))
            answer = self.classifier(features).argmax(1).cpu().numpy()
            hits += int((answer == recordings.targets[rows]).sum())
        self.networks.train()
        return Validation({"accuracy": hits / len(recordings)})
