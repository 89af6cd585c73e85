"""A file of rows that is resumed: what it holds is not done again, and what was half written is cut off."""

import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from avgan.archive.formats import CSV_COLUMNS, from_cell
from avgan.errors import AvganError
from avgan.files import hold, whole

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""File endings whose rows can be read back, and the format of each."""
Row = dict[str, Any]
BEGINNINGS = {"csv": b"path,start_s,end_s,", "jsonl": b'{"path": "'}


class Output:
    """The file, opened as new or to go on with it; `file` is where rows follow.

    `done`: the recordings whose rows it holds whole. `num_failed`: how many of them failed; with `retry`
    they are not done. Where a recording has rows later in the file, those of its failure are removed in the end.

    Raises AvganError where it holds anything else, or rows made with another version, model or settings.
    """

    def __init__(self, path: Path, made_with: str, *, retry: bool = False) -> None:
        self.path = path
        self.format = FORMATS[path.suffix.lower()]
        self.done: set[str] = set()
        self.num_failed = 0
        self._places: set[str] = set()
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise AvganError(f"{path}: a pipe or a device cannot be gone on with; {_ELSEWHERE}, or leave --output out")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = open(path, "a+b")  # noqa: SIM115 (closed with `file`)
        try:
            if hold(content) is False:  # two at a time would cut off each other's rows
                raise AvganError(f"{path}: another avgan is writing to it; wait for it, or {_ELSEWHERE}")
            content.seek(0)
            try:
                end = self._read(content, made_with, retry)
            except (csv.Error, LookupError, TypeError, RecursionError) as error:
                raise AvganError(f"{path}: holds rows of another make, or is damaged ({error}); {_ELSEWHERE}") from None
            content.truncate(end)
        except BaseException:
            content.close()
            raise
        self.is_new = end == 0
        self.file: TextIO = io.TextIOWrapper(content, "utf-8", "surrogateescape", newline="\n")

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.file.flush()
            self._drop_superseded()
        finally:
            self.file.close()

    def has(self, name: str) -> bool:
        """Whether a recording is done, under this path or another of the same file."""
        return name in self.done or os.path.abspath(name) in self._places

    def _drop_superseded(self) -> None:
        """Write the file anew without rows of a failure that later rows of the same recording have made good."""
        with open(self.path, "rb") as content:
            try:
                spans = sorted(self._superseded(content))
            except (csv.Error, LookupError, TypeError, RecursionError, AvganError):
                return  # the next reader of the file reports what is wrong with it
            if not spans:
                return
            # Where there is no room for it, the later rows hold all the same.
            with suppress(OSError, AvganError), whole(self.path) as temporary, temporary.open("wb") as new:
                at = 0
                for start, end in [*spans, (content.seek(0, os.SEEK_END), 0)]:
                    content.seek(at)
                    copy_bytes(content, new, start - at)
                    at = end

    def _superseded(self, content: BinaryIO) -> list[tuple[int, int]]:
        """Where the rows of failures stand whose recording has later rows."""
        failed: dict[str, tuple[int, int]] = {}
        superseded = []
        for start, end, row in self._recordings(content):
            place = os.path.abspath(row.get("path", ""))
            if row and place in failed:
                superseded.append(failed.pop(place))
            if row.get("error"):
                failed[place] = (start, end)
        return superseded

    def _recordings(self, content: BinaryIO) -> Iterator[tuple[int, int, Row]]:
        """Where the rows of each complete recording start and end, and the last row; the header has an empty one."""
        content.seek(0)
        start = 0
        for end, row in (_csv_rows if self.format == "csv" else _json_rows)(content, self.path):
            if row is None or row.get("made_with"):  # which stands in the last row of a recording
                yield start, end, row or {}
                start = end

    def _read(self, content: BinaryIO, made_with: str, retry: bool) -> int:
        """Note what is done; returns where the last recording that is complete ends."""
        expected = BEGINNINGS[self.format]
        begins = content.read(len(expected))
        if not expected.startswith(begins):
            raise AvganError(f"{self.path}: holds something else than rows of avgan; {_ELSEWHERE}")
        failed: dict[str, str] = {}
        end = 0
        for _, stop, row in self._recordings(content):
            end = stop
            if not row:
                continue
            if row["made_with"] != made_with:
                raise AvganError(f"{self.path}: was made with {row['made_with']}, not with {made_with}; " + _ELSEWHERE)
            place = os.path.abspath(row["path"])
            failed.pop(place, None)
            if row.get("error"):
                failed[place] = row["path"]
            self.done.add(row["path"])
            self._places.add(place)
        if retry:
            self.done -= set(failed.values())
            self._places -= set(failed)
        else:
            self.num_failed = len(failed)
        return end


PIECE_BYTES = 1 << 20  # in memory at a time
_ELSEWHERE = "name another file"


def _json_rows(content: BinaryIO, path: Path) -> Iterator[tuple[int, Row]]:
    """The rows that are whole, each with the place where it ends."""
    end = 0
    for number, line in enumerate(content, 1):
        if not line.endswith(b"\n"):
            return
        end += len(line)
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise AvganError(f"{path}: line {number} is damaged; mend it, or {_ELSEWHERE}")
        yield end, row


def _csv_rows(content: BinaryIO, path: Path) -> Iterator[tuple[int, Row | None]]:
    """The rows that are whole, each with the place where it ends; None for the names of the columns."""
    end = 0
    is_whole = True

    def lines() -> Iterator[str]:
        nonlocal end, is_whole
        for line in content:
            end += len(line)
            is_whole = line.endswith(b"\n")
            yield line.decode("utf-8", "surrogateescape")

    rows = csv.reader(lines())
    for cells in rows:
        if not is_whole or (rows.line_num > 1 and len(cells) < len(CSV_COLUMNS)):
            return
        if rows.line_num == 1:
            if tuple(cells) != CSV_COLUMNS:
                raise AvganError(f"{path}: has other columns than this version; {_ELSEWHERE}")
            yield end, None
        else:
            yield end, dict(zip(CSV_COLUMNS, map(from_cell, cells), strict=False))


def copy_bytes(source: BinaryIO, target: BinaryIO, size: int) -> None:
    """Copy `size` bytes, in pieces."""
    while size > 0 and (piece := source.read(min(size, PIECE_BYTES))):
        target.write(piece)
        size -= len(piece)
