"""A list of addresses, or of YouTube's ids, with what is known of each: CSV, JSON Lines, or one a line.

    address,label,start,end,place,licence
    https://www.youtube.com/watch?v=aqz-KE-bpKQ,park,10,70,Amsterdam,CC BY
    aqz-KE-bpKQ,park,1:20,1:50,,

Only the address is needed; names that public lists use for a column are known too (`COLUMNS`).
"""

import csv
import glob
import math
import re
from collections.abc import Iterator
from pathlib import Path

from avgan.archive.sources import json_rows
from avgan.curation.record import Video
from avgan.curation.sources.source import Source, id_of, read_list, scene_of
from avgan.curation.youtube import YOUTUBE_ID, host_in, youtube_address, youtube_id_in
from avgan.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")

COLUMNS = {
    "address": ("address", "url", "link", "webpage_url"),
    "id": ("id", "youtube_id", "ytid", "video_id"),
    "path": ("path", "file", "filename"),
    "label": ("label", "scene", "category"),
    "start": ("start", "start_s", "start_seconds"),
    "end": ("end", "end_s", "end_seconds"),
    "source": ("source_id", "source"),
    "place": ("place", "city", "location"),
    "licence": ("licence", "license"),
    "title": ("title",),
}
"""What we call a column, and what others do; the first that a row fills counts."""

Row = dict[str, str]


def _matches(named: str) -> bool:
    path = Path(named)
    is_list = path.suffix.lower() in SUFFIXES and not path.is_dir() and not glob.has_magic(named)
    return is_list or named.startswith(("http://", "https://"))


def _find(named: str) -> list[Video]:
    path = Path(named)
    rows = [{"address": named}] if "://" in named else list(_rows(path))
    videos: dict[str, Video] = {}
    for number, row in enumerate(rows, 1):
        try:
            video = _video(row, path.parent)
        except ValueError as error:
            raise DataError(f"{named}: row {number}: {error}") from None
        known = videos.setdefault(video.id, video)
        if known.label != video.label:
            raise DataError(
                f"{named}: row {number}: {video.address or video.path} is there twice, as {known.label!r} and as "
                f"{video.label!r}; decide for one"
            )
    if not videos:
        raise DataError(f"{named}: no row; write one address a line, or a table with 'address'")
    return [videos[key] for key in sorted(videos)]


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a list, each with the columns that it fills, as COLUMNS calls them."""
    lines = read_list(path, "save it as UTF-8").splitlines()
    kind = path.suffix.lower()
    if kind == ".txt":
        lines_said = (line.split("#", 1)[0] if line.startswith("#") else line for line in lines)
        yield from ({"address": line.strip()} for line in lines_said if line.strip())
        return
    found = json_rows(path, lines) if kind in (".jsonl", ".ndjson") else _csv_rows(path, lines)
    yield from map(_ours, found)


def _csv_rows(path: Path, lines: list[str]) -> Iterator[dict[str, object]]:
    """Delimited by what the header has most of: programs for tables write semicolons in half of Europe."""
    header = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    try:
        rows = list(csv.DictReader(lines, delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path}: not a table that can be read ({error})") from None
    names = {_spelt(name) for name in header.split(delimiter)}
    if not names & {*COLUMNS["address"], *COLUMNS["id"], *COLUMNS["path"]}:
        raise DataError(f"{path}: its first line names no column 'address', 'id' or 'path'; add a header")
    yield from ({str(key): value for key, value in row.items()} for row in rows)


def _spelt(name: str) -> str:
    """A column's name without what people put around it."""
    return re.sub(r"\W+", "_", name.strip().strip("#\"'").strip()).lower()


def _ours(row: dict[str, object]) -> Row:
    spelt = {_spelt(key): str(value).strip() for key, value in row.items() if isinstance(value, str | int | float)}
    filled = {ours: next(filter(None, map(spelt.get, names)), "") for ours, names in COLUMNS.items()}
    return {ours: value for ours, value in filled.items() if value}


def _video(row: Row, folder: Path) -> Video:
    """Raises ValueError, which says what is wrong with the row."""
    start_s, end_s = _seconds(row.get("start", "")) or 0.0, _seconds(row.get("end", ""))
    if end_s is not None and end_s <= start_s:
        raise ValueError(f"ends at {end_s:g} s, before it starts at {start_s:g} s")
    base, address, path = _whereabouts(row, folder)
    # Stretches of one video are videos of their own, of one source.
    ends = "" if end_s is None else f"-{round(1000 * end_s)}"
    stretch = f"-{round(1000 * start_s)}{ends}" if start_s or ends else ""
    return Video(
        id=base + stretch,
        path=path,
        address=address,
        label=scene_of(row.get("label", "")),
        start_s=start_s,
        end_s=end_s,
        source_id=row.get("source", "") or base,
        place=row.get("place", ""),
        licence=row.get("licence", ""),
        title=row.get("title", ""),
    )


def _whereabouts(row: Row, folder: Path) -> tuple[str, str, str]:
    """Id without the stretch, address, path. Raises ValueError."""
    address, name = row.get("address", ""), row.get("id", "")
    if YOUTUBE_ID.fullmatch(address):
        address = youtube_address(address)
    if not address and "path" in row:
        return id_of(name or row["path"]), "", str(folder / row["path"])
    if not address and not name:
        raise ValueError("names no address, no id and no path")
    if not address:
        if not YOUTUBE_ID.fullmatch(name):
            raise ValueError(f"{name!r} is no id of YouTube's, which have 11 characters")
        address = youtube_address(name)
    if not host_in(address):
        raise ValueError(f"{address!r} is no address; it begins with http:// or https://")
    return youtube_id_in(address) or id_of(name or address), address, ""


def _seconds(text: str) -> float | None:
    """Seconds of `75`, `75.5`, `1:15` or `0:01:15`; None of nothing. Raises ValueError."""
    if not text:
        return None
    seconds = 0.0
    try:
        for part in text.split(":"):
            seconds = 60.0 * seconds + float(part)
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds < math.inf or text.count(":") > 2:
        raise ValueError(f"{text!r} is no time; write seconds or h:mm:ss")
    return seconds


ADDRESSES = Source(
    name="addresses",
    names="an address, or a list of addresses (CSV, JSON Lines, or one a line)",
    matches=_matches,
    find=_find,
)
