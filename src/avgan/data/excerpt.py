"""The sound of a clip: a stretch of a recording or video, without decoding what lies behind it.

It is what `classify` hears there: the same track, clock and channels (`avgan.media`).
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from avgan.audio import AudioStream, Extent, Stretch, extent
from avgan.data.shards import source_of
from avgan.errors import AudioError

KNOWN_FILES = 1 << 17  # of some 300 bytes each: more than anybody trains on


def read_excerpt(path: Path, *, start_s: float, length_s: float, rate_hz: int) -> np.ndarray:
    """Return at most `length_s` of a file from `start_s` on, (L,) float32 mono at `rate_hz`.

    Shorter where the file ends before. A late excerpt of a long file costs no more than an early one once the file was
    heard through, which is done when it is first asked for. The path may lead into a tar.

    Raises:
        AudioError: the file cannot be decoded, or has no sound at `start_s`.
        DataError: the tar that it lies in is damaged.
    """
    enters = start_s <= 0 or extent_of(path).is_steady
    try:
        stream = AudioStream(
            source_of(path), target_rate_hz=rate_hz, stretch=Stretch(start_s, length_s, enters)
        )
    except OSError as error:
        raise _unreadable(path, error) from error
    blocks = list(stream)
    return np.concatenate(blocks)


def extent_of(path: Path) -> Extent:
    """Where a file holds sound; it is heard through once, for as long as it stays the same.

    Raises as `read_excerpt`.
    """
    try:
        status = path.stat()
    except OSError:  # within a tar, or not there, which opening it tells
        return _extent(path, None)
    return _extent(path, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=KNOWN_FILES)
def _extent(path: Path, state: tuple[int, int] | None) -> Extent:
    try:
        return extent(source_of(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> AudioError:
    return AudioError(f"{path}: cannot be read ({error.strerror}); replace it or drop its clips")
