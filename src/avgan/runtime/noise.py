"""The noise that a picture is drawn with: the same for the same seed, in training, in use and in tests.

Shapes: Z noise.
"""

import numpy as np


def noise_of(seed: int, size: int) -> np.ndarray:
    """Standard normal numbers (Z,) float32 of a seed, which is at least 0."""
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)
