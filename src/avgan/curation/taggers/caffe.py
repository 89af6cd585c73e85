"""The weights of a Caffe model, read from its protocol buffer without Caffe.

A message is a row of fields: a key (number and kind of the field), then its value. What is needed of Caffe's schema:

    NetParameter    layer = 100 (LayerParameter)
                    layers = 2  (V1LayerParameter, before 2015)
    LayerParameter  name = 1, blobs = 7      V1LayerParameter  name = 4, blobs = 6
    BlobProto       num = 1, channels = 2, height = 3, width = 4, data = 5 (float32), shape = 7
    BlobShape       dim = 1
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avgan.errors import DataError

_VARINT, _64_BIT, _BYTES, _32_BIT = 0, 1, 2, 5
_OLD_SHAPE = (1, 2, 3, 4)  # num, channels, height, width


def read_caffe(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a .caffemodel as `<layer>.weight` and `<layer>.bias`, float32, read-only parts of the file.

    Layers without weights are left out.

    Raises:
        DataError: it is no such file, or a damaged one.
    """
    try:
        with path.open("rb") as file:
            # mapped, not read: VGG16 has half a gigabyte, which the caller will hold once more
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        arrays = dict(_arrays(content))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a whole Caffe model ({error}); download it again") from None
    if not arrays:
        raise DataError(f"{path}: not a Caffe model with weights; download it again")
    return arrays


def _arrays(content: memoryview) -> Iterator[tuple[str, np.ndarray]]:
    for number, message in _fields(content):
        if number not in (100, 2) or not isinstance(message, memoryview):
            continue
        name_field, blob_field = (1, 7) if number == 100 else (4, 6)
        name, blobs = "", []
        for part, value in _fields(message):
            if isinstance(value, memoryview) and part == name_field:
                name = bytes(value).decode()
            elif isinstance(value, memoryview) and part == blob_field:
                blobs.append(_blob(value))
        yield from zip((f"{name}.weight", f"{name}.bias"), blobs, strict=False)


def _blob(message: memoryview) -> np.ndarray:
    old: dict[int, int] = {}
    shape: list[int] = []
    data = np.empty(0, np.float32)
    for number, value in _fields(message):
        if isinstance(value, int) and number in _OLD_SHAPE:
            old[number] = value
        elif isinstance(value, memoryview) and number == 5:
            data = np.frombuffer(value, "<f4")
        elif isinstance(value, memoryview) and number == 7:
            shape = [dim for _, part in _fields(value) for dim in _dimensions(part)]
    shape = shape or [old.get(number, 1) for number in _OLD_SHAPE]
    if math.prod(shape) != data.size:
        raise ValueError(f"{data.size} numbers for the shape {shape}")
    return data.reshape(shape)


def _dimensions(part: memoryview | int) -> Iterator[int]:
    """One number, or several packed into bytes."""
    if isinstance(part, int):
        yield part
        return
    position = 0
    while position < len(part):
        value, position = _varint(part, position)
        yield value


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Numbers of the fields of a message with their values; those of fixed width are skipped."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield number, value
        elif kind == _BYTES:
            length, position = _varint(message, position)
            if position + length > len(message):
                raise ValueError("it ends too early")
            yield number, message[position : position + length]
            position += length
        elif kind in (_64_BIT, _32_BIT):
            position += 8 if kind == _64_BIT else 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(message):
            raise ValueError("it ends too early")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than 64 bits")
