"""Videos and clips as Parquet: the plan of the work, and what each unit of it found."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from sys import intern
from typing import Any

from avgan.curation.record import Candidate, Measures, Video
from avgan.errors import DataError
from avgan.files import write_whole

UNIT = "unit"
"""Column of a plan: the number of the unit that a video is in."""
ROWS_PER_GROUP = 10_000
"""Of a plan: what a worker reads to find the few videos of its unit."""

REPEATED = ("video_id", "source_id", "label", "address", "licence", "place")
"""Columns of clips with the same text in many rows: kept once, all clips are in memory together."""


def save_plan(path: Path, units: Iterable[Iterable[Video]], settings: str) -> Path:
    """Write which videos each unit is made of, and `settings`: what else its clips depend on."""
    rows = [{UNIT: number, **asdict(video)} for number, unit in enumerate(units) for video in unit]
    return _save(path, rows, _plan_schema().with_metadata({"avgan.settings": settings}))


def load_plan(path: Path) -> tuple[list[list[Video]], str]:
    """The videos of each unit, and the settings. Raises DataError where that is not in the file."""
    table = _load(path, _plan_schema())
    units: list[list[Video]] = []
    for row in table.to_pylist():
        number = row.pop(UNIT)
        units.extend([] for _ in range(number + 1 - len(units)))
        units[number].append(Video(**row))
    return units, (table.schema.metadata or {}).get(b"avgan.settings", b"").decode()


def load_unit(path: Path, number: int) -> list[Video]:
    """The videos of one unit of a plan; the rest of the file is not read."""
    rows = _load(path, _plan_schema(), filters=[(UNIT, "=", number)]).to_pylist()
    return [Video(**{name: value for name, value in row.items() if name != UNIT}) for row in rows]


def save_clips(path: Path, clips: Iterable[Candidate]) -> Path:
    """Write clips with their measures and tags."""
    return _save(path, [asdict(clip) for clip in clips], _clip_schema())


def load_clips(path: Path) -> list[Candidate]:
    """Read what `save_clips` wrote. Raises DataError where the file is anything else."""
    return [_clip_of_row(row) for row in _load(path, _clip_schema()).to_pylist()]


def _clip_of_row(row: dict[str, Any]) -> Candidate:
    for kind in ("scenes", "sounds"):
        row[kind] = tuple((intern(tag["name"]), tag["weight"]) for tag in row[kind])
    for name in REPEATED:
        row[name] = intern(row[name])
    return Candidate(**{**row, "measures": Measures(**row["measures"])})


@cache
def _plan_schema() -> Any:
    import pyarrow as pa

    return pa.schema([(UNIT, pa.int64()), *_columns(Video, {})])


@cache
def _clip_schema() -> Any:
    import pyarrow as pa

    tags = pa.list_(pa.struct([("name", pa.string()), ("weight", pa.float64())]))
    measures = pa.struct(_columns(Measures, {}))
    return pa.schema(_columns(Candidate, {"measures": measures, "scenes": tags, "sounds": tags}))


def _columns(record: type, kinds: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A column for each field: text or a number, unless `kinds` says otherwise."""
    import pyarrow as pa

    columns = []
    for field in fields(record):
        number = pa.float64() if "float" in str(field.type) else pa.string()
        columns.append((field.name, kinds.get(field.name, number)))
    return columns


def _save(path: Path, rows: list[dict[str, Any]], schema: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    table = pa.Table.from_pylist([_plain(row) for row in rows], schema=schema)
    pq.write_table(table, buffer, row_group_size=ROWS_PER_GROUP)
    return write_whole(path, buffer.getvalue().to_pybytes())


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Tags as the pairs that the schema asks for."""
    tags: dict[str, Any] = {
        kind: [{"name": name, "weight": weight} for name, weight in row[kind]]
        for kind in ("scenes", "sounds")
        if kind in row
    }
    return {**row, **tags}


def _load(path: Path, schema: Any, filters: Any = None) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, filters=filters)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read ({reason}); delete it and run again") from None
    if not table.schema.equals(schema):
        raise DataError(f"{path}: was made by another version; delete its folder and run again")
    return table
