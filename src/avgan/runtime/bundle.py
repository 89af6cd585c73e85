"""A model bundle: a folder or zip file with `model.onnx` and `card.json`, which says what the model is.

The card alone is cheap to read; the model's bytes are read, and compared with the card's checksum,
when they are asked for.
"""

import hashlib
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from avgan.audio import MIN_RATE_HZ
from avgan.errors import BundleError, ConfigError
from avgan.runtime.package import CARD_FILE, open_package

FORMAT = 3
MODEL_FILE = "model.onnx"
DEFAULT = "places"
"""Name of the installed bundle that answers where none is named."""

MAX_LABELS = 10_000
MAX_NAME = 200
"""Letters in a name or a label."""
MAX_RATE_HZ = 384_000
"""Of the recorders that hear bats; beyond it a model would make a recording large and know nothing more."""
MAX_WINDOW_SAMPLES = 1 << 20
"""A minute at 16 kHz, 20 s at 48: what a network hears at once, and takes memory for."""
MAX_NOISE = 1 << 16
"""Eight times what a flow over maps of 32 numbers a place would take."""
MAX_SCALE = 1e6
"""Of whatever is fitted, counted or measured: far beyond all that was seen, far below what overflows."""


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What an added model may be called; its folder has the same name."""

Name = Annotated[str, Field(max_length=MAX_NAME)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class Measured(_Part):
    """A figure, with how it was come by."""

    value: float
    interval_95: tuple[float, float] | None = None
    protocol: str = ""
    command: str = ""


class DataSource(_Part):
    """A data set that the model was trained on."""

    name: str
    licence: str
    address: str = ""


Share = Annotated[float, Field(ge=0, le=1)]


class Tags(_Part):
    """The sounds that a model names beside the scene, in the order of the graph's tensor `tags`, and from which
    probability on each is reported: a number for each, or one for all."""

    names: tuple[Name, ...] = Field(min_length=1, max_length=MAX_LABELS)
    thresholds: tuple[Share, ...] = Field(min_length=1, max_length=MAX_LABELS)

    @field_validator("thresholds", mode="before")
    @classmethod
    def _one_for_all(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.thresholds) not in (1, len(self.names)):
            raise ValueError(
                f"{len(self.thresholds)} thresholds for {len(self.names)} tags; give one for each, or one for all"
            )
        return self


class Steps(_Part):
    """How windows that overlap share work: a stretch of `num` steps of `num_samples` each is embedded at once, and the
    embedding of a window is made from the steps that lie in it.
    """

    num_samples: int = Field(gt=0, le=MAX_WINDOW_SAMPLES)
    num: int = Field(gt=0, le=MAX_SCALE)


class CalibrationError(_Part):
    """How far the probability of the first answer lies from how often it is right (ECE), in bins of one width."""

    value: float
    interval_95: tuple[float, float]
    num_bins: int = Field(gt=0)


class Calibration(_Part):
    """What was fitted on recordings that were held out from training, and on nothing else.

    The probabilities that the model gives are those after scaling: `temperature` is in the graph already.
    """

    num_clips: int = Field(gt=0)
    num_sources: int = Field(gt=0)
    temperature: float = Field(gt=0, le=MAX_SCALE)
    likelihood: tuple[float, float]
    """Mean negative logarithm of the probability of the true label, before and after scaling."""
    error_before: CalibrationError
    error_after: CalibrationError
    shares: dict[str, float] = {}
    """Reason to refuse -> the share of the held-out recordings that its threshold refuses."""
    least_change_db: float = 0.0
    """A window that changes less is a steady tone or noise (see `steadiness`)."""
    least_probability: float = 0.0
    """A window whose most probable label is less probable is answered with its group, or refused."""
    least_group_probability: float = 0.0
    """A window whose label and whose group are both less probable than they must be is refused."""
    largest_distance: float | None = None
    """A window whose distance from all that was heard in training (see `unknown.Known`) is larger is refused."""
    needed: tuple[float, ...] = ()
    """The least probability that scenes must have for the true one to be among them, at a coverage of 1 %, 2 % ...
    99 %; see `likely`."""

    def likely(
        self, scenes: Mapping[str, float], coverage: float, group_of_scene: Mapping[str, str] | None = None
    ) -> tuple[str, ...]:
        """The scenes of which one is right with a probability of `coverage`, from their probabilities, sorted.

        Split conformal prediction: right that often for recordings like those held out, as long as a window. The
        first scene is always among them. Where all scenes of a group are, the group's name stands for them, which
        changes nothing of how often the set is right. Raises ConfigError outside [0.01, 0.99].
        """
        if not 0.01 <= coverage <= 0.99 or len(self.needed) != 99:
            raise ConfigError(f"coverage {coverage}: choose a share from 0.01 to 0.99")
        least = self.needed[math.ceil(100 * coverage - 1e-9) - 1]
        found = [name for rank, (name, value) in enumerate(scenes.items()) if value >= least or not rank]
        return _folded(found, group_of_scene or {})


def _folded(found: Sequence[str], group_of_scene: Mapping[str, str]) -> tuple[str, ...]:
    """Scenes in their order, with the group's name in place of those that are all of a group of several."""
    sizes = Counter(group_of_scene.values())
    found_of = Counter(group_of_scene[name] for name in found if name in group_of_scene)
    whole = {group for group, num in found_of.items() if num == sizes[group] > 1}
    names = (group if (group := group_of_scene.get(name)) in whole else name for name in found)
    return tuple(dict.fromkeys(name for name in names if name is not None))


class Card(_Part):
    """What a model is, how well it did, what it was made from and on what terms."""

    format: Literal[2, 3]
    """3 where pictures take noise; all else is alike."""
    name: Name
    version: Name
    description: str = ""
    labels: tuple[Name, ...] = Field(min_length=1, max_length=MAX_LABELS)
    label_kind: Literal["sound", "scene"]
    scene_of_label: dict[str, Name] | None = None
    """Where each sound is heard; None where the labels are scenes, or sounds that are answered without a place."""
    group_of_scene: dict[str, Annotated[Name, Field(min_length=1)]] | None = None
    """The group of each scene, which is answered where no scene of it is sure: indoor, outdoor, transport."""
    tags: Tags | None = None
    sample_rate_hz: int = Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)
    window_s: float = Field(gt=0, le=3600)
    fixed_length: bool = True
    steps: Steps | None = None
    noise_size: int | None = Field(None, gt=0, le=MAX_NOISE)
    """How many standard normal numbers a picture is decoded with; None: the codes alone determine it."""
    calibration: Calibration | None = None
    short_clip_fill: Literal["silence", "repeat"] = "silence"
    measured: dict[str, Measured] = {}
    data: tuple[DataSource, ...] = ()
    licences: dict[str, str] = {}
    trained: dict[str, Any] = {}
    parity: dict[str, Any] = {}
    sha256: dict[str, str]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        num_samples = round(self.window_s * self.sample_rate_hz)
        if not 0 < num_samples <= MAX_WINDOW_SAMPLES:
            raise ValueError(f"a window of {num_samples:,} samples; the most is {MAX_WINDOW_SAMPLES:,}")
        if self.steps is not None:
            stretch = self.steps.num * self.steps.num_samples
            # steps are of one length, and a stretch of them is what memory was counted for
            if not num_samples <= stretch <= min(2 * num_samples, MAX_WINDOW_SAMPLES):
                raise ValueError("the steps that are embedded at once are not those of a window")
        if self.noise_size is not None and self.format < 3:
            raise ValueError("noise is of format 3")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label appears twice")
        if self.scene_of_label is not None:
            missing = [label for label in self.labels if label not in self.scene_of_label]
            if missing:
                raise ValueError(f"scene_of_label misses {missing[0]!r}")
        if self.tags is not None and self.label_kind == "sound":
            raise ValueError("the labels are sounds, so there are no tags beside them")
        if self.group_of_scene is not None:
            self._check_groups(self.group_of_scene)
        return self

    def _check_groups(self, group_of_scene: Mapping[str, str]) -> None:
        if not self.names_scenes:
            raise ValueError("the labels are sounds without places, so there are no groups of places")
        if group_of_scene.keys() != set(self.scenes):
            odd = min(group_of_scene.keys() ^ set(self.scenes))
            raise ValueError(f"group_of_scene and the scenes differ in {odd!r}")
        if twice := set(group_of_scene.values()) & set(self.scenes):
            raise ValueError(f"{min(twice)!r} is both a scene and a group")

    @property
    def names_scenes(self) -> bool:
        """Whether answers name a place; a model of sounds alone may not know any."""
        return self.label_kind == "scene" or self.scene_of_label is not None

    @property
    def places(self) -> tuple[str, ...]:
        """The scene of each label, in the order of `labels`; empty names where the model knows no scenes."""
        return self.scenes if self.names_scenes else ("",) * len(self.labels)

    @property
    def scenes(self) -> tuple[str, ...]:
        """What each label is answered with, in the order of `labels`: its scene, or itself where it has none."""
        places = self.scene_of_label
        return self.labels if places is None else tuple(places[label] for label in self.labels)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose card has been read."""

    path: Path
    card: Card

    def read(self, name: str) -> bytes:
        """The bytes of one of its files. Raises BundleError where they are not those the card names."""
        with open_package(self.path) as read:
            content = read(name)
        if hashlib.sha256(content).hexdigest() != self.card.sha256.get(name):
            raise BundleError(
                f"{self.path}: {name} is not the file that {CARD_FILE} describes "
                "(its sha256 differs); copy the bundle again"
            )
        return content


def open_bundle(path: str | Path) -> Bundle:
    """Read the card of the bundle at `path`, a folder or a zip file. Raises BundleError."""
    path = Path(path)
    with open_package(path) as read:
        content = read(CARD_FILE)
    try:
        return Bundle(path, Card.model_validate_json(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if place == "format":
            raise BundleError(
                f"{path}: a bundle of format {first['input']!r}, while this avgan reads format {FORMAT}; "
                "pip install --upgrade avgan, or export the run again"
            ) from None
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise BundleError(f"{path}: {CARD_FILE} is not valid ({reason}); export it again") from None


def installed() -> list[Bundle]:
    """The bundles that came with this installation, by name."""
    folder = Path(str(resources.files("avgan"))) / "bundles"
    cards = folder.glob(f"*/{CARD_FILE}") if folder.is_dir() else []
    return [open_bundle(card.parent) for card in sorted(cards)]


def find_bundle(path: str | Path | None = None) -> Bundle:
    """The bundle at `path`, or the installed or added one of that name; None: the default one."""
    if path is not None and Path(path).exists():
        return open_bundle(path)
    found = installed()
    if path is not None:
        found = [bundle for bundle in found if bundle.card.name == str(path)]
        added = None if found else model_folder(str(path))
        if added is not None and added.exists():
            return open_bundle(added)
    if not found and path is None:
        raise BundleError("this installation holds no model; pass a bundle with --model")
    if not found:
        raise BundleError(f"{path}: no such bundle; `avgan models` lists those installed")
    return next((bundle for bundle in found if bundle.card.name == DEFAULT), found[0])


def home() -> Path:
    """The folder for what a user adds: `$AVGAN_HOME`, or what the system keeps for a program's data.

    Raises BundleError for a user without a home.
    """
    folder = os.environ.get("AVGAN_HOME")
    if not folder:
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
        elif sys.platform == "darwin":
            base = "~/Library/Application Support"
        else:
            base = os.environ.get("XDG_DATA_HOME", "")
            if not Path(base).is_absolute():  # as the convention has it: otherwise to be ignored
                base = "~/.local/share"
        folder = f"{base}/avgan"
    try:
        return Path(folder).expanduser()
    except RuntimeError:  # neither $HOME nor an entry among the system's users
        raise BundleError("this user has no home folder; set AVGAN_HOME to the folder for added models") from None


def model_folder(name: str) -> Path | None:
    """The folder of an added model of that name, there or not; None where none can be called so."""
    return home() / "models" / name if NAME.fullmatch(name) else None
