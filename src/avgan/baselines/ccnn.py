"""Several CNNs, each of which hears the clip prepared in another way: in the manner of Seo et al. 2019 ("CCNN").

The original is known by its title alone, "various pre-processed features and convolutional neural networks"; what it
prepared and how is not. Here: the log-mel, what lasts in it, what strikes in it, and what rises above its own running
median. One CNN9 for each, their probabilities averaged.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from avgan.baselines import cnn9
from avgan.baselines.method import Budget, Card, Clips, Cost
from avgan.baselines.spectra import harmonic_percussive, running_median
from avgan.baselines.spectrogram import SpectrogramRival

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


@dataclass
class SeveralCNNs:
    """One CNN9 for each view of the clips."""

    card: Card = CARD
    _members: list[SpectrogramRival] = field(default_factory=list, repr=False)

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        views = prepare(cnn9.hear(clips))
        for index, name in enumerate(VIEWS):
            share = budget.share(1 / (len(VIEWS) - index))
            say = budget.say
            share.say = lambda line, name=name, say=say: say(f"{name}: {line}")  # type: ignore[misc]
            member = SpectrogramRival(replace(CARD, title=name), cnn9.hear, cnn9.CNN9, cnn9.recipe())
            member.fit_heard(views[name], clips, budget=share, rng=rng)
            self._members.append(member)
            budget.num_wanted, budget.num_planned = share.num_wanted, share.num_planned

    def predict(self, clips: Clips) -> np.ndarray:
        views = prepare(cnn9.hear(clips))
        answers = [member.predict_heard(views[name]) for name, member in zip(VIEWS, self._members, strict=True)]
        return np.mean(answers, axis=0)

    def cost(self) -> Cost:
        costs = [member.cost() for member in self._members]
        return Cost(sum(c.num_parameters for c in costs), sum(c.num_macs for c in costs))


def prepare(decibels: np.ndarray) -> dict[str, np.ndarray]:
    """Log-mel (M, F, T) in dB -> each view of it (M, F, T)."""
    harmonic, percussive = harmonic_percussive(10 ** (decibels / 20))
    above = decibels - running_median(decibels, MEDIAN_STEPS)
    parts = (decibels.copy(), _decibels(harmonic), _decibels(percussive), above)
    return dict(zip(VIEWS, parts, strict=True))


def _decibels(magnitudes: np.ndarray) -> np.ndarray:
    """20 log10 with the floor of the log-mel."""
    floor = np.sqrt(cnn9.FRONT_END.floor)
    return (20 * np.log10(np.maximum(magnitudes, floor))).astype(np.float32)


def ccnn() -> SeveralCNNs:
    """The rival, untrained."""
    return SeveralCNNs()
