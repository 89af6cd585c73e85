"""Where recordings are found: files, folders and patterns that are named, lists of paths, manifests."""

import csv
import glob
import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from avgan.audio import AudioSource
from avgan.errors import AudioError, AvganError, DataError
from avgan.media.kinds import SUFFIXES, looks_like_sound
from avgan.media.origin import in_name, made_at

PATH_COLUMNS = ("path", "audio_path")  # the second in the manifests of `avgan.data`

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recording:
    """What is classified: its name in answers and messages, and where it is read from, once or again.

    `track`: which of several sound tracks, from 1; None: the default one.
    """

    name: str
    source: AudioSource
    track: int | None = None

    @cached_property
    def recorded_at(self) -> datetime | None:
        """When it began, where its file or its name says so."""
        return made_at(self.source) or in_name(self.name)


def find_all(
    paths: Iterable[str], *, on_error: Say, passed_over: Counter[str] | None = None
) -> tuple[list[Recording], int]:
    """The recordings that paths, folders and patterns name, in their order; and how many folders hold none.

    `passed_over` counts what is left out of folders and patterns, by reason: ".txt", "empty", "hidden".
    """
    recordings: list[Recording] = []
    num_failed = 0
    left_out: Counter[str] = Counter() if passed_over is None else passed_over
    for path in paths:
        for named in expand(path, left_out):
            try:
                found = map(str, find_recordings(named, left_out))
            except AvganError as error:
                on_error(str(error))
                num_failed += 1
            else:
                recordings.extend(Recording(name, name) for name in found)
    return recordings, num_failed


def find_recordings(path: str | Path, passed_over: Counter[str] | None = None) -> list[Path]:
    """The recordings and videos in a folder and those below it, by name; a file is itself.

    Links are followed, a folder is entered once. The first bytes decide on files with other endings. `passed_over`
    counts the rest by reason. Raises AudioError for a folder that holds none.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    left_out: Counter[str] = Counter() if passed_over is None else passed_over
    found = sorted(_walk(path, left_out))
    if not found:
        raise AudioError(f"{path}: no recording in this folder; name one that holds sounds or videos")
    return found


def _walk(folder: Path, passed_over: Counter[str]) -> Iterator[Path]:
    def refused(error: OSError) -> None:
        passed_over["folders that cannot be read"] += 1

    entered = {os.path.realpath(folder)}
    for name, folders, files in os.walk(folder, followlinks=True, onerror=refused):
        inside = []
        for each in sorted(folders):
            place = os.path.realpath(os.path.join(name, each))
            if each.startswith("."):
                passed_over["hidden"] += 1
            elif place in entered:
                passed_over["folders that were searched already"] += 1
            else:
                entered.add(place)
                inside.append(each)
        folders[:] = inside
        for each in files:
            file = Path(name, each)
            reason = _why_none(file)
            if reason:
                passed_over[reason] += 1
            else:
                yield file


def _why_none(file: Path) -> str:
    """Why a file in a folder is not taken for a recording; nothing where it is."""
    if file.name.startswith("."):
        return "hidden"
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            return "no files"  # pipes, sockets, devices
        if file.suffix.lower() in SUFFIXES:
            return ""  # an empty one is reported by its name when it is read
        if not status.st_size:
            return "empty"
        if looks_like_sound(file):
            return ""
    except FileNotFoundError:
        return "links to nothing"
    except OSError:
        return "that cannot be read"
    return file.suffix.lower() or "without an ending"


def summary(passed_over: Counter[str]) -> str:
    """One line about what was passed over: "62 files passed over: 52 .txt, 7 .jpg, 3 empty"."""
    total = passed_over.total()
    files = "file" if total == 1 else "files"
    ranked = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in ranked)
    return f"{total:,} {files} passed over: {reasons}"


def expand(pattern: str, passed_over: Counter[str] | None = None) -> Sequence[str]:
    """The files and folders that match "night/**/*.wav"; a name of something, or of nothing, is itself.

    Of what matches, text files and the like are left out where there are recordings too, and counted.
    """
    if not glob.has_magic(pattern) or os.path.lexists(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern, recursive=True))
    reasons = {name: "" if os.path.isdir(name) else _why_none(Path(name)) for name in found}
    recordings = [name for name in found if not reasons[name]]
    if recordings and passed_over is not None:
        passed_over.update(reason for reason in reasons.values() if reason)
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
            rows = csv.DictReader(file) if path.suffix.lower() == ".csv" else json_rows(path, file)
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


def json_rows(path: Path, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The objects of JSON Lines; lines that are blank are left out. Raises DataError for anything else."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number} is no JSON object; write one a line")
        yield row
