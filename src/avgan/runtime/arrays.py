"""Arrays from the files of a bundle, of which no more is made than they hold and nothing runs; and noise from a seed.

Shapes: Z noise.
"""

import io
import math
import zipfile

import numpy as np

MAX_UNPACKED = 64
"""How much larger arrays may be than the file they are packed in; code maps are two to twenty times."""
FREE_BYTES = 1 << 20


def load_array(content: bytes) -> np.ndarray:
    """The array of a .npy file. Raises ValueError where it is damaged, or is said to be larger than the file."""
    try:
        return _load(content)
    except Exception as error:  # numpy's readers share no narrower base
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from None


def load_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name. Raises ValueError where it is damaged or unpacks to too much."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            most = FREE_BYTES + MAX_UNPACKED * len(content)
            if sum(member.file_size for member in members) > most:
                raise ValueError(f"it unpacks to more than {most:,} bytes")
            return {member.filename.removesuffix(".npy"): _load(archive.read(member)) for member in members}
    except Exception as error:  # numpy's readers share no narrower base
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from None


def _load(content: bytes) -> np.ndarray:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if math.prod(shape) * dtype.itemsize > len(content):
        raise ValueError(f"an array {shape} is more than the file holds")
    file.seek(0)
    array: np.ndarray = np.load(file, allow_pickle=False)
    return array


def noise_of(seed: int, size: int) -> np.ndarray:
    """Standard normal numbers (Z,) float32 of a seed, which is at least 0."""
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)
