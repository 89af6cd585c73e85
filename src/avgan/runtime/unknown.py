"""When not to answer: silence, and what the model does not know, come back as `unknown` with the reason.

Three reasons are rules: silent, too short, clipped. Three need what was fitted on recordings kept aside from training
(`Calibration` in the card), each with a share of the refusals that may go wrong: a sound that is the same throughout;
a sound unlike all that was heard in training; a sound for which no label is probable. A bundle without a calibration
gives the first three only.

Shapes: B windows, C numbers that were heard, N labels, R directions.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avgan.audio import SILENT_PEAK, Level
from avgan.errors import BundleError
from avgan.runtime.bundle import Bundle
from avgan.runtime.hearing import HeardWindow

SILENT = "silent"
SHORT = "too short"
CLIPPED = "clipped beyond use"
STEADY = "a steady tone, hum or noise"
STRANGE = "unlike anything the model knows"
UNSURE = "nothing the model knows stands out"

LEAST_SHARE = {"silence": 0.2, "repeat": 0.05}
"""Of a window that must be sound, by what the rest is filled with: of less, less than half is named rightly."""
CLIPPED_BEYOND_USE = 0.1
"""Share of samples cut off at full scale from which on less than half is named rightly."""
KNOWN_FILE = "known.npy"


@dataclass(frozen=True, eq=False)
class Known:
    """What was heard in training: the mean of each label, and the directions in which recordings of one label differ.

    The first C numbers that were heard, brought to length 1 so that loudness plays no part, are scaled number by
    number. A Mahalanobis distance, whose covariance within labels is that of R directions and the same in all others.
    """

    scale: np.ndarray
    """(C,)"""
    means: np.ndarray
    """(N, C), scaled."""
    directions: np.ndarray
    """(R, C), each as long as what it takes from a squared distance of 1 along it is large."""

    @classmethod
    def of(cls, bundle: Bundle) -> "Known | None":
        """That of a bundle; None where it holds none. Raises BundleError where the file is damaged."""
        if KNOWN_FILE not in bundle.card.sha256:
            return None
        num_labels = len(bundle.card.labels)
        try:
            table = np.load(io.BytesIO(bundle.read(KNOWN_FILE)), allow_pickle=False)
            if table.ndim != 2 or len(table) < 1 + num_labels or table.dtype != np.float16:
                raise ValueError(f"{table.dtype} {table.shape}")
        except (ValueError, EOFError) as error:
            raise BundleError(
                f"{bundle.path}: {KNOWN_FILE} cannot be read ({error}); export the bundle again"
            ) from None
        return cls.of_table(table, num_labels)

    @classmethod
    def of_table(cls, table: np.ndarray, num_labels: int) -> "Known":
        """From rows (1 + N + R, C) float16, as `table` gives them."""
        rows = table.astype(np.float32)
        return cls(rows[0], rows[1 : 1 + num_labels], rows[1 + num_labels :])

    def pack(self) -> bytes:
        """The file `KNOWN_FILE` of a bundle."""
        buffer = io.BytesIO()
        rows = np.vstack((self.scale[None], self.means, self.directions))
        np.save(buffer, rows.astype(np.float16), allow_pickle=False)
        return buffer.getvalue()

    def distance(self, heard: np.ndarray) -> np.ndarray:
        """heard (B, C or more) -> how far each lies from the nearest label (B,); for training clips about 1."""
        vectors = to_unit(heard[:, : len(self.scale)]) * self.scale
        squared = _squared_distances(vectors, self.means)
        squared -= _squared_distances(vectors @ self.directions.T, self.means @ self.directions.T)
        nearest = squared.min(1) / len(self.scale)
        return np.sqrt(np.maximum(nearest, 0))


class Doubt:
    """Says of each window whether the model should answer it, by what the bundle was calibrated with."""

    def __init__(self, bundle: Bundle) -> None:
        card = bundle.card
        self._least_s = LEAST_SHARE[card.short_clip_fill] * card.window_s
        self._calibration = card.calibration
        self._known = Known.of(bundle) if self._calibration else None

    def reason(
        self, window: HeardWindow, probabilities: np.ndarray, level: Level | None = None
    ) -> str:
        """Why a window with probabilities (N,) cannot be answered; nothing where it can."""
        return self.reasons([window], probabilities[None], level)[0]

    def reasons(
        self, windows: Sequence[HeardWindow], probabilities: np.ndarray, level: Level | None = None
    ) -> list[str]:
        """The same for several windows of a recording and their probabilities (B, N); `level` knows of clipping."""
        found = [self._rule(window, level) for window in windows]
        fitted = self._calibration
        if fitted is None:
            return found
        unsure = probabilities.max(1) < fitted.least_probability
        strange = np.zeros(len(windows), bool)
        if self._known is not None and fitted.largest_distance is not None:
            heard = np.stack([window.heard for window in windows])
            strange = self._known.distance(heard) > fitted.largest_distance
        for index, window in enumerate(windows):
            if found[index]:
                continue
            if window.change_db < fitted.least_change_db:
                found[index] = STEADY
            elif strange[index]:
                found[index] = STRANGE
            elif unsure[index]:
                found[index] = UNSURE
        return found

    def _rule(self, window: HeardWindow, level: Level | None) -> str:
        """What needs no calibration."""
        if window.peak < SILENT_PEAK:
            return SILENT
        if window.end_s - window.start_s < self._least_s:
            return SHORT
        if level and level.clipped_share(window.start_s, window.end_s) > CLIPPED_BEYOND_USE:
            return CLIPPED
        return ""


def to_unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (B, C) of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return scaled


def _squared_distances(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(B, C) and (N, C) -> (B, N)."""
    squared: np.ndarray = (vectors**2).sum(1)[:, None] - 2 * vectors @ others.T + (others**2).sum(1)
    return squared
