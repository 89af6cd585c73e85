"""What the decoders of sound have in common: containers, codecs, files as C reads them, frames -> samples.

libsndfile reads what it is fastest at; FFmpeg (PyAV) reads the rest, held to containers and codecs of sound. Both are
written in C and have their defects: recordings of strangers are decoded in a process of their own (`avgan.web`).

Shapes: L samples, C channels.
"""

import io
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np

BLOCK_SAMPLES = 32_768  # what is lost before a damage in a file is less than a block
BLOCK_VALUES = 4 * BLOCK_SAMPLES  # with many channels a block is shorter: it is held several times
SILENT_PEAK = 2.0**-23
"""The last step of 24 bits: below it nothing was recorded."""
QUIET_PEAK = 2 * 2.0**-15
"""The last two steps of 16 bits, where dither lies: what never rises above holds no sound to classify."""
MAX_PLANES = 7  # of more, PyAV looks for the last one beyond their memory (av 18.1), and may crash
CHANNEL_ORDER = (
    "FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR",
    "DL", "DR", "WL", "WR", "SDL", "SDR", "LFE2", "TSL", "TSR", "BFC", "BFL", "BFR",
)  # fmt: skip
"""FFmpeg's own: what stands in it needs no map of its channels."""
DAMAGED = "the file is damaged: what could not be decoded was left out"


class Block(NamedTuple):
    """Samples (L, C) float32, their rate in Hz, and what FFmpeg calls their channels, where that is known."""

    samples: np.ndarray
    rate_hz: float
    layout: tuple[str, ...] = ()
    is_hole: bool = False
    """Whether it is silence that stands where the file has nothing."""
    part: int = 0
    """Of several files that were joined end to end, which; from 0."""


# Containers that FFmpeg may take a file for. Without this it would also follow playlists, read text as terminal
# pictures, and much else that is no recording.
CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,avr,caf,dsf,dts,dtshd,dv,eac3,flac,flv,ircam,loas,matroska,"
    "mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,pvf,rm,sox,spdif,tak,truehd,tta,voc,w64,wav,"
    "wsd,wtv,wv,xwma"
)

SOUND_CODECS = frozenset(
    """
    aac aac_latm ac3 adpcm_ct adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_sbpro_2 adpcm_sbpro_3 adpcm_sbpro_4
    adpcm_swf adpcm_yamaha alac amrnb amrwb ape atrac1 atrac3 atrac3al atrac3plus atrac3plusal cook dca dsd_lsbf
    dsd_lsbf_planar dsd_msbf dsd_msbf_planar dst dvaudio eac3 evrc flac g722 g723_1 g726 g726le g729 gsm gsm_ms
    ilbc imc libopencore_amrnb libopencore_amrwb libopus mace3 mace6 mlp mp1 mp1float mp2 mp2float mp3 mp3adu
    mp3adufloat mp3float mp3on4 mp3on4float mpc7 mpc8 nellymoser opus pcm_alaw pcm_bluray pcm_dvd pcm_f16le
    pcm_f24le pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16be_planar pcm_s16le
    pcm_s16le_planar pcm_s24be pcm_s24le pcm_s24le_planar pcm_s32be pcm_s32le pcm_s32le_planar pcm_s64be pcm_s64le
    pcm_s8 pcm_s8_planar pcm_u16be pcm_u16le pcm_u24be pcm_u24le pcm_u32be pcm_u32le pcm_u8 qcelp qdm2 qdmc ralf
    real_144 real_288 s302m sipr speex tak truehd truespeech tta vorbis wavpack wmalossless wmapro wmav1 wmav2
    wmavoice xma1 xma2
    """.split()
)
"""FFmpeg's decoders of what recorders, phones, broadcasters and editors write into these containers.

It has twice as many, most of them of old games, which few people look for defects: of a codec that is not here a file
is refused.
"""

# A name in a file that is no UTF-8 is no reason to refuse it. PyAV 19 does so by itself, and knows no such option.
LENIENT: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}


def note_once(notes: list[str], text: str) -> None:
    """Add a note, if it is not there already."""
    if text not in notes:
        notes.append(text)


def to_float(samples: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] from integers at full scale; floats keep their values."""
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind == "f":
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which is handled later
            return samples.astype(np.float32, copy=False)
    half = 2.0 ** (bits - 1)
    offset = half if kind == "u" else 0.0
    return ((samples.astype(np.float64) - offset) / half).astype(np.float32)


def first_line(error: BaseException) -> str:
    """The reason an error gives, without numbers and names of its own and on one line."""
    if isinstance(error, av.error.ArgumentError):
        return "no format that is known"  # what FFmpeg says of it: Invalid argument
    reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return " ".join(str(reason).split()).rstrip(".") or type(error).__name__


class SeekSafeFile:
    """A file for decoders in C, which may seek to where no file goes: an error raised there they print, or drop."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell = file.tell
        self.read = file.read
        self.readinto = file.readinto  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, OverflowError, ValueError):
            return -1


class Slice(io.RawIOBase):
    """The bytes of a file from `start` to `stop`, as a file of its own. Closing it leaves that file open."""

    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self._file = file
        self._start, self._size = start, stop - start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._size)[whence] if whence in (0, 1, 2) else -offset - 1
        if base + offset < 0:
            return -1
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        content = b""
        if self._at < self._size:
            self._file.seek(self._start + self._at)
            content = self._file.read(min(len(view), self._size - self._at))
        view[: len(content)] = content
        self._at += len(content)
        return len(content)


@cache
def sound_codecs() -> str:
    """Those of `SOUND_CODECS` that this FFmpeg has, as one of its lists."""
    return ",".join(sorted(SOUND_CODECS & set(av.codecs_available)))


def open_container(
    file: Any, codecs: str, *, buffer_bytes: int = 1 << 15, ignore_length: bool = False
) -> av.container.InputContainer:
    """Open a file with FFmpeg, held to known containers and to `codecs`; nothing else is opened, whatever it names."""
    options = {"protocol_whitelist": "none", "format_whitelist": CONTAINERS, "codec_whitelist": codecs}
    if ignore_length:
        options["ignore_length"] = "1"
    return av.open(file, "r", container_options=options, buffer_size=buffer_bytes, **LENIENT)


def read_only(container: av.container.InputContainer, stream: Any) -> None:
    """Have FFmpeg pass over all tracks but one."""
    for other in container.streams:
        if other is not stream:
            other.discard = av.stream.Discard.all


def packets(container: av.container.InputContainer, stream: Any) -> Iterator[Any]:
    """The packets of one track, to the end of the file."""
    while True:
        try:
            yield from container.demux(stream)
            return
        except IndexError:
            # A packet of a track that was not there at first, as where one broadcast follows another: PyAV (18.1)
            # looks for that track in vain. It is one packet further now.
            continue


def settle_layout(codec: Any) -> None:
    """Name the channels of a codec that is not open yet without a map of them, or not at all.

    Files such as AIFF, CAF and MOV may give their channels in any order; FFmpeg keeps that as a map in memory, which
    PyAV (18.1) frees with each frame, and FFmpeg once more: the process crashes.
    """
    layout = codec.layout
    names, name = [channel.name for channel in layout.channels], layout.name
    if not names:  # known when the first frame is decoded
        return
    if "(" in name:
        places = [CHANNEL_ORDER.index(each) for each in names if each in CHANNEL_ORDER]
        in_order = len(places) == len(names) and places == sorted(set(places))
        name = "+".join(names) if in_order else f"{len(names)} channels"
    codec.layout = name


def channel_names(frame: Any) -> tuple[str, ...]:
    """FFmpeg's names of a frame's channels: FL, FR, FC, LFE ..."""
    return tuple(channel.name for channel in frame.layout.channels)


def frame_samples(frame: av.AudioFrame) -> tuple[np.ndarray, float]:
    """The samples of a frame as (L, C) float32, whatever its format."""
    num_channels, rate_hz = frame.layout.nb_channels, frame.sample_rate
    if frame.format.is_planar and num_channels > MAX_PLANES:
        resampler = av.AudioResampler(frame.format.packed, frame.layout, rate_hz)
        parts = [*resampler.resample(frame), *resampler.resample(None)]
        samples = np.concatenate([part.to_ndarray() for part in parts], 1)
        return to_float(samples.reshape(-1, num_channels)), rate_hz
    samples = frame.to_ndarray()  # planar (C, L), packed (1, L * C)
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, num_channels)
    return to_float(samples), rate_hz
