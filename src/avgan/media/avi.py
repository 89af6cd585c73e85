"""When the sound of an AVI file begins, which its headers do not say and FFmpeg does not look for.

An AVI has no time stamps: sound stands beside the pictures that it belongs to, and what begins late has pictures before
it. Nothing is decoded here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MOST_HEADER_BYTES = 1 << 20
MOST_LISTS, MOST_TRACKS = 1_000, 100
MOST_CHUNKS = 100_000  # before the sound: half an hour of pictures and of empty chunks
LEAST_LATE_S = 1.0  # recorders write sound up to about a second behind its pictures
HEADER_BYTES = 48  # of a track, as far as it is read here


@dataclass(frozen=True)
class _Track:
    """What a header says of a track."""

    is_sound: bool
    step_s: float
    """How long a unit lasts: a picture, a sample, or a frame of a codec."""
    unit_bytes: int
    """0: each chunk is a unit, whatever its length."""


def late_s(file: BinaryIO, index: int) -> float:
    """How long after the beginning of an AVI the first sound of the track of that number comes; 0 where it does not.

    The file stands afterwards where it stood before.
    """
    at = file.tell()
    try:
        tracks, first_chunk = _headers(file)
        if index >= len(tracks) or not tracks[index].is_sound:
            return 0.0
        return _late_s(_chunks(file, first_chunk), tracks, index)
    except (struct.error, ValueError, ZeroDivisionError):
        return 0.0
    finally:
        file.seek(at)


def _late_s(chunks: Iterator[tuple[int, bytes, int]], tracks: list[_Track], index: int) -> float:
    sound = tracks[index]
    pictures_s = 0.0
    for number, kind, length in chunks:
        if number == index and length:
            lasts_s = sound.step_s * (length // sound.unit_bytes if sound.unit_bytes else 1)
            behind_s = pictures_s - lasts_s  # a chunk may follow the pictures that it belongs to
            # Where all pictures come before all sound, their places tell nothing.
            is_woven = any(kind in (b"dc", b"db") for _, kind, _ in chunks)
            return behind_s if behind_s >= LEAST_LATE_S and is_woven else 0.0
        if kind in (b"dc", b"db") and number < len(tracks):
            pictures_s += tracks[number].step_s
    return 0.0


def _headers(file: BinaryIO) -> tuple[list[_Track], int]:
    """The tracks, and where the first chunk of the content stands. Raises ValueError where there is none."""
    tracks: list[_Track] = []
    at = 12
    for _ in range(MOST_LISTS):
        head = _read(file, at, 12)
        if len(head) < 12:
            break
        length = struct.unpack("<I", head[4:8])[0]
        if head[:4] == b"LIST" and head[8:] == b"hdrl":
            content = _read(file, at, min(length + 8, MOST_HEADER_BYTES))
            place = -1
            while (place := content.find(b"strh", place + 1)) >= 0 and len(tracks) < MOST_TRACKS:
                header = content[place + 8 : place + 8 + HEADER_BYTES]
                scale, rate = struct.unpack("<II", header[20:28])
                unit_bytes = struct.unpack("<I", header[44:48])[0]
                tracks.append(_Track(header[:4] == b"auds", scale / rate, unit_bytes))
        if head[:4] == b"LIST" and head[8:] == b"movi":
            return tracks, at + 12
        at += 8 + length + length % 2
    raise ValueError("no content")


def _chunks(file: BinaryIO, at: int) -> Iterator[tuple[int, bytes, int]]:
    """Track, kind (wb: sound, dc and db: pictures) and length of each chunk, one after the other."""
    for _ in range(MOST_CHUNKS):
        head = _read(file, at, 8)
        if len(head) < 8:
            return
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        if name in (b"LIST", b"RIFF"):  # groups of chunks, and further parts of a large file
            at += 12
            continue
        if name[:2].isdigit():
            yield int(name[:2]), name[2:], length
        at += 8 + length + length % 2


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
