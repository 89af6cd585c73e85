"""Clips that anybody can tell apart: tones, noise and clicks."""

from pathlib import Path

import numpy as np

from avgan.baselines.method import Clips

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)


def easy_clips(
    num_each: int, *, seconds: float = 1.2, seed: int = 0, pictures: bool = False, folder: Path | None = None
) -> Clips:
    """`num_each` clips of each of three labels, every source two clips; the same from a seed."""
    targets = np.arange(3 * num_each) % 3

    def read(rate_hz: int, rows: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return np.stack([_sound(target, seconds, rate_hz, rng) for target in targets])[rows]

    def sample(rng: np.random.Generator) -> np.ndarray:
        noise = rng.integers(0, 40, (len(targets), 3, 32, 32), dtype=np.uint8)
        return COLOURS[targets][:, :, None, None] + noise

    return Clips(
        tuple(f"{seed}-{index}" for index in range(len(targets))),
        tuple(f"{seed}-{target}-{index // 6}" for index, target in enumerate(targets)),
        targets,
        ("tone", "noise", "clicks"),
        seconds,
        read,
        sample if pictures else None,
        folder,
    )


def _sound(label: int, seconds: float, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    times = np.arange(round(seconds * rate_hz)) / rate_hz + rng.uniform(0, 1)
    if label == 0:
        wave = np.sin(2 * np.pi * rng.uniform(400, 800) * times)
    elif label == 1:
        wave = rng.standard_normal(len(times)) / 3
    else:
        wave = (times % 0.25 < 0.002) * rng.standard_normal(len(times))
    return (wave * rng.uniform(0.1, 0.5)).astype(np.float32)
