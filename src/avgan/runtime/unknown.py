"""When not to answer: silence, and what the model does not know, come back as `unknown` with the reason.

Four reasons are rules: silent, too quiet, too short, clipped. They see the sound as it was recorded, not at the level
that the network brings it to. Three need what was fitted on held-out recordings (`Calibration` in the
card), each with a share of the refusals that may go wrong: a sound that is the same throughout; a sound unlike all that
was heard in training; a sound for which no label is probable, nor a group of labels where there are groups. A bundle
without a calibration gives the first four only.

Shapes: B windows, C numbers of an embedding, N labels, R directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from avgan.audio import QUIET_PEAK, SILENT_PEAK, Level
from avgan.errors import BundleError
from avgan.runtime.arrays import load_array
from avgan.runtime.bundle import Bundle
from avgan.runtime.embedding import EmbeddedWindow
from avgan.runtime.tree import Tree

SILENT = "silent"
QUIET = "too quiet"
SHORT = "too short"
CLIPPED = "clipped beyond use"
STEADY = "a steady tone, hum or noise"
STRANGE = "unlike anything the model knows"
UNSURE = "nothing the model knows stands out"

UNHEARD = frozenset({SILENT, QUIET, SHORT, CLIPPED})
"""Reasons for which there is nothing to tell the sounds from, either."""

LEAST_SHARE = {"silence": 0.2, "repeat": 0.05}
"""Of a window that must be sound, by what the rest is filled with: of less, less than half is named rightly."""
CLIPPED_BEYOND_USE = 0.1
"""Share of samples cut off at full scale from which on less than half is named rightly."""
KNOWN_FILE = "known.npy"


@dataclass(frozen=True, eq=False)
class Known:
    """The embeddings of training recordings: their mean, and the directions in which they differ most from it.

    The first C numbers of an embedding are brought to length 1, so that loudness plays no part. Recordings of places
    lie near the plane of these directions; what sticks out of it is unlike all of them.
    """

    mean: np.ndarray
    """(C,)"""
    directions: np.ndarray
    """(R, C), each of length 1, at right angles."""

    @classmethod
    def of(cls, bundle: Bundle) -> "Known | None":
        """That of a bundle; None where it holds none. Raises BundleError where the file is damaged."""
        if KNOWN_FILE not in bundle.card.sha256:
            return None
        try:
            table = load_array(bundle.read(KNOWN_FILE))
            if table.ndim != 2 or len(table) < 1 or table.dtype != np.float16:
                raise ValueError(f"{table.dtype} {table.shape}")
            known = cls.of_table(table)
            if not np.allclose(np.linalg.norm(known.directions, axis=1), 1, atol=0.01):
                raise ValueError("its directions have not length 1")
        except ValueError as error:
            raise BundleError(
                f"{bundle.path}: {KNOWN_FILE} cannot be read ({error}); export the bundle again"
            ) from None
        return known

    @classmethod
    def of_table(cls, table: np.ndarray) -> "Known":
        """From rows (1 + R, C) float16."""
        rows = table.astype(np.float32)
        return cls(rows[0], rows[1:])

    def pack(self) -> bytes:
        """The file `KNOWN_FILE` of a bundle."""
        buffer = BytesIO()
        rows = np.vstack((self.mean[None], self.directions))
        np.save(buffer, rows.astype(np.float16), allow_pickle=False)
        return buffer.getvalue()

    def distance(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings (B, C or more) -> how far each sticks out (B,): 0 like those of training, about 1 beyond."""
        apart = to_unit(embeddings[:, : len(self.mean)]) - self.mean
        within = apart @ self.directions.T
        rest: np.ndarray = (apart**2).sum(1) - (within**2).sum(1)
        return np.sqrt(np.maximum(rest, 0))


class Rejection:
    """Says of each window whether the model should answer it, by what the bundle was calibrated with."""

    def __init__(self, bundle: Bundle) -> None:
        card = bundle.card
        self._least_s = LEAST_SHARE[card.short_clip_fill] * card.window_s
        self._calibration = card.calibration
        self._known = Known.of(bundle) if self._calibration else None
        self._label_to_group = Tree(card).label_to_group

    def reasons(
        self, windows: Sequence[EmbeddedWindow], probabilities: np.ndarray, level: Level | None = None
    ) -> list[str]:
        """Why windows of a recording with probabilities (B, N) cannot be answered, nothing where they can.

        `level` knows of clipping.
        """
        rules = [self._rule(window, level) for window in windows]
        fitted = self._calibration
        if fitted is None:
            return rules
        unsure = probabilities.max(1) < fitted.least_probability
        if self._label_to_group.size:
            groups = probabilities @ self._label_to_group
            unsure &= groups.max(1) < fitted.least_group_probability
        strange = np.zeros(len(windows), bool)
        if self._known is not None and fitted.largest_distance is not None:
            strange = self._known.distance(np.stack([window.embedding for window in windows])) > fitted.largest_distance
        least_db = fitted.least_change_db
        return [
            rule or (STEADY if window.change_db < least_db else STRANGE if far else UNSURE if doubtful else "")
            for rule, window, far, doubtful in zip(rules, windows, strange, unsure, strict=True)
        ]

    def _rule(self, window: EmbeddedWindow, level: Level | None) -> str:
        """What needs no calibration."""
        if window.peak < SILENT_PEAK:
            return SILENT
        if window.peak <= QUIET_PEAK:
            return QUIET
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
