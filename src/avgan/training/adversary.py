"""How a generator with noise is taught: against a critic that hears.

Non-saturating losses; the critic's counterexamples are what is drawn, and real maps with another scene's features; its
slope at real maps is held small (R1, Mescheder et al. 2018). It sees what the decoder would draw: quantised maps.

Shapes: B batch, D code dimension, Z noise.
"""

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan.model import seeded
from avgan.networks.samplers.gan import GANSampler, SamplerCritic
from avgan.networks.vqvae import VectorQuantizer
from avgan.training.pairs import Drawn
from avgan.training.stage import Stage


class GANLesson:
    """One step of the critic, then one of the sampler, on the same batch."""

    def __init__(self, stage: Stage, sampler: GANSampler, quantizer: VectorQuantizer) -> None:
        self.stage = stage
        self.sampler = sampler
        self.quantizer = quantizer
        config = self.config = sampler.config
        critic = seeded(
            stage.seed, "sampler critic", lambda: SamplerCritic(config, sampler.code_dim)
        )
        self.critic = critic.to(stage.context.device)
        rate = stage.section.learning_rate
        stage.optimizers["sampler"] = stage.adam((sampler, rate))
        stage.optimizers["critic"] = stage.adam((self.critic, rate))

    def step(self, batch: Drawn, step: int) -> dict[str, Tensor]:
        """One step of both."""
        metrics = self._teach_critic(batch, step)
        drawn = self._draw(batch, step, "sampler")
        self.critic.requires_grad_(False)
        with torch.autocast(self.stage.context.device.type, enabled=False):
            loss = F.softplus(-self.critic(drawn, self.sampler.told(batch.imagined))).mean()
        self.critic.requires_grad_(True)
        norm = self.stage.descend("sampler", loss, (self.sampler,), step)
        return metrics | {"loss": loss.detach(), "gradient_norm": norm}

    def _draw(self, batch: Drawn, step: int, purpose: str) -> Tensor:
        """Quantised maps (B, D, 16, 16); gradients pass straight through to the sampler."""
        count = len(batch.real)
        size = self.sampler.noise_size
        noise = self.stage.random_rows(torch.randn, count, size, step=step, purpose=purpose)
        features = self.sampler(batch.imagined, noise).float()
        return cast(Tensor, self.quantizer(features).features)

    def _teach_critic(self, batch: Drawn, step: int) -> dict[str, Tensor]:
        with torch.no_grad():
            drawn = self._draw(batch, step, "critic")
        told = self.sampler.told(batch.imagined)
        due = self.config.r1_weight > 0 and step % self.config.r1_every == 0
        real = batch.real.detach().requires_grad_(due)
        with torch.autocast(self.stage.context.device.type, enabled=False):
            real_score = self.critic(real, told)
            right, wrong = real_score, self.critic(drawn, told)
            false = F.softplus(wrong).mean()
            if self.config.mismatch_weight:
                share = self.config.mismatch_weight
                false = (1.0 - share) * false + share * self._mismatched(batch, told)
            loss = F.softplus(-right).mean() + false
            slope = torch.zeros((), device=real.device)
            if due:
                (gradient,) = torch.autograd.grad(real_score.sum(), real, create_graph=True)
                slope = gradient.flatten(1).square().sum(1).mean()
                loss = loss + 0.5 * self.config.r1_weight * self.config.r1_every * slope
            self.stage.descend("critic", loss, (self.critic,), step)
        return {
            "critic": loss.detach(),
            "critic_gap": (right.mean() - wrong.mean()).detach(),
            "slope": slope.detach(),
        }

    def _mismatched(self, batch: Drawn, told: Tensor) -> Tensor:
        """What real maps cost with the features of the row before, where that is of another scene."""
        other = (batch.scenes != batch.scenes.roll(1)).float()
        score = self.critic(batch.real, told.roll(1, 0))
        return (F.softplus(score) * other).sum() / other.sum().clamp(min=1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """The critic's weights."""
        return self.critic.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.critic.load_state_dict(state)
