"""Teach the perceptual network of stage 1 the scenes of the photographs that the stage learns from.

It takes minutes, once, before the first step. All processes do the same work on the same pictures, which needs no
message between them.

Shapes: B batch.
"""

import time

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan.config import VQVAESection
from avgan.errors import DataError
from avgan.model import seeded
from avgan.networks.perceptual import PerceptualNetwork
from avgan.training import distributed
from avgan.training.data import TrainingData
from avgan.training.log import tell
from avgan.training.schedule import generator_of, indices_at, rate_factor
from avgan.training.stage import Context, mirrored

WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
"""Both as for the scene classifier of `evaluation.pictures`, which learns the same task."""
TOLD_EVERY_S = 30.0


def scenes_of(data: TrainingData) -> tuple[str, ...]:
    """The scenes there are to be learnt. Raises DataError where the pictures do not name two or more."""
    scenes = tuple(sorted(set(data.image_scenes) - {""}))
    if len(scenes) < 2:
        raise DataError(
            "the perceptual term learns to tell scenes, and these pictures name fewer than two: "
            "set vqvae.perceptual_weight=0, or take pictures in folders named by their scene"
        )
    return scenes


def build(section: VQVAESection, data: TrainingData, seed: int) -> PerceptualNetwork:
    """The network before it is taught."""
    num_scenes = len(scenes_of(data))
    return seeded(seed, "perceptual", lambda: PerceptualNetwork(section.perceptual, num_scenes))


def teach(network: PerceptualNetwork, section: VQVAESection, context: Context) -> None:
    """Cross-entropy on scenes, of pictures mirrored at random; in place, and at rest afterwards."""
    config, data, seed = section.perceptual, context.data, context.config.loop.seed
    scenes = scenes_of(data)
    usable = np.array([row for row, scene in enumerate(data.image_scenes) if scene])
    targets = np.array([scenes.index(data.image_scenes[row]) for row in usable], dtype=np.int64)
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=WEIGHT_DECAY
    )
    told_at = time.monotonic()
    right = torch.zeros((), device=context.device)
    network.train()
    for step in range(config.num_steps):
        items = indices_at(
            step,
            num_items=len(usable),
            batch_size=config.batch_size,
            seed=seed,
            stage="perception",
        )
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
        if distributed.is_first() and time.monotonic() - told_at > TOLD_EVERY_S:
            told_at = time.monotonic()
            _tell(step + 1, config.num_steps, right)
    if distributed.is_first() and config.num_steps:
        _tell(config.num_steps, config.num_steps, right)
    network.eval().requires_grad_(False)


def _tell(step: int, num_steps: int, right: Tensor) -> None:
    tell(f"perceptual network {step}/{num_steps}  {100 * float(right):.0f} % of scenes right")
