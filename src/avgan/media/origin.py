"""When a recording was made: what its recorder wrote into the file, or else into its name."""

import io
import os
import re
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePath
from typing import BinaryIO

HEAD_BYTES = 1 << 16  # comments of FLAC, Ogg and MP3 stand at the beginning
YEARS = range(1900, 2100)  # as in names; others are no clock's, and times in the recording may lie beyond the calendar
MOST_CHUNKS = 1_000
MOST_CHUNK_BYTES = 1 << 20  # comments have kilobytes

_NAMED = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.]?)(\d\d)\2(\d\d)([ T_-]?)(\d\d)([-_.:h]?)(\d\d)[-_.:m]?(\d\d)"
    r"(?:\d{3})?(Z|[+-](?:0\d|1[0-4])(?:00|15|30|45))?(?!\d| ?[AP]M)",  # of clocks of 12 hours nothing is sure
    re.IGNORECASE,
)
_AUDIOMOTH = re.compile(
    rb"Recorded at (\d\d):(\d\d):(\d\d)(?:\.\d+)? (\d\d)/(\d\d)/(\d{4}) \(UTC(?:([+-])(\d{1,2})(?::(\d\d))?)?\)"
)
_GUANO = re.compile(rb"Timestamp: ?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)")


def recorded_at(file: BinaryIO | None, name: str) -> datetime | None:
    """When a recording began: by AudioMoth's comment, GUANO, the bext chunk of a WAV, or the name, in this order.

    It has a time zone where that is stated. Raises OSError where the file cannot be read.
    """
    found = _in_file(file) if file is not None else None
    if found is not None and found.year not in YEARS:
        found = None
    return found or in_name(name)


def made_at(source: object) -> datetime | None:
    """When the recording in a file (its path, or its bytes) began, where the file or its name says so."""
    try:
        if isinstance(source, bytes):
            return recorded_at(io.BytesIO(source), "")
        if isinstance(source, str | os.PathLike) and os.path.isfile(source):
            with open(source, "rb") as file:
                return recorded_at(file, os.fspath(source))
    except (OSError, ValueError):
        pass  # reported where it is decoded
    return None


def in_name(name: str) -> datetime | None:
    """From a name such as SITE_20240501_043000.wav or 2024-05-01T04-30-00Z.flac."""
    for match in _NAMED.finditer(PurePath(name).stem):
        year, _, month, day, middle, hour, _, minute, second, zone = match.groups()
        numbers = map(int, (year, month, day, hour, minute, second))
        made = _made(*numbers, zone=_zone(middle, zone or ""))
        if made is not None:
            return made
    return None


def _zone(middle: str, said: str) -> timezone | None:
    """The time zone that a name says: Z, or as in 20240501T043000+1000; behind another sign than T it is a number."""
    if said.upper() == "Z":
        return UTC
    if not said or middle.upper() != "T":
        return None
    ahead = timedelta(hours=int(said[1:3]), minutes=int(said[3:]))
    return timezone(-ahead if said[0] == "-" else ahead)


def _made(*numbers: int, zone: timezone | None) -> datetime | None:
    try:
        return datetime(*numbers, tzinfo=zone)  # type: ignore[misc,arg-type]
    except ValueError:
        return None


def _in_file(file: BinaryIO) -> datetime | None:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _in_wav(file)
    return _said(head)


def _said(content: bytes) -> datetime | None:
    """What a comment says."""
    if match := _AUDIOMOTH.search(content):
        hour, minute, second, day, month, year, sign, hours, minutes = match.groups()
        ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        zone = timezone(-ahead if sign == b"-" else ahead) if ahead < timedelta(hours=24) else UTC
        return _made(*map(int, (year, month, day, hour, minute, second)), zone=zone)
    if match := _GUANO.search(content):
        try:
            return datetime.fromisoformat(match[1].decode())
        except ValueError:
            return None
    return None


def _in_wav(file: BinaryIO) -> datetime | None:
    """From the chunks of a WAV, which may stand before the sound or behind it."""
    origination = None
    at, large = 12, 0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = struct.unpack("<4sI", head)
        if name in (b"LIST", b"guan", b"bext", b"ds64"):
            content = file.read(min(length, MOST_CHUNK_BYTES))
            if name == b"ds64" and len(content) >= 16:
                large = struct.unpack("<Q", content[8:16])[0]
            elif name == b"bext":
                origination = _origination(content) or _said(content[:256])
            elif said := _said(content):
                return said
        if name == b"data" and length == 0xFFFF_FFFF:
            length = large
        at += 8 + length + length % 2
    return origination


def _origination(content: bytes) -> datetime | None:
    """The date and the time of a bext chunk: 2024-05-01 and 04:30:00, with any signs between."""
    numbers = re.fullmatch(rb"(\d{4})\D(\d\d)\D(\d\d)(\d\d)\D(\d\d)\D(\d\d)", content[320:338])
    return _made(*map(int, numbers.groups()), zone=None) if numbers else None
