"""The networks of a run and its ancestors together: a waveform in, what is imagined out.

Shapes: B batch, L samples, C embedding, D code dimension, H W grid, N labels.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avgan.config import ClassifierSection, ImaginationSection, RunConfig, VQVAESection
from avgan.features import LogMel
from avgan.networks.classifier import build_classifier
from avgan.networks.critic import Critic
from avgan.networks.flow import FlowSampler
from avgan.networks.generator import Generator
from avgan.networks.vqvae import VQVAE
from avgan.runtime.arrays import noise_of


@dataclass(frozen=True)
class Imagined:
    """What AVGAN makes of recordings (B, L)."""

    features: Tensor
    """(B, D, 16, 16) imagined features."""
    logits: Tensor
    """(B, N)"""
    codes: Tensor
    """(B, 16, 16) nearest codes of the imagined features."""
    image: Tensor
    """(B, 3, 128, 128) in [0, 1]."""


class AVGAN(nn.Module):
    """The networks that a chain of runs has trained so far.

    A run of pictures has `vqvae` alone; imagination adds `log_mel`, `generator` and `critic`, the classifier stage
    `classifier`; `sampler`, which most runs have none of, is None until its stage. Each is made with weights of its
    own, the same for the same seed whatever else is made.
    """

    log_mel: LogMel
    vqvae: VQVAE
    generator: Generator
    critic: Critic
    classifier: nn.Module
    sampler: FlowSampler | None

    def __init__(self, lineage: Sequence[RunConfig], num_labels: int, seed: int = 0) -> None:
        super().__init__()
        code_dim, self.sampler = 0, None
        for stage in {run.stage.kind: run.stage for run in lineage}.values():  # of those that were repeated, the last
            if isinstance(stage, VQVAESection):
                code_dim = stage.network.code_dim
                with seeded(seed, "vqvae"):
                    self.vqvae = VQVAE(stage.network)
            elif isinstance(stage, ImaginationSection):
                trunk = stage.trunk
                self.log_mel = LogMel(trunk.front_end)
                with seeded(seed, "generator"):
                    self.generator = Generator(stage.generator, trunk.build(), trunk.vector_size, code_dim)
                with seeded(seed, "critic"):
                    self.critic = Critic(stage.critic, code_dim)
            elif isinstance(stage, ClassifierSection):
                with seeded(seed, "classifier"):
                    self.classifier = build_classifier(stage.network, code_dim, num_labels)
            else:
                with seeded(seed, "sampler"):
                    self.sampler = stage.network.build(code_dim, num_labels)

    def forward(self, waveform: Tensor) -> Imagined:
        """waveform (B, L). The label is read from the imagined features and from nothing else."""
        return self.imagine(self.generator.embed(self.log_mel(waveform)))

    def imagine(self, embedding: Tensor, noise: Tensor | None = None) -> Imagined:
        """embedding (B, C) -> features, label, codes and picture; noise as for `sample`."""
        features = self.generator.imagine(embedding)
        codes = self.vqvae.quantizer.encode(features)
        return Imagined(features, self.classifier(features), codes, self.render(codes, noise))

    def render(self, codes: Tensor, noise: Tensor | None = None) -> Tensor:
        """Codes of imagined features (B, 16, 16) -> pictures (B, 3, 128, 128) in [0, 1]; noise as for `sample`."""
        if self.sampler is None:
            return self.vqvae.decode_codes(codes)
        return self.vqvae.decode(self.sample(codes, noise))

    def sample(self, codes: Tensor, noise: Tensor | None = None) -> Tensor:
        """Codes of imagined features (B, 16, 16) -> the maps (B, D, 16, 16) that are decoded.

        Without a sampler they are the codes' own vectors. Else codes and noise (B, Z) determine them; without noise all
        rows have that of seed 0.
        """
        vectors = self.vqvae.quantizer.decode(codes)
        if self.sampler is None:
            return vectors
        if noise is None:
            noise = self.noise(0).expand(len(codes), -1)
        maps: Tensor = self.sampler(vectors, self.classifier(vectors), noise.to(vectors.device))
        return maps.float()

    def noise(self, *seeds: int) -> Tensor:
        """Noise for the sampler, a row (Z,) for each seed."""
        assert self.sampler is not None
        size = self.sampler.noise_size
        return torch.stack([torch.from_numpy(noise_of(seed, size)) for seed in seeds])


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Inside, networks get the weights that belong to a name and a seed; torch's own generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        yield
