"""How alike two sets of pictures are as a whole: the distances FID and KID between what a network sees in them.

Both say nothing of single pictures. They compare only where the same network saw the same number of pictures.

Shapes: M pictures, C features.
"""

import numpy as np

NUM_BLOCKS = 8


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2) of two Gaussians fitted to features (M, C) (Heusel et al. 2017).

    It is larger the fewer pictures there are, so that both sides should always have the same number.
    """
    shift = one.mean(0) - other.mean(0)
    covariances = [np.atleast_2d(np.cov(side, rowvar=False)) for side in (one, other)]
    # the trace of the root of S1 S2 is that of the symmetric S1^1/2 S2 S1^1/2, whose eigenvalues are real
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ covariances[1] @ root)
    traces = sum(float(np.trace(covariance)) for covariance in covariances)
    return float(shift @ shift) + traces - 2.0 * float(np.sqrt(cross.clip(min=0.0)).sum())


def kernel_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Squared maximum mean discrepancy of features (M, C) under (x y / C + 1)^3, unbiased (Binkowski et al. 2018).

    Near zero, and as often below as above it, for two samples of the same pictures.
    """

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        values: np.ndarray = (a @ b.T / a.shape[1] + 1.0) ** 3
        return values

    def without_self(values: np.ndarray) -> float:
        return float((values.sum() - np.trace(values)) / (len(values) * (len(values) - 1)))

    within = without_self(kernel(one, one)) + without_self(kernel(other, other))
    return within - 2.0 * float(kernel(one, other).mean())


def kernel_distance_with_error(
    one: np.ndarray, other: np.ndarray, *, num_blocks: int = NUM_BLOCKS, seed: int = 0
) -> tuple[float, float]:
    """The kernel distance of all, and its standard error from blocks of pictures.

    The blocks share no picture, so they err independently of each other; subsets that overlap would promise too much.
    """
    rng = np.random.default_rng(seed)
    parts = [np.array_split(rng.permutation(len(side)), num_blocks) for side in (one, other)]
    values = [kernel_distance(one[a], other[b]) for a, b in zip(*parts, strict=True)]
    error = float(np.std(values, ddof=1)) / num_blocks**0.5
    return kernel_distance(one, other), error
