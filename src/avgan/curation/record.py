"""What is known of a video and of each clip cut from it, on its way from a source to the data set; and as Parquet.

Shapes: L samples, C = 2 channels, H W pixels.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from sys import intern
from typing import Any

import numpy as np

from avgan.data.manifest import Labels as Tags
from avgan.data.manifest import labels_of, save_table, schema_of
from avgan.errors import DataError

SOUND_RATE_HZ = 32_000
"""Of the two-channel sound that is kept (Sec. 4); models take it mono at 16 kHz."""
FRAME_WIDTH_PX = 640
"""Of the frame that is kept; models see its central square at 128 px."""

UNIT = "unit"
"""Column of a plan: the number of the unit that a video is in."""
ROWS_PER_GROUP = 10_000
"""Of a plan: what a worker reads to find the few videos of its unit."""
REPEATED = ("video_id", "source_id", "label", "address", "licence", "place")
"""Columns of clips with the same text in many rows: kept once, all clips are in memory together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """Something to be watched: a file, or an address to fetch it from."""

    id: str
    """Unique within a data set, and fit to be the name of a file: letters, digits, `-`, `_` and `.`."""
    path: str = ""
    """Where it lies, where it is a file."""
    sound_path: str = ""
    """Where its sound lies, where that is a file of its own."""
    address: str = ""
    """Where it came from, or is to be fetched from."""
    label: str = ""
    """The scene that its source states; empty where it states none."""
    start_s: float = 0.0
    end_s: float | None = None
    """The stretch that is of interest; None: to the end. Where it is named, there is no intro to skip."""
    source_id: str = ""
    """What belongs together in every split, such as a recording location; the video itself where empty."""
    place: str = ""
    """City or place."""
    licence: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """A clip as it was cut out of its video."""

    start_s: float
    end_s: float
    sound: np.ndarray = field(repr=False)
    """(L, 2) float32 at SOUND_RATE_HZ; both channels alike where the video has one."""
    frames: tuple[np.ndarray, ...] = field(repr=False)
    """Each (H, W, 3) uint8 RGB, upright, at most FRAME_WIDTH_PX wide. The first is the clip's picture."""
    frame_times_s: tuple[float, ...]
    """Of the frames, within the video."""
    thumbnails: tuple[np.ndarray, ...] = field(repr=False)
    """Small pictures (h, w) uint8 of luminance, spread evenly over the clip: what moves in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Numbers about a clip, which the rules decide on (`select`)."""

    motion: float
    """Mean change between frames that are spread over the clip, of full scale; 0 for a still picture."""
    brightness: float
    """Mean of the picture, 0 black to 1 white."""
    contrast: float
    """Standard deviation of the picture's luminance, of full scale; 0 for one plain colour."""
    bars: float
    """Share of the picture that is black bars at its edges."""
    level_db: float
    """Root mean square of the sound against full scale; -120 for digital silence."""
    silent: float
    """Share of tenths of a second that are silent."""
    clipped: float
    """Share of samples on a plateau at full scale."""
    look: str
    """Perceptual hash of the picture: 16 hexadecimal digits, most of them equal for similar pictures."""
    voice: str
    """Perceptual hash of the sound, likewise, 64 hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A clip that may enter the data set: a row of a unit's table."""

    id: str
    """`<video>-<start in ms>`"""
    video_id: str
    source_id: str
    """What it belongs to: the source of its video, or else its video."""
    label: str
    """The scene that the source says."""
    start_s: float
    end_s: float
    frame_s: float
    address: str
    licence: str
    place: str
    audio_sha256: str
    """Of the FLAC file."""
    image_sha256: str
    """Of the JPEG file."""
    measures: Measures
    scenes: Tags = ()
    """The first five of a tagger of pictures."""
    sounds: Tags = ()
    """The first five of a tagger of sounds."""
    music: float = 0.0
    speech: float = 0.0
    """Weight of music and of speech in the sound, in [0, 1], whether among the first five or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A video, or a stretch of one, that gave no clip: what and why."""

    video_id: str
    stage: str
    """acquire or cut"""
    reason: str
    """A word for statistics: too short, damaged, or one of `failures.REASONS`."""
    detail: str = ""
    """One line."""
    address: str = ""
    """Of the video, for people."""


def save_plan(path: Path, units: Iterable[Iterable[Video]], settings: str) -> Path:
    """Write which videos each unit is made of, and `settings`: what else its clips depend on."""
    rows = [{UNIT: number, **asdict(video)} for number, unit in enumerate(units) for video in unit]
    schema = _plan_schema().with_metadata({"avgan.settings": settings})
    return save_table(path, rows, schema, rows_per_group=ROWS_PER_GROUP)


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
    table = _load(path, _plan_schema(), filters=[(UNIT, "=", number)])
    return [Video(**row) for row in table.drop_columns(UNIT).to_pylist()]


def save_clips(path: Path, clips: Iterable[Candidate]) -> Path:
    """Write clips with their measures and tags."""
    return save_table(path, [asdict(clip) for clip in clips], schema_of(Candidate), rows_per_group=ROWS_PER_GROUP)


def load_clips(path: Path) -> list[Candidate]:
    """Read what `save_clips` wrote. Raises DataError where the file is anything else."""
    clips = []
    for row in _load(path, schema_of(Candidate)).to_pylist():
        row |= {name: labels_of(row[name]) for name in ("scenes", "sounds")}
        row |= {name: intern(row[name]) for name in REPEATED}
        clips.append(Candidate(**row | {"measures": Measures(**row["measures"])}))
    return clips


def _plan_schema() -> Any:
    import pyarrow as pa

    return pa.schema([(UNIT, pa.int64()), *schema_of(Video)])


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
