"""The data sets and weights that avgan knows, each declared in a file of its own.

All are known by name: `find` reads the manifest of a data set, `find_file` gives the path of
weights; `get` and `check` of `avgan.data.acquire` download and verify either.
"""

from pathlib import Path

from avgan.data.datasets.curated import CURATED
from avgan.data.datasets.declaration import Dataset, Declaration, Remote, Weights
from avgan.data.datasets.esc50 import ESC50
from avgan.data.datasets.folder import FOLDER, read_folder
from avgan.data.datasets.miniplaces import MINIPLACES
from avgan.data.datasets.tau2019 import TAU2019
from avgan.data.datasets.tau_av_2021 import TAU_AV_2021
from avgan.data.datasets.yamnet import YAMNET
from avgan.data.manifest import Manifest
from avgan.errors import DataError

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset for dataset in (ESC50, TAU2019, TAU_AV_2021, MINIPLACES, CURATED, FOLDER)
}
WEIGHTS: dict[str, Weights] = {weights.name: weights for weights in (YAMNET,)}

__all__ = [
    "DATASETS",
    "WEIGHTS",
    "Dataset",
    "Declaration",
    "Remote",
    "Weights",
    "declaration",
    "find",
    "find_file",
    "locate",
]


def declaration(name: str) -> Dataset | Weights:
    """Return what is declared under a name.

    Raises:
        DataError: nothing is.
    """
    known: dict[str, Dataset | Weights] = {**DATASETS, **WEIGHTS}
    if name not in known:
        raise DataError(f"{name}: no such data set; known are: {', '.join(known)}")
    return known[name]


def locate(root: str | Path, name: str) -> Path:
    """Return the folder of a data set or weights: one of its own below `root`, else `root` itself."""
    declared = declaration(name)
    below = [Path(root) / folder for folder in declared.folders or (name,)]
    return next((folder for folder in below if declared.matches(folder)), Path(root))


def find(root: str | Path, name: str, *, window_s: float | None = None) -> Manifest:
    """Read the manifest of a data set below `root`.

    `window_s`: how long the clips of a folder of one's own are cut; those of a public data set
    have their length.

    Raises:
        DataError: it is not there, or incomplete.
    """
    declared = declaration(name)
    if not isinstance(declared, Dataset):
        raise DataError(
            f"{name}: pretrained weights, not a data set; known are: {', '.join(DATASETS)}"
        )
    folder = locate(root, name)
    if declared is FOLDER and window_s is not None:
        return read_folder(folder, window_s=window_s)
    return declared.read(folder)


def find_file(root: str | Path, name: str) -> Path:
    """Return the path of pretrained weights below `root`.

    Raises:
        DataError: they are not there.
    """
    declared = declaration(name)
    if not isinstance(declared, Weights):
        raise DataError(f"{name}: a data set, not weights; known are: {', '.join(WEIGHTS)}")
    path = locate(root, name) / declared.filename
    if not path.is_file():
        raise DataError(
            f"{root}: no {declared.filename} here; get it with: avgan data get {name} --data {root}"
        )
    return path
