"""What a declaration of a data set says: story, citation, licence, files, and how to read it."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avgan.data.manifest import Manifest
from avgan.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One file to download."""

    url: str
    filename: str
    bytes: int | None = None
    """Exact size; None where the server makes the file anew and its size may move."""
    sha256: str = ""
    md5: str = ""
    """Checksums as published; empty where none is known."""
    unpack: bool = False
    """A zip whose files are laid below the data set's folder, after which it is deleted."""
    strip: int = 0
    """Leading folders to drop from the names in the zip."""


def _no_problems(manifest: Manifest) -> list[str]:
    return []


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A public data set or a layout of folders, as a declaration without behaviour of its own."""

    name: str
    title: str
    story: str
    """What it holds, how it was made, how it is split."""
    citation: str
    """BibTeX."""
    licence: str
    """One sentence, printed before a download."""
    address: str
    remotes: tuple[Remote, ...] = ()
    """Empty: it cannot be fetched by a program; `by_hand` says how a person gets it."""
    by_hand: str = ""
    matches: Callable[[Path], bool]
    """Whether a folder holds this data set, by its marker file alone; opens no media."""
    read: Callable[[Path], Manifest]
    """The manifest of the folder; raises DataError with the next step where it cannot."""
    verify: Callable[[Manifest], list[str]] = _no_problems
    """Problems in the rows themselves, such as counts that differ from the published ones."""


def read_table(
    path: Path, columns: tuple[str, ...], *, delimiter: str = ","
) -> list[dict[str, str]]:
    """Read a CSV file with a header as one dict a row.

    Raises:
        DataError: it has no rows or lacks one of `columns`.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    missing = [name for name in columns if not rows or rows[0].get(name) is None]
    if missing:
        wanted = ", ".join(columns)
        raise DataError(f"{path}: needs rows with the columns {wanted}; lacks {missing[0]!r}")
    return rows
