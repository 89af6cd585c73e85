"""Stage 1: encoder, codebook and decoder learn pictures (Sec. 3.1, Eq. 1), without any sound.

Beside Eq. 1 there may be, each with a weight that is 0 in the paper's presets: an absolute error, a perceptual term,
and from a share of the steps on the verdict of a patch critic, which is trained along. Network and critic of these
terms belong to the stage's state and not to the model. The perceptual network learns the scenes of the stage's own
photographs, in minutes, once, before the first step; all processes do the same work on the same pictures.

Shapes: B batch.
"""

import time
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan import losses
from avgan.config import VQVAESection
from avgan.errors import DataError
from avgan.model import seeded
from avgan.networks.patch_critic import PatchCritic
from avgan.networks.perceptual import PerceptualNetwork
from avgan.networks.vqvae import perplexity
from avgan.training import distributed
from avgan.training.data import TrainingData
from avgan.training.progress import say
from avgan.training.schedule import generator_of, indices_at, rate_factor
from avgan.training.stage import Stage, Validation, chunks, mirrored

NUM_SHOWN = 12
"""Pictures in a sample sheet."""
NUM_VALIDATED = 512
"""Pictures that the error is measured on."""
NUM_VARIANCE = 2_000
"""Pictures that the variance is measured on."""
PERCEPTUAL_RATE = 2e-3
"""Learning rate of the perceptual network, at the top of one cycle."""
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
"""Both as for the scene classifier of `evaluation.pictures`, which learns the same task."""
SAID_EVERY_S = 30.0
"""Between two lines of progress: often enough to see that it goes on."""


class VQVAEStage(Stage[VQVAESection]):
    """Minimises reconstruction + codebook + beta * commitment, and the terms that have a weight."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.vqvae, rate = self.networks.vqvae, self.section.learning_rate
        self.optimizers["vqvae"] = self.adam((self.vqvae, rate))
        self.keep_average(self.vqvae.decoder)
        self.perceptual: PerceptualNetwork | None = None
        self.patch_critic: PatchCritic | None = None
        if self.section.perceptual_weight:
            with seeded(self.seed, "perceptual"):
                self.perceptual = PerceptualNetwork(self.section.perceptual, len(named_scenes(self.data)))
            self.auxiliary["perceptual"] = self.perceptual.eval().requires_grad_(False)
        if self.section.patch_weight:
            with seeded(self.seed, "patch critic"):
                self.patch_critic = PatchCritic(self.section.patch_critic)
            self.auxiliary["patch critic"] = self.patch_critic
            self.optimizers["patch critic"] = self.adam((self.patch_critic, rate))
        for network in self.auxiliary.values():
            network.to(self.device)
            if self.config.loop.channels_last:
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def num_items(self) -> int:
        return len(self.data.images)

    def before_first_step(self) -> None:
        """Measure delta_v on pictures spread over the training set, and train the perceptual network."""
        last = len(self.data.images) - 1
        chosen = torch.linspace(0, last, min(last + 1, NUM_VARIANCE)).long().numpy()
        levels, counts = np.arange(256) / 255.0, np.zeros(256)
        for rows in chunks(chosen, 64):  # all pixels as floats at once would take gigabytes
            counts += np.bincount(self.data.images.get(rows).ravel(), minlength=256)
        mean = np.average(levels, weights=counts)
        self.vqvae.image_variance.fill_(float(np.average((levels - mean) ** 2, weights=counts)))
        if self.perceptual is not None:
            self._train_perceptual(self.perceptual)

    def prefetch(self, step: int) -> None:
        self.data.images.prefetch(self.indices(step))

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
            loss = loss + self.section.l1_weight * F.l1_loss(reconstruction, image) / variance.sqrt()
        if self.perceptual is not None:
            with torch.no_grad():
                wanted = self.perceptual.levels(image)
            parts["perceptual"] = losses.perceptual_loss(self.perceptual.levels(reconstruction), wanted)
            loss = loss + self.section.perceptual_weight * parts["perceptual"]
        # before some steps are done, everything is too blurred to judge
        critic = self.patch_critic if step >= int(self.section.patch_from * self.section.num_steps) else None
        if critic is not None:
            critic.requires_grad_(False)
            parts["verdict"] = losses.generator_loss(critic(reconstruction).float())
            critic.requires_grad_(True)
            loss = loss + self.section.patch_weight * parts["verdict"]
        norm = self.descend("vqvae", loss, step)
        if critic is not None:
            hinge = losses.hinge_loss(*(critic(each).float() for each in (image, reconstruction.detach())))
            self.descend("patch critic", hinge, step)
            parts["patch_critic"] = hinge.detach()
        self.update_average()
        self._update_codebook(step, features, quantized.codes)
        used = perplexity(self.vqvae.quantizer.usage)
        return {"loss": loss, **parts, "gradient_norm": norm, "perplexity": used}

    def batch(self, step: int) -> Tensor:
        """Pictures (B, 3, 128, 128) of a step, half of them mirrored where the section says so."""
        image = self.images(self.data.images, self.indices(step))
        if self.section.flip:
            draws = self.rng(step, "flip").random(self.section.batch_size)
            image = mirrored(image, self.to_device(self.local(draws < 0.5)))
        return image

    def _update_codebook(self, step: int, features: Tensor, codes: Tensor) -> None:
        """Count the use of the codes over all processes and revive the dead ones."""
        quantizer = self.vqvae.quantizer
        quantizer.track(distributed.sum_over_processes(quantizer.count(codes)))
        early = step < int(self.section.revive_until * self.section.num_steps)
        if not early or (step + 1) % self.section.revive_every:
            return
        candidates = distributed.gather_rows(features.detach().movedim(1, -1).flatten(0, 2))
        order = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(self.seed + step))
        moved = quantizer.revive(candidates[order.to(candidates.device)])
        # Adam's memory of a moved code belongs to the place it left
        state = self.optimizers["vqvae"].state.get(quantizer.codebook, {})
        for name in {"exp_avg", "exp_avg_sq"} & state.keys():
            cast(Tensor, state[name])[moved] = 0.0

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        """Error of validation pictures, and some of them beside their reconstructions."""
        self.vqvae.eval()
        # an order that visits all scenes early and is always the same
        order = np.random.default_rng(0).permutation(len(self.data.validation_images))[:NUM_VALIDATED]
        squared, count = 0.0, 0
        shown: Tensor | None = None
        with self.averaged():
            for rows in chunks(order, 32):
                image = self.images(self.data.validation_images, rows)
                decoded = self.vqvae(image)[0].float().clamp(0.0, 1.0)
                squared += float((decoded - image).square().sum())
                count += image.numel()
                if shown is None:
                    shown = torch.stack((image[:NUM_SHOWN], decoded[:NUM_SHOWN]))
        self.vqvae.train()
        error, health = squared / count, self.vqvae.quantizer.health()
        metrics = {
            "error": error / float(self.vqvae.image_variance),
            "psnr_db": float(-10.0 * torch.log10(torch.tensor(error))),
            "perplexity": health.perplexity,
            "codes_used": health.used,
        }
        return Validation(metrics, shown, ("real", "reconstructed"))

    def _train_perceptual(self, network: PerceptualNetwork) -> None:
        """Cross-entropy on scenes, of pictures mirrored at random; in place, and at rest afterwards."""
        config, scenes = self.section.perceptual, named_scenes(self.data)
        usable = np.array([row for row, scene in enumerate(self.data.image_scenes) if scene])
        targets = np.array([scenes.index(self.data.image_scenes[row]) for row in usable], dtype=np.int64)
        network.train().requires_grad_(True)
        optimizer = torch.optim.AdamW(network.parameters(), PERCEPTUAL_RATE, weight_decay=WEIGHT_DECAY)
        said_at = time.monotonic()
        right = torch.zeros((), device=self.device)
        for step in range(config.num_steps):
            items = indices_at(
                step, num_items=len(usable), batch_size=config.batch_size, seed=self.seed, stage="perception"
            )
            mirror = generator_of(self.seed, "perception", step).random(len(items)) < 0.5
            image = mirrored(self.images(self.data.images, usable[items]), self.to_device(mirror))
            for group in optimizer.param_groups:
                group["lr"] = PERCEPTUAL_RATE * rate_factor("one_cycle", step, config.num_steps)
            answer = self.to_device(targets[items])
            with self.fabric.autocast():
                logits = network(image).float()
            loss = F.cross_entropy(logits, answer, label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            right = torch.lerp(right, (logits.argmax(1) == answer).float().mean(), 0.02)
            if time.monotonic() - said_at > SAID_EVERY_S or step + 1 == config.num_steps:
                said_at = time.monotonic()
                say(f"perceptual network {step + 1}/{config.num_steps}  {100 * float(right):.0f} % of scenes right")
        network.eval().requires_grad_(False)


def named_scenes(data: TrainingData) -> tuple[str, ...]:
    """The scenes there are to be learnt. Raises DataError where the pictures do not name two or more."""
    scenes = tuple(sorted(set(data.image_scenes) - {""}))
    if len(scenes) < 2:
        raise DataError(
            "the perceptual term learns to tell scenes, and these pictures name fewer than two: "
            "set vqvae.perceptual_weight=0, or take pictures in folders named by their scene"
        )
    return scenes
