"""What a declaration says: story, citation, licence, files, and how to recognise and read it.

A declaration has no behaviour of its own beyond the functions it names; downloading and checking
are done by `avgan.data.acquire` for all of them alike.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avgan import download
from avgan.data.manifest import Manifest
from avgan.errors import DataError
from avgan.scenes import Place


@dataclass(frozen=True, kw_only=True)
class Remote(download.Remote):
    """One file to download, and how it is laid into the data set's folder."""

    unpack: bool = False
    """A zip whose files are laid into the data set's folder, after which it is deleted."""
    strip: int = 0
    """Number of leading folders to drop from the names in the zip."""


def _no_problems(manifest: Manifest) -> list[str]:
    return []


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A public data set, or a layout of folders: what a lawyer, a reviewer, a downloader and a reader ask about it."""

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
    read: Callable[[Path], Manifest]
    """The manifest of a folder; raises DataError with the next step where there is none."""
    verify: Callable[[Manifest], list[str]] = _no_problems
    """Problems in the rows themselves, such as counts that differ from the published ones."""
    has_sounds: bool = True
    has_pictures: bool = False
    """Pictures of its own; sounds without are paired with those of another data set."""
    label_kind: Literal["scene", "sound"] = "scene"
    """What the labels name: scenes, or sounds that are heard in scenes."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where one would hear each label, for pairing with photographs; empty where labels are scenes, or unknown."""

    @property
    def photographs_of_label(self) -> dict[str, tuple[str, ...]]:
        """{label: the scenes of photographs that show it}. Raises DataError where the labels have none."""
        return {label: (scene, *self.places[label].also) for label, scene in self.scene_of_label.items()}

    @property
    def scene_of_label(self) -> dict[str, str]:
        """{label: scene of the photographs}. Raises DataError where the labels have none."""
        if not self.places:
            raise DataError(
                f"{self.name}: its labels are not mapped to scenes of photographs; give videos, or pictures beside it"
            )
        return {label: place.scene for label, place in self.places.items()}

    @property
    def strong_labels(self) -> frozenset[str]:
        """Labels that say well which place it is."""
        return frozenset(label for label, place in self.places.items() if place.strength == "strong")


def read_table(path: Path, columns: tuple[str, ...], *, delimiter: str = ",") -> list[dict[str, str]]:
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
                f"{path}: line {number} has no {missing[0]!r}; the table needs the columns {', '.join(columns)}"
            )
    return rows


def folders_in(root: Path, is_one: Callable[[Path], bool]) -> list[Path]:
    """The folders in `root` that are one, in an order that is always the same."""
    return sorted(path for path in root.iterdir() if path.is_dir() and is_one(path)) if root.is_dir() else []


def header_of(table: Path, *, delimiter: str = ",") -> list[str]:
    """The names in the first line of a table; none where there is no such file."""
    if not table.is_file():
        return []
    with table.open(encoding="utf-8-sig") as file:
        return file.readline().strip().split(delimiter)
