"""Stage 2: the generator learns to imagine features that the critic takes for real ones (Sec. 3.2-3.3, Eq. 2).

Each step is `critic_steps` steps of the critic, then one of the generator. The VQ-VAE is fixed. With `num_views` the
trunk is fixed too: recordings and pictures are turned into vectors and feature maps once, and the step costs only
head and critic.

Shapes: B batch, C embedding, D code dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan import losses
from avgan.config import ImaginationSection
from avgan.data.manifest import Clip
from avgan.networks.vqvae import perplexity
from avgan.training.clusters import assign_clusters
from avgan.training.stage import Context, MovingAverage, Stage, Validation, embed_all, mirrored

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
    scenes: Tensor
    """(B,) scene number of each sound."""


class ImaginationStage(Stage):
    """Generator against critic, both through Adam."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.config.stage, ImaginationSection)
        self.section: ImaginationSection = context.config.stage
        self.vqvae = context.networks.vqvae
        self.generator = context.networks.generator
        self.critic = context.networks.critic
        rate = self.section.learning_rate
        self.trained = self.generator.head if self.cached else self.generator
        self.optimizers["generator"] = self.adam((self.trained, rate))
        self.optimizers["critic"] = self.adam((self.critic, rate))
        if self.section.ema_decay:
            self.averages["generator"] = MovingAverage(self.generator, self.section.ema_decay)
        self.scenes = tuple(sorted(set(self.data.scene_of_clip.values())))
        self.pairing = self.data.pairing
        self.scene_of_item = self.scene_numbers(self.pairing.sounds)
        self.embeddings: Tensor | None = None
        self.real_views: Tensor | None = None

    @property
    def cached(self) -> bool:
        """Whether trunk and pictures are turned into vectors once, beforehand."""
        return self.section.num_views > 0

    @property
    def num_items(self) -> int:
        return len(self.data.train)

    def scene_numbers(self, clips: Sequence[Clip]) -> np.ndarray:
        """The number of each clip's scene, (number of clips,)."""
        number = {scene: index for index, scene in enumerate(self.scenes)}
        return np.array([number[self.data.scene_of_clip[clip.id]] for clip in clips], dtype=np.int64)

    def prepare(self) -> None:
        self.vqvae.requires_grad_(False)
        if self.cached:
            views = self.section.num_views
            self.embeddings = embed_all(self.context, self.data.train, num_views=views)
            self.real_views = self._encode_all()
            self._assign_clusters()

    def prefetch(self, step: int) -> None:
        if self.cached and self.section.gamma_on == "features":
            return
        for number in self.turns(step):
            items, chosen, _ = self.draw(number)
            self.data.images.prefetch(chosen)
            if not self.cached:
                self.data.train.waveforms.prefetch(items)

    def turns(self, step: int) -> range:
        """The batches of a step: one for each turn of the critic, the last for the generator."""
        num_turns = self.section.critic_steps + 1
        return range(step * num_turns, (step + 1) * num_turns)

    def finish(self) -> None:
        super().finish()
        self.vqvae.requires_grad_(True)

    def step(self, step: int) -> dict[str, Tensor]:
        *critic_turns, generator_turn = self.turns(step)
        metrics: dict[str, Tensor] = {}
        if self.section.adversarial_weight:
            for turn, number in enumerate(critic_turns):
                due = (step * len(critic_turns) + turn) % self.section.penalty_every == 0
                metrics |= self.critic_step(number, step, penalised=due)
        metrics |= self.generator_step(generator_turn, step)
        self.update_averages()
        return metrics

    def critic_step(self, number: int, step: int, *, penalised: bool) -> dict[str, Tensor]:
        """Minimise D(imagined) - D(real) + lambda * penalty; the generator stays as it is."""
        with torch.no_grad():
            pairs = self.pairs(number)
            imagined = self.generator.imagine(pairs.embedding)
        embedding = pairs.embedding.detach()
        with torch.autocast(self.context.device.type, enabled=False):
            real_score = self.critic(pairs.real, embedding)
            imagined_score = self.critic(imagined, embedding)
            loss = losses.critic_loss(real_score, imagined_score)
            gap = -loss.detach()
            if self.section.mismatch_weight:
                loss = loss + self._mismatch(pairs, embedding, real_score, imagined_score)
            penalty = torch.zeros((), device=gap.device)
            if self.section.penalty_weight and penalised:
                penalty = losses.gradient_penalty(
                    lambda between: self.critic(between, embedding, hold_others=True),
                    pairs.real,
                    imagined,
                    self.random_rows(torch.rand, len(imagined), step=number, purpose="penalty"),
                )
                weight = self.section.penalty_weight * self.section.penalty_every
                loss = loss + weight * penalty
            norm = self.descend("critic", loss, (self.critic,), step)
        return {"critic_gap": gap, "penalty": penalty.detach(), "critic_gradient_norm": norm}

    def _mismatch(self, pairs: Pairs, embedding: Tensor, real_score: Tensor, imagined_score: Tensor) -> Tensor:
        """Move part of the counterexamples from imagined pictures to real ones with another scene's sound."""
        other = pairs.scenes != pairs.scenes.roll(1)
        wrong_score = self.critic(pairs.real, embedding.roll(1, 0))
        wrong = (wrong_score * other).sum() / other.sum().clamp(min=1)
        return self.section.mismatch_weight * (wrong - imagined_score.mean())

    def generator_step(self, number: int, step: int) -> dict[str, Tensor]:
        """Minimise -D(imagined) + gamma * reconstruction; the critic stays as it is."""
        pairs = self.pairs(number)
        metrics: dict[str, Tensor] = {}
        loss = torch.zeros((), device=pairs.real.device)
        imagined = self.generator.imagine(pairs.embedding)
        if self.section.adversarial_weight:
            self.critic.requires_grad_(False)
            with torch.autocast(self.context.device.type, enabled=False):
                verdict = losses.generator_loss(self.critic(imagined, pairs.embedding.detach()))
            self.critic.requires_grad_(True)
            loss = loss + self.section.adversarial_weight * verdict
            metrics["verdict"] = verdict
        if self.section.gamma:
            metrics["reconstruction"] = self._reconstruction(pairs, imagined)
            loss = loss + self.section.gamma * metrics["reconstruction"]
        norm = self.descend("generator", loss, (self.trained,), step)
        return {"generator": loss.detach(), **metrics, "gradient_norm": norm} | self._health(
            imagined.detach(), pairs.real
        )

    def _reconstruction(self, pairs: Pairs, imagined: Tensor) -> Tensor:
        """Eq. 2's last term, on pictures or on features.

        Features are divided by the variance of this process's own share of the batch, so that several processes give
        nearly, not exactly, what one alone gives.
        """
        if pairs.image is None:
            return F.mse_loss(imagined, pairs.real) / pairs.real.var().clamp(min=1e-6)
        quantized = self.vqvae.quantizer(imagined)
        drawn = self.vqvae.decoder(quantized.features).float()
        return losses.reconstruction_loss(pairs.image, drawn, self.vqvae.image_variance)

    def _health(self, imagined: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Signs of mode collapse: diversity against that of real features, and how many codes are drawn with."""
        counts = self.vqvae.quantizer.count(self.vqvae.quantizer.encode(imagined))
        return {
            "diversity": losses.diversity(imagined) / losses.diversity(real).clamp(min=1e-6),
            "imagined_perplexity": perplexity(counts),
        }

    def draw(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of this process's rows in batch `number`: sounds, a picture for each, whether that is mirrored; all (B,)."""
        # a cluster is lost where its pictures are laid over their mirror images
        flip = self.section.flip and not self.section.num_looks
        return self.sample_pairs(self.pairing, number, flip=flip)

    def pairs(self, number: int) -> Pairs:
        """Batch `number` of the stage: sounds, each with a picture it may be shown with."""
        items, chosen, flipped = self.draw(number)
        scenes = self.context.to_device(self.scene_of_item[items])
        embedding = self._embed(items, number)
        mask = self.context.to_device(flipped)
        if self.real_views is not None and self.section.gamma_on == "features":
            slots = self.context.to_device(self.slot_of_image[chosen])
            return Pairs(embedding, self.real_views[slots, mask.long()].float(), None, scenes)
        image = mirrored(self.context.images(self.data.images, chosen), mask)
        keep = image if self.section.gamma_on == "pixels" else None
        return Pairs(embedding, self._real(image), keep, scenes)

    def _embed(self, items: np.ndarray, number: int) -> Tensor:
        """The embedding (B, C) of recordings, of a view of each where they were embedded beforehand."""
        if self.embeddings is not None:
            draws = self.rng(number, "view").integers(self.section.num_views, size=self.section.batch_size)
            rows, views = (self.context.to_device(part) for part in (items, self.own(draws)))
            return self.embeddings[rows, views]
        waveform = self.context.waveforms(self.data.train.waveforms, items)
        return self.generator.embed(self.networks.log_mel(waveform))

    @torch.no_grad()
    def _real(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) -> real features (B, D, 16, 16)."""
        if self.section.real == "encoded":
            return cast(Tensor, self.vqvae.encoder(image)).float()
        return self.vqvae.real_features(image).vectors

    def _encode_all(self) -> Tensor:
        """Features of every picture some sound may be shown with, as it is and mirrored: (M, 2, D, 16, 16) half."""
        used = np.unique(np.concatenate(self.data.pairing.image_choices))
        self.slot_of_image = np.full(len(self.data.images), -1)
        self.slot_of_image[used] = np.arange(len(used))
        batches = []
        for start in range(0, len(used), 64):
            image = self.context.images(self.data.images, used[start : start + 64])
            with self.context.fabric.autocast():
                both = [self._real(view) for view in (image, image.flip(3))]
            batches.append(torch.stack(both, 1).half())
        return torch.cat(batches)

    def _labelled_features(self) -> tuple[Tensor, np.ndarray]:
        """Features (M, 2, D, 16, 16) of all pictures and the scene numbers (M,)."""
        assert self.real_views is not None
        scene_of_slot = np.empty(len(self.real_views), dtype=np.int64)
        for scene, choices in zip(self.scene_of_item, self.pairing.image_choices, strict=True):
            scene_of_slot[self.slot_of_image[choices]] = scene
        return self.real_views.cpu(), scene_of_slot

    def _assign_clusters(self) -> None:
        """Leave each sound the typical pictures of its cluster (see `training.clusters`)."""
        if self.section.typical == 1.0 and not self.section.num_looks:
            return
        assert self.embeddings is not None
        features, scenes = self._labelled_features()
        labels = self.data.train.targets
        self.pairing = replace(
            self.pairing,
            image_choices=assign_clusters(
                self.data.pairing.image_choices,
                features=features[:, 0],
                slot_of_image=self.slot_of_image,
                scene_of_slot=scenes,
                embeddings=self.embeddings[:, 0].cpu().numpy(),
                labels=labels,
                typical=self.section.typical,
                num_looks=self.section.num_looks,
                seed=self.seed,
            ),
        )

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        """Pictures imagined from recordings kept aside (from training ones when none are), one a scene."""
        recordings = self.data.validation if len(self.data.validation) else self.data.train
        scenes = self.scene_numbers(recordings.clips)
        shown = one_a_scene(scenes, NUM_SHOWN)
        self.generator.eval()
        with self.averaged():
            waveform = self.context.waveforms(recordings.waveforms, shown)
            features = self.generator(self.networks.log_mel(waveform))
            imagined = self.vqvae.draw(features).float()
            metrics = self._measure(step)
        self.generator.train()
        real = self._example_images([self.scenes[number] for number in scenes[shown]])
        rows = torch.stack((real, self.vqvae(real)[0].float(), imagined))
        return Validation(metrics, rows, ("real", "reconstructed", "imagined"))

    def _measure(self, step: int) -> dict[str, float]:
        """How well the critic tells real features from imagined ones, and how much the latter differ (`rounds`).

        Both are shares of how much real features differ, on batches of training pairs that no step has drawn alike.
        """
        gaps, diversities = [], []
        for number in range(NUM_MEASURED):
            pairs = self.pairs(self.turns(step).stop + number)
            imagined = self.generator.imagine(pairs.embedding)
            with torch.autocast(self.context.device.type, enabled=False):
                scores = [self.critic(each, pairs.embedding) for each in (pairs.real, imagined)]
            spread = losses.diversity(pairs.real).clamp(min=1e-6)
            distance = spread * pairs.real[0].numel() ** 0.5
            gaps.append((scores[0].mean() - scores[1].mean()) / distance)
            diversities.append(losses.diversity(imagined) / spread)
        return {
            "relative_gap": float(torch.stack(gaps).mean()),
            "relative_diversity": float(torch.stack(diversities).mean()),
        }

    def _example_images(self, scenes: list[str]) -> Tensor:
        """A validation picture of each scene, or any where the scene has none."""
        known = np.array(self.data.validation_scenes)
        chosen = [int(np.flatnonzero(known == scene)[0]) if scene in known else 0 for scene in scenes]
        return self.context.images(self.data.validation_images, np.array(chosen))


def one_a_scene(scenes: np.ndarray, count: int) -> np.ndarray:
    """Indices of up to `count` items, of as many different scenes as there are, spread evenly over these."""
    _, first = np.unique(scenes, return_index=True)
    chosen = np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int)
    return np.sort(first[chosen])
