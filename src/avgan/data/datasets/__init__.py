"""The data sets that avgan knows, each declared in a file of its own.

All are known by name: `find` reads the manifest of one, `get` and `check` of `avgan.data.acquire` download and verify
it.
"""

from pathlib import Path

from avgan.data.datasets.curated import CURATED
from avgan.data.datasets.declaration import Dataset, Remote
from avgan.data.datasets.esc50 import ESC50
from avgan.data.datasets.folder import FOLDER, read_folder
from avgan.data.datasets.miniplaces import MINIPLACES, PHOTOGRAPHS
from avgan.data.datasets.places import PLACES
from avgan.data.datasets.tau import TAU2019, TAU_AV_2021
from avgan.data.manifest import Manifest
from avgan.errors import DataError

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset for dataset in (ESC50, TAU2019, TAU_AV_2021, PLACES, MINIPLACES, PHOTOGRAPHS, CURATED, FOLDER)
}

__all__ = ["DATASETS", "Dataset", "Remote", "declaration", "find", "locate"]


def declaration(name: str) -> Dataset:
    """Return what is declared under a name.

    Raises:
        DataError: nothing is.
    """
    if name not in DATASETS:
        raise DataError(f"{name}: no such data set; known are: {', '.join(DATASETS)}")
    return DATASETS[name]


def locate(root: str | Path, name: str) -> Path:
    """Return the folder of a data set: one of its own below `root`, else `root` itself."""
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
    folder = locate(root, name)
    if declared is FOLDER and window_s is not None:
        return read_folder(folder, window_s=window_s)
    return declared.read(folder)
