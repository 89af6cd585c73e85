"""Clips -> arrays: the waveforms and pictures of any indices in any order, decoded once if possible.

What is decoded is kept as integers until the cache is full; beyond that it is decoded whenever it
is asked for. Both ways give the same values, so a result never depends on the size of the cache.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from avgan.audio import AudioStream, Extent, Stretch, extent, fit
from avgan.data.manifest import Clip, Manifest
from avgan.data.shards import find_shard, source_of
from avgan.errors import AudioError, ImageError
from avgan.images import read_frame, read_image

CACHE_BYTES = 1 << 30
INT16_PEAK = 32767.0
KNOWN_FILES = 1 << 17  # of some 300 bytes each: more than anybody trains on

Indices = Sequence[int] | np.ndarray


class RowCache:
    """Rows of one shape, decoded by a few threads and kept in the order in which they were asked.

    Decoders release the interpreter's lock, so threads decode in parallel on shared memory.
    """

    def __init__(self, decode: Callable[[int], np.ndarray], *, cache_bytes: int) -> None:
        self._decode = decode
        self._bytes_left = cache_bytes
        self._rows: dict[int, np.ndarray] = {}
        self._ahead: dict[int, Future[np.ndarray]] = {}
        self._pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))

    def rows(self, indices: Indices) -> list[np.ndarray]:
        """Return the rows of the indices, repeated ones included."""
        wanted = [int(index) for index in indices]
        self.prefetch(wanted)
        fresh = {index: self._ahead.pop(index).result() for index in dict.fromkeys(wanted) if index in self._ahead}
        rows = [self._rows[index] if index in self._rows else fresh[index] for index in wanted]
        for index, row in fresh.items():
            if row.nbytes <= self._bytes_left:
                self._bytes_left -= row.nbytes
                self._rows[index] = row
        return rows

    def prefetch(self, indices: Indices) -> None:
        """Begin to decode what the next rows, of these indices, will need."""
        for index in map(int, indices):
            if index not in self._rows and index not in self._ahead:
                self._ahead[index] = self._pool.submit(self._decode, index)


class WaveformStore(RowCache):
    """The first `window_s` of every clip as a waveform of one length."""

    def __init__(self, manifest: Manifest, *, rate_hz: int, window_s: float, cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__(self._waveform, cache_bytes=cache_bytes)
        self._manifest = manifest
        self._rate_hz = rate_hz
        self._window_s = window_s
        self._cache_bytes = cache_bytes
        self.num_samples = round(window_s * rate_hz)

    def __len__(self) -> int:
        return len(self._manifest)

    def part(self, indices: Indices) -> "WaveformStore":
        """Return a store of some of the clips."""
        return WaveformStore(
            _part(self._manifest, indices),
            rate_hz=self._rate_hz,
            window_s=self._window_s,
            cache_bytes=self._cache_bytes,
        )

    def get(self, indices: Indices) -> np.ndarray:
        """Return waveforms (B, L) float32 in [-1, 1]; short clips are repeated, as a bundle does with them.

        Raises:
            AudioError: a file is missing or cannot be decoded.
        """
        waveforms = self.raw(indices).astype(np.float32)
        waveforms /= INT16_PEAK
        return waveforms

    def raw(self, indices: Indices) -> np.ndarray:
        """The same as integers: (B, L) int16, INT16_PEAK is 1."""
        rows = self.rows(indices)
        return np.array(rows, dtype=np.int16).reshape(len(rows), self.num_samples)

    def _waveform(self, index: int) -> np.ndarray:
        """(L,) int16: half the memory of float32, 98 dB of range, more than the recordings have."""
        clip = self._manifest.clips[index]
        length_s = self._window_s
        if clip.end_s is not None:
            length_s = min(length_s, clip.end_s - clip.start_s)
        waveform = read_excerpt(
            self._manifest.root / clip.audio_path, start_s=clip.start_s, length_s=length_s, rate_hz=self._rate_hz
        )[: self.num_samples]
        filled = fit(waveform, self.num_samples, fill="repeat")
        return np.rint(np.clip(filled, -1.0, 1.0) * INT16_PEAK).astype(np.int16)


class ImageStore(RowCache):
    """The picture of every clip: a photograph, or the frame of a video at `frame_s`."""

    def __init__(self, manifest: Manifest, *, cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__(lambda index: picture_of(manifest.clips[index], manifest.root), cache_bytes=cache_bytes)
        self._manifest = manifest
        self._cache_bytes = cache_bytes

    def __len__(self) -> int:
        return len(self._manifest)

    def part(self, indices: Indices) -> "ImageStore":
        """Return a store of some of the pictures."""
        return ImageStore(_part(self._manifest, indices), cache_bytes=self._cache_bytes)

    def get(self, indices: Indices) -> np.ndarray:
        """Return pictures (B, 3, 128, 128) uint8 RGB.

        Raises:
            ImageError: a file is missing or cannot be read.
        """
        rows = self.rows(indices)
        return np.array(rows, dtype=np.uint8).reshape(len(rows), 3, 128, 128)

    def sha256(self, indices: Indices) -> str:
        """Hash of where pictures lie and of their files' sizes and times; none is opened.

        Raises:
            ImageError: a file is missing.
        """
        digest = hashlib.sha256()
        for index in indices:
            clip = self._manifest.clips[int(index)]
            path = self._manifest.root / clip.image_path
            shard = find_shard(path)
            try:
                status = (path if shard is None else shard[0]).stat()
            except OSError as error:
                raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from None
            identity = (clip.id, clip.image_path, clip.frame_s, status.st_size, status.st_mtime_ns)
            digest.update(repr(identity).encode())
        return digest.hexdigest()


def picture_of(clip: Clip, root: Path) -> np.ndarray:
    """The picture of a clip (3, 128, 128) uint8 RGB, from a file, a video or a tar.

    Raises:
        ImageError: it is missing or cannot be read.
        DataError: the tar that it lies in is damaged.
    """
    path = root / clip.image_path
    if clip.frame_s is not None:
        return read_frame(path, clip.frame_s)
    try:
        return read_image(source_of(path))
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from None


def _part(manifest: Manifest, indices: Indices) -> Manifest:
    return replace(manifest, clips=tuple(manifest.clips[int(index)] for index in indices))


def read_excerpt(path: Path, *, start_s: float, length_s: float, rate_hz: int) -> np.ndarray:
    """Return at most `length_s` of a file from `start_s` on, (L,) float32 mono at `rate_hz`.

    Shorter where the file ends before. A late excerpt of a long file costs no more than an early one once the file was
    read through, which is done when it is first asked for. The path may lead into a tar.

    Raises:
        AudioError: the file cannot be decoded, or has no sound at `start_s`.
        DataError: the tar that it lies in is damaged.
    """
    enters = start_s <= 0 or extent_of(path).is_steady
    try:
        stream = AudioStream(source_of(path), target_rate_hz=rate_hz, stretch=Stretch(start_s, length_s, enters))
    except OSError as error:
        raise _unreadable(path, error) from error
    blocks = list(stream)
    return np.concatenate(blocks)


def extent_of(path: Path) -> Extent:
    """Where a file holds sound; it is read through once, for as long as it stays the same.

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
