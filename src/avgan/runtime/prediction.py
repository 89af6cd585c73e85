"""What was heard in a recording, and how the place is imagined to look."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avgan.errors import BundleError
from avgan.images import png_bytes, to_png
from avgan.runtime.bundle import Calibration

UNKNOWN = "unknown"
"""The scene of what cannot be answered; `reason` says why."""

Draw = Callable[[np.ndarray], np.ndarray]
"""codes (B, 16, 16) -> pictures (B, 128, 128, 3) uint8."""


@dataclass(frozen=True)
class WindowPrediction:
    """The answer for one window; `probability` is that of its most probable scene, also where it is not given."""

    start_s: float
    end_s: float
    scene: str
    sound: str | None
    probability: float
    reason: str = ""
    codes: np.ndarray | None = field(default=None, repr=False, compare=False)  # (16, 16) uint16


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prediction:
    """The answer for a recording.

    Probabilities are means over its windows, sorted from the highest; `sounds` is empty for a model
    that knows scenes only. Codes and picture are those of the window surest of the first scene.
    `scene` is `unknown` where the model should not answer; the rankings are then its best guesses.
    """

    scene: str
    sound: str | None
    scenes: Mapping[str, float]
    sounds: Mapping[str, float]
    codes: np.ndarray  # (16, 16) int64
    windows: tuple[WindowPrediction, ...]
    duration_s: float
    rate_hz: float = 0.0  # of the recording itself
    sha256: str = ""  # of its file, where that was asked for
    reason: str = ""
    warnings: tuple[str, ...] = ()
    path: str = field(default="")
    draw: Draw
    calibration: Calibration | None = None

    @property
    def known(self) -> bool:
        """Whether the model stands by its answer."""
        return not self.reason

    @property
    def probability(self) -> float:
        """The probability of the most probable scene."""
        return next(iter(self.scenes.values()))

    def likely(self, coverage: float = 0.9) -> tuple[str, ...]:
        """The scenes, from the most probable, among which the right one is with a probability of `coverage`.

        Raises BundleError where the model was not calibrated, ConfigError where no such coverage can be had.
        """
        if self.calibration is None:
            raise BundleError(
                "this model was not calibrated, so it cannot say which scenes are likely; export it with its data"
            )
        return self.calibration.likely(self.scenes, coverage)

    @cached_property
    def picture(self) -> np.ndarray:
        """The imagined place (128, 128, 3) uint8, drawn when it is first looked at."""
        picture: np.ndarray = self.draw(self.codes[None])[0]
        return picture

    def save_picture(self, path: str | Path, scale: int = 1) -> Path:
        """Write the picture as a PNG of 128 * scale pixels a side."""
        return to_png(self.picture, path, scale)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the picture, as JSON can hold it."""
        return {
            "path": self.path,
            "scene": self.scene,
            "sound": self.sound,
            "probability": rounded(self.probability),
            "reason": self.reason,
            "duration_s": rounded(self.duration_s),
            "rate_hz": rounded(self.rate_hz),
            "sha256": self.sha256,
            "warnings": list(self.warnings),
            "scenes": {name: rounded(value) for name, value in self.scenes.items()},
            "sounds": {name: rounded(value) for name, value in self.sounds.items()},
            "windows": [window_to_dict(window) for window in self.windows],
            "codes": self.codes.tolist(),
        }

    def __repr__(self) -> str:
        heard = f", sound={self.sound!r}" if self.sound else ""
        why = f", reason={self.reason!r}" if self.reason else ""
        return f"Prediction(scene={self.scene!r}, probability={self.probability:.3f}{heard}{why})"

    def _repr_png_(self) -> bytes:
        """The picture, where a notebook shows the prediction."""
        return png_bytes(self.picture, scale=2)


def window_to_dict(window: WindowPrediction) -> dict[str, Any]:
    """A window's answer, as JSON can hold it."""
    return {
        "start_s": rounded(window.start_s),
        "end_s": rounded(window.end_s),
        "scene": window.scene,
        "sound": window.sound,
        "probability": rounded(window.probability),
        "reason": window.reason,
    }


def rounded(value: float) -> float:
    """Six decimals: what follows is noise of the arithmetic, and differs between machines."""
    return round(float(value), 6)
