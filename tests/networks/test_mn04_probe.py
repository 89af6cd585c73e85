"""Proof that front end, trunk and weights fit together: a linear probe on ESC-50 as known for these weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avgan.data.datasets import find
from avgan.data.loading import WaveformStore
from avgan.features import LogMel
from avgan.networks.trunks.mn04 import HIDDEN, POOLED, MN04Config


@pytest.mark.slow
@pytest.mark.timeout(1800)
@torch.inference_mode()
def test_a_linear_probe_reaches_what_these_weights_are_known_for(data_root: Path) -> None:
    """93.55 % with the pooled features of sound brought from 16 to 32 kHz, 93.8 with the hidden layer beside them.

    Here the sound stays at 16 kHz: 93.3 and 93.8 % with C 0.03.
    """
    sounds = find(data_root, "esc50")
    store = WaveformStore(sounds, rate_hz=16_000, window_s=5.0, cache_bytes=0)
    config = MN04Config()
    trunk, front_end = config.build().eval(), LogMel(config.front_end)
    vectors = np.concatenate(
        [
            trunk(front_end(torch.from_numpy(store.get(range(start, start + 50))))).numpy()
            for start in range(0, len(sounds), 50)
        ]
    )
    labels = np.array([clip.label for clip in sounds.clips])
    folds = np.array([clip.fold for clip in sounds.clips])
    known = {POOLED: 0.9355, POOLED + HIDDEN: 0.938}
    for size, expected in known.items():
        accuracies = []
        for fold in "12345":
            test = folds == fold
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.03, max_iter=300))
            probe.fit(vectors[~test, :size], labels[~test])
            accuracies.append(probe.score(vectors[test, :size], labels[test]))
        print(f"{size} numbers: {np.mean(accuracies):.2%}, by fold {accuracies}")
        assert np.mean(accuracies) == pytest.approx(expected, abs=0.007), accuracies
