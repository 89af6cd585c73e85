"""The training clips whose imagined code maps look most like that of an answer.

Shapes: M training clips, K codes, D code dimension.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avgan.errors import BundleError
from avgan.runtime.arrays import load_arrays
from avgan.runtime.bundle import Bundle

NEIGHBOURS_FILE = "neighbours.npz"


@dataclass(frozen=True)
class Neighbour:
    """A training clip; `distance` is how far its code map is, 0 for the same one, root mean square per code."""

    id: str
    label: str
    scene: str
    distance: float
    codes: np.ndarray = field(repr=False, compare=False)
    """(16, 16)"""

    def to_dict(self) -> dict[str, Any]:
        """Everything but the code map, as JSON can hold it."""
        return {"id": self.id, "label": self.label, "scene": self.scene, "distance": round(self.distance, 6)}


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The code maps of a bundle's training clips. Distances are between the codebook's vectors, as are looks."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    """One a clip."""
    codes: np.ndarray
    """(M, 16, 16) unsigned integers below K."""
    codebook: np.ndarray
    """(K, D)"""
    scene_of_label: Mapping[str, str]

    @classmethod
    def of(cls, bundle: Bundle) -> "Neighbours | None":
        """Those of a bundle; None where it holds none. Raises BundleError where the file is damaged."""
        if NEIGHBOURS_FILE not in bundle.card.sha256:
            return None
        content = bundle.read(NEIGHBOURS_FILE)
        places = dict(zip(bundle.card.labels, bundle.card.places, strict=True))
        try:
            arrays = load_arrays(content)
            names = arrays["label_names"].tolist()
            found = cls(
                tuple(arrays["ids"].tolist()),
                tuple(names[label] for label in arrays["labels"].tolist()),
                arrays["codes"],
                arrays["codebook"],
                places,
            )
            found.check()
        except (KeyError, IndexError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BundleError(f"{bundle.path}: {NEIGHBOURS_FILE} cannot be read ({reason}); export it again") from None
        return found

    def check(self) -> None:
        """Raise ValueError where its parts do not belong together."""
        if not len(self.ids) == len(self.labels) == len(self.codes):
            raise ValueError("not one label and code map for each clip")
        is_map = self.codes.dtype.kind == "u" and self.codes.shape[1:] == (16, 16)
        if not is_map or self.codes.max(initial=0) >= len(self.codebook):
            raise ValueError("the code maps are not of this codebook")
        if unknown := set(self.labels) - set(self.scene_of_label):
            raise ValueError(f"no label of this model: {min(unknown)}")

    def pack(self) -> bytes:
        """The content of the bundle's file."""
        names = sorted(set(self.labels))
        file = io.BytesIO()
        np.savez_compressed(
            file,
            ids=np.array(self.ids),
            label_names=np.array(names),
            labels=np.array([names.index(label) for label in self.labels], np.uint16),
            codes=self.codes.astype(np.uint8 if len(self.codebook) <= 256 else np.uint16),
            codebook=self.codebook.astype(np.float32),
        )
        return file.getvalue()

    def nearest(self, codes: np.ndarray, count: int) -> tuple[Neighbour, ...]:
        """The clips nearest to a code map (16, 16), from the nearest."""
        # How far each code of the map is from every other: a table, in which the clips are looked up.
        asked = self.codebook[codes.reshape(-1)]
        squares = np.square(asked[:, None] - self.codebook).sum(-1)  # (256, K)
        known = self.codes.reshape(len(self.ids), -1)
        distances = np.sqrt(squares[np.arange(codes.size), known].mean(1))
        return tuple(
            Neighbour(
                self.ids[index],
                self.labels[index],
                self.scene_of_label[self.labels[index]],
                float(distances[index]),
                self.codes[index],
            )
            for index in np.argsort(distances, kind="stable")[:count]
        )
