"""Stage 4: a sampler learns which maps of real features belong to imagined ones; all other networks are at rest.

Recordings are imagined, and they and photographs turned into codes, once and beforehand; a step costs only the sampler.
It is told the vectors of the imagined features' codes: a linear reader finds the label in them as often as in the
features (91.0 and 90.8 % of ESC-50's fold 5, of a run of minutes), and a picture can so be drawn whenever somebody asks
from the codes that an answer keeps. How it is taught depends on its kind: `training.flow`, `training.adversary`.

Shapes: B batch, N recordings, V views, M pictures, D code dimension.
"""

from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avgan import losses
from avgan.config import SamplerSection
from avgan.networks.samplers.flow import FlowSampler
from avgan.networks.samplers.gan import GANSampler
from avgan.training.adversary import GANLesson
from avgan.training.average import MovingAverage
from avgan.training.embedding import embed_all
from avgan.training.flow import FlowLesson
from avgan.training.pairs import Drawn, draw_pairs
from avgan.training.stage import Context, Stage, Validation

BATCH = 64
"""Recordings or pictures that are prepared at once."""
NUM_SHOWN = 12
"""Recordings in a sample sheet."""
NUM_SEEDS = 3
"""Pictures of each in a sample sheet."""
NUM_SETTLING = 2_000
"""Pictures that mean and spread of real features are taken from."""


class SamplerStage(Stage):
    """One lesson after the other on pairs of imagined and real features."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.config.stage, SamplerSection)
        assert context.networks.sampler is not None
        self.section: SamplerSection = context.config.stage
        self.vqvae = context.networks.vqvae
        self.sampler = context.networks.sampler
        self.lesson = self._lesson()
        if self.section.ema_decay:
            self.averages["sampler"] = MovingAverage(self.sampler, self.section.ema_decay)
        self.pairing = self.data.pairing
        scenes = [self.data.scene_of_clip[clip.id] for clip in self.pairing.sounds]
        names = sorted(set(scenes))
        self.scene_of_item = np.array([names.index(scene) for scene in scenes], dtype=np.int64)
        choices = self.pairing.image_choices
        self.used = np.unique(np.concatenate(choices)) if choices else np.empty(0, dtype=np.int64)
        self.imagined: Tensor | None = None
        self.codes: Tensor | None = None

    def _lesson(self) -> FlowLesson | GANLesson:
        if isinstance(self.sampler, FlowSampler):
            return FlowLesson(self, self.sampler)
        assert isinstance(self.sampler, GANSampler)
        return GANLesson(self, self.sampler, self.vqvae.quantizer)

    @property
    def num_items(self) -> int:
        return len(self.data.train)

    def prepare(self) -> None:
        """Imagine all recordings; what is not taught is at rest."""
        for network in (self.vqvae, self.networks.generator):
            network.requires_grad_(False)
        views = self.section.num_views
        embeddings = embed_all(self.context, self.data.train, num_views=views).flatten(0, 1)
        self.networks.eval()
        with torch.no_grad():
            parts = [
                self.vqvae.quantizer.encode(self.networks.generator.imagine(part))
                for part in embeddings.split(BATCH)
            ]
        self.imagined = torch.cat(parts).unflatten(0, (-1, views))
        self.sampler.train()

    def before_first_step(self) -> None:
        """Encode the pictures, and tell the sampler what both kinds of features are like."""
        self.codes = self._encode_all()
        spread = np.linspace(0, len(self.codes) - 1, min(NUM_SETTLING, len(self.codes))).astype(int)
        with torch.no_grad():
            chosen = self.codes[self.context.to_device(spread), 0].long()
            real = self.vqvae.quantizer.decode(chosen)
            assert self.imagined is not None
            imagined = self.vqvae.quantizer.decode(self.imagined.flatten(0, 1))
        self.sampler.settle(real, imagined)

    @torch.no_grad()
    def _encode_all(self) -> Tensor:
        """Codes of every picture that some sound may be shown with, as it is and mirrored: (M, 2, 16, 16) int16."""
        parts = []
        for start in range(0, len(self.used), BATCH):
            image = self.context.images(self.data.images, self.used[start : start + BATCH])
            with self.context.fabric.autocast():
                both = [self.vqvae.real_features(view).codes for view in (image, image.flip(3))]
            parts.append(torch.stack(both, 1).to(torch.int16))
        return torch.cat(parts)

    def step(self, step: int) -> dict[str, Tensor]:
        metrics = self.lesson.step(self.batch(step), step)
        for average in self.averages.values():
            average.update()
        return metrics

    def batch(self, step: int) -> Drawn:
        """Imagined features of recordings, slightly changed, each with those of a picture of its scene."""
        assert self.imagined is not None
        assert self.codes is not None
        items, chosen, flipped = draw_pairs(self, self.pairing, step, flip=self.section.flip)
        size = self.section.batch_size
        drawn = self.own(self.rng(step, "view").integers(self.section.num_views, size=size))
        rows, views, slots, sides, scenes = map(
            self.context.to_device,
            (
                items,
                drawn,
                np.searchsorted(self.used, chosen),
                flipped.astype(np.int64),
                self.scene_of_item[items],
            ),
        )
        with torch.no_grad():
            imagined = self.vqvae.quantizer.decode(self.imagined[rows, views])
            real = self.vqvae.quantizer.decode(self.codes[slots, sides].long())
        if self.section.condition_noise:
            noise = self.random_rows(torch.randn, *imagined.shape, step=step, purpose="condition")
            imagined = (
                imagined + self.section.condition_noise * self.sampler.imagined_spread * noise
            )
        return Drawn(imagined, real, scenes)

    def finish(self) -> None:
        super().finish()
        for network in (self.vqvae, self.networks.generator):
            network.requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        own = {"codes": self.codes, "lesson": self.lesson.state_dict()}
        return super().state_dict() | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.codes = state["codes"].to(self.context.device)
        self.lesson.load_state_dict(state["lesson"])

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        """Pictures of recordings kept aside (of training ones when none are): the first of each label, first draws."""
        recordings = self.data.validation if len(self.data.validation) else self.data.train
        labels = [clip.label for clip in recordings.clips]
        shown = np.array(sorted(labels.index(label) for label in set(labels))[:NUM_SHOWN])
        self.networks.eval()
        waveform = self.context.waveforms(recordings.waveforms, shown)
        features = self.networks.generator(self.networks.log_mel(waveform))
        codes = self.vqvae.quantizer.encode(features)
        rows = [self.vqvae.draw_codes(codes).float()]
        with ExitStack() as worn:
            for average in self.averages.values():
                worn.enter_context(average.applied())
            for seed in range(NUM_SEEDS):
                noise = self.networks.noise(seed).expand(len(codes), -1)
                sampled = self.networks.sample(codes, noise)
                rows.append(self.vqvae.draw(sampled).float())
        self.sampler.train()
        real = self.batch(step).real
        metrics = {"relative_diversity": float(losses.diversity(sampled) / losses.diversity(real))}
        names = ("imagined", *(f"drawn, seed {seed}" for seed in range(NUM_SEEDS)))
        return Validation(metrics, torch.stack(rows), names)
