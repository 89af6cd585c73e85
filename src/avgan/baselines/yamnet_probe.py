"""A linear classifier on what YAMNet hears: how far a network that was taught on AudioSet gets by itself.

Not of the paper's table; it is the rival of every model here that begins with YAMNet's weights.

Shapes: M clips, L samples.
"""

import numpy as np
import torch
from sklearn.pipeline import Pipeline

from avgan.baselines import fitting, probes
from avgan.baselines.rival import Budget, Card, Clips, Cost
from avgan.data.datasets import find_file
from avgan.errors import DataError
from avgan.features import LogMel, yamnet_front_end
from avgan.networks.trunks.yamnet import PATCH, YAMNet, cut_patches

SETTINGS = yamnet_front_end()
SHORTEST = (PATCH - 1) * SETTINGS.hop_length + SETTINGS.n_fft
"""Samples of one patch."""
BLOCK = 16


class YAMNetProbe:
    """Logistic regression on the mean of YAMNet's vectors over the clip."""

    card = Card(
        name="yamnet-probe",
        title="Linear probe on YAMNet",
        source="Plakal and Ellis: YAMNet, TensorFlow models, 2020 (network and weights); the probe is our own",
        pretrained_on="AudioSet",
        follows=("front end, network and weights; a vector is the mean over patches of 0.96 s",),
        differs=(
            "patches lie side by side, without the overlap of one half: the same accuracy for half the work",
        ),
    )

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        """Hear all clips once, then learn from the vectors.

        Raises DataError where the weights are missing.
        """
        if clips.folder is None:
            raise DataError(
                f"{self.card.name}: needs YAMNet's weights; say in which folder they lie"
            )
        self._trunk = YAMNet().eval()
        self._trunk.load_pretrained(find_file(clips.folder, "yamnet"))
        vectors = self._hear(clips)
        candidates = probes.logistic_regressions()
        self._probe: Pipeline = probes.fit_best(candidates, vectors, clips, budget=budget, rng=rng)
        self._window_s = clips.window_s

    def predict(self, clips: Clips) -> np.ndarray:
        """Probabilities (M, N)."""
        return probes.probabilities(self._probe, self._hear(clips), clips.num_labels)

    def cost(self) -> Cost:
        """Of the network on all patches of a clip, and of the probe."""
        num_samples = round(self._window_s * SETTINGS.sample_rate_hz)
        example = LogMel(SETTINGS)(torch.zeros(1, max(num_samples, SHORTEST)))
        trunk, probe = fitting.cost_of(self._trunk, example), probes.cost_of(self._probe)
        num_patches = cut_patches(example)[1]
        # counted per patch, since the patches of a clip are a batch
        num_macs = trunk.num_macs * num_patches + probe.num_macs
        return Cost(trunk.num_parameters + probe.num_parameters, num_macs)

    @torch.inference_mode()
    def _hear(self, clips: Clips) -> np.ndarray:
        """Vectors (M, 1024); what is shorter than one patch ends in silence."""
        front_end, vectors = LogMel(SETTINGS), []
        for waveforms in probes.waveform_blocks(clips, SETTINGS.sample_rate_hz, BLOCK):
            lacking = max(0, SHORTEST - waveforms.shape[1])
            padded = np.pad(waveforms, ((0, 0), (0, lacking)))
            vectors.append(self._trunk(front_end(torch.from_numpy(padded))).numpy())
        return np.concatenate(vectors)
