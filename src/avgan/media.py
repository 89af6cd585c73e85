"""The bytes of a file that nobody vouches for -> blocks of samples, or one line that says why not.

libsndfile reads what it is fastest at; FFmpeg (PyAV) reads the rest, held to containers and codecs of sound. Both are
written in C and have their defects: whoever decodes for strangers does it in a process of its own (`avgan.web`).

Shapes: L samples, C channels.
"""

import itertools
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, BinaryIO

import av
import numpy as np
import soundfile

from avgan.errors import AudioError

BLOCK_SAMPLES = 32_768  # what is lost before a damage in a file is less than a block
BLOCK_VALUES = 4 * BLOCK_SAMPLES  # with many channels a block is shorter: it is held several times
MAX_PLANES = 7  # of more, PyAV looks for the last one beyond their memory (av 18.1), and may crash
DAMAGED = "the file is damaged: what could not be decoded was left out"

Block = tuple[np.ndarray, float]  # samples (L, C) float32 and their rate in Hz

# What the two decoders raise on data that is not theirs or is damaged. soundfile: TypeError too, for
# a headerless format that it would accept only with a rate. PyAV: ValueError too, for a codec unknown.
_DECODE_ERRORS = (soundfile.SoundFileError, av.error.FFmpegError, TypeError, ValueError)

# First bytes of what libsndfile reads: WAV, AIFF, AU, W64, FLAC, Ogg. It knows more, but takes noise for some of it
# (HTK, MPEG) and complains about the rest on standard error itself.
_SOUNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"riff", b"fLaC", b"OggS")

# Containers that FFmpeg may take a file for. Without this it would also follow playlists, read text as terminal
# pictures, and much else that is no recording.
CONTAINERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,avr,caf,dsf,dts,dtshd,dv,eac3,flac,flv,ircam,loas,matroska,"
    "mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,pvf,rm,sox,spdif,tak,truehd,tta,voc,w64,wav,"
    "wsd,wtv,wv,xwma"
)

# A name in a file that is no UTF-8 is no reason to refuse it. PyAV 19 needs not be told, and knows no such option.
LENIENT: dict[str, Any] = (
    {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
)


def decode(file: BinaryIO, name: str, notes: list[str]) -> Iterator[Block]:
    """Decode an open, seekable file, and close it; what came before a damage in it is kept, and noted in `notes`.

    Raises AudioError, which calls the file `name`, where there is nothing to be had.
    """
    reason = ""
    with file:
        magic = file.read(4) if file.seek(0) == 0 else b""
        both = (_decode_with_soundfile, _decode_with_av)
        for decoder in both if magic in _SOUNDFILE_MAGIC else both[1:]:
            num_blocks = 0
            try:
                file.seek(0)
                for block in decoder(file, name, notes):
                    num_blocks += 1
                    yield block
            except _DECODE_ERRORS as error:
                if num_blocks == 0:
                    reason = first_line(error)
                    continue
                notes.append(DAMAGED)
            if num_blocks:
                return
    if reason:
        raise AudioError(
            f"{name}: not a sound file that can be decoded ({reason}); convert it to WAV, "
            "FLAC or Ogg and try again"
        )


def to_float(samples: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] from integers at full scale; floats keep their values."""
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind == "f":
        with np.errstate(
            over="ignore"
        ):  # beyond float32 becomes infinite, which is dealt with later
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


class Calm:
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


def _decode_with_soundfile(file: BinaryIO, name: str, notes: list[str]) -> Iterator[Block]:
    with soundfile.SoundFile(Calm(file)) as sound:
        size = max(1, min(BLOCK_SAMPLES, BLOCK_VALUES // sound.channels))
        while len(block := sound.read(size, dtype="float32", always_2d=True)):
            yield block, sound.samplerate


def _decode_with_av(file: BinaryIO, name: str, notes: list[str]) -> Iterator[Block]:
    """Decode the first sound track of what FFmpeg may read."""
    options = {
        "protocol_whitelist": "none",  # whatever a file names, no other file or address is opened
        "format_whitelist": CONTAINERS,
        "codec_whitelist": sound_codecs(),  # the pictures of a video are not looked at
    }
    source: Any = Calm(file)
    with av.open(source, "r", container_options=options, **LENIENT) as container:
        if not container.streams.audio:
            raise AudioError(f"{name}: has no sound track; choose a recording with sound")
        blocks = map(frame_samples, _sound_frames(container, notes))
        for rate_hz, group in itertools.groupby(blocks, lambda block: block[1]):
            yield from ((samples, rate_hz) for samples in _joined(block[0] for block in group))


@cache
def sound_codecs() -> str:
    """FFmpeg's decoders of sound, as one of its lists."""
    found = []
    for name in sorted(av.codecs_available):
        try:
            codec: Any = av.Codec(name, "r")
        except av.codec.codec.UnknownCodecError:
            continue  # an encoder only
        if codec.type == "audio":
            found.append(codec.name)
    return ",".join(found)


def _sound_frames(
    container: av.container.InputContainer, notes: list[str]
) -> Iterator[av.AudioFrame]:
    """The frames of the first sound track; packets that are damaged are left out, and noted."""
    for packet in packets(container, container.streams.audio[0]):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            if DAMAGED not in notes:
                notes.append(DAMAGED)


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


def frame_samples(frame: av.AudioFrame) -> Block:
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
