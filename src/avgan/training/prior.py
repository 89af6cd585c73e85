"""What a sampler begins from, taught by photographs alone: which maps of real features belong to the mean of a scene.

Imagined features are the mean of what a sound's place may look like. So the mean of some photographs of a scene stands
for a recording of it, and what is learnt here serves the sounds of any data set: the stage `sampler` has little to add.

Shapes: B batch, K photographs, D code dimension.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from avgan import losses
from avgan.config import PriorSection
from avgan.networks.samplers.flow import FlowSampler
from avgan.training.data import named_scenes
from avgan.training.sampler import NUM_SETTLING, FlowObjective, PairBatch, render_seeds
from avgan.training.stage import Stage, Validation

FEWEST, MOST = 4, 64
"""Photographs in a mean, by chance, each doubling as often as another: a sound may say much of a place or little."""
NUM_SHOWN = 12
"""Scenes in a sample sheet."""


class PriorStage(Stage[PriorSection]):
    """Steps of the flow's objective on pairs of a mean and another photograph of the same scene."""

    def __post_init__(self) -> None:
        super().__post_init__()
        assert isinstance(self.networks.sampler, FlowSampler)
        self.vqvae, self.sampler = self.networks.vqvae, self.networks.sampler
        self.frozen = (self.vqvae,)
        scenes = named_scenes(self.data)
        number = {scene: index for index, scene in enumerate(scenes)}
        scene_of_image = np.array([number.get(scene, -1) for scene in self.data.image_scenes])
        self.usable = np.flatnonzero(scene_of_image >= 0)
        self.scenes = scene_of_image[self.usable]
        """(M,) the scene of each usable picture"""
        self.of_scene = [np.flatnonzero(self.scenes == index) for index in range(len(scenes))]
        self.objective = FlowObjective(self, self.sampler)
        self.keep_average(self.sampler)

    @property
    def num_items(self) -> int:
        return len(self.usable)

    def before_first_step(self) -> None:
        """Encode the pictures, and give the sampler the statistics of their features and of means of them."""
        codes = self.encode_all(lambda image: self.vqvae.real_features(image).codes.to(torch.int16), self.usable)
        self.kept["codes"] = codes
        num_batches = -(-NUM_SETTLING // self.section.batch_size)
        batches = [self.batch(self.section.num_steps + number) for number in range(num_batches)]
        real, imagined = (torch.cat([getattr(each, name) for each in batches]) for name in ("real", "imagined"))
        self.sampler.set_statistics(real, imagined)

    def step(self, step: int) -> dict[str, Tensor]:
        batch = self.batch(step).blurred(self, self.section.condition_noise, step)
        metrics = self.objective.step(batch, step)
        self.update_average()
        return metrics

    @torch.no_grad()
    def batch(self, step: int) -> PairBatch:
        """Pictures of a step, half of them mirrored, each with the mean of others of its scene."""
        rows, rng, size = self.indices(step), self.rng(step, "pair"), self.section.batch_size
        sides = self.local(rng.integers(2, size=size))
        decode, codes = self.vqvae.quantizer.decode, self.kept["codes"]
        real = decode(codes[self.to_device(rows), self.to_device(sides)].long())
        return PairBatch(self.means(self.scenes[rows], step), real, self.to_device(self.scenes[rows]))

    def means(self, scenes: np.ndarray, step: int) -> Tensor:
        """A mean for each of this process's scenes (B,), as the codes nearest to it: (B, D, 16, 16)."""
        rng, size = self.rng(step, "means"), self.section.batch_size
        counts = np.rint(np.exp(rng.uniform(np.log(FEWEST), np.log(MOST), size))).astype(int)
        draws, sides = rng.random((size, MOST)), rng.integers(2, size=(size, MOST))
        counts, draws, sides = (self.local(each)[: len(scenes)] for each in (counts, draws, sides))
        owned = [self.of_scene[scene] for scene in scenes]
        chosen = np.stack([own[(draw * len(own)).astype(int)] for own, draw in zip(owned, draws, strict=True)])
        shares = ((np.arange(MOST) < counts[:, None]) / counts[:, None]).astype(np.float32)
        codes = self.kept["codes"][self.to_device(chosen), self.to_device(sides)].long()
        quantizer = self.vqvae.quantizer
        weighted = F.embedding(codes, quantizer.codebook).mul_(self.to_device(shares)[:, :, None, None, None])
        mean = weighted.sum(1).movedim(-1, 1)
        return quantizer.decode(quantizer.encode(mean))

    @torch.no_grad()
    def validate(self, step: int) -> Validation:
        """A mean of each of some scenes, drawn as it is and as it is sampled with the first seeds."""
        shown = np.linspace(0, len(self.of_scene) - 1, min(NUM_SHOWN, len(self.of_scene), self.section.batch_size))
        codes = self.vqvae.quantizer.encode(self.means(shown.astype(int), 0))
        with self.averaged():
            rows, names, sampled = render_seeds(self.networks.eval(), codes)
        self.sampler.train()
        real = self.batch(step).real
        metrics = {"relative_diversity": float(losses.diversity(sampled) / losses.diversity(real))}
        return Validation(metrics, rows, names)
