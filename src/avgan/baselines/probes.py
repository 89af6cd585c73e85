"""Small classifiers on vectors: which settings serve best is found by cross-validation within what they learn from.

Shapes: M clips, D numbers of a vector, N labels.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from avgan.baselines.method import Budget, Card, Clips, Cost

NUM_PARTS = 4
"""Of the cross-validation; three quarters of the clips are enough to rank settings."""


def waveform_blocks(clips: Clips, rate_hz: int, size: int) -> Iterator[np.ndarray]:
    """Waveforms (size, L), block by block; where clips can be read singly, never all at once."""
    numbers = range(0, len(clips), size)
    if clips.read_rows:
        for start in numbers:
            yield clips.read_rows(rate_hz, np.arange(start, min(start + size, len(clips))))
    else:
        waveforms = clips.read(rate_hz)
        yield from (waveforms[start : start + size] for start in numbers)


class Probed:
    """A method that turns clips into vectors and gives those to a small classifier."""

    card: Card
    embedding_cost = Cost(0, 0)
    """Of what makes a vector; the classifier's is added."""

    def candidates(self) -> Sequence[Pipeline]:
        """Settings of the classifier to choose among."""
        return linear_svms()

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        """Learn to make vectors where that is to be learnt, then the labels from the vectors."""
        vectors = self.learn(clips, budget=budget, rng=rng)
        self._fitted = fit_best(self.candidates(), vectors, clips, budget=budget, rng=rng)

    def predict(self, clips: Clips) -> np.ndarray:
        """Probabilities (M, N)."""
        return probabilities(self._fitted, self.vectors(clips), clips.num_labels)

    def cost(self) -> Cost:
        """Of a vector and of the classifier."""
        return self.embedding_cost + cost_of(self._fitted)

    def learn(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> np.ndarray:
        """Get ready to make vectors, and make those of the training clips (M, D)."""
        return self.vectors(clips)

    def vectors(self, clips: Clips) -> np.ndarray:
        """(M, D)"""
        raise NotImplementedError


def linear_svms(costs: Sequence[float] = (0.001, 0.01, 0.1)) -> list[Pipeline]:
    """Linear support vector machines, one label against the rest, from strong to weak regularisation."""
    return [make_pipeline(StandardScaler(), LinearSVC(C=cost, max_iter=2000)) for cost in costs]


def logistic_regressions(costs: Sequence[float] = (0.01, 0.03, 0.1, 0.3)) -> list[Pipeline]:
    """Logistic regressions over all labels, from strong to weak regularisation."""
    return [make_pipeline(StandardScaler(), LogisticRegression(C=cost, max_iter=300)) for cost in costs]


def fit_best(
    candidates: Sequence[Pipeline], vectors: np.ndarray, clips: Clips, *, budget: Budget, rng: np.random.Generator
) -> Pipeline:
    """The candidate that names most clips of sources it has not learnt from, fitted on all vectors (M, D).

    The first of the best wins. When the time is over the rest of the candidates is left out; where there are too few
    sources to divide, the middle candidate is taken. Steps stop at a number, converged or not: what has been learnt
    by then is what the cross-validation judges.
    """
    seed = int(rng.integers(2**31))
    candidates = [seeded(candidate, seed) for candidate in candidates]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        best = choose(candidates, vectors, clips, divide(clips, seed), budget)
        fitted: Pipeline = best.fit(vectors, clips.targets)
    return fitted


def choose(
    candidates: Sequence[Pipeline],
    vectors: np.ndarray,
    clips: Clips,
    parts: list[tuple[np.ndarray, np.ndarray]],
    budget: Budget,
) -> Pipeline:
    """The first of the best candidates, within the budget; the middle one where there are no parts."""
    hits: list[float] = []
    for candidate in candidates if parts and len(candidates) > 1 else ():
        share = cross_validate(candidate, vectors, clips.targets, parts, budget)
        if share is None:
            break
        hits.append(share)
        budget.say(f"setting {len(hits)} of {len(candidates)}: {share:.1%} of clips set aside")
    return candidates[int(np.argmax(hits)) if hits else len(candidates) // 2]


def seeded(candidate: Pipeline, seed: int) -> Pipeline:
    """The candidate with this seed wherever it draws something."""
    names = [name for name in candidate.get_params() if name.endswith("random_state")]
    seeded: Pipeline = clone(candidate).set_params(**dict.fromkeys(names, seed))
    return seeded


def divide(clips: Clips, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of indices (to learn from, set aside), by source; none where a label would be left without clips."""
    sources_of_label = [
        {clips.sources[index] for index in np.flatnonzero(clips.targets == label)} for label in np.unique(clips.targets)
    ]
    if min(map(len, sources_of_label)) < NUM_PARTS:
        return []
    splitter = StratifiedGroupKFold(NUM_PARTS, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(clips)), clips.targets, np.array(clips.sources)))


def cross_validate(
    candidate: Pipeline,
    vectors: np.ndarray,
    targets: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray]],
    budget: Budget,
) -> float | None:
    """The share of clips that are named rightly by a candidate which has not learnt from their sources.

    None where the time does not suffice.
    """
    hits, began = 0, time.monotonic()
    for index, (learnt, aside) in enumerate(parts):
        pace = (time.monotonic() - began) / max(index, 1)
        if budget.seconds_left < pace * (len(parts) - index + 1):  # what is chosen is fitted once more
            return None
        fitted = clone(candidate).fit(vectors[learnt], targets[learnt])
        hits += int((fitted.predict(vectors[aside]) == targets[aside]).sum())
    return hits / len(targets)


def probabilities(fitted: Pipeline, vectors: np.ndarray, num_labels: int) -> np.ndarray:
    """(M, D) -> (M, N) float64, rows sum to 1; a label that was never heard gets nothing.

    A support vector machine has no probabilities: its decision values go through a softmax, which keeps their order.
    """
    if hasattr(fitted, "predict_proba"):
        return spread(fitted.predict_proba(vectors), fitted.classes_, num_labels)
    return spread(softmax(decisions(fitted, vectors)), fitted.classes_, num_labels)


def decisions(fitted: Pipeline, vectors: np.ndarray) -> np.ndarray:
    """(M, labels learnt) decision values; where there are two labels scikit-learn gives one number for both."""
    values = np.asarray(fitted.decision_function(vectors), np.float64)
    return np.stack([-values, values], 1) if values.ndim == 1 else values


def softmax(values: np.ndarray) -> np.ndarray:
    """Positive rows that sum to 1, in the order of the values (M, N)."""
    powers = np.exp(values - values.max(1, keepdims=True))
    rows: np.ndarray = powers / powers.sum(1, keepdims=True)
    return rows


def spread(rows: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Columns (M, labels learnt) at the places of their labels among all (M, N)."""
    spread = np.zeros((len(rows), num_labels))
    spread[:, labels] = rows
    return spread


def cost_of(fitted: Pipeline) -> Cost:
    """What the classifier keeps, and its multiply-adds for one vector: a tree compares and multiplies nothing."""
    classifier: Any = fitted[-1]
    if isinstance(classifier, KNeighborsClassifier):
        num_kept = int(classifier.n_samples_fit_ * classifier.n_features_in_)
        return Cost(num_kept, num_kept)
    if isinstance(classifier, SVC):
        num_kept = int(classifier.support_vectors_.size + classifier.dual_coef_.size)
        return Cost(num_kept, int(classifier.coef_.size))
    if hasattr(classifier, "coef_"):
        return Cost(int(classifier.coef_.size + classifier.intercept_.size), int(classifier.coef_.size))
    return Cost(sum(int(tree.tree_.node_count) for tree in classifier.estimators_), 0)
