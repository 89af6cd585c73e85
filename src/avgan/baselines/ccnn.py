"""Several CNNs, each of which is given the clip prepared in another way: in the manner of Seo et al. 2019 ("CCNN").

The original is known by its title alone, "various pre-processed features and convolutional neural networks"; what it
prepared and how is not. Here: the log-mel, its harmonic and its percussive part, and what rises above its own running
median. One CNN9 for each, their probabilities averaged.

Shapes: M clips, B batch, V views, F bands, T time steps, N labels.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avgan.baselines import cnn9
from avgan.baselines.method import Card, Clips
from avgan.baselines.network import NetworkRival
from avgan.baselines.spectra import harmonic_percussive, running_median

MEDIAN_STEPS = 51
"""0.8 s, longer than a strike."""
VIEWS = ("log-mel", "harmonic", "percussive", "above the median")

CARD = Card(
    name="ccnn-style",
    title="CNNs on several preparations (CCNN-style)",
    source="after Seo, Park, Park 2019, Acoustic scene classification using various pre-processed features and "
    "convolutional neural networks (technical report of the DCASE 2019 challenge, task 1A)",
    follows=(
        "several preparations of one log-mel, a CNN for each, their answers averaged",
        "harmonic and percussive parts among the preparations",
    ),
    differs=(
        "the report was not at hand, so that its networks and settings are not known: CNN9 and its front end stand "
        "for them",
        "the parts are told apart on the 64 mel bands, not on the full spectrum",
        "no figure of its authors on ESC-50 is known: 83.8 % (seen cities) and 76.1 % (unseen) are the challenge's own "
        "figures for their ensemble, on recordings whose labels were never published",
        "fewer epochs for each CNN where they share a budget",
    ),
)


class SeveralCNNs(nn.Module):
    """Views (B, V, F, T) -> logits of each CNN (B, V, N) in training, else those of their mean probabilities (B, N)."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(cnn9.CNN9(num_labels) for _ in VIEWS)

    def forward(self, views: Tensor) -> Tensor:
        parts = zip(self.members, views.split(1, dim=1), strict=True)
        logits = torch.stack([member(view) for member, view in parts], 1)
        return logits if self.training else logits.float().softmax(2).mean(1).log()


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum of the cross-entropies of logits (B, V, N): each CNN learns as if alone."""
    return torch.stack([functional.cross_entropy(each, labels) for each in logits.unbind(1)]).sum()


def views(clips: Clips) -> np.ndarray:
    """(M, V, 64, T) in dB."""
    return prepare(cnn9.log_mels(clips)[:, 0])


def prepare(decibels: np.ndarray) -> np.ndarray:
    """Log-mel (M, F, T) in dB -> its views (M, V, F, T), in the order of VIEWS."""
    harmonic, percussive = harmonic_percussive(10 ** (decibels / 20))
    above = decibels - running_median(decibels, MEDIAN_STEPS)
    return np.stack([decibels, _decibels(harmonic), _decibels(percussive), above], 1)


def _decibels(magnitudes: np.ndarray) -> np.ndarray:
    """20 log10 with the floor of the log-mel."""
    return (20 * np.log10(np.maximum(magnitudes, cnn9.FRONT_END.floor**0.5))).astype(np.float32)


def ccnn() -> NetworkRival:
    """The rival, untrained."""
    return NetworkRival(CARD, views, SeveralCNNs, replace(cnn9.RECIPE, loss=loss))
