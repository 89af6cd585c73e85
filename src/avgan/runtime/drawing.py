"""What strip, film and report share: imagined pictures in their time, colours of scenes, letters.

Shapes: H W pixels.
"""

import colorsys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avgan.images import SIZE_PX
from avgan.runtime.prediction import UNKNOWN, Decode, WindowPrediction

NIGHT = (14, 15, 24)
INK = (236, 234, 228)
QUIET = (158, 160, 172)
GREY = (92, 94, 104)
HATCH_PX = 16

Colour = tuple[int, int, int]


def imagined(window: WindowPrediction, decode: Decode) -> np.ndarray:
    """The picture of a window or segment (128, 128, 3) uint8; where that is unknown, dimmed and hatched."""
    if window.codes is None:
        return np.full((SIZE_PX, SIZE_PX, 3), NIGHT, np.uint8)
    picture = decode(window.codes[None])[0]
    return dimmed(picture) if window.scene == UNKNOWN else picture


def dimmed(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 that nobody takes for an answer: dark, nearly grey, hatched."""
    grey = picture.mean(2, keepdims=True)
    dark = 0.3 * (0.75 * grey + 0.25 * picture) + 12
    rows, columns = np.indices(picture.shape[:2])
    lines = np.less((rows + columns) % HATCH_PX, 2)[..., None]
    dim: np.ndarray = np.where(lines, dark + 34, dark).astype(np.uint8)
    return dim


def colours(windows: Sequence[WindowPrediction]) -> dict[str, Colour]:
    """A colour for each answer that was given, light enough for dark letters on it; dark grey for the unknown.

    The scenes heard most lie farthest apart: the golden angle parts hues however many there are, lightness parts
    those that come near.
    """
    heard = Counter(window.answer for window in windows if window.scene != UNKNOWN)
    found = {UNKNOWN: GREY}
    for place, (scene, _) in enumerate(heard.most_common()):
        hue = (0.47 + place * 0.381966) % 1
        lightness, saturation = ((0.70, 0.52), (0.62, 0.40), (0.80, 0.62))[place // 5 % 3]
        red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
        found[scene] = (round(255 * red), round(255 * green), round(255 * blue))
    return found


def plain(name: str) -> str:
    """A scene's name as it is written for people."""
    return " ".join(name.replace("_", " ").split())


@cache
def font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own letters; no font need be installed."""
    return ImageFont.load_default(size=size_px)


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    *,
    size_px: int,
    fill: Colour = INK,
    anchor: str = "ls",
    room_px: float = float("inf"),
) -> float:
    """Write one line, shortened to `room_px`; returns its width. `anchor` as in Pillow."""
    letters = font(size_px)
    text = _in_ascii(text)
    if letters.getlength(text) > room_px:
        while text and letters.getlength(text + "…") > room_px:
            text = text[:-1].rstrip()
        text = text + "…" if text else ""
    pen.text(at, text, fill, letters, anchor=anchor)
    return float(letters.getlength(text))


def _in_ascii(text: str) -> str:
    """Text without what Pillow's letters lack: accents fall away, other signs become question marks."""
    apart = unicodedata.normalize("NFKD", text)
    bare = "".join(sign for sign in apart if not unicodedata.combining(sign))
    return bare.encode("ascii", "replace").decode()


def enlarged(picture: np.ndarray, size_px: int) -> Image.Image:
    """A picture (H, W, 3) as a square of `size_px`."""
    return Image.fromarray(picture).resize((size_px, size_px), Image.Resampling.BICUBIC)
