"""The teacher of stage 3: a logistic regression on embeddings that learns the place and not the recorder.

Of 450 recordings of places a head of two dense layers, trained on their labels, was right in 54 % of the clips of
new ones, a strongly penalised logistic regression on the same numbers in 60 %, the same head taught by it in 60 %
(distillation: Hinton, Vinyals and Dean 2015). The label is still read from the imagined features.

Shapes: M recordings, C embedding, N labels.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

EVENNESS = 0.7
"""0 gives each recording the same weight, 1 each label; between them rare labels count for more, but one of three
recordings not as much as one of sixty."""
LEAST_SOURCES = 3
"""Of a label that a recorder is said to have: of fewer one learns the recorder. Measured as `HEAD_START`."""
HEAD_START = 2.0
"""By how much a label lags, in logits, where its recorder lacks it. At 0, 2 and 3, in `benchmarks/recorders.py`: of
scenes that TUT 2017's recorder was not known with 9, 20 and 25 % are named rightly, of its other places 63, 62 and
63 %, of the ten scenes by collection 55 % each, averaged over scenes 42, 39 and 39 %."""
NUM_STEPS = 60
"""Of L-BFGS: the loss changes by less than a thousandth after 40."""


class Teacher(nn.Module):
    """embedding (B, C) -> probabilities (B, N).

    A recorder that made most of the metro stations and no airport teaches that whatever sounds like it is no airport.
    So the labels that a recorder has not are let off in its recordings: their logits begin `HEAD_START` lower, and
    are not pushed further down for the recorder's sake (as logit adjustment does for rare labels: Menon et al. 2021).
    """

    mean: Tensor
    spread: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        embeddings: np.ndarray,
        targets: np.ndarray,
        *,
        sources: Sequence[str],
        devices: Sequence[str],
        c: float,
        head_start: float = HEAD_START,
    ) -> None:
        """From recordings (M, C), their labels (M,), the source that each was cut from and its recorder.

        `c`: the inverse of the penalty on weights, as in scikit-learn. `head_start`: see `HEAD_START`.
        """
        super().__init__()
        mean, spread = embeddings.mean(0), embeddings.std(0) + 1e-6
        offsets = -head_start * lacking(targets, sources, devices)
        weight, bias = logistic_regression(
            (embeddings - mean) / spread, targets, weights=source_weights(targets, sources), offsets=offsets, c=c
        )
        for name, value in (("mean", mean), ("spread", spread), ("weight", weight), ("bias", bias)):
            self.register_buffer(name, torch.from_numpy(np.asarray(value, np.float32)))

    def forward(self, embedding: Tensor) -> Tensor:
        standard = (embedding - self.mean) / self.spread
        return (standard @ self.weight.T + self.bias).softmax(1)


def logistic_regression(
    inputs: np.ndarray, targets: np.ndarray, *, weights: np.ndarray, offsets: np.ndarray, c: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (N, C) and bias (N,) for inputs (M, C), whose logits get offsets (M, N) while it learns.

    scikit-learn's has no offsets; without them this is the same.
    """
    rows, labels = torch.from_numpy(inputs).double(), torch.from_numpy(targets)
    shares, shifts = torch.from_numpy(weights).double(), torch.from_numpy(offsets).double()
    weight = torch.zeros(offsets.shape[1], inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(offsets.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=NUM_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        entropy = F.cross_entropy(rows @ weight.T + bias + shifts, labels, reduction="none")
        total: Tensor = (shares * entropy).sum() + weight.square().sum() / (2 * c)
        total.backward()
        return total

    optimizer.step(loss)
    return weight.detach().numpy(), bias.detach().numpy()


def lacking(targets: np.ndarray, sources: Sequence[str], devices: Sequence[str]) -> np.ndarray:
    """(M, N) whether the recorder of a recording lacks a label: it has fewer sources of it than `LEAST_SOURCES`.

    Where no recorder has so many, the one that has most does not lack it.
    """
    num_labels = int(targets.max()) + 1
    counts = {device: np.zeros(num_labels, np.int64) for device in devices}
    for device, target, _ in set(zip(devices, targets.tolist(), sources, strict=True)):
        counts[device][target] += 1
    least = np.minimum(LEAST_SOURCES, np.max(list(counts.values()), 0))
    found = np.stack([counts[device] < least for device in devices])
    found[np.arange(len(targets)), targets] = False  # what it is
    return found


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
