"""Stage 4: a sampler learns which maps of real features belong to imagined ones; all other networks are at rest.

Recordings are imagined, and they and photographs turned into codes, once and beforehand; a step costs only the sampler.
It gets the vectors of the imagined features' codes: a linear reader finds the label in them as often as in the
features (91.0 and 90.8 % of ESC-50's fold 5, of a run of minutes), and a picture can so be drawn whenever somebody asks
from the codes that an answer keeps. How it is trained depends on its kind: FlowObjective, GANObjective.

Shapes: B batch, N recordings, V views, M pictures, D code dimension.
"""

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan import losses
from avgan.config import SamplerSection
from avgan.model import seeded
from avgan.networks.samplers.flow import FlowSampler
from avgan.networks.samplers.gan import GANSampler, SamplerCritic
from avgan.networks.vqvae import VectorQuantizer
from avgan.training.stage import Context, MovingAverage, PairBatch, Stage, Validation, embed_all

BATCH = 64
"""Recordings or pictures that are prepared at once."""
NUM_SHOWN = 12
"""Recordings in a sample sheet."""
NUM_SEEDS = 3
"""Pictures of each in a sample sheet."""
NUM_SETTLING = 2_000
"""Pictures that mean and spread of real features are taken from."""


class FlowObjective:
    """Least squares on the direction of the straight line from noise to a picture's features."""

    def __init__(self, stage: Stage, sampler: FlowSampler) -> None:
        self.stage = stage
        self.sampler = sampler
        stage.optimizers["sampler"] = stage.adam((sampler, stage.section.learning_rate))

    def step(self, batch: PairBatch, step: int) -> dict[str, Tensor]:
        """One step on a batch."""
        loss = self.loss(batch, step)
        norm = self.stage.descend("sampler", loss, (self.sampler,), step)
        return {"loss": loss.detach(), "gradient_norm": norm}

    def loss(self, batch: PairBatch, step: int) -> Tensor:
        """Mean square error of the direction, 2 before anything is learnt."""
        sampler, stage, count = self.sampler, self.stage, len(batch.real)
        real = (batch.real - sampler.real_mean) / sampler.real_spread
        noise = stage.random_rows(torch.randn, *real.shape, step=step, purpose="flow")
        # logistic-normal: the middle of the way is where the direction is hardest to tell (Esser et al. 2024)
        time = torch.sigmoid(stage.random_rows(torch.randn, count, step=step, purpose="time"))
        draws = stage.random_rows(torch.rand, count, step=step, purpose="drop")
        dropped = draws < sampler.config.drop_condition
        condition = sampler.reader(sampler.standardized(batch.imagined), dropped)
        weight = time[:, None, None, None]
        found = sampler.velocity((1.0 - weight) * noise + weight * real, time, condition)
        return F.mse_loss(found.float(), real - noise)

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        pass


class GANObjective:
    """One step of the critic, then one of the sampler, on the same batch; non-saturating losses.

    The critic's counterexamples are sampled maps, and real maps with another scene's features; its slope at real maps
    is held small (R1, Mescheder et al. 2018). It sees what the decoder gets: quantised maps.
    """

    def __init__(self, stage: Stage, sampler: GANSampler, quantizer: VectorQuantizer) -> None:
        self.stage = stage
        self.sampler = sampler
        self.quantizer = quantizer
        config = self.config = sampler.config
        critic = seeded(stage.seed, "sampler critic", lambda: SamplerCritic(config, sampler.code_dim))
        self.critic = critic.to(stage.context.device)
        rate = stage.section.learning_rate
        stage.optimizers["sampler"] = stage.adam((sampler, rate))
        stage.optimizers["critic"] = stage.adam((self.critic, rate))

    def step(self, batch: PairBatch, step: int) -> dict[str, Tensor]:
        """One step of both."""
        metrics = self._train_critic(batch, step)
        sampled = self._sample(batch, step, "sampler")
        self.critic.requires_grad_(False)
        with torch.autocast(self.stage.context.device.type, enabled=False):
            loss = F.softplus(-self.critic(sampled, self.sampler.standardized(batch.imagined))).mean()
        self.critic.requires_grad_(True)
        norm = self.stage.descend("sampler", loss, (self.sampler,), step)
        return metrics | {"loss": loss.detach(), "gradient_norm": norm}

    def _sample(self, batch: PairBatch, step: int, purpose: str) -> Tensor:
        """Quantised maps (B, D, 16, 16); gradients pass straight through to the sampler."""
        count = len(batch.real)
        size = self.sampler.noise_size
        noise = self.stage.random_rows(torch.randn, count, size, step=step, purpose=purpose)
        features = self.sampler(batch.imagined, noise).float()
        return cast(Tensor, self.quantizer(features).features)

    def _train_critic(self, batch: PairBatch, step: int) -> dict[str, Tensor]:
        with torch.no_grad():
            sampled = self._sample(batch, step, "critic")
        standardized = self.sampler.standardized(batch.imagined)
        due = self.config.r1_weight > 0 and step % self.config.r1_every == 0
        real = batch.real.detach().requires_grad_(due)
        with torch.autocast(self.stage.context.device.type, enabled=False):
            real_score = self.critic(real, standardized)
            right, wrong = real_score, self.critic(sampled, standardized)
            false = F.softplus(wrong).mean()
            if self.config.mismatch_weight:
                share = self.config.mismatch_weight
                false = (1.0 - share) * false + share * self._mismatched(batch, standardized)
            loss = F.softplus(-right).mean() + false
            slope = torch.zeros((), device=real.device)
            if due:
                (gradient,) = torch.autograd.grad(real_score.sum(), real, create_graph=True)
                slope = gradient.flatten(1).square().sum(1).mean()
                loss = loss + 0.5 * self.config.r1_weight * self.config.r1_every * slope
            self.stage.descend("critic", loss, (self.critic,), step)
        return {"critic": loss.detach(), "critic_gap": (right.mean() - wrong.mean()).detach(), "slope": slope.detach()}

    def _mismatched(self, batch: PairBatch, standardized: Tensor) -> Tensor:
        """What real maps cost with the features of the row before, where that is of another scene."""
        other = (batch.scenes != batch.scenes.roll(1)).float()
        score = self.critic(batch.real, standardized.roll(1, 0))
        return (F.softplus(score) * other).sum() / other.sum().clamp(min=1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """The critic's weights."""
        return self.critic.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.critic.load_state_dict(state)


class SamplerStage(Stage):
    """Steps of the objective on pairs of imagined and real features."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.config.stage, SamplerSection)
        assert context.networks.sampler is not None
        self.section: SamplerSection = context.config.stage
        self.vqvae = context.networks.vqvae
        self.sampler = context.networks.sampler
        self.objective = self._objective()
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

    def _objective(self) -> FlowObjective | GANObjective:
        if isinstance(self.sampler, FlowSampler):
            return FlowObjective(self, self.sampler)
        assert isinstance(self.sampler, GANSampler)
        return GANObjective(self, self.sampler, self.vqvae.quantizer)

    @property
    def num_items(self) -> int:
        return len(self.data.train)

    def prepare(self) -> None:
        """Imagine all recordings; what is not trained is frozen."""
        for network in (self.vqvae, self.networks.generator):
            network.requires_grad_(False)
        views = self.section.num_views
        embeddings = embed_all(self.context, self.data.train, num_views=views).flatten(0, 1)
        self.networks.eval()
        with torch.no_grad():
            parts = [
                self.vqvae.quantizer.encode(self.networks.generator.imagine(part)) for part in embeddings.split(BATCH)
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
        self.sampler.set_statistics(real, imagined)

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
        metrics = self.objective.step(self.batch(step), step)
        self.update_averages()
        return metrics

    def batch(self, step: int) -> PairBatch:
        """Imagined features of recordings, slightly changed, each with those of a picture of its scene."""
        assert self.imagined is not None
        assert self.codes is not None
        items, chosen, flipped = self.sample_pairs(self.pairing, step, flip=self.section.flip)
        size = self.section.batch_size
        sampled = self.own(self.rng(step, "view").integers(self.section.num_views, size=size))
        rows, views, slots, sides, scenes = map(
            self.context.to_device,
            (items, sampled, np.searchsorted(self.used, chosen), flipped.astype(np.int64), self.scene_of_item[items]),
        )
        with torch.no_grad():
            imagined = self.vqvae.quantizer.decode(self.imagined[rows, views])
            real = self.vqvae.quantizer.decode(self.codes[slots, sides].long())
        if self.section.condition_noise:
            noise = self.random_rows(torch.randn, *imagined.shape, step=step, purpose="condition")
            imagined = imagined + self.section.condition_noise * self.sampler.imagined_spread * noise
        return PairBatch(imagined, real, scenes)

    def finish(self) -> None:
        super().finish()
        for network in (self.vqvae, self.networks.generator):
            network.requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        own = {"codes": self.codes, "lesson": self.objective.state_dict()}  # names in checkpoints
        return super().state_dict() | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.codes = state["codes"].to(self.context.device)
        self.objective.load_state_dict(state["lesson"])

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
        with self.averaged():
            for seed in range(NUM_SEEDS):
                noise = self.networks.noise(seed).expand(len(codes), -1)
                sampled = self.networks.sample(codes, noise)
                rows.append(self.vqvae.draw(sampled).float())
        self.sampler.train()
        real = self.batch(step).real
        metrics = {"relative_diversity": float(losses.diversity(sampled) / losses.diversity(real))}
        names = ("imagined", *(f"drawn, seed {seed}" for seed in range(NUM_SEEDS)))
        return Validation(metrics, torch.stack(rows), names)
