"""Whether an imagined feature map lies near photographs of the right scene, among photographs of all scenes.

The distance is the angle between maps from which the mean photograph was taken away: imagined maps are paler than
those of photographs, and by plain distance all of them would lie near the same few pale photographs.

Shapes: M queries, P photographs, C numbers of a map.
"""

import numpy as np

CHUNK = 256


def rank_of_first_right(
    queries: np.ndarray, targets: np.ndarray, photographs: np.ndarray, scenes: np.ndarray
) -> np.ndarray:
    """How many photographs lie nearer than the nearest one of the right scene, (M,).

    queries (M, C) with scene numbers targets (M,); photographs (P, C) with scene numbers scenes (P,).
    """
    middle = photographs.mean(0)
    wall = unit(photographs - middle)
    ranks = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), CHUNK):
        part = slice(start, start + CHUNK)
        closeness = unit(queries[part] - middle) @ wall.T
        right = targets[part][:, None] == scenes[None]
        best = np.where(right, closeness, -np.inf).max(1)
        ranks[part] = (closeness > best[:, None]).sum(1)
    return ranks


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (M, C) of length 1; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(lengths, np.finfo(vectors.dtype).tiny)
    return scaled


def chance(targets: np.ndarray, scenes: np.ndarray, k: int) -> float:
    """How often k photographs drawn blindly hold one of the right scene, the mean over targets (M,)."""
    num_all = len(scenes)
    sizes = np.array([(scenes == target).sum() for target in targets])
    draws = np.arange(min(k, num_all))
    wrong = np.maximum(num_all - sizes[:, None] - draws, 0) / (num_all - draws)
    return float(1.0 - wrong.prod(1).mean())
