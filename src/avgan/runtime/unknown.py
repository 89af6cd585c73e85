"""When not to answer: silence, and what the model does not know, come back as `unknown` with the reason."""

import numpy as np

from avgan.audio import SILENT_PEAK
from avgan.runtime.bundle import Bundle
from avgan.runtime.hearing import HeardWindow

SILENT = "silent"


class Doubt:
    """Says of each window whether the model should answer it, by what the bundle was calibrated with."""

    def __init__(self, bundle: Bundle) -> None:
        self._card = bundle.card

    def reason(self, window: HeardWindow, probabilities: np.ndarray) -> str:
        """Why a window with probabilities (N,) cannot be answered; nothing where it can."""
        return SILENT if window.peak < SILENT_PEAK else ""
