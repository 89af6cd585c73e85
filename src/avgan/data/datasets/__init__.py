"""The data sets that avgan knows, each declared in a file of its own.

A data set is known by name; `find` reads its manifest from a folder in any layout that its
declaration accepts.
"""

from pathlib import Path

from avgan.data.datasets.declaration import Dataset, Remote
from avgan.data.datasets.esc50 import ESC50
from avgan.data.datasets.miniplaces import MINIPLACES
from avgan.data.manifest import Manifest
from avgan.errors import DataError

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (ESC50, MINIPLACES)}

__all__ = ["DATASETS", "Dataset", "Remote", "dataset", "find", "locate"]


def dataset(name: str) -> Dataset:
    """Return the declaration of a data set.

    Raises:
        DataError: no data set has this name.
    """
    if name not in DATASETS:
        raise DataError(f"{name}: no such data set; known are: {', '.join(DATASETS)}")
    return DATASETS[name]


def locate(root: str | Path, name: str) -> Path:
    """Return the folder of a data set: `root/name` where it is one, else `root` itself."""
    declared = dataset(name)
    below = Path(root) / name
    return below if declared.matches(below) else Path(root)


def find(root: str | Path, name: str) -> Manifest:
    """Read the manifest of a data set that lies in `root/name` or in `root` itself.

    Raises:
        DataError: it lies in neither, or is incomplete.
    """
    return dataset(name).read(locate(root, name))
