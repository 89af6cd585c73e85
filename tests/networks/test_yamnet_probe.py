"""Proof that front end, trunk and weights fit together: a linear probe on ESC-50 as published for these weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avgan.data.datasets import find, find_file
from avgan.data.loading import WaveformStore
from avgan.features import LogMel, yamnet_front_end
from avgan.networks.trunks.yamnet import YAMNet

PATCH = 96
"""Time steps of a patch, 0.96 s."""
HOP = 48


@torch.inference_mode()
def clip_vectors(data_root: Path, names: np.ndarray, store: WaveformStore) -> np.ndarray:
    """(number of clips, 1024): means over patches, as the original network hears a recording."""
    trunk, front_end = YAMNet().eval(), LogMel(yamnet_front_end())
    trunk.load_pretrained(find_file(data_root, "yamnet"))
    vectors = []
    for start in range(0, len(names), 16):
        log_mel = front_end(torch.from_numpy(store.get(names[start : start + 16])))
        patches = log_mel.unfold(3, PATCH, HOP).permute(0, 3, 1, 2, 4)  # (B, P, 1, 64, 96)
        heard = trunk(patches.flatten(0, 1)).unflatten(0, patches.shape[:2])
        vectors.append(heard.mean(1).numpy())
    return np.concatenate(vectors)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_linear_probe_reaches_what_these_weights_are_known_for(data_root: Path) -> None:
    sounds = find(data_root, "esc50")
    store = WaveformStore(sounds, rate_hz=16_000, window_s=5.0, cache_bytes=0)
    vectors = clip_vectors(data_root, np.arange(len(sounds)), store)
    labels = np.array([clip.label for clip in sounds.clips])
    folds = np.array([clip.fold for clip in sounds.clips])
    accuracies = []
    for fold in "12345":
        test = folds == fold
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
        probe.fit(vectors[~test], labels[~test])
        accuracies.append(probe.score(vectors[test], labels[test]))
    assert np.mean(accuracies) == pytest.approx(0.838, abs=0.01), accuracies
