"""What a caller hands over -> an open file, or blocks of samples; or one line that says what to pass instead.

Shapes: L samples, C channels.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from avgan.errors import AudioError
from avgan.media import BLOCK_SAMPLES, Block, first_line, to_float

_FULL_SCALE_TYPES = (np.uint8, np.int16, np.int32)  # the integers whose full scale is agreed on


def open_source(source: str | os.PathLike[str] | bytes | BinaryIO, name: str) -> BinaryIO:
    """Open a source as a seekable binary file; one that cannot seek (a pipe) is read into memory."""
    if isinstance(source, bytes | bytearray | memoryview):
        file: BinaryIO = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        if Path(source).is_dir():
            raise AudioError(f"{name}: is a folder; name a sound file in it")
        try:
            file = open(source, "rb")  # noqa: SIM115 (closed by the one who decodes)
        except FileNotFoundError:
            raise AudioError(f"{name}: no such file; check the path") from None
        except (OSError, ValueError) as error:
            raise AudioError(f"{name}: cannot be read ({first_line(error)})") from None
    else:
        # The caller's file stays open, and is read from where it stands.
        content = source.read() if hasattr(source, "read") else None
        if not isinstance(content, bytes):
            raise AudioError(
                f"{type(source).__name__}: not a sound; pass a path, bytes, a file opened in "
                "binary mode, or an array"
            )
        if not content and _was_read(source):
            raise AudioError(
                f"{name}: was read to its end before, nothing is left; rewind it with seek(0)"
            )
        file = io.BytesIO(content)
    if not file.seekable():
        with file:
            file = io.BytesIO(file.read())
    if file.seek(0, os.SEEK_END) == 0:
        file.close()
        raise AudioError(f"{name}: the file is empty; record or copy it again")
    return file


def _was_read(source: BinaryIO) -> bool:
    """Whether a file object stands behind something that it holds."""
    try:
        return source.seekable() and source.tell() > 0
    except (AttributeError, OSError, ValueError):
        return False


def array_blocks(samples: np.ndarray, rate_hz: float) -> Iterator[Block]:
    """Blocks (L, C) of an array (L,), (L, C) or (C, L); channels are the smaller axis."""
    if np.ma.is_masked(samples):
        raise AudioError("an array with masked samples: fill them first, such as with .filled(0)")
    samples = np.asarray(samples)
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, (int, float, np.number)):
        raise AudioError(f"rate_hz {rate_hz!r}: pass a number of hertz, such as 44100")
    if samples.ndim not in (1, 2):
        raise AudioError(
            f"an array of shape {samples.shape}: samples must be (L,), (L, C) or (C, L)"
        )
    dtype = samples.dtype.newbyteorder("=")
    if dtype.kind != "f" and dtype not in _FULL_SCALE_TYPES:
        raise AudioError(
            f"an array of {samples.dtype} has no known full scale; pass float in [-1, 1] or int16"
        )
    if not samples.size:
        raise AudioError(f"an array of shape {samples.shape}: holds no sound (0 samples)")
    if dtype == np.int32 and 0 < _largest(samples) <= 1 << 15:
        raise AudioError(
            "an array of int32 whose samples fit 16 bits would be 96 dB too quiet; pass it as int16"
        )
    if samples.ndim == 1:
        samples = samples[:, None]
    elif samples.shape[0] < samples.shape[1]:
        samples = samples.T
    starts = range(0, len(samples), BLOCK_SAMPLES)
    return (Block(to_float(samples[i : i + BLOCK_SAMPLES]), float(rate_hz)) for i in starts)


def _largest(samples: np.ndarray) -> int:
    return max(int(samples.max()), -int(samples.min()))
