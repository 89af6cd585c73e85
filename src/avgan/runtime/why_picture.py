"""The picture of an explanation: the spectrogram in grey, what made the answer over it in colour."""

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from avgan.runtime.why import Explanation


def draw(explanation: "Explanation", scale: int = 1) -> bytes:
    """The bytes of a PNG."""
    loud = explanation.log_mel[::-1]
    grey = 255 * (1 - (loud - loud.min()) / max(float(np.ptp(loud)), 1e-6))
    picture = Image.fromarray(grey.astype(np.uint8)).resize((640 * scale, 320 * scale))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
