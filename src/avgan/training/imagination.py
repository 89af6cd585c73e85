"""Stage 2: the generator learns to imagine features that the critic takes for real ones (Sec. 3.2-3.3, Eq. 2).

Each step is `critic_steps` steps of the critic, then one of the generator. The VQ-VAE is fixed. With `num_views` the
trunk is fixed too: recordings and pictures are turned into vectors and feature maps once, and the step costs only
head and critic.

Shapes: B batch, C heard, D code dimension.
"""

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan import losses
from avgan.config import ImaginationSection
from avgan.training import distributed
from avgan.training.average import MovingAverage
from avgan.training.data import scenes_of
from avgan.training.hearing import hear_all
from avgan.training.looks import settle_looks
from avgan.training.schedule import indices_at, share_of_process
from avgan.training.stage import Context, Stage, Validation

NUM_SHOWN = 12


@dataclass(frozen=True)
class Pairs:
    """A batch of sounds with a picture each."""

    heard: Tensor
    """(B, C); from the trunk, with its gradient unless heard beforehand."""
    real: Tensor
    """(B, D, 16, 16) features of the pictures."""
    image: Tensor | None
    """(B, 3, 128, 128), only where gamma compares pixels."""
    scenes: Tensor
    """(B,) scene number of each sound."""


class ImaginationStage(Stage):
    """Generator against critic, both through Adam."""

    name = "imagination"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.section: ImaginationSection = context.config.imagination
        self.vqvae = context.networks.vqvae
        self.generator = context.networks.generator
        self.critic = context.networks.critic
        rate = self.section.learning_rate
        self.trained = self.generator.head if self.cached else self.generator
        self.optimizers["generator"] = self.adam((self.trained, rate))
        self.optimizers["critic"] = self.adam((self.critic, rate))
        self.averages["generator"] = MovingAverage(self.generator, self.section.ema_decay)
        names = scenes_of(self.data.labels, self.data.scene_of_label)
        self.scenes = tuple(sorted(set(names)))
        self.scene_of_target = np.array([self.scenes.index(scene) for scene in names])
        self.pairing = self.data.pairing
        self.heard_views: Tensor | None = None
        self.real_views: Tensor | None = None

    @property
    def cached(self) -> bool:
        """Whether trunk and pictures are turned into vectors once, beforehand."""
        return self.section.num_views > 0

    @property
    def num_items(self) -> int:
        return len(self.data.train)

    def prepare(self) -> None:
        self.vqvae.requires_grad_(False)
        if self.cached:
            self.heard_views = hear_all(
                self.context, self.data.train, num_views=self.section.num_views
            )
            self.real_views = self._encode_all()
            self._settle_looks()

    def finish(self) -> None:
        super().finish()
        self.vqvae.requires_grad_(True)

    def step(self, step: int) -> dict[str, Tensor]:
        first = step * (self.section.critic_steps + 1)
        metrics: dict[str, Tensor] = {}
        if self.section.adversarial_weight:
            for turn in range(self.section.critic_steps):
                due = (step * self.section.critic_steps + turn) % self.section.penalty_every == 0
                metrics |= self.critic_step(first + turn, step, penalised=due)
        metrics |= self.generator_step(first + self.section.critic_steps, step)
        self.averages["generator"].update()
        return metrics

    def critic_step(self, number: int, step: int, *, penalised: bool) -> dict[str, Tensor]:
        """Minimise D(imagined) - D(real) + lambda * penalty; the generator stays as it is."""
        with torch.no_grad():
            pairs = self.pairs(number)
            imagined = self.generator.imagine(pairs.heard)
        heard = pairs.heard.detach()
        with torch.autocast(self.context.fabric.device.type, enabled=False):
            real_score = self.critic(pairs.real, heard)
            imagined_score = self.critic(imagined, heard)
            loss = losses.critic_loss(real_score, imagined_score)
            gap = -loss.detach()
            if self.section.mismatch_weight:
                loss = loss + self._mismatch(pairs, heard, real_score, imagined_score)
            penalty = torch.zeros(())
            if self.section.penalty_weight and penalised:
                penalty = losses.gradient_penalty(
                    lambda between: self.critic(between, heard, hold_others=True),
                    pairs.real,
                    imagined,
                    self.random_rows(torch.rand, len(imagined), step=number, purpose="penalty"),
                )
                weight = self.section.penalty_weight * self.section.penalty_every
                loss = loss + weight * penalty
            norm = self.descend("critic", loss, (self.critic,), step)
        return {
            "critic_gap": gap,
            "penalty": penalty.detach(),
            "critic_gradient_norm": norm,
        }

    def _mismatch(
        self, pairs: Pairs, heard: Tensor, real_score: Tensor, imagined_score: Tensor
    ) -> Tensor:
        """Move part of the counterexamples from imagined pictures to real ones with another scene's sound."""
        other = pairs.scenes != pairs.scenes.roll(1)
        wrong_score = self.critic(pairs.real, heard.roll(1, 0))
        wrong = (wrong_score * other).sum() / other.sum().clamp(min=1)
        return self.section.mismatch_weight * (wrong - imagined_score.mean())

    def generator_step(self, number: int, step: int) -> dict[str, Tensor]:
        """Minimise -D(imagined) + gamma * reconstruction; the critic stays as it is."""
        pairs = self.pairs(number)
        metrics: dict[str, Tensor] = {}
        loss = torch.zeros((), device=pairs.real.device)
        imagined = self.generator.imagine(pairs.heard)
        if self.section.adversarial_weight:
            self.critic.requires_grad_(False)
            with torch.autocast(self.context.fabric.device.type, enabled=False):
                verdict = losses.generator_loss(self.critic(imagined, pairs.heard.detach()))
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
        share = counts / counts.sum()
        entropy = -(share * share.clamp(min=1e-12).log()).sum()
        return {
            "diversity": losses.diversity(imagined) / losses.diversity(real).clamp(min=1e-6),
            "imagined_perplexity": entropy.exp(),
        }

    def pairs(self, number: int) -> Pairs:
        """Batch `number` of the stage: sounds, each with a picture it may be shown with."""
        items = share_of_process(
            indices_at(
                number,
                num_items=self.num_items,
                batch_size=self.section.batch_size,
                seed=self.seed,
                stage=self.name,
            ),
            *distributed.world(),
        )
        rngs = self.row_generators(number, "pair")
        chosen = np.array(
            [self.pairing.draw(int(item), rng) for item, rng in zip(items, rngs, strict=True)]
        )
        # a look is lost where its pictures are laid over their mirror images
        share = 0.0 if self.section.num_looks else 0.5
        mirrored = np.array([int(rng.random() < share) for rng in rngs])
        scenes = self.context.to_device(self.scene_of_target[self.data.train.targets[items]])
        heard = self._heard(items, rngs)
        if self.real_views is not None and self.section.gamma_on == "features":
            real = self.real_views[self.slot_of_image[chosen], mirrored].float()
            return Pairs(heard, real.to(self.context.fabric.device), None, scenes)
        pixels = self.data.images.get(chosen)
        pixels[mirrored == 1] = pixels[mirrored == 1, :, :, ::-1]
        image = self.context.images(pixels)
        keep = image if self.section.gamma_on == "pixels" else None
        return Pairs(heard, self._real(image), keep, scenes)

    def _heard(self, items: np.ndarray, rngs: list[np.random.Generator]) -> Tensor:
        if self.heard_views is not None:
            views = np.array([int(rng.integers(self.section.num_views)) for rng in rngs])
            return self.heard_views[items, views].to(self.context.fabric.device)
        waveform = self.context.to_device(self.data.train.waveforms.get(items))
        return self.generator.hear(self.networks.log_mel(waveform))

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
            image = self.context.images(self.data.images.get(used[start : start + 64]))
            with self.context.fabric.autocast():
                both = [self._real(view) for view in (image, image.flip(3))]
            batches.append(torch.stack(both, 1).half().cpu())
        return torch.cat(batches)

    def _labelled_features(self) -> tuple[Tensor, np.ndarray]:
        """Features (M, 2, D, 16, 16) of all pictures and the scene numbers (M,)."""
        assert self.real_views is not None
        scene_of_slot = np.empty(len(self.real_views), dtype=np.int64)
        for clip, choices in zip(
            self.data.pairing.sounds, self.data.pairing.image_choices, strict=True
        ):
            scene = scenes_of((clip.label,), self.data.scene_of_label)[0]
            scene_of_slot[self.slot_of_image[choices]] = self.scenes.index(scene)
        return self.real_views, scene_of_slot

    def _settle_looks(self) -> None:
        """Leave each sound the typical pictures of its look (see `training.looks`)."""
        if self.section.typical == 1.0 and not self.section.num_looks:
            return
        assert self.heard_views is not None
        features, scenes = self._labelled_features()
        labels = self.data.train.targets
        self.pairing = replace(
            self.pairing,
            image_choices=settle_looks(
                self.data.pairing.image_choices,
                features=features[:, 0],
                slot_of_image=self.slot_of_image,
                scene_of_slot=scenes,
                heard=self.heard_views[:, 0].numpy(),
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
        shown = one_a_scene(self.scene_of_target[recordings.targets], NUM_SHOWN)
        self.generator.eval()
        with self.averages["generator"].applied():
            waveform = self.context.to_device(recordings.waveforms.get(shown))
            heard = self.generator.hear(self.networks.log_mel(waveform))
            features = self.generator.imagine(heard)
            imagined = self.vqvae.draw(features)
        self.generator.train()
        names = scenes_of(self.data.labels, self.data.scene_of_label)
        real = self._example_images([names[recordings.targets[index]] for index in shown])
        rows = torch.stack((real, self.vqvae(real)[0].float(), imagined))
        metrics = {"diversity": float(losses.diversity(features))}
        return Validation(metrics, rows, ("real", "reconstructed", "imagined"))

    def _example_images(self, scenes: list[str]) -> Tensor:
        """A validation picture of each scene, or any where the scene has none."""
        known = np.array(self.data.validation_scenes)
        chosen = [
            int(np.flatnonzero(known == scene)[0]) if scene in known else 0 for scene in scenes
        ]
        return self.context.images(self.data.validation_images.get(np.array(chosen)))


def one_a_scene(scenes: np.ndarray, count: int) -> np.ndarray:
    """Indices of up to `count` items, of as many different scenes as there are, spread evenly over these."""
    _, first = np.unique(scenes, return_index=True)
    chosen = np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int)
    return np.sort(first[chosen])
