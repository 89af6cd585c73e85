"""The teacher of stage 3: a logistic regression on embeddings that does not know one recorder from another.

Of 450 recordings of places a head of two dense layers, trained on their labels, was right in 54 % of the clips of
new ones, a strongly penalised logistic regression on the same numbers in 60 %, the same head taught by it in 60 %
(distillation: Hinton, Vinyals and Dean 2015). The label is still read from the imagined features.

Shapes: M recordings, C embedding, N labels, R directions.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

EVENNESS = 0.7
"""0 gives each recording the same weight, 1 each label; between them rare labels count for more, but one of three
recordings not as much as one of sixty."""
MAX_DIRECTIONS = 12
"""Of places by collection, as they are and shifted as if by another recorder, % of clips: none 60.4 and 49.9, 2
directions 57.0 and 57.5, 6 56.3 and 56.1, 12 57.7 and 58.2, 20 57.1 and 57.3."""
STRETCH = 2.0
"""Steps along the directions in teaching, in multiples of how far apart the known recorders lie: others lie further."""


class Teacher(nn.Module):
    """embedding (B, C) -> probabilities (B, N).

    It gets the recorder of each recording, to learn the place and not the recorder: the directions in which recordings
    of one label differ from recorder to recorder are projected out of the embedding (nuisance attribute projection:
    Solomonoff, Campbell and Boardman 2005), and the head is trained with random steps along them. Otherwise a recorder
    that made most of the metro stations finds one in every airport.
    """

    mean: Tensor
    spread: Tensor
    weight: Tensor
    bias: Tensor
    steps: Tensor
    """(R, C) directions of the recorders, each as long as they lie apart along it."""

    def __init__(
        self, embeddings: np.ndarray, targets: np.ndarray, *, sources: Sequence[str], devices: Sequence[str], c: float
    ) -> None:
        """From recordings (M, C), their labels (M,), the source that each was cut from and its recorder."""
        from sklearn.linear_model import LogisticRegression

        super().__init__()
        mean, spread = embeddings.mean(0), embeddings.std(0) + 1e-6
        standard = (embeddings - mean) / spread
        directions, widths = recorder_directions(standard, targets, devices)
        probe = LogisticRegression(C=c, max_iter=500)
        weights = source_weights(targets, sources)
        probe.fit(standard - standard @ directions.T @ directions, targets, sample_weight=weights)
        weight, bias = probe.coef_, probe.intercept_
        if len(weight) == 1:  # of two labels it only says the second
            weight, bias = np.concatenate((-weight, weight)) / 2, np.concatenate((-bias, bias)) / 2
        weight = weight - weight @ directions.T @ directions
        for name, value in (
            ("mean", mean),
            ("spread", spread),
            ("weight", weight),
            ("bias", bias),
            ("steps", widths[:, None] * directions * spread),
        ):
            self.register_buffer(name, torch.from_numpy(np.asarray(value, np.float32)))

    def forward(self, embedding: Tensor) -> Tensor:
        standard = (embedding - self.mean) / self.spread
        return (standard @ self.weight.T + self.bias).softmax(1)

    def as_if_elsewhere(self, embedding: Tensor, chance: Tensor) -> Tensor:
        """embedding (B, C) as another recorder might have given it; chance (B, R) normal numbers."""
        return embedding + STRETCH * chance @ self.steps


def recorder_directions(
    embeddings: np.ndarray, targets: np.ndarray, devices: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(R, C) of length 1 at right angles, and (R,) how far recorders lie apart along each.

    None where no label was recorded by two of them.
    """
    names = np.array(devices)
    apart: list[np.ndarray] = []
    for target in np.unique(targets):
        own = targets == target
        means = [embeddings[own & (names == name)].mean(0) for name in sorted(set(names[own].tolist()))]
        if len(means) > 1:
            apart += [mean - np.mean(means, 0) for mean in means]
    if not apart:
        return np.empty((0, embeddings.shape[1])), np.empty(0)
    _, widths, directions = np.linalg.svd(np.array(apart), full_matrices=False)
    num = min(MAX_DIRECTIONS, int((widths > 1e-6).sum()))
    return directions[:num], widths[:num] / np.sqrt(len(apart))


def source_weights(targets: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """(M,) with mean 1: a source counts once however many clips it gave, a label by `EVENNESS`."""
    num_clips = Counter(sources)
    weights = np.array([1.0 / num_clips[source] for source in sources])
    of_label: defaultdict[int, float] = defaultdict(float)
    for target, weight in zip(targets.tolist(), weights, strict=True):
        of_label[target] += weight
    weights *= np.array([of_label[target] ** -EVENNESS for target in targets.tolist()])
    balanced: np.ndarray = weights / weights.mean()
    return balanced
