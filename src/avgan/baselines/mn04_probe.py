"""A linear classifier on mn04's embedding: how far a network that was taught on AudioSet gets by itself.

Not of the paper's table; it is the rival of every model here that begins with mn04's weights.

Shapes: M clips, L samples.
"""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.pipeline import Pipeline

from avgan.baselines import fitting, probes
from avgan.baselines.method import Budget, Card, Clips
from avgan.features import LogMel
from avgan.networks.trunks.mn04 import MN04Config, mn04_front_end

SETTINGS = mn04_front_end()
SHORTEST = MN04Config.min_time_steps * SETTINGS.hop_length
"""Samples that give the network its shortest log-mel."""
BLOCK = 16


class MN04Probe(probes.Probed):
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
        differs=("it hears at 16 kHz, where its authors have 32",),
    )

    def candidates(self) -> Sequence[Pipeline]:
        return probes.logistic_regressions()

    def learn(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> np.ndarray:
        """Nothing is learnt here: the weights are AudioSet's."""
        self._trunk = MN04Config().build().eval()
        num_samples = max(round(clips.window_s * SETTINGS.sample_rate_hz), SHORTEST)
        self.embedding_cost = fitting.cost_of(self._trunk, LogMel(SETTINGS)(torch.zeros(1, num_samples)))
        self._trunk.to(fitting.device())
        return self.vectors(clips)

    @torch.inference_mode()
    def vectors(self, clips: Clips) -> np.ndarray:
        """Vectors (M, 896); what is too short for the network ends in silence."""
        front_end, vectors = LogMel(SETTINGS).to(fitting.device()), []
        for waveforms in probes.waveform_blocks(clips, SETTINGS.sample_rate_hz, BLOCK):
            lacking = max(0, SHORTEST - waveforms.shape[1])
            padded = torch.from_numpy(np.pad(waveforms, ((0, 0), (0, lacking))))
            vectors.append(self._trunk(front_end(fitting.on_device(padded))).cpu().numpy())
        return np.concatenate(vectors)
