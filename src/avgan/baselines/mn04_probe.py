"""A linear classifier on mn04's embedding: how far a network that was taught on AudioSet gets by itself.

Not of the paper's table; it is the rival of every model here that begins with mn04's weights.

Shapes: M clips, L samples.
"""

import numpy as np
import torch

from avgan.baselines import fitting, probes
from avgan.baselines.method import Budget, Card, Clips
from avgan.features import LogMel
from avgan.networks.trunks.mn04 import MN04Config, mn04_front_end

SETTINGS = mn04_front_end()
SHORTEST = MN04Config.min_time_steps * SETTINGS.hop_length
"""Samples that give the network its shortest log-mel."""


class MN04Probe(probes.Probe):
    """Logistic regression on mn04's 896 numbers."""

    card = Card(
        name="mn04-probe",
        title="Linear probe on mn04",
        source=(
            "Schmid, Koutini and Widmer: Efficient Large-Scale Audio Tagging, 2023 (network and weights); "
            "the probe is our own"
        ),
        pretrained_on="AudioSet",
        follows=("network and weights; the vector is its pooled features beside its hidden layer",),
        differs=("sounds of 16 kHz, where its authors have 32",),
    )
    candidates = probes.logistic_regressions()

    def learn(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> np.ndarray:
        """Nothing is learnt here: the weights are AudioSet's."""
        trunk = MN04Config().build().eval()
        num_samples = max(round(clips.window_s * SETTINGS.sample_rate_hz), SHORTEST)
        self.embedding_cost = fitting.cost_of(trunk, LogMel(SETTINGS)(torch.zeros(1, num_samples)))
        self._network = torch.nn.Sequential(LogMel(SETTINGS), trunk).to(fitting.device())
        return self.vectors(clips)

    def vectors(self, clips: Clips) -> np.ndarray:
        """Vectors (M, 896); what is too short for the network ends in silence."""

        def embed(waveforms: np.ndarray) -> np.ndarray:
            lacking = max(0, SHORTEST - waveforms.shape[1])
            return fitting.embed(self._network, [torch.from_numpy(np.pad(waveforms, ((0, 0), (0, lacking))))])

        return clips.in_blocks(SETTINGS.sample_rate_hz, embed)
