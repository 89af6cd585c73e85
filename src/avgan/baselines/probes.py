"""Small classifiers on vectors: which settings serve best is found by cross-validation within what they learn from.

Shapes: M clips, D numbers of a vector, N labels.
"""

import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import softmax
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

Parts = Sequence[tuple[np.ndarray, np.ndarray]]
"""Indices to learn from and indices held out."""


def linear_svms(costs: Sequence[float] = (0.001, 0.01, 0.1)) -> list[Pipeline]:
    """Linear support vector machines, one label against the rest, from strong to weak regularisation."""
    return [make_pipeline(StandardScaler(), LinearSVC(C=cost, max_iter=2000)) for cost in costs]


def logistic_regressions(costs: Sequence[float] = (0.01, 0.03, 0.1, 0.3)) -> list[Pipeline]:
    """Logistic regressions over all labels, from strong to weak regularisation."""
    return [make_pipeline(StandardScaler(), LogisticRegression(C=cost, max_iter=300)) for cost in costs]


class Probe:
    """A method that turns clips into vectors and gives those to a small classifier."""

    card: Card
    candidates: Sequence[Pipeline] = linear_svms()
    """Settings of the classifier to choose among."""
    embedding_cost = Cost(0, 0)
    """Of what makes a vector; the classifier's is added."""

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        """Learn to make vectors where that is to be learnt, then the labels from the vectors."""
        vectors = self.learn(clips, budget=budget, rng=rng)
        self._fitted = fit_best(self.candidates, vectors, clips, budget=budget, rng=rng)

    def predict(self, clips: Clips) -> np.ndarray:
        """Probabilities (M, N)."""
        return probabilities(self._fitted, self.vectors(clips), len(clips.labels))

    def cost(self) -> Cost:
        """Of a vector and of the classifier."""
        return self.embedding_cost + cost_of(self._fitted)

    def learn(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> np.ndarray:
        """Get ready to make vectors, and make those of the training clips (M, D)."""
        return self.vectors(clips)

    def vectors(self, clips: Clips) -> np.ndarray:
        """(M, D)"""
        raise NotImplementedError


def fit_best(
    candidates: Sequence[Pipeline], vectors: np.ndarray, clips: Clips, *, budget: Budget, rng: np.random.Generator
) -> Pipeline:
    """The candidate that names most clips of sources it has not learnt from, fitted on all vectors (M, D).

    The first of the best wins. When the time is over the rest of the candidates is left out; where there are too few
    sources to divide, the middle candidate is taken. Steps stop at a number, converged or not: what has been learnt
    by then is what the cross-validation judges.
    """
    seed = int(rng.integers(2**31))
    parts = divide(clips, seed) if len(candidates) > 1 else []
    hits: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for candidate in candidates if parts else ():
            share = cross_validate(seeded(candidate, seed), vectors, clips.targets, parts, budget)
            if share is None:
                break
            hits.append(share)
            budget.say(f"setting {len(hits)} of {len(candidates)}: {share:.1%} of held-out clips")
        best = candidates[int(np.argmax(hits)) if hits else len(candidates) // 2]
        return seeded(best, seed).fit(vectors, clips.targets)


def seeded(candidate: Pipeline, seed: int) -> Pipeline:
    """A copy of the candidate with this seed wherever it takes one."""
    names = [name for name in candidate.get_params() if name.endswith("random_state")]
    return clone(candidate).set_params(**dict.fromkeys(names, seed))


def divide(clips: Clips, seed: int) -> Parts:
    """Parts by source; none where a label would be left without clips."""
    sources = np.array(clips.sources)
    if min(len(set(sources[clips.targets == label])) for label in np.unique(clips.targets)) < NUM_PARTS:
        return []
    splitter = StratifiedGroupKFold(NUM_PARTS, shuffle=True, random_state=seed)
    return list(splitter.split(sources, clips.targets, sources))


def cross_validate(
    candidate: Pipeline, vectors: np.ndarray, targets: np.ndarray, parts: Parts, budget: Budget
) -> float | None:
    """The share of clips that a candidate names rightly which has not learnt from their sources.

    None where the time does not suffice.
    """
    hits, began = 0, time.monotonic()
    for index, (learnt, held_out) in enumerate(parts):
        pace = (time.monotonic() - began) / max(index, 1)
        if budget.seconds_left < pace * (len(parts) - index + 1):  # what is chosen is fitted once more
            return None
        fitted = clone(candidate).fit(vectors[learnt], targets[learnt])
        hits += int((fitted.predict(vectors[held_out]) == targets[held_out]).sum())
    return hits / len(targets)


def probabilities(fitted: Pipeline, vectors: np.ndarray, num_labels: int) -> np.ndarray:
    """(M, D) -> (M, N) float64, rows sum to 1; a label that was never learnt gets nothing.

    A support vector machine has no probabilities: its decision values go through a softmax, which keeps their order.
    """
    if hasattr(fitted, "predict_proba"):
        return spread(fitted.predict_proba(vectors), fitted.classes_, num_labels)
    return spread(softmax(decisions(fitted, vectors), axis=1), fitted.classes_, num_labels)


def decisions(fitted: Pipeline, vectors: np.ndarray) -> np.ndarray:
    """(M, labels learnt) decision values; where there are two labels scikit-learn gives one number for both."""
    values = np.asarray(fitted.decision_function(vectors), np.float64)
    return np.stack([-values, values], 1) if values.ndim == 1 else values


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
        return Cost(int(classifier.support_vectors_.size + classifier.dual_coef_.size), int(classifier.coef_.size))
    if hasattr(classifier, "coef_"):
        return Cost(int(classifier.coef_.size + classifier.intercept_.size), int(classifier.coef_.size))
    return Cost(sum(int(tree.tree_.node_count) for tree in classifier.estimators_), 0)
