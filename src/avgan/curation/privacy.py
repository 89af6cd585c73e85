"""Faces and number plates in a picture -> the same picture with a few patches of colour in their place, on request.

The cascades are those that OpenCV ships (Viola and Jones, "Rapid object detection using a boosted cascade of simple
features", CVPR 2001). They find faces from the front and from the side of about 24 px and more, and number plates of
European proportions; small, turned or covered ones they miss, and a wall may look like a face to them. So they help to
keep people out of a data set, and do not promise it. Needs the extra `curate`.

Shapes: H W pixels.
"""

import importlib
from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from avgan.errors import AvganError, ConfigError

CASCADES = {
    "faces": ("haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml"),
    "plates": ("haarcascade_russian_plate_number.xml",),
}
"""What can be found, and what finds it."""
SCALE = 1.1  # from one size that is looked for to the next
MIN_NEIGHBOURS = 4  # that agree, of sizes and places next to each other
MIN_SIDE_PX = 20
MARGIN = 0.25  # of the box, on each side: the cascades find the middle of a face
NUM_PATCHES = 5  # across what was found: only its colours remain


class Box(NamedTuple):
    """A rectangle of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


def blur(frame: np.ndarray, what: Collection[str]) -> np.ndarray:
    """A picture (H, W, 3) uint8 RGB without the `what` ("faces", "plates") that are found in it.

    The same array where nothing is found; the given one is never changed.

    Raises:
        ConfigError: something else is to be blurred.
        AvganError: OpenCV is not installed.
    """
    boxes = find(frame, what)
    if not boxes:
        return frame
    blurred = frame.copy()
    for box in boxes:
        left, top, right, bottom = _with_margin(box, frame.shape)
        patch = Image.fromarray(np.ascontiguousarray(frame[top:bottom, left:right]))
        few = (NUM_PATCHES, max(1, round(NUM_PATCHES * patch.height / patch.width)))
        coarse = patch.resize(few, Image.Resampling.BOX)
        blurred[top:bottom, left:right] = coarse.resize(patch.size, Image.Resampling.BICUBIC)
    return blurred


def find(frame: np.ndarray, what: Collection[str]) -> list[Box]:
    """Where faces or plates are in a picture (H, W, 3) uint8 RGB; the same one may be found twice. Sorted."""
    unknown = sorted(set(what) - set(CASCADES))
    if unknown:
        raise ConfigError(f"cannot blur {unknown[0]!r}; choose among {', '.join(CASCADES)}")
    gray = np.ascontiguousarray(Image.fromarray(frame).convert("L"))
    boxes = set()
    for name in (name for kind in CASCADES if kind in what for name in CASCADES[kind]):
        boxes |= _found(gray, name)
        if "profile" in name:  # it was trained on faces that look to the left
            width = gray.shape[1]
            mirrored = _found(np.ascontiguousarray(gray[:, ::-1]), name)
            boxes |= {box._replace(left=width - box.left - box.width) for box in mirrored}
    return sorted(boxes)


def _found(gray: np.ndarray, name: str) -> set[Box]:
    sizes = {"scaleFactor": SCALE, "minNeighbors": MIN_NEIGHBOURS}
    found = _cascade(name).detectMultiScale(gray, minSize=(MIN_SIDE_PX, MIN_SIDE_PX), **sizes)
    return {Box(*(int(number) for number in box)) for box in found}


@cache
def _cascade(name: str) -> Any:
    cv2 = opencv()
    cv2.setNumThreads(1)  # threads report in any order, and what is merged first decides
    return cv2.CascadeClassifier(cv2.data.haarcascades + name)


def opencv() -> Any:
    """OpenCV 4. Raises AvganError where it is missing, or another version."""
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError:
        raise AvganError("blurring and Caffe's files need OpenCV 4: pip install 'avgan[curate]'") from None
    if not hasattr(cv2, "CascadeClassifier"):  # left with version 5, as did the reader of Caffe's networks
        raise AvganError("blurring and Caffe's files need OpenCV 4: pip install 'opencv-python-headless<5'")
    return cv2


def _with_margin(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a box with its margin, within a picture (H, W, ...)."""
    across, down = round(MARGIN * box.width), round(MARGIN * box.height)
    right = min(shape[1], box.left + box.width + across)
    bottom = min(shape[0], box.top + box.height + down)
    return max(0, box.left - across), max(0, box.top - down), right, bottom
