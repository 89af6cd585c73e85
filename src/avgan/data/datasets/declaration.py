"""What a declaration says: story, citation, licence, files, and how to recognise and read it.

A declaration has no behaviour of its own beyond the functions it names; downloading and checking
are done by `avgan.data.acquire` for all of them alike.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avgan import download
from avgan.data.manifest import Manifest
from avgan.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Remote(download.Remote):
    """One file to download, and how it is laid into the data set's folder."""

    unpack: bool = False
    """A zip whose files are laid into the data set's folder, after which it is deleted."""
    strip: int = 0
    """Number of leading folders to drop from the names in the zip."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a lawyer, a reviewer and a downloader ask about anything public that we use."""

    name: str
    title: str
    story: str
    """What it holds, how it was made, how it is split."""
    citation: str
    """BibTeX."""
    licence: str
    """One sentence, shown before a download."""
    address: str
    remotes: tuple[Remote, ...] = ()
    by_hand: str = ""
    """How a person gets it, where no program can (no remotes)."""
    folders: tuple[str, ...] = ()
    """Names of the folder it may lie in; empty: its own name."""
    matches: Callable[[Path], bool]
    """Whether a folder holds it, judged by a marker file alone."""


def _no_problems(manifest: Manifest) -> list[str]:
    return []


@dataclass(frozen=True, kw_only=True)
class Dataset(Declaration):
    """A public data set, or a layout of folders."""

    read: Callable[[Path], Manifest]
    """The manifest of a folder; raises DataError with the next step where there is none."""
    verify: Callable[[Manifest], list[str]] = _no_problems
    """Problems in the rows themselves, such as counts that differ from the published ones."""


@dataclass(frozen=True, kw_only=True)
class Weights(Declaration):
    """Pretrained weights in one safetensors file."""

    filename: str
    convert: Callable[[Path], None]
    """Makes the file in a folder from the remotes downloaded there."""
    verify: Callable[[Path], list[str]]
    """In what respect a file is not the tested one."""
    companions: tuple[Remote, ...] = ()
    """Small files that lie beside it, such as the names of its classes. Not every use of the weights needs them."""


def read_table(
    path: Path, columns: tuple[str, ...], *, delimiter: str = ","
) -> list[dict[str, str]]:
    """Read a CSV file with a header as one dict a row.

    Raises:
        DataError: it has no rows or a row lacks one of `columns`.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = list(csv.DictReader(file, delimiter=delimiter))
        except csv.Error as error:
            raise DataError(f"{path}: not a table that can be read ({error})") from None
    for number, row in enumerate(rows or [{}], start=2):
        missing = [name for name in columns if row.get(name) is None]
        if missing:
            raise DataError(
                f"{path}: line {number} has no {missing[0]!r}; the table needs the columns "
                f"{', '.join(columns)}"
            )
    return rows
