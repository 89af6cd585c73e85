"""The three classifiers that came with ESC-50 (Piczak 2015), on MFCC and zero crossings.

A clip is 26 numbers: mean and standard deviation over time of 12 coefficients and of the rate of zero crossings.

Shapes: M clips, L samples.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from avgan.baselines import spectra
from avgan.baselines.method import Card, Clips
from avgan.baselines.probes import Probe
from avgan.features import FrontEndConfig

FRONT_END = FrontEndConfig(
    sample_rate_hz=44_100,
    n_fft=2048,
    window_length=2048,
    hop_length=512,  # 11.6 ms
    num_mels=128,
    f_max_hz=22_050.0,
)
TOP_DB = 80.0
NUM_COEFFICIENTS = 12

SOURCE = "Piczak: ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015"
FOLLOWS = (
    "12 MFCC without the 0th and the rate of zero crossings, in steps of 11.6 ms; mean and standard deviation "
    "over the clip, 26 numbers",
    "the kind of classifier, from scikit-learn",
)
DIFFERS = (
    "the classifier's settings are not in the paper: chosen by cross-validation within the training clips, by source",
)


def describe(waveforms: np.ndarray) -> np.ndarray:
    """Waveforms (M, L) at the front end's rate -> (M, 26): means, then standard deviations over time."""
    decibels = spectra.limit_range(spectra.log_mels(waveforms, FRONT_END), TOP_DB)
    coefficients = spectra.mfccs(decibels, NUM_COEFFICIENTS + 1)[:, 1:]
    hop = FRONT_END.hop_length
    crossings = spectra.zero_crossing_rates(waveforms, frame_length=hop, hop_length=hop)[:, None]
    series = coefficients, crossings
    means = [values.mean(-1, dtype=np.float64) for values in series]
    deviations = [values.std(-1, dtype=np.float64) for values in series]
    return np.concatenate(means + deviations, 1)


class MFCCRival(Probe):
    """One of the three classifiers on the 26 numbers."""

    def __init__(self, card: Card, candidates: Sequence[Pipeline]) -> None:
        self.card, self.candidates = card, candidates

    def vectors(self, clips: Clips) -> np.ndarray:
        return clips.in_blocks(FRONT_END.sample_rate_hz, describe)


def svm() -> MFCCRival:
    """A support vector machine with a linear kernel."""
    card = Card(
        name="svm-mfcc",
        title="SVM on MFCC",
        source=SOURCE,
        published=39.6,
        published_on={"esc10": 67.5},
        follows=FOLLOWS,
        differs=DIFFERS,
    )
    costs = (0.01, 0.03, 0.1, 0.3, 1.0)
    return MFCCRival(card, [make_pipeline(StandardScaler(), SVC(kernel="linear", C=cost)) for cost in costs])


def forest() -> MFCCRival:
    """A random forest."""
    card = Card(
        name="forest-mfcc",
        title="Random forest on MFCC",
        source=SOURCE,
        published=44.3,
        published_on={"esc10": 72.7},
        published_by_fold={"1": 41.2, "2": 48.0, "3": 43.7, "4": 45.7, "5": 43.0},
        follows=FOLLOWS,
        differs=("500 trees, and scikit-learn's other settings: the paper does not give its own",),
    )
    return MFCCRival(card, [make_pipeline(RandomForestClassifier(500))])


def neighbours() -> MFCCRival:
    """The labels of the nearest training clips."""
    card = Card(
        name="knn-mfcc",
        title="k nearest neighbours on MFCC",
        source=SOURCE,
        published=32.2,
        published_on={"esc10": 66.7},
        follows=FOLLOWS,
        differs=DIFFERS,
    )
    numbers = (1, 3, 5, 8, 12)
    return MFCCRival(
        card, [make_pipeline(StandardScaler(), KNeighborsClassifier(num, weights="distance")) for num in numbers]
    )
