"""Stage 1: encoder, codebook and decoder learn pictures (Sec. 3.1, Eq. 1). No sound is heard."""

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan import losses
from avgan.config import VQVAESection
from avgan.networks.vqvae import perplexity
from avgan.training import distributed
from avgan.training.stage import Context, Stage, Validation

NUM_SHOWN = 12
"""Pictures in a sample sheet."""


def mirrored(image: Tensor, which: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), those of the mask (B,) mirrored."""
    return torch.where(which[:, None, None, None], image.flip(3), image)


class VQVAEStage(Stage):
    """Minimises reconstruction + codebook + beta * commitment."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert isinstance(context.config.stage, VQVAESection)
        self.section: VQVAESection = context.config.stage
        self.vqvae = context.networks.vqvae
        self.optimizers["vqvae"] = self.adam((self.vqvae, self.section.learning_rate))

    @property
    def num_items(self) -> int:
        return len(self.data.images)

    def before_first_step(self) -> None:
        """Measure delta_v on pictures spread over the training set."""
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
        norm = self.descend("vqvae", loss, (self.vqvae,), step)
        self._tend_codebook(step, features, quantized.codes)
        used = perplexity(self.vqvae.quantizer.usage)
        return {"loss": loss, **parts, "gradient_norm": norm, "perplexity": used}

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
        early = step < self.section.num_steps * 2 // 3
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

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        self.vqvae.eval()
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
        self.vqvae.train()
        error = squared / count
        health = self.vqvae.quantizer.health()
        metrics = {
            "error": error / float(self.vqvae.image_variance),
            "psnr_db": float(-10.0 * torch.log10(torch.tensor(error))),
            "perplexity": health.perplexity,
            "codes_used": health.used,
        }
        return Validation(metrics, shown, ("real", "reconstructed"))
