"""Stage 2: the generator learns to imagine features that the critic takes for real ones (Sec. 3.2-3.3, Eq. 2).

Each step is `critic_steps` steps of the critic, then one of the generator. The VQ-VAE is fixed. With `num_views` the
trunk is fixed too: recordings and pictures are turned into vectors and feature maps once, and the step costs only
head and critic.

Shapes: B batch, C embedding, D code dimension, M pictures.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan import losses
from avgan.config import ImaginationSection
from avgan.networks.vqvae import perplexity
from avgan.training.stage import BLOCK, PairedStage, Validation, mirrored

NUM_SHOWN = 12
"""Pictures in a sample sheet."""
NUM_MEASURED = 8
"""Batches that the critic's gap and the diversity are measured on at the end: 128 pairs of the paper's size."""


@dataclass(frozen=True)
class Pairs:
    """A batch of sounds with a picture each."""

    embedding: Tensor
    """(B, C); from the trunk, with its gradient unless embedded beforehand."""
    real: Tensor
    """(B, D, 16, 16) features of the pictures."""
    image: Tensor | None
    """(B, 3, 128, 128), only where gamma compares pixels."""


class ImaginationStage(PairedStage[ImaginationSection]):
    """Generator against critic, both through Adam."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.vqvae, self.generator, self.critic = self.networks.vqvae, self.networks.generator, self.networks.critic
        self.frozen = (self.vqvae,)
        self.cached = self.section.num_views > 0
        self.flip = self.section.flip
        rate = self.section.learning_rate
        self.optimizers["generator"] = self.adam((self.generator.head if self.cached else self.generator, rate))
        self.optimizers["critic"] = self.adam((self.critic, rate))
        self.keep_average(self.generator)

    def prepare(self) -> None:
        """Turn recordings and pictures into vectors and feature maps, where that is done once."""
        super().prepare()
        if self.cached:
            self.embeddings = self.embed_all(self.section.num_views)
            self.real_views = self.encode_all()
            if self.section.real == "quantized":
                for rows in self.real_views.split(BLOCK):
                    rows.copy_(self._quantized(rows.flatten(0, 1).float()).view_as(rows))

    def prefetch(self, step: int) -> None:
        if self.cached and self.section.gamma_on == "features":
            return
        for number in self.turns(step):
            items, chosen, _ = self.sample_pairs(number)
            self.data.images.prefetch(chosen)
            if not self.cached:
                self.data.train.waveforms.prefetch(items)

    def turns(self, step: int) -> range:
        """The batches of a step: one for each turn of the critic, the last for the generator."""
        num_turns = self.section.critic_steps + 1
        return range(step * num_turns, (step + 1) * num_turns)

    def step(self, step: int) -> dict[str, Tensor]:
        *critic_turns, generator_turn = self.turns(step)
        metrics: dict[str, Tensor] = {}
        if self.section.adversarial_weight:
            for turn, number in enumerate(critic_turns):
                due = (step * len(critic_turns) + turn) % self.section.penalty_every == 0
                metrics |= self.critic_step(number, step, penalised=due)
        metrics |= self.generator_step(generator_turn, step)
        self.update_average()
        return metrics

    def critic_step(self, number: int, step: int, *, penalised: bool) -> dict[str, Tensor]:
        """Minimise D(imagined) - D(real) + lambda * penalty; the generator stays as it is."""
        with torch.no_grad():
            pairs = self.pairs(number)
            imagined = self.generator.imagine(pairs.embedding)
        with torch.autocast(self.device.type, enabled=False):
            loss = losses.critic_loss(self.critic(pairs.real), self.critic(imagined))
            gap = -loss.detach()
            penalty = torch.zeros((), device=gap.device)
            if self.section.penalty_weight and penalised:
                penalty = losses.gradient_penalty(
                    lambda between: self.critic(between, hold_others=True),
                    pairs.real,
                    imagined,
                    self.random_rows(torch.rand, len(imagined), step=number, purpose="penalty"),
                )
                loss = loss + self.section.penalty_weight * self.section.penalty_every * penalty
            norm = self.descend("critic", loss, step)
        return {"critic_gap": gap, "penalty": penalty.detach(), "critic_gradient_norm": norm}

    def generator_step(self, number: int, step: int) -> dict[str, Tensor]:
        """Minimise -D(imagined) + gamma * reconstruction; the critic stays as it is."""
        pairs = self.pairs(number)
        metrics: dict[str, Tensor] = {}
        loss = torch.zeros((), device=pairs.real.device)
        imagined = self.generator.imagine(pairs.embedding)
        if self.section.adversarial_weight:
            self.critic.requires_grad_(False)
            with torch.autocast(self.device.type, enabled=False):
                verdict = losses.generator_loss(self.critic(imagined))
            self.critic.requires_grad_(True)
            loss = loss + self.section.adversarial_weight * verdict
            metrics["verdict"] = verdict
        if self.section.gamma:
            metrics["reconstruction"] = self._reconstruction(pairs, imagined)
            loss = loss + self.section.gamma * metrics["reconstruction"]
        norm = self.descend("generator", loss, step)
        # signs of mode collapse: diversity against that of real features, and how many codes are in use
        imagined = imagined.detach()
        counts = self.vqvae.quantizer.count(self.vqvae.quantizer.encode(imagined))
        return {
            "generator": loss.detach(),
            **metrics,
            "gradient_norm": norm,
            "diversity": losses.diversity(imagined) / losses.diversity(pairs.real).clamp(min=1e-6),
            "imagined_perplexity": perplexity(counts),
        }

    def _reconstruction(self, pairs: Pairs, imagined: Tensor) -> Tensor:
        """Eq. 2's last term, on pictures or on features.

        Features are divided by the variance of this process's own share of the batch, so that several processes give
        nearly, not exactly, what one alone gives.
        """
        if pairs.image is None:
            return F.mse_loss(imagined, pairs.real) / pairs.real.var().clamp(min=1e-6)
        decoded = self.vqvae.decoder(self.vqvae.quantizer(imagined).features).float()
        return losses.reconstruction_loss(pairs.image, decoded, self.vqvae.image_variance)

    def pairs(self, number: int) -> Pairs:
        """Batch `number` of the stage: sounds, each with a picture it may be shown with."""
        items, chosen, flipped = self.sample_pairs(number)
        mask = self.to_device(flipped)
        embedding = self._embed(items, number)
        if self.cached and self.section.gamma_on == "features":
            slots = self.to_device(self.slots(chosen))
            return Pairs(embedding, self.real_views[slots, mask.long()].float(), None)
        image = mirrored(self.images(self.data.images, chosen), mask)
        return Pairs(embedding, self._real(image), image if self.section.gamma_on == "pixels" else None)

    def _embed(self, items: np.ndarray, number: int) -> Tensor:
        """The embedding (B, C) of recordings, of a view of each where they were embedded beforehand."""
        if self.cached:
            draws = self.rng(number, "view").integers(self.section.num_views, size=self.section.batch_size)
            return self.embeddings[self.to_device(items), self.to_device(self.local(draws))]
        waveform = self.waveforms(self.data.train.waveforms, items)
        return self.generator.embed(self.networks.log_mel(waveform))

    @torch.no_grad()
    def _real(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) -> real features (B, D, 16, 16)."""
        encoded: Tensor = self.vqvae.encoder(image).float()
        return encoded if self.section.real == "encoded" else self._quantized(encoded)

    @torch.no_grad()
    def _quantized(self, encoded: Tensor) -> Tensor:
        """The nearest vectors of the codebook, of the same shape (B, D, 16, 16)."""
        return cast(Tensor, self.vqvae.quantizer(encoded).vectors)

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        """Pictures imagined from validation recordings (training ones where there are none), one a scene."""
        recordings = self.data.validation if len(self.data.validation) else self.data.train
        scenes = self.scene_numbers(recordings.clips)
        shown = one_a_scene(scenes, NUM_SHOWN)
        self.generator.eval()
        with self.averaged():
            waveform = self.waveforms(recordings.waveforms, shown)
            imagined = self.vqvae.decode(self.generator(self.networks.log_mel(waveform))).float()
            metrics = self._measure(step)
        self.generator.train()
        # a validation picture of each scene, or any where the scene has none
        known = [*self.data.validation_scenes]
        names = [self.scenes[number] for number in scenes[shown]]
        examples = np.array([known.index(name) if name in known else 0 for name in names])
        real = self.images(self.data.validation_images, examples)
        rows = torch.stack((real, self.vqvae(real)[0].float(), imagined))
        return Validation(metrics, rows, ("real", "reconstructed", "imagined"))

    def _measure(self, step: int) -> dict[str, float]:
        """How well the critic tells real features from imagined ones, and how much the latter differ (`rounds`).

        Both are shares of how much real features differ, on batches of training pairs that no step has had.
        """
        gaps, diversities = [], []
        for number in range(NUM_MEASURED):
            pairs = self.pairs(self.turns(step).stop + number)
            imagined = self.generator.imagine(pairs.embedding)
            with torch.autocast(self.device.type, enabled=False):
                scores = [self.critic(each) for each in (pairs.real, imagined)]
            spread = losses.diversity(pairs.real).clamp(min=1e-6)
            distance = spread * pairs.real[0].numel() ** 0.5
            gaps.append((scores[0].mean() - scores[1].mean()) / distance)
            diversities.append(losses.diversity(imagined) / spread)
        return {
            "relative_gap": float(torch.stack(gaps).mean()),
            "relative_diversity": float(torch.stack(diversities).mean()),
        }


def one_a_scene(scenes: np.ndarray, count: int) -> np.ndarray:
    """Indices of up to `count` items, of as many different scenes as there are, spread evenly over these."""
    _, first = np.unique(scenes, return_index=True)
    chosen = np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int)
    return np.sort(first[chosen])
