"""A manifest: one row a clip, saying what it is, where it lies and where it came from.

Enters: rows from a data set's reader, or a Parquet file. Leaves: the same rows, selected, split
or saved. Reading a manifest opens no media; paths are relative to `root`, so that a data set may
be moved without changing its checksum.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from sys import intern
from typing import Any

from avgan.errors import DataError
from avgan.files import write_whole

FORMAT = 1
Labels = tuple[tuple[str, float], ...]
"""Names with their weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """An excerpt of a recording or a video, or a single picture."""

    id: str
    """Unique within its manifest."""
    source_id: str
    """What it was cut from (a video, a location, a Freesound file): the unit of every split."""
    label: str = ""
    """Sound or scene; empty when unlabelled."""
    labels: Labels = ()
    """Further labels with their weights, for instance a tagger's."""
    audio_path: str = ""
    """Relative to the root; empty for a picture without sound."""
    image_path: str = ""
    """Relative to the root; for a video the same file as `audio_path`."""
    start_s: float = 0.0
    end_s: float | None = None
    """None: to the end of the file."""
    frame_s: float | None = None
    """Time of the picture within a video; None when `image_path` is a picture."""
    fold: str = ""
    split: str = "train"
    """train, validation, test, or unused: in no part of the official set-up."""
    place: str = ""
    """City or place of the recording."""
    origin: str = ""
    """Collection that its source was found in; recordings of one may share recorder and hand."""
    device: str = ""
    address: str = ""
    licence: str = ""
    audio_sha256: str = ""
    image_sha256: str = ""
    status: str = "kept"
    """kept, or dropped with its `reason`."""
    reason: str = ""


@dataclass(frozen=True)
class Manifest:
    """The clips of one data set below one folder."""

    name: str
    root: Path
    clips: tuple[Clip, ...] = field(repr=False)
    left_out: str = field(default="", repr=False, compare=False)
    """What of the folder is not used and why, in one line."""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for clip in self.clips:
            if clip.id in seen:
                raise DataError(f"{self.name}: clip {clip.id!r} occurs twice; ids must be unique")
            seen.add(clip.id)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels, sorted; unlabelled clips add none."""
        return tuple(sorted({clip.label for clip in self.clips if clip.label}))

    def select(self, keep: Callable[[Clip], bool]) -> "Manifest":
        """Return the manifest of the clips for which `keep` is true, in the same order."""
        return replace(self, clips=tuple(clip for clip in self.clips if keep(clip)))

    def sha256(self) -> str:
        """Return a checksum of the rows, which neither their order nor the root changes."""
        digest = hashlib.sha256()
        for clip in sorted(self.clips, key=lambda clip: clip.id):
            row = asdict(clip)
            if not clip.origin:  # a field that came later: rows without keep the checksum they had
                del row["origin"]
            text = json.dumps(row, sort_keys=True, ensure_ascii=False)
            digest.update(text.encode() + b"\n")
        return digest.hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the rows to a Parquet file, all or nothing, and return its path."""
        schema = schema_of(Clip).with_metadata({"avgan.format": str(FORMAT), "avgan.name": self.name})
        return save_table(path, [asdict(clip) for clip in self.clips], schema)

    @classmethod
    def load(cls, path: str | Path, root: str | Path | None = None) -> "Manifest":
        """Read a manifest saved by `save`; `root` is the file's own folder unless given.

        Raises:
            DataError: the file is missing or is no manifest of this format.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path}: no such manifest; write one with Manifest.save")
        try:
            table = pq.read_table(path)
        except pa.ArrowException as error:
            raise DataError(f"{path}: not a Parquet file that can be read ({error})") from error
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        if metadata.get("avgan.format") != str(FORMAT):
            raise DataError(f"{path}: not a manifest of format {FORMAT}; write it with this version's Manifest.save")
        clips = tuple(Clip(**row | {"labels": labels_of(row["labels"])}) for row in table.to_pylist())
        return cls(metadata["avgan.name"], Path(root) if root else path.parent, clips)


def schema_of(kind: type) -> Any:
    """The Parquet columns of a dataclass, in the order of its fields: text, numbers, labels, further dataclasses."""
    import pyarrow as pa

    def column(kind: Any) -> Any:
        if is_dataclass(kind):
            return pa.struct([(one.name, column(one.type)) for one in fields(kind)])
        if kind == Labels:
            return pa.list_(pa.struct([("name", pa.string()), ("weight", pa.float64())]))
        return {str: pa.string(), int: pa.int64()}.get(kind, pa.float64())

    return pa.schema(list(column(kind)))


def save_table(path: str | Path, rows: list[dict[str, Any]], schema: Any, *, rows_per_group: int | None = None) -> Path:
    """Write rows to a Parquet file, all or nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, row_group_size=rows_per_group)
    return write_whole(path, buffer.getvalue().to_pybytes())


def labels_of(column: Iterable[Mapping[str, Any]]) -> Labels:
    """Labels as Parquet gives them back; each name is in memory once."""
    return tuple((intern(label["name"]), label["weight"]) for label in column)
