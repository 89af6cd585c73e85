"""The training clips whose imagined code maps look most like that of an answer.

Shapes: M training clips, K codes, D code dimension.
"""

import io
import zipfile
from dataclasses import dataclass

import numpy as np

from avgan.errors import BundleError
from avgan.runtime.bundle import Bundle

NEIGHBOURS_FILE = "neighbours.npz"


@dataclass(frozen=True)
class Neighbour:
    """A training clip; `distance` 0 is the same code map, 1 one that is as far as two training clips are on average."""

    id: str
    label: str
    scene: str
    distance: float


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

    @classmethod
    def of(cls, bundle: Bundle) -> "Neighbours | None":
        """Those of a bundle; None where it holds none. Raises BundleError where the file is damaged."""
        if NEIGHBOURS_FILE not in bundle.card.sha256:
            return None
        content = bundle.read(NEIGHBOURS_FILE)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                ids, labels = arrays["ids"].tolist(), arrays["labels"].tolist()
                names = arrays["label_names"].tolist()
                return cls(
                    tuple(ids),
                    tuple(names[label] for label in labels),
                    arrays["codes"],
                    arrays["codebook"].astype(np.float32),
                )
        except (KeyError, IndexError, ValueError, zipfile.BadZipFile) as error:
            raise BundleError(
                f"{bundle.path}: {NEIGHBOURS_FILE} cannot be read ({error}); export the bundle again"
            ) from None

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

    def nearest(self, codes: np.ndarray, count: int = 5) -> list[tuple[int, float]]:
        """The clips nearest to a code map (16, 16): their numbers and their distances, from the nearest."""
        # (M, 256, K) would be large: the distance of each code of the map to all others, once.
        squares = np.square(self.codebook[codes.reshape(-1)][:, None] - self.codebook[None]).sum(-1)
        positions = np.arange(codes.size)
        found = squares[positions, self.codes.reshape(len(self.ids), -1)].mean(1)
        order = np.argsort(found, kind="stable")[:count]
        return [(int(index), float(np.sqrt(found[index]))) for index in order]
