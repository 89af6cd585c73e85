"""Pages for people: a jinja2 template for each kind, one style sheet, recordings and pictures held within.

A page asks no server for anything, so that it may be mailed or archived. The templates escape all text.
"""

import base64
import hashlib
import io
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from PIL import Image

from avgan.audio import SAMPLE_RATE_HZ
from avgan.pictures import time_of_day, words
from avgan.runtime.drawing import plain
from avgan.runtime.prediction import Prediction, WindowPrediction
from avgan.runtime.timeline import Segment
from avgan.runtime.wording import answered, clock, percent

if TYPE_CHECKING:
    import jinja2

THIN = "\u202f"
"""A narrow space at which no line is broken."""
JPEG_QUALITY = 86
"""Artefacts do not show, and a picture takes a tenth of a PNG."""


def render(template: str, **values: object) -> str:
    """The page or part of that template, such as "evaluation.html"."""
    return _environment().get_template(template).render(**values)


def stream(template: str, **values: object) -> Iterator[str]:
    """The same, part by part, so that a long page is never in memory as a whole."""
    return _environment().get_template(template).generate(**values)


@cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("avgan.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "answer_text": answer_text,
        "clock": clock,
        "percent": percent,
        "plain": plain,
        "points": points,
        "sha256": _sha256,
        "time_of_day": time_of_day,
        "whole_percent": whole_percent,
        "words": words,
    }
    return environment


def _sha256(script: str) -> str:
    """As a content security policy names the scripts it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def answer_text(answer: Prediction | WindowPrediction | Segment) -> str:
    """The scene, or its group with the likely scenes, as it is written for people."""
    return plain(answered(answer.answer, answer.within))


def points(share: float) -> str:
    """ "88.2 %"."""
    return f"{100 * share:.1f}{THIN}%"


def whole_percent(share: float) -> str:
    """ "88 %"."""
    return percent(share).replace(" ", THIN)


def jpeg_uri(picture: Image.Image) -> str:
    """An address that holds the picture itself."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return data_uri(buffer.getvalue(), "image/jpeg")


def mp3_uri(waveform: np.ndarray) -> str:
    """An address that holds a waveform (L,) as MP3, which every browser plays, at a fifth of the size of FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.clip(-1, 1), SAMPLE_RATE_HZ, format="MP3")
    return data_uri(buffer.getvalue(), "audio/mpeg")


def data_uri(content: bytes, kind: str) -> str:
    """An address that holds the content, of the MIME type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
