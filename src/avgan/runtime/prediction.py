"""What was heard in a recording, and how the place is imagined to look."""

from collections.abc import Mapping
from copy import copy, deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from avgan.errors import BundleError, ConfigError, ImageError
from avgan.files import write_whole
from avgan.images import encoded, png_bytes
from avgan.runtime.bundle import Calibration

UNKNOWN = "unknown"
"""The scene of what cannot be answered; `reason` says why."""

PICTURE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
MAX_SCALE = 64  # 8192 pixels a side: 400 MB while it is written


class Decode(Protocol):
    """codes (B, 16, 16) -> pictures (B, 128, 128, 3) uint8, with the noise of a seed; a prediction's own has one."""

    def __call__(self, codes: np.ndarray, /, *, seed: int = ...) -> np.ndarray: ...


@dataclass(frozen=True)
class WindowPrediction:
    """The answer for one window.

    `scene` is a scene, or where none is sure its group, with the likely scenes of that `within`; `unknown`, with the
    `reason`; empty for a model that names sounds and no places. `probability` is that of the answer, also where it is
    not given. `sounds` are the words for what was heard, at most five, with their probabilities, from the highest, and
    `sound` is the first of them.
    """

    start_s: float
    end_s: float
    scene: str
    sound: str | None
    probability: float
    reason: str = ""
    codes: np.ndarray | None = field(default=None, repr=False, compare=False)  # (16, 16) uint16
    sound_probability: float | None = None  # of `sound`
    group: str = ""
    within: tuple[str, ...] = ()
    sounds: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def answer(self) -> str:
        """What is answered: the scene, the group, `unknown`, or for a model without places the sound."""
        return self.scene or self.sound or ""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prediction:
    """The answer for a recording.

    `scene`, `group` and `within` are as in `WindowPrediction`. Probabilities of scenes and groups are means over the
    windows, sorted from the highest. `sounds`: for a model that hears sounds beside the scene, its words and how much
    was heard of each, the probability over all of the time, 0 where it was not reported; for a model of sounds their
    probabilities; else empty. Codes and picture are those of the window surest of the answer. Where `scene` is
    `unknown` the rankings are best guesses.
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
    decode: Decode
    seed: int = 0
    """Of the noise that all pictures of the recording are drawn with; other seeds give other pictures."""
    calibration: Calibration | None = None
    recorded_at: datetime | None = None
    """When the recording began, where its file or its name says so; with a time zone where that is known."""
    group: str = ""
    within: tuple[str, ...] = ()
    groups: Mapping[str, float] = field(default_factory=dict)
    group_of_scene: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    """The share of the time for which each thing was answered, `unknown` among them, the longest first."""
    has_words: bool = False
    """Whether `sounds` are words for what was heard beside the scene, of which several may be true at once."""
    certainty: float | None = None
    """Mean probability of the answer over the windows that gave it; None: see `probability`."""

    @property
    def known(self) -> bool:
        """Whether the model stands by its answer."""
        return not self.reason

    @property
    def probability(self) -> float:
        """How sure the model was while it gave its answer; where it gives none, of its best guess."""
        if self.certainty is not None:
            return self.certainty
        return next(iter((self.scenes or self.sounds).values()))

    @property
    def answer(self) -> str:
        """What is answered: the scene, the group, `unknown`, or for a model without places the sound."""
        return self.scene or self.sound or ""

    def likely(self, coverage: float = 0.9) -> tuple[str, ...]:
        """The scenes, from the most probable, among which the right one is with a probability of `coverage`.

        A group stands for its scenes where all of them are among these; for a model without scenes these are sounds.
        Raises BundleError where the model was not calibrated, ConfigError where no such coverage can be had.
        """
        if self.calibration is None:
            raise BundleError(
                "this model was not calibrated, so it cannot say which scenes are likely; export it with its data"
            )
        return self.calibration.likely(self.scenes or self.sounds, coverage, self.group_of_scene)

    @cached_property
    def picture(self) -> np.ndarray:
        """The imagined place (128, 128, 3) uint8, decoded when it is first looked at."""
        picture: np.ndarray = self.decode(self.codes[None])[0]
        return picture

    def another(self, number: int) -> np.ndarray:
        """Another picture of the same place (128, 128, 3) uint8; number 0 is `picture` itself.

        Where pictures take no noise they are all alike. Raises ConfigError for what is no number of a picture.
        """
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 0:
            raise ConfigError(f"picture number {number!r}: pass a whole number, 0 or more")
        if number == 0:
            return self.picture
        return self.decode(self.codes[None], seed=self.seed + number)[0]

    def save_picture(self, path: str | Path, scale: int = 1, *, number: int = 0) -> Path:
        """Write the picture, or `another`, 128 * scale pixels a side, as PNG, JPEG or WebP by the ending of the path.

        Raises ImageError for another ending.
        """
        return write_picture(self.another(number), path, scale)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the picture, as JSON can hold it."""
        return {
            "path": self.path,
            "scene": self.scene,
            "group": self.group,
            "within": list(self.within),
            "sound": self.sound,
            "probability": rounded(self.probability),
            "reason": self.reason,
            "recorded_at": self.recorded_at.isoformat() if self.recorded_at else None,
            "duration_s": rounded(self.duration_s),
            "rate_hz": rounded(self.rate_hz),
            "sha256": self.sha256,
            "warnings": list(self.warnings),
            "scenes": all_rounded(self.scenes),
            "groups": all_rounded(self.groups),
            "sounds": all_rounded(self.sounds),
            "has_words": self.has_words,
            "shares": all_rounded(self.shares),
            "windows": [window_to_dict(window) for window in self.windows],
            "codes": self.codes.tolist(),
        }

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: the picture itself in place of the network that decodes it."""
        picture = {} if self.decode is decoded_elsewhere else {"picture": self.picture}
        return self.__dict__ | picture | {"decode": decoded_elsewhere}

    def __copy__(self) -> "Prediction":
        """A copy that decodes with the same network."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> "Prediction":
        """A copy that decodes with the same network."""
        twin = copy(self)
        twin.__dict__.update(
            {key: self.decode if key == "decode" else deepcopy(value, memo) for key, value in vars(self).items()}
        )
        return twin

    def __repr__(self) -> str:
        heard = f", sound={self.sound!r}" if self.sound else ""
        why = f", reason={self.reason!r}" if self.reason else ""
        return f"Prediction(scene={self.scene!r}, probability={self.probability:.3f}{heard}{why})"

    def _repr_png_(self) -> bytes:
        """The picture, where a notebook shows the prediction."""
        return png_bytes(self.picture, scale=2)


def decoded_elsewhere(codes: np.ndarray, /, *, seed: int = 0) -> np.ndarray:
    """Stands for the network in a prediction that came from another process. Raises BundleError."""
    raise BundleError(
        "this prediction came from another process and holds its own picture only; load the model there to draw others"
    )


def write_picture(picture: np.ndarray, path: str | Path, scale: int = 1) -> Path:
    """Write a picture (H, W, 3) uint8, enlarged, in the format that the ending names; whole or not at all.

    A pipe or a device, such as /dev/stdout, has no ending and is given a PNG. Raises ImageError for an ending of no
    picture, and for a scale that is none.
    """
    path = Path(path)
    if isinstance(scale, bool) or not isinstance(scale, int) or not 1 <= scale <= MAX_SCALE:
        raise ImageError(f"scale {scale!r}: pass a whole number from 1 to {MAX_SCALE}")
    format = PICTURE_FORMATS.get(path.suffix.lower())
    if format is None and path.exists() and not (path.is_file() or path.is_dir()):
        format = "PNG"
    if format is None:
        endings = ", ".join(PICTURE_FORMATS)
        raise ImageError(f"{path}: no ending of a picture; name it with one of {endings}")
    return write_whole(path, encoded(picture, format, scale=scale))


def window_to_dict(window: WindowPrediction) -> dict[str, Any]:
    """A window's answer, as JSON can hold it."""
    return {
        "start_s": rounded(window.start_s),
        "end_s": rounded(window.end_s),
        "scene": window.scene,
        "group": window.group,
        "within": list(window.within),
        "sound": window.sound,
        "probability": rounded(window.probability),
        "sound_probability": rounded_or_none(window.sound_probability),
        "reason": window.reason,
        "sounds": all_rounded(window.sounds),
    }


def all_rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: rounded(value) for name, value in values.items()}


def rounded_or_none(value: float | None) -> float | None:
    return None if value is None else rounded(value)


def rounded(value: float) -> float:
    """Six decimals: what follows is noise of the arithmetic, and differs between machines."""
    return round(float(value), 6)
