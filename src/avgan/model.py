"""All networks of a run together: a waveform in, what is imagined out.

Shapes: B batch, L samples, F mel bands, T time steps, D code dimension, H W grid, N labels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avgan.config import RunConfig
from avgan.features import LogMel
from avgan.networks.classifier import build_classifier
from avgan.networks.critic import Critic
from avgan.networks.generator import Generator
from avgan.networks.trunks import VECTOR_SIZE, build_trunk
from avgan.networks.vqvae import VQVAE


@dataclass(frozen=True)
class Imagined:
    """What AVGAN makes of recordings (B, L)."""

    features: Tensor
    """(B, D, 16, 16) imagined features."""
    logits: Tensor
    """(B, N)"""
    codes: Tensor
    """(B, 16, 16) nearest codes."""
    image: Tensor
    """(B, 3, 128, 128) in [0, 1]."""


class AVGAN(nn.Module):
    """Front end, VQ-VAE, generator, critic and classifier as a configuration says."""

    def __init__(self, config: RunConfig, num_labels: int) -> None:
        super().__init__()
        self.log_mel = LogMel(config.front_end)
        self.vqvae = VQVAE(config.networks.vqvae)
        code_dim = config.networks.vqvae.code_dim
        self.generator = Generator(
            config.networks.generator,
            build_trunk(config.networks.trunk),
            vector_size=VECTOR_SIZE,
            code_dim=code_dim,
        )
        self.critic = Critic(config.networks.critic, code_dim, self.generator.heard_size)
        self.classifier = build_classifier(config.networks.classifier, code_dim, num_labels)

    def forward(self, waveform: Tensor) -> Imagined:
        """waveform (B, L). The label is read from the imagined features and from nothing else."""
        return self.imagine(self.generator.hear(self.log_mel(waveform)))

    def imagine(self, heard: Tensor) -> Imagined:
        """What was heard (B, C) -> features, label, codes and picture."""
        features = self.generator.imagine(heard)
        codes = self.vqvae.quantizer.encode(features)
        return Imagined(features, self.classifier(features), codes, self.vqvae.draw_codes(codes))


def build(config: RunConfig, num_labels: int, seed: int | None = None) -> AVGAN:
    """Networks with fresh weights, the same for the same seed (the run's own unless given)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.loop.seed if seed is None else seed)
        return AVGAN(config, num_labels)
