"""Stage 1: encoder, codebook and decoder learn pictures (Sec. 3.1, Eq. 1). No sound is heard.

Beside Eq. 1 there may be, each with a weight that is 0 in the paper's presets: an absolute error, a perceptual term,
and from a share of the steps on the verdict of a patch critic, which is trained along. Network and critic of these
terms belong to the stage's state and not to the model. The perceptual network learns the scenes of the stage's own
photographs, in minutes, once, before the first step; all processes do the same work on the same pictures.

Shapes: B batch.
"""

import time
from typing import Any, cast

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
from avgan.training.log import tell
from avgan.training.schedule import generator_of, indices_at, rate_factor
from avgan.training.stage import Context, MovingAverage, Stage, Validation, mirrored

NUM_SHOWN = 12
"""Pictures in a sample sheet."""
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
"""Both as for the scene classifier of `evaluation.pictures`, which learns the same task."""
SAID_EVERY_S = 30.0
"""Between two lines of progress: often enough to see that it goes on."""


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
            self.perceptual = build_perceptual(self.section, self.data, self.seed)
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
        """Measure delta_v on pictures spread over the training set, and train the perceptual network."""
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
            train_perceptual(self.perceptual, self.section, self.context)

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
        if self._critic_is_active(step):
            parts["verdict"] = self._verdict(reconstruction)
            loss = loss + self.section.patch_weight * parts["verdict"]
        norm = self.descend("vqvae", loss, (self.vqvae,), step)
        if self._critic_is_active(step):
            parts["patch_critic"] = self._train_critic(image, reconstruction.detach(), step)
        self.update_averages()
        self._update_codebook(step, features, quantized.codes)
        used = perplexity(self.vqvae.quantizer.usage)
        return {"loss": loss, **parts, "gradient_norm": norm, "perplexity": used}

    def _difference(self, network: PerceptualNetwork, image: Tensor, reconstruction: Tensor) -> Tensor:
        """How differently the perceptual network sees pictures (B, 3, H, W) and their reconstructions."""
        with torch.no_grad():
            wanted = network.levels(image)
        return losses.perceptual_loss(network.levels(reconstruction), wanted)

    def _critic_is_active(self, step: int) -> bool:
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

    def _train_critic(self, image: Tensor, reconstruction: Tensor, step: int) -> Tensor:
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

    def _update_codebook(self, step: int, features: Tensor, codes: Tensor) -> None:
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
        """Error of held-out pictures, and some of them beside their reconstructions."""
        self.vqvae.eval()
        with self.averaged():
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
            decoded = self.vqvae(image)[0].float().clamp(0.0, 1.0)
            squared += float((decoded - image).square().sum())
            count += image.numel()
            if shown is None:
                shown = torch.stack((image[:NUM_SHOWN], decoded[:NUM_SHOWN]))
        return squared / count, shown


def named_scenes(data: TrainingData) -> tuple[str, ...]:
    """The scenes there are to be learnt. Raises DataError where the pictures do not name two or more."""
    scenes = tuple(sorted(set(data.image_scenes) - {""}))
    if len(scenes) < 2:
        raise DataError(
            "the perceptual term learns to tell scenes, and these pictures name fewer than two: "
            "set vqvae.perceptual_weight=0, or take pictures in folders named by their scene"
        )
    return scenes


def build_perceptual(section: VQVAESection, data: TrainingData, seed: int) -> PerceptualNetwork:
    """The network before it is trained."""
    num_scenes = len(named_scenes(data))
    return seeded(seed, "perceptual", lambda: PerceptualNetwork(section.perceptual, num_scenes))


def train_perceptual(network: PerceptualNetwork, section: VQVAESection, context: Context) -> None:
    """Cross-entropy on scenes, of pictures mirrored at random; in place, and at rest afterwards."""
    config, data, seed = section.perceptual, context.data, context.config.loop.seed
    scenes = named_scenes(data)
    usable = np.array([row for row, scene in enumerate(data.image_scenes) if scene])
    targets = np.array([scenes.index(data.image_scenes[row]) for row in usable], dtype=np.int64)
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=WEIGHT_DECAY)
    said_at = time.monotonic()
    right = torch.zeros((), device=context.device)
    network.train()
    for step in range(config.num_steps):
        items = indices_at(step, num_items=len(usable), batch_size=config.batch_size, seed=seed, stage="perception")
        mirror = generator_of(seed, "perception", step).random(len(items)) < 0.5
        image = context.images(data.images, usable[items])
        image = mirrored(image, context.to_device(mirror))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate_factor("one_cycle", step, config.num_steps)
        answer = context.to_device(targets[items])
        with context.fabric.autocast():
            logits = network(image).float()
        loss = F.cross_entropy(logits, answer, label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        right = torch.lerp(right, (logits.argmax(1) == answer).float().mean(), 0.02)
        if distributed.is_first() and time.monotonic() - said_at > SAID_EVERY_S:
            said_at = time.monotonic()
            _say(step + 1, config.num_steps, right)
    if distributed.is_first() and config.num_steps:
        _say(config.num_steps, config.num_steps, right)
    network.eval().requires_grad_(False)


def _say(step: int, num_steps: int, right: Tensor) -> None:
    tell(f"perceptual network {step}/{num_steps}  {100 * float(right):.0f} % of scenes right")
