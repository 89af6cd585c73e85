"""Where sound lies in a file, by its headers: parts joined end to end, ends that are missing, sizes that are wrong.

Decoders believe the first header they meet. Recorders that lose power, streams that are saved, and files that are
joined with `cat` have headers that say less than there is, or several of them. Nothing is decoded here.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

LARGEST_FILE = 1 << 42  # bytes; beyond 16 TB a file system refuses to seek
STREAMED = 0x7FFF_0000
"""A size from here on is what programs write that do not know it yet: 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF."""
REST_BYTES = 4_096
"""What lies behind the stated end and is shorter is a tag or padding, not sound."""
SEARCH_BYTES = 1 << 20  # read at a time
LOOK_BYTES = 4_096  # for what is near, or damage would be read again and again
BACK_BYTES = 1 << 16  # how far a decoder reads ahead of the last sample that it gives
FLAC_MAGICS = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")  # with the first block: not by chance
MAGICS = (*FLAC_MAGICS, b"RIFF", b"RF64", b"FORM", b".snd", b"caff", b"OggS")
LIKE_MAGICS = {
    b"FLV\x01": tuple(b"FLV\x01" + flags + b"\0\0\0\x09" for flags in (b"\x01", b"\x04", b"\x05")),
    b"TTA1": (b"TTA1\x01\0",),
    b"Crea": (b"Creative Voice File\x1a",),
    b"0&\xb2u": (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),),
}
"""First bytes -> how another file of the kind begins: long enough not to be found by chance."""
PAGE_BYTES = 27  # of the header of an Ogg page, without its table of segments
FIRST, LAST = 2, 4  # flags of the first and the last page of an Ogg stream
WAVPACK_INITIAL, WAVPACK_FINAL = 1 << 11, 1 << 12  # of blocks with channels of the same samples
MOST_CHUNKS = 1_000  # behind the sound of a WAV: an end for damaged ones
W64_HEAD_BYTES = 40
W64_GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # ends the names of all chunks but the first


@dataclass(frozen=True)
class Part:
    """The stretch of a file, in bytes, that decoders take for a file of its own."""

    start: int
    stop: int
    is_cut: bool = False
    """Whether it ends before the end that it states."""
    understates: bool = False
    """Whether its header states an end where sound goes on (WAV)."""
    is_streamed: bool = False
    """Whether its header was written before its length was known (WAV)."""
    num_tracks: int = 1
    """Streams side by side (Ogg)."""
    is_counted: bool = True
    """Whether a FLAC file says how many samples it has: of a stream libsndfile loses the last."""
    is_known: bool = False
    """Whether all of it was looked through, so that what no decoder reads is no sound."""


def part_at(file: BinaryIO, start: int) -> Part:
    """The part that begins at a byte, to the end of the file where nothing says otherwise."""
    size = file.seek(0, 2)
    magic = _read(file, start, 4)
    if magic in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return _wav(file, start, size)
    if magic == b"OggS":
        return _ogg(file, start, size)
    if magic == b"\x1aE\xdf\xa3":
        end = _matroska_end(file, start, size)
        return Part(start, min(end, size), is_cut=end > size)
    if magic[:3] == b"ID3" or (magic[:1] == b"\xff" and magic[1:2] >= b"\xe0"):
        return Part(start, size, is_cut=_mp3_end(file, start) > size)
    if _read(file, start + 4, 4) == b"ftyp":
        return _mp4(file, start, size)
    if magic == b"wvpk":
        return _wavpack(file, start, size)
    if magic == b"riff":
        return _w64(file, start, size)
    if magic == b"fLaC":
        # 36 bits, behind the sizes of blocks and frames, the rate, the channels and the bits
        num_samples = int.from_bytes(_read(file, start + 21, 5), "big") & ((1 << 36) - 1)
        return Part(start, size, is_counted=num_samples > 0, is_known=num_samples == 0)
    if magic in LIKE_MAGICS:
        following = _find(file, LIKE_MAGICS[magic], start + len(magic), size)
        if following is not None:
            return Part(start, following)
    end = _caf_end(file, start, size) if magic == b"caff" else _stated_end(file, start)
    if start < end < size and _read(file, end, 4) == magic != b"Crea":
        return Part(start, end)
    return Part(start, size, is_cut=end > size)


def next_start(file: BinaryIO, part: Part, end: int) -> int | None:
    """Where another file begins within a part, behind the byte up to which a decoder has read.

    Or as little before it as decoders read ahead, which may be all of a short one: there only what chance cannot make
    is taken for a beginning.
    """
    at = part.start + max(end - BACK_BYTES, 1)
    magics: tuple[bytes, ...] = MAGICS
    if part.stop - part.start - end <= REST_BYTES:
        magics = FLAC_MAGICS if _read(file, part.start, 4) == b"fLaC" else ()
    return _find(file, magics, at, part.stop) if magics else None


def _find(file: BinaryIO, magics: Sequence[bytes], at: int, stop: int) -> int | None:
    """Where the first of these stands, at `at` or behind it."""
    longest = max(map(len, magics))
    while at < stop:
        content = _read(file, at, SEARCH_BYTES)
        found = [place for magic in magics if (place := content.find(magic)) >= 0]
        if found:
            return at + min(found)
        at += max(len(content) - longest + 1, 1)
    return None


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    """Nothing beyond the end, also where a header names a place that no file has."""
    if at > LARGEST_FILE:
        return b""
    file.seek(at)
    return file.read(size)


def _stated_end(file: BinaryIO, start: int) -> int:
    """Where an AIFF, AU or VOC file says that it ends; 0 where it does not."""
    head = _read(file, start, 24)
    if len(head) < 24:
        return 0
    if head[:4] == b"FORM":
        stated = struct.unpack(">I", head[4:8])[0]
        return start + 8 + stated if stated < STREAMED else 0
    if head[:4] == b".snd":
        offset, stated = struct.unpack(">II", head[4:12])
        return start + offset + stated if stated < STREAMED else 0
    if head[:8] == b"Creative":
        return _voc_end(file, start)
    return 0


def _voc_end(file: BinaryIO, start: int) -> int:
    """Where a VOC file ends by its blocks."""
    at = start + int.from_bytes(_read(file, start + 20, 2), "little")
    while len(head := _read(file, at, 4)) == 4 and head[0]:
        at += 4 + int.from_bytes(head[1:], "little")
    return at


def _w64(file: BinaryIO, start: int, size: int) -> Part:
    """A W64 file, by its chunks; sound behind the end of its sound is read by nobody."""
    stated = int.from_bytes(_read(file, start + 16, 8), "little")
    end = start + stated if stated < 1 << 62 else 0
    if start < end < size and _read(file, end, 4) == b"riff":
        return Part(start, end)
    at = start + W64_HEAD_BYTES
    while len(head := _read(file, at, 24)) == 24:
        length = int.from_bytes(head[16:], "little")
        if length < 24:
            break
        at += length + -length % 8
        if head[:4] == b"data":
            follows = _read(file, at, 16)[4:]
            is_short = size - at > REST_BYTES and follows != W64_GUID
            return Part(start, size, is_cut=end > size or is_short)
    return Part(start, size, is_cut=end > size)


def _caf_end(file: BinaryIO, start: int, size: int) -> int:
    """Where a CAF file ends by its chunks; 0 where the last is of unknown length."""
    at = start + 8
    while at < size and (head := _read(file, at, 12))[:4] != b"caff":
        length = int.from_bytes(head[4:], "big", signed=True)
        if len(head) < 12 or length < 0:
            return 0
        at += 12 + length
    return at


def _wav(file: BinaryIO, start: int, size: int) -> Part:
    """A WAV file, by its chunks. What follows the sound is chunks, another file, padding, or more sound."""
    order = ">" if _read(file, start, 4) == b"RIFX" else "<"
    if _read(file, start + 8, 4) != b"WAVE":  # AVI, which FFmpeg knows better
        end = start + 8 + int.from_bytes(_read(file, start + 4, 4), "little")
        return Part(start, size, is_cut=size < end < start + STREAMED, is_known=True)
    large = 0
    at = start + 12
    while len(head := _read(file, at, 8)) == 8:
        name, length = head[:4], struct.unpack(order + "I", head[4:])[0]
        if name == b"ds64":
            large = struct.unpack("<Q", _read(file, at + 16, 8).ljust(8, b"\0"))[0]
        if name == b"data":
            # 0 as well is the size of a file that was never closed.
            unknown = length >= STREAMED or length == 0
            stated = large or length if length == 0xFFFF_FFFF else length
            return _wav_data(file, start, at + 8, stated, size, unknown=unknown and not large)
        at += 8 + length + length % 2
    return Part(start, size)


def _wav_data(file: BinaryIO, start: int, data: int, length: int, size: int, *, unknown: bool) -> Part:
    end = data + length
    if end > size:
        return Part(start, size, is_cut=not unknown, is_streamed=unknown, is_known=True)
    end += length % 2
    if end >= size:
        return Part(start, size, is_known=True)
    if length == 0:
        return Part(start, size, understates=True, is_streamed=True)
    following = _read(file, end, 12)
    is_wav = following[:4] in (b"RIFF", b"RF64", b"RIFX") and following[8:] == b"WAVE"
    if is_wav or following.startswith((*FLAC_MAGICS, b"OggS\0\x02")):
        return Part(start, end)
    if _are_chunks(file, end, size):
        return Part(start, size, is_cut=_has_sound(file, end), is_known=True)
    if size - end < REST_BYTES or _is_padding(file, end, size):
        return Part(start, size, is_known=True)
    return Part(start, size, understates=True)


def _are_chunks(file: BinaryIO, at: int, size: int) -> bool:
    """Whether a chunk begins here, by its name and its length, or a tag of another kind."""
    head = _read(file, at, 8)
    if head[:3] in (b"ID3", b"TAG") or head == b"APETAGEX":
        return True
    name, length = head[:4], int.from_bytes(head[4:8], "little")
    return name.isascii() and name.decode().isprintable() and at + 8 + length <= size + 1


def _has_sound(file: BinaryIO, at: int) -> bool:
    """Whether there is a chunk of sound among these, behind another: no decoder reads both."""
    for _ in range(MOST_CHUNKS):
        head = _read(file, at, 8)
        if len(head) < 8:
            break
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"data" and length > REST_BYTES:
            return True
        at += 8 + length + length % 2
    return False


def _is_padding(file: BinaryIO, at: int, size: int) -> bool:
    """Whether there are zeros only, as far as three looks tell: a recorder reserves space before it needs it."""
    places = (at, (at + size) // 2, size - REST_BYTES)
    return not any(any(_read(file, max(place, at), REST_BYTES)) for place in places)


def _ogg(file: BinaryIO, start: int, size: int) -> Part:
    """One link of a chain: its streams begin together, and the next link begins where others do."""
    open_streams: set[int] = set()
    counts: dict[int, int] = {}
    num_tracks, at, is_whole, has_begun = 0, start, True, False
    for at, flags, serial, number in _ogg_pages(file, start, size):
        if flags & FIRST:
            if has_begun:
                return Part(start, at, bool(open_streams) or not is_whole, num_tracks=num_tracks)
            num_tracks += 1
            open_streams.add(serial)
        else:
            has_begun = True
        # A page that is missing leaves a hole in the numbers.
        is_whole &= counts.get(serial, number - 1) == number - 1
        counts[serial] = number
        if flags & LAST:
            open_streams.discard(serial)
    return Part(start, size, bool(open_streams) or not is_whole, num_tracks=num_tracks)


def _ogg_pages(file: BinaryIO, start: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    """Place, flags, serial number and count of each page that is whole; what is damaged is stepped over."""
    at = start
    while at + PAGE_BYTES <= size:
        head = _read(file, at, PAGE_BYTES + 255)
        if head[:4] != b"OggS":
            found = _next(file, b"OggS", at + 1, size)
            if found is None:
                return
            at = found
            continue
        flags, serial, number, num_segments = head[5], *struct.unpack("<II", head[14:22]), head[26]
        stop = at + PAGE_BYTES + num_segments + sum(head[PAGE_BYTES : PAGE_BYTES + num_segments])
        if stop > size:
            return
        yield at, flags, serial, number
        at = stop


def _next(file: BinaryIO, mark: bytes, at: int, size: int) -> int | None:
    """Where a mark of 4 bytes stands, at `at` or behind it."""
    while at < size:
        content = _read(file, at, LOOK_BYTES)
        found = content.find(mark)
        if found >= 0:
            return at + found
        at += max(len(content) - 3, 1)
    return None


def _mp4(file: BinaryIO, start: int, size: int) -> Part:
    """An MP4 or MOV file, by its boxes; another `ftyp` is the beginning of another file."""
    at = start
    while len(head := _read(file, at, 16)) >= 8:
        length = struct.unpack(">I", head[:4])[0]
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        if at > start and head[4:8] == b"ftyp":
            return Part(start, at)
        if length < 8:  # 0: to the end of the file
            return Part(start, size)
        at += length
    return Part(start, size, is_cut=at > size)


def _matroska_end(file: BinaryIO, start: int, size: int) -> int:
    """Where the one segment of a Matroska file says that it ends, if that is missing or another file begins there."""
    at = start
    for expected in (b"\x1aE\xdf\xa3", b"\x18S\x80g"):
        head = _read(file, at, 12)
        if head[:4] != expected or len(head) < 12 or not head[4]:
            return size
        width = 9 - head[4].bit_length()
        length = int.from_bytes(head[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        if length == (1 << 7 * width) - 1:  # a stream of unknown length
            return size
        at += 4 + width + length
    return at if at > size or _read(file, at, 4) == b"\x1aE\xdf\xa3" else size


def _mp3_end(file: BinaryIO, start: int) -> int:
    """Where an MP3 file ends by its Xing header, less a frame of slack; 0 where there is none."""
    head = _read(file, start, 10)
    at = start
    if head[:3] == b"ID3" and len(head) == 10:
        at += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    frame = _read(file, at, 2_048)
    for mark in (b"Xing", b"Info"):
        place = frame.find(mark, 0, 64)
        if place < 0:
            continue
        flags = int.from_bytes(frame[place + 4 : place + 8], "big")
        sizes = place + 8 + 4 * (flags & 1)
        if flags & 2:
            return at + int.from_bytes(frame[sizes : sizes + 4], "big") - REST_BYTES // 2
    return 0


def _wavpack(file: BinaryIO, start: int, size: int) -> Part:
    """A WavPack file, by its blocks; one that counts from 0 again is the beginning of another file."""
    at, end_sample = start, 0
    while len(head := _read(file, at, 32)) == 32:
        if head[:4] != b"wvpk":  # tags, which may lie between two files
            found = _next(file, b"wvpk", at, size)
            if found is None:
                return Part(start, size)
            at = found
            continue
        length, first, num_samples, flags = struct.unpack("<4xI8xIII4x", head)
        if length < 24:  # of the rest of the header
            return Part(start, size)
        first += head[10] << 32
        if end_sample and num_samples and first == 0 and flags & WAVPACK_INITIAL:
            return Part(start, at)
        # Of more channels than two there are several blocks of the same samples.
        end_sample = max(end_sample, first + num_samples if flags & WAVPACK_FINAL else 0)
        at += 8 + length
    return Part(start, size, is_cut=at > size)
