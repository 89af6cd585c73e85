"""Where recordings are found: files, folders and patterns that are named, lists of paths, manifests."""

import csv
import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avgan.audio import AudioSource
from avgan.errors import AudioError, AvganError, DataError

SUFFIXES = frozenset({
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".m4b",
    ".mka", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav", ".wave", ".wma",
    ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".webm", ".wmv",
})  # fmt: skip
PATH_COLUMNS = ("path", "audio_path")  # the second in the manifests of `avgan.data`

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recording:
    """What is to be heard: its name in answers and messages, and where it is read from, once or again."""

    name: str
    source: AudioSource


def find_all(paths: Iterable[str], *, complain: Say) -> tuple[list[Recording], int]:
    """The recordings that paths, folders and patterns name, in their order; and how many folders hold none."""
    recordings: list[Recording] = []
    num_failed = 0
    for path in paths:
        for named in expand(path):
            try:
                found = map(str, find_recordings(named))
            except AvganError as error:
                complain(str(error))
                num_failed += 1
            else:
                recordings.extend(Recording(name, name) for name in found)
    return recordings, num_failed


def find_recordings(path: str | Path) -> list[Path]:
    """The recordings and videos in a folder and those below it, by name; a file is itself.

    Raises AudioError for a folder that holds none.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if _is_recording(file) and not file.name.startswith(".") and file.is_file()
    )
    if not found:
        raise AudioError(
            f"{path}: no recording in this folder; name one that holds sounds or videos"
        )
    return found


def expand(pattern: str) -> Sequence[str]:
    """The files and folders that match "night/**/*.wav"; a name of something, or of nothing, is itself.

    Of what matches, text files and the like are left out where there are recordings too.
    """
    if not glob.has_magic(pattern) or os.path.lexists(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern, recursive=True))
    recordings = [name for name in found if _is_recording(Path(name)) or os.path.isdir(name)]
    return recordings or found or [pattern]


def read_list(content: bytes) -> list[str]:
    """The paths in a list: one a line, or with a NUL after each as `find -print0` writes them."""
    ends = b"\0" if b"\0" in content else b"\n"
    names = (os.fsdecode(line.removesuffix(b"\r")) for line in content.split(ends))
    return [name for name in names if name]


def read_manifest(path: Path) -> list[str]:
    """The paths in the column `path` of a .csv or .jsonl file, each once; they are relative to its folder.

    Raises DataError where there is no such column.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file) if path.suffix.lower() == ".csv" else _json_rows(path, file)
            return paths_of(path, rows)
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: not a manifest that can be read ({error})") from None


def paths_of(manifest: Path, rows: Iterable[dict[str, str | None]]) -> list[str]:
    """The paths of a manifest's rows, each once. Raises DataError where a row has none."""
    names: dict[str, None] = {}
    for number, row in enumerate(rows, 1):
        name = next((row[key] for key in PATH_COLUMNS if row.get(key)), None)
        if not isinstance(name, str):
            raise DataError(f"{manifest}: row {number} names no recording; give it a column 'path'")
        names[str(manifest.parent / name)] = None
    return list(names)


def _json_rows(path: Path, lines: Iterable[str]) -> Iterator[dict[str, str | None]]:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            row = number
        if row is None:
            continue
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number} is no JSON object; write one a line")
        yield row


def _is_recording(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES
