"""What the service answers with, as documented in /openapi.json."""

import base64
import json
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from avgan.images import png_bytes
from avgan.live.stream import LiveWindow
from avgan.runtime import Prediction
from avgan.runtime.explanation import Explanation
from avgan.runtime.prediction import all_rounded, rounded, window_to_dict
from avgan.runtime.timeline import Segment, segments

NUM_LIVE_SCENES = 5  # what the page has room for
Picture = Annotated[str, Field(description="A PNG in base64")]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class Error(BaseModel):
    """Every answer that is not a good one."""

    error: str = Field(description="One line that says what is wrong and what to do")


class Health(BaseModel):
    """The service is up."""

    status: str


class Part(_Answer):
    """The answer for a part of a recording; the scene is `unknown` where the model should not answer."""

    start_s: float
    end_s: float
    scene: str = Field(description="A scene, its group where none is sure, or empty: see `Answer`")
    group: str
    within: list[str] = Field(description="The likely scenes, where a group is answered")
    sound: str | None
    sounds: dict[str, float] = Field(description="Words for the sounds in it, at most five")
    probability: float
    reason: str = Field(description="Why the scene is `unknown`, else empty")


class Why(_Answer):
    """Why a window has its prediction."""

    start_s: float
    end_s: float
    label: str
    probability: float
    words: str = Field(description="The part of the sound that made the answer")
    saliency: list[list[float]] = Field(description="From -1 to 1, by band and time step")
    bands_hz: list[float]
    times_s: list[float]
    neighbours: list[dict[str, Any]] = Field(description="Similar training clips")


class Answer(_Answer):
    """The answer for a recording; the scene is `unknown` where the model should not answer.

    It is the group of the scene where no scene is sure, and empty for a model that names sounds and no places.
    """

    scene: str
    group: str = Field(description="Of the scene, or the scene itself; empty for a model without groups")
    within: list[str] = Field(description="The likely scenes, where a group is answered")
    sound: str | None
    probability: float
    reason: str = Field(description="Why the scene is `unknown`, else empty")
    duration_s: float
    recorded_at: str | None = Field(
        None, description="When the recording began (ISO 8601), where the file or its name says so"
    )
    warnings: list[str]
    scenes: dict[str, float] = Field(description="Probabilities, from the highest")
    groups: dict[str, float]
    sounds: dict[str, float] = Field(
        description="With `has_words` the share of each over all of the time; else probabilities of labels"
    )
    has_words: bool = Field(description="Whether `sounds` are words beside the scene")
    shares: dict[str, float] = Field(description="Share of the time of each answer")
    segments: list[Part] = Field(description="Scenes over time")
    windows: list[Part] = Field(description="Empty where not asked for")
    codes: list[list[int]]
    picture: Picture | None = Field(None, description="The imagined place, where asked for")
    why: Why | None = Field(None, description="Where asked for")


class About(_Answer):
    """The model's card, and the limits of the service."""

    name: str
    version: str
    labels: list[str]
    limits: dict[str, float] = Field(description="max_bytes, max_duration_s")


def answer(prediction: Prediction, *, windows: bool, picture: np.ndarray | None, why: Explanation | None) -> bytes:
    """See `Answer`; as JSON, with a picture (H, W, 3) where there is one."""
    content = prediction.to_dict()
    content["segments"] = [segment_to_dict(part) for part in segments(prediction.windows)]
    if not windows:
        content["windows"] = []
    if picture is not None:
        content["picture"] = base64_png(picture)
    if why is not None:
        content["why"] = why.to_dict()
    return to_json(content)


def segment_to_dict(segment: Segment) -> dict[str, Any]:
    """A segment as JSON can hold it."""
    return {
        "start_s": rounded(segment.start_s),
        "end_s": rounded(segment.end_s),
        "scene": segment.scene,
        "group": segment.group,
        "within": list(segment.within),
        "sound": segment.sound,
        "sounds": all_rounded(segment.sounds),
        "probability": rounded(segment.probability),
        "reason": segment.reason,
        "num_windows": segment.num_windows,
    }


def live_answer(answer: LiveWindow, picture: np.ndarray, num_dropped: int) -> bytes:
    """The message about a window to a live connection, as JSON."""
    return to_json(
        window_to_dict(answer.window)
        | answer.rankings(NUM_LIVE_SCENES)
        | {
            "picture": base64_png(picture),
            "latency_s": rounded(answer.latency_s),
            "gap_s": rounded(answer.gap_s),
            "num_dropped": num_dropped,
        }
    )


def base64_png(picture: np.ndarray) -> str:
    """A picture (H, W, 3) as the text of a PNG."""
    return base64.b64encode(png_bytes(picture)).decode()


def to_json(content: dict[str, Any]) -> bytes:
    """As compact as can be. Raises ValueError for what is not a number."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
