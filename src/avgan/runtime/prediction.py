"""What was heard in a recording, and how the place is imagined to look."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from avgan.images import png_bytes, to_png


@dataclass(frozen=True)
class WindowPrediction:
    """The answer for one window; `probability` is that of its scene."""

    start_s: float
    end_s: float
    scene: str
    sound: str | None
    probability: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prediction:
    """The answer for a recording.

    Probabilities are means over its windows, sorted from the highest; `sounds` is empty for a model
    that knows scenes only. Codes and picture are those of the window surest of `scene`.
    """

    scene: str
    sound: str | None
    scenes: Mapping[str, float]
    sounds: Mapping[str, float]
    codes: np.ndarray  # (16, 16) int64
    picture: np.ndarray  # (128, 128, 3) uint8
    windows: tuple[WindowPrediction, ...]
    duration_s: float
    warnings: tuple[str, ...] = ()
    path: str = field(default="")

    @property
    def probability(self) -> float:
        """The probability of `scene`."""
        return self.scenes[self.scene]

    def save_picture(self, path: str | Path, scale: int = 1) -> Path:
        """Write the picture as a PNG of 128 * scale pixels a side."""
        return to_png(self.picture, path, scale)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the picture, as JSON can hold it."""
        return {
            "path": self.path,
            "scene": self.scene,
            "sound": self.sound,
            "probability": _rounded(self.probability),
            "duration_s": _rounded(self.duration_s),
            "warnings": list(self.warnings),
            "scenes": {name: _rounded(value) for name, value in self.scenes.items()},
            "sounds": {name: _rounded(value) for name, value in self.sounds.items()},
            "windows": [
                {
                    "start_s": _rounded(window.start_s),
                    "end_s": _rounded(window.end_s),
                    "scene": window.scene,
                    "sound": window.sound,
                    "probability": _rounded(window.probability),
                }
                for window in self.windows
            ],
            "codes": self.codes.tolist(),
        }

    def __repr__(self) -> str:
        heard = f", sound={self.sound!r}" if self.sound else ""
        return f"Prediction(scene={self.scene!r}, probability={self.probability:.3f}{heard})"

    def _repr_png_(self) -> bytes:
        """The picture, where a notebook shows the prediction."""
        return png_bytes(self.picture, scale=2)


def _rounded(value: float) -> float:
    """Six decimals: what follows is noise of the arithmetic, and differs between machines."""
    return round(float(value), 6)
