"""When a recording was made, by what recorders write into names and files."""

import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from avgan.audio import AudioStream
from avgan.media.origin import in_name, made_at
from sounds import encoded

MADE = datetime(2024, 5, 1, 4, 30, 0)


def in_zone(hours: float) -> datetime:
    return MADE.replace(tzinfo=timezone(timedelta(hours=hours)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20240501_043000.WAV", MADE),
        ("SITE4_20240501_043000.wav", MADE),
        ("night/2024-05-01T04-30-00.flac", MADE),
        ("2024-05-01 04.30.00.m4a", MADE),
        ("rec20240501043000b.wav", MADE),
        ("20240501_043000Z.wav", MADE.replace(tzinfo=UTC)),
        ("20240501T043000_0.wav", MADE),
        ("PXL_20240501_043000123.mp4", MADE),
        ("20240501T043000+1000_REC [19.2 152.8].flac", in_zone(10)),
        ("20240501T043000-0330.flac", in_zone(-3.5)),
        ("20240501_043000-0100.wav", MADE),  # the hundredth
        ("2024-05-01 04.30.00 PM.m4a", None),  # half past four in the afternoon
        ("20241301_043000.wav", None),  # no such month
        ("20240501_256100.wav", None),
        ("120240501_043000.wav", None),  # a longer number
        ("20240501.wav", None),  # a day only
        ("street.wav", None),
    ],
)
def test_names(name: str, expected: datetime | None) -> None:
    assert in_name(name) == expected


def wav_with(chunk: bytes, content: bytes, *, before: bool) -> bytes:
    whole = encoded(np.zeros(16_000))
    added = chunk + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return whole[:12] + added + whole[12:] if before else whole + added


def bext(date: bytes, time: bytes) -> bytes:
    return bytes(256) + b"recorder".ljust(32, b"\0") + bytes(32) + date + time + bytes(260)


def comment(text: str) -> bytes:
    return b"INFOICMT" + struct.pack("<I", len(text)) + text.encode()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("chunk", "content", "expected"),
    [
        (b"bext", bext(b"2024-05-01", b"04:30:00"), MADE),
        (b"bext", bext(b"2024:05:01", b"04-30-00"), MADE),
        (b"bext", bext(bytes(10), bytes(8)), None),
        (b"LIST", comment("Recorded at 04:30:00 01/05/2024 (UTC) by AudioMoth 24F3 at gain 2"), in_zone(0)),
        (b"LIST", comment("Recorded at 04:30:00 01/05/2024 (UTC+2) by AudioMoth"), in_zone(2)),
        (b"LIST", comment("Recorded at 04:30:00 01/05/2024 (UTC-3:30) by"), in_zone(-3.5)),
        (b"guan", b"GUANO|Version: 1.0\nTimestamp: 2024-05-01T04:30:00+02:00\n", in_zone(2)),
        (b"LIST", comment("a song"), None),
    ],
)
def test_what_recorders_write_into_a_wav(
    tmp_path: Path, chunk: bytes, content: bytes, before: bool, expected: datetime | None
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_with(chunk, content, before=before))
    assert made_at(path) == made_at(path.read_bytes()) == expected
    stream = AudioStream(path)
    assert sum(map(len, stream)) == 16_000
    assert stream.recorded_at == expected
    later = path.rename(tmp_path / "20250101_000000.wav")  # a file says more than its name
    assert made_at(later) == (expected or datetime(2025, 1, 1))


def test_what_cannot_be_read_has_no_time(tmp_path: Path) -> None:
    assert made_at(tmp_path / "none.wav") is None
    assert made_at(tmp_path) is None
    assert made_at(b"") is None
    assert made_at(b"RIFF\xff\xff\xff\xffWAVE" + b"\xff" * 999) is None


@pytest.mark.parametrize("year", [1, 1899, 2100, 9999])
def test_years_of_no_clock_are_no_time(year: int) -> None:
    said = f"INFOICMT....Recorded at 23:59:58 31/12/{year:04} (UTC)".encode()
    assert made_at(wav_with(b"LIST", said, before=False)) is None
