"""What a caller hands over -> an open file -> blocks of samples; or one line that says why not.

Which decoder reads what: libsndfile mono and stereo of WAV, AIFF, AU, FLAC and Ogg; FFmpeg all else, for it knows
time stamps, tracks, what each channel is, and WAV files whose header says too little.

Shapes: L samples, C channels.
"""

import io
import itertools
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from avgan.errors import AudioError
from avgan.media import (
    BLOCK_SAMPLES,
    BLOCK_VALUES,
    DAMAGED,
    Block,
    SeekSafeFile,
    Slice,
    first_line,
    note_once,
    to_float,
)
from avgan.media.structure import REST_BYTES, Part, next_start, part_at
from avgan.media.tracks import DECODE_ERRORS, avi_late_s, choose_track, open_sound, track_blocks

_FULL_SCALE_TYPES = (np.uint8, np.int16, np.int32)  # the integers whose full scale is agreed on
UNFINISHED = "its header does not say how long it is, or says too little: read to the end of the file"
UNHEARD_OF_HZ = 10**12
UNREAD_SHARE = 0.02  # of a file, behind its stated end: more than tags
UNKNOWN_FRAMES = 1 << 62  # libsndfile's count where a header says none
# First bytes of what libsndfile reads: WAV, AIFF, AU, FLAC, Ogg. It knows more, but takes noise for some of it
# (HTK, MPEG), complains about the rest on standard error itself, and takes the floats of a W64 for integers.
_SOUNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"fLaC", b"OggS")


def open_source(source: str | os.PathLike[str] | bytes | BinaryIO, name: str) -> BinaryIO:
    """Open a source as a seekable binary file; one that cannot seek (a pipe) is read into memory."""
    if isinstance(source, bytes | bytearray | memoryview):
        file: BinaryIO = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        if Path(source).is_dir():
            raise AudioError(f"{name}: is a folder; name a sound file in it")
        try:
            file = open(source, "rb")  # noqa: SIM115 (closed by `decode`)
        except FileNotFoundError:
            raise AudioError(f"{name}: no such file; check the path") from None
        except (OSError, ValueError) as error:
            raise AudioError(f"{name}: cannot be read ({first_line(error)})") from None
    else:
        # The caller's file stays open, and is read from where it stands.
        try:
            content = source.read() if hasattr(source, "read") else None
        except (OSError, ValueError) as error:  # such as one that was closed
            raise AudioError(f"{name}: cannot be read ({first_line(error)})") from None
        if not isinstance(content, bytes):
            raise AudioError(
                f"{type(source).__name__}: not a sound; pass a path, bytes, a file opened in binary mode, or an array"
            )
        if not content and _was_read(source):
            raise AudioError(f"{name}: was read to its end before, nothing is left; rewind it with seek(0)")
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
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, (int, float, np.integer, np.floating)):
        raise AudioError(f"rate_hz {rate_hz!r}: pass a number of hertz, such as 44100")
    rate_hz = min(rate_hz, UNHEARD_OF_HZ)  # of an integer with hundreds of digits there is no float
    if samples.ndim not in (1, 2):
        raise AudioError(f"an array of shape {samples.shape}: samples must be (L,), (L, C) or (C, L)")
    dtype = samples.dtype.newbyteorder("=")
    if dtype.kind != "f" and dtype not in _FULL_SCALE_TYPES:
        raise AudioError(f"an array of {samples.dtype} has no known full scale; pass float in [-1, 1] or int16")
    if not samples.size:
        raise AudioError(f"an array of shape {samples.shape}: holds no sound (0 samples)")
    largest = max(int(samples.max()), -int(samples.min())) if dtype == np.int32 else 0
    if 0 < largest <= 1 << 15:
        raise AudioError("an array of int32 whose samples fit 16 bits would be 96 dB too quiet; pass it as int16")
    if samples.ndim == 1:
        samples = samples[:, None]
    elif samples.shape[0] < samples.shape[1]:
        samples = samples.T
    starts = range(0, len(samples), BLOCK_SAMPLES)
    return (Block(to_float(samples[i : i + BLOCK_SAMPLES]), float(rate_hz)) for i in starts)


@dataclass(frozen=True)
class Stretch:
    """The part of a file that is wanted, in seconds on its own clock."""

    start_s: float
    length_s: float
    enters: bool = True
    """Whether the file may be entered in its middle (see `audio.Extent.is_steady`)."""


def decode(
    file: BinaryIO, name: str, notes: list[str], *, track: int | None = None, stretch: Stretch | None = None
) -> Iterator[Block]:
    """Decode an open, seekable file, and close it; what came before a damage in it is kept, and noted in `notes`.

    `track`: the number of the sound track, from 1; None: the one marked as default, or the first that is not silent.
    Times are the file's own: where it says that there is no sound, silence is given. Files joined end to end are
    given one after the other. Raises AudioError, which calls the file `name`, where there is nothing to be had.

    `stretch`: only this of it; nothing where the file ends before. What can be entered is not decoded up to there.
    """
    with file:
        job = _Job(name, notes, track)
        if stretch is None:
            yield from _parts(file, job)
            return
        num_blocks = 0
        if stretch.enters and stretch.start_s > 0:
            entering = replace(job, notes=[], start_s=stretch.start_s)
            with suppress(AudioError):
                for block in _limited(_parts(file, entering), 0.0, stretch.length_s):
                    num_blocks += 1
                    yield block
        if not num_blocks:
            yield from _limited(_parts(file, job), stretch.start_s, stretch.length_s)


def _limited(blocks: Iterator[Block], start_s: float, length_s: float) -> Iterator[Block]:
    """What lies from `start_s` on in blocks that follow each other, and no more than `length_s` of it."""
    at_s = 0.0
    for block in blocks:
        first, stop = (max(0, round((time_s - at_s) * block.rate_hz)) for time_s in (start_s, start_s + length_s))
        at_s += len(block.samples) / block.rate_hz
        if first < min(stop, len(block.samples)):
            yield block._replace(samples=block.samples[first:stop])
        if stop <= len(block.samples):
            return


@dataclass(frozen=True)
class _Job:
    """What is decoded: its name in messages, where notes go, which track is wanted, and from when on."""

    name: str
    notes: list[str]
    track: int | None = None
    ignore_length: bool = False
    start_s: float = 0.0
    part: int = 0


def _parts(file: BinaryIO, job: _Job) -> Iterator[Block]:
    """The blocks of all files that were joined to one; none where one of several would have to be entered."""
    start: int | None = 0
    number = 0
    while start is not None:
        part = part_at(file, start)
        whole = start == 0 and part.stop == file.seek(0, os.SEEK_END)
        if job.start_s and start == 0 and (not whole or part.understates or part.is_streamed):
            return
        source: Any = SeekSafeFile(file) if whole else Slice(file, part.start, part.stop)
        try:
            end = yield from _decode_part(source, part, replace(job, part=number))
        except AudioError:
            if start == 0:
                raise
            note_once(job.notes, DAMAGED)
            end = part.stop
        job = replace(job, start_s=0.0)
        number += 1
        start = _following(file, part, end, job.notes)


def _decode_part(source: Any, part: Part, job: _Job) -> Generator[Block, None, int]:
    """Decode with the first decoder that can; returns how far it has read."""
    source.seek(0)
    by_both = source.read(4) in _SOUNDFILE_MAGIC
    plain = by_both and part.num_tracks == 1 and job.track in (None, 1)
    plain &= part.is_counted and not part.understates
    # Of more channels than two it matters which is which, and FFmpeg says it.
    decoders = (
        [partial(_decode_with_soundfile, most_channels=2)] * plain
        + [_decode_with_av]
        + [_decode_with_soundfile] * by_both
    )
    reason = ""
    for decoder in decoders:
        num_blocks = 0
        try:
            source.seek(0)
            for block in decoder(source, replace(job, ignore_length=part.understates)):
                num_blocks += 1
                yield block._replace(part=job.part) if job.part else block
        except DECODE_ERRORS as error:
            if num_blocks == 0:
                reason = reason or first_line(error)
                continue
            note_once(job.notes, DAMAGED)
        if num_blocks:
            break
    else:
        if reason:
            raise AudioError(
                f"{job.name}: not a sound file that can be decoded ({reason}); convert it to WAV, "
                "FLAC or Ogg and try again"
            )
    if part.is_cut:
        note_once(job.notes, DAMAGED)
    if part.understates or part.is_streamed:
        note_once(job.notes, UNFINISHED)
    end: int = source.tell() if decoder is not _decode_with_av else part.stop - part.start
    return end


def _following(file: BinaryIO, part: Part, end: int, notes: list[str]) -> int | None:
    """Where the next of several files begins that were joined; what lies behind the last and was not read is noted."""
    size = file.seek(0, os.SEEK_END)
    if part.stop < size:
        return part.stop
    left = size - part.start - end
    if part.understates or part.is_known:
        return None
    found = next_start(file, part, end)
    if found is not None:
        return found
    if left > max(UNREAD_SHARE * size, REST_BYTES):
        note_once(notes, f"{left / size:.0%} of the file lie behind the end that it states: not read")
    return None


def _decode_with_soundfile(file: Any, job: _Job, most_channels: int | None = None) -> Iterator[Block]:
    with soundfile.SoundFile(file) as sound:
        if most_channels is not None and sound.channels > most_channels:
            raise ValueError("more channels")
        size = max(1, min(BLOCK_SAMPLES, BLOCK_VALUES // sound.channels))
        num_read = round(job.start_s * sound.samplerate)
        if num_read:
            if num_read >= sound.frames:
                raise AudioError(f"{job.name}: its first part ends before")
            sound.seek(num_read)
        while len(block := sound.read(size, dtype="float32", always_2d=True)):
            num_read += len(block)
            yield Block(block, sound.samplerate)
        if num_read < sound.frames < UNKNOWN_FRAMES:
            note_once(job.notes, DAMAGED)


def _decode_with_av(file: Any, job: _Job) -> Iterator[Block]:
    """Decode a sound track of what FFmpeg may read."""
    with open_sound(file, ignore_length=job.ignore_length) as container:
        number = choose_track(file, container, job.name, job.notes, job.track)
        late_s = avi_late_s(file, number) if container.format.name == "avi" else 0.0
        blocks = track_blocks(container, number, job.notes, start_s=job.start_s, late_s=late_s)
        for key, group in itertools.groupby(blocks, lambda b: (b.rate_hz, b.samples.shape[1], b.layout, b.is_hole)):
            rate_hz, _, layout, is_hole = key
            yield from (Block(samples, rate_hz, layout, is_hole) for samples in _joined(block[0] for block in group))


def _joined(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Join small blocks (L, C) to larger ones: each step that follows has a cost per block."""
    held: list[np.ndarray] = []
    num_values = 0
    for block in blocks:
        channels = block.shape[1]
        full = num_values >= min(BLOCK_SAMPLES * channels, BLOCK_VALUES)
        if held and (full or channels != held[0].shape[1]):
            yield np.concatenate(held)
            held, num_values = [], 0
        held.append(block)
        num_values += block.size
    if held:
        yield np.concatenate(held)
