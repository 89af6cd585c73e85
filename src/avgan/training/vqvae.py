"""Stage 1: encoder, codebook and decoder learn pictures (Sec. 3.1, Eq. 1). No sound is heard.

Beside Eq. 1 may stand, each with a weight that is 0 in the paper's presets: an absolute error, a perceptual term
(`training.perception`), and from a share of the steps on the verdict of a patch critic, which learns along. Network and
critic of these terms belong to the stage's state and not to the model: they are gone when the stage is done.
"""

from contextlib import ExitStack
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan import losses
from avgan.config import VQVAESection
from avgan.model import seeded
from avgan.networks.patch_critic import PatchCritic
from avgan.networks.perceptual import PerceptualNetwork
from avgan.networks.vqvae import perplexity
from avgan.training import distributed, perception
from avgan.training.average import MovingAverage
from avgan.training.stage import Context, Stage, Validation, mirrored

NUM_SHOWN = 12
"""Pictures in a sample sheet."""


class VQVAEStage(Stage):
    """Minimises reconstruction + codebook + beta * commitment, and the terms that have a weight."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.config.stage, VQVAESection)
        self.section: VQVAESection = context.config.stage
        self.vqvae = context.networks.vqvae
        self.optimizers["vqvae"] = self.adam((self.vqvae, self.section.learning_rate))
        if self.section.ema_decay:
            self.averages["decoder"] = MovingAverage(self.vqvae.decoder, self.section.ema_decay)
        self.perceptual: PerceptualNetwork | None = None
        self.patch_critic: PatchCritic | None = None
        if self.section.perceptual_weight:
            self.perceptual = perception.build(self.section, self.data, self.seed)
            self._place(self.perceptual.eval().requires_grad_(False))
        if self.section.patch_weight:
            config = self.section.patch_critic
            self.patch_critic = seeded(self.seed, "patch critic", lambda: PatchCritic(config))
            self._place(self.patch_critic)
            rate = self.section.learning_rate
            self.optimizers["patch critic"] = self.adam((self.patch_critic, rate))

    def _place(self, network: torch.nn.Module) -> None:
        """Put a network of the stage's own where the others are."""
        network.to(self.context.device)
        if self.context.config.loop.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def num_items(self) -> int:
        return len(self.data.images)

    def before_first_step(self) -> None:
        """Measure delta_v on pictures spread over the training set, and teach the perceptual network."""
        count = min(len(self.data.images), 2_000)
        chosen = torch.linspace(0, len(self.data.images) - 1, count).long().numpy()
        levels = np.arange(256) / 255.0
        counts = np.zeros(256)
        for start in range(0, count, 64):  # all pixels as floats at once would take gigabytes
            pixels = self.data.images.get(chosen[start : start + 64])
            counts += np.bincount(pixels.ravel(), minlength=256)
        mean = np.average(levels, weights=counts)
        variance = np.average((levels - mean) ** 2, weights=counts)
        self.vqvae.image_variance.fill_(float(variance))
        if self.perceptual is not None:
            self.perceptual.requires_grad_(True)
            perception.teach(self.perceptual, self.section, self.context)

    def step(self, step: int) -> dict[str, Tensor]:
        image = self.batch(step)
        reconstruction, features, quantized = self.vqvae(image)
        reconstruction = reconstruction.float()
        variance = self.vqvae.image_variance
        parts = {
            "reconstruction": losses.reconstruction_loss(image, reconstruction, variance),
            "codebook": losses.codebook_loss(features, quantized.vectors),
            "commitment": losses.commitment_loss(features, quantized.vectors),
        }
        loss = parts["reconstruction"] + parts["codebook"] + self.section.beta * parts["commitment"]
        if self.section.l1_weight:
            deviation = variance.sqrt()
            loss = loss + self.section.l1_weight * F.l1_loss(reconstruction, image) / deviation
        if self.perceptual is not None:
            parts["perceptual"] = self._difference(self.perceptual, image, reconstruction)
            loss = loss + self.section.perceptual_weight * parts["perceptual"]
        if self._critic_speaks(step):
            parts["verdict"] = self._verdict(reconstruction)
            loss = loss + self.section.patch_weight * parts["verdict"]
        norm = self.descend("vqvae", loss, (self.vqvae,), step)
        if self._critic_speaks(step):
            parts["patch_critic"] = self._teach_critic(image, reconstruction.detach(), step)
        for average in self.averages.values():
            average.update()
        self._tend_codebook(step, features, quantized.codes)
        used = perplexity(self.vqvae.quantizer.usage)
        return {"loss": loss, **parts, "gradient_norm": norm, "perplexity": used}

    def _difference(
        self, network: PerceptualNetwork, image: Tensor, reconstruction: Tensor
    ) -> Tensor:
        """How differently the perceptual network sees pictures (B, 3, H, W) and their reconstructions."""
        with torch.no_grad():
            wanted = network.levels(image)
        return losses.perceptual_loss(network.levels(reconstruction), wanted)

    def _critic_speaks(self, step: int) -> bool:
        """Whether the patch critic judges and learns in a step."""
        starts = int(self.section.patch_from * self.section.num_steps)
        return self.patch_critic is not None and step >= starts

    def _verdict(self, reconstruction: Tensor) -> Tensor:
        """-D(reconstruction); the critic stays as it is."""
        assert self.patch_critic is not None
        self.patch_critic.requires_grad_(False)
        verdict = losses.generator_loss(self.patch_critic(reconstruction).float())
        self.patch_critic.requires_grad_(True)
        return verdict

    def _teach_critic(self, image: Tensor, reconstruction: Tensor, step: int) -> Tensor:
        """One step of the patch critic on pictures and the reconstructions that it has just judged."""
        assert self.patch_critic is not None
        scores = (self.patch_critic(each).float() for each in (image, reconstruction))
        loss = losses.hinge_loss(*scores)
        self.descend("patch critic", loss, (self.patch_critic,), step)
        return loss.detach()

    def prefetch(self, step: int) -> None:
        self.data.images.prefetch(self.indices(step))

    def batch(self, step: int) -> Tensor:
        """Pictures (B, 3, 128, 128) of a step, half of them mirrored where the section says so."""
        image = self.context.images(self.data.images, self.indices(step))
        if self.section.flip:
            draws = self.rng(step, "flip").random(self.section.batch_size)
            image = mirrored(image, self.context.to_device(self.own(draws < 0.5)))
        return image

    def _tend_codebook(self, step: int, features: Tensor, codes: Tensor) -> None:
        """Count the use of the codes over all processes and revive the dead ones."""
        quantizer = self.vqvae.quantizer
        quantizer.track(distributed.sum_over_processes(quantizer.count(codes)))
        early = step < int(self.section.revive_until * self.section.num_steps)
        if early and step % self.section.revive_every == self.section.revive_every - 1:
            vectors = features.detach().movedim(1, -1).flatten(0, 2)
            candidates = distributed.gather_rows(vectors)
            generator = torch.Generator().manual_seed(self.seed + step)
            order = torch.randperm(len(candidates), generator=generator)
            moved = quantizer.revive(candidates[order.to(candidates.device)])
            if bool(moved.any()):
                self._forget_moments(moved)

    def _forget_moments(self, moved: Tensor) -> None:
        """Adam's memory of a moved code belongs to the place it left."""
        state = self.optimizers["vqvae"].state.get(self.vqvae.quantizer.codebook, {})
        for name in ("exp_avg", "exp_avg_sq"):
            if name in state:
                cast(Tensor, state[name])[moved] = 0.0

    def state_dict(self) -> dict[str, Any]:
        own = {"perceptual": self.perceptual, "patch critic": self.patch_critic}
        extra = {name: net.state_dict() for name, net in own.items() if net is not None}
        return super().state_dict() | extra

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if self.perceptual is not None:
            self.perceptual.load_state_dict(state["perceptual"])
        if self.patch_critic is not None:
            self.patch_critic.load_state_dict(state["patch critic"])

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        """Error of held-out pictures, and some of them beside what is drawn of them."""
        self.vqvae.eval()
        with ExitStack() as worn:
            for average in self.averages.values():
                worn.enter_context(average.applied())
            error, shown = self._reconstruct()
        self.vqvae.train()
        health = self.vqvae.quantizer.health()
        metrics = {
            "error": error / float(self.vqvae.image_variance),
            "psnr_db": float(-10.0 * torch.log10(torch.tensor(error))),
            "perplexity": health.perplexity,
            "codes_used": health.used,
        }
        return Validation(metrics, shown, ("real", "reconstructed"))

    def _reconstruct(self) -> tuple[float, Tensor | None]:
        """Mean square error over validation pictures, and rows (2, C, 3, H, W) of the first of them."""
        squared, count = 0.0, 0
        shown: Tensor | None = None
        for start in range(0, min(len(self.data.validation_images), 512), 32):
            stop = min(start + 32, len(self.data.validation_images))
            chosen = self.data.spread_validation_images(start, stop)
            image = self.context.images(self.data.validation_images, chosen)
            drawn = self.vqvae(image)[0].float().clamp(0.0, 1.0)
            squared += float((drawn - image).square().sum())
            count += image.numel()
            if shown is None:
                shown = torch.stack((image[:NUM_SHOWN], drawn[:NUM_SHOWN]))
        return squared / count, shown
