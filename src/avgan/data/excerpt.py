"""The sound of a clip: a stretch of a recording or video, without decoding what lies behind it."""

from pathlib import Path

import av
import numpy as np
import soundfile

from avgan.audio import read_audio
from avgan.data.shards import Member, open_media, source_of
from avgan.errors import AudioError

NO_PLAYLISTS = {"protocol_whitelist": "none"}  # no file may make us open others or addresses
PREROLL_S = 1.0  # codecs carry state from block to block: enter early, drop what precedes


def read_excerpt(path: Path, *, start_s: float, length_s: float, rate_hz: int) -> np.ndarray:
    """Return at most `length_s` of a file from `start_s` on, (L,) float32 mono at `rate_hz`.

    Shorter where the file ends before. A late excerpt of a long file costs no more than an early one. The path may
    lead into a tar.

    Raises:
        AudioError: the file cannot be decoded, or has no sound at `start_s`.
        DataError: the tar that it lies in is damaged.
    """
    try:
        source = source_of(path)
    except OSError as error:
        raise _undecodable(path, error) from error
    try:
        samples, own_rate_hz = _seek_with_soundfile(source, start_s, length_s)
    except (soundfile.SoundFileError, TypeError):
        samples, own_rate_hz = _seek_with_av(path, start_s, length_s)
    if len(samples) == 0:
        raise AudioError(f"{path}: has no sound from {start_s:g} s on; correct or drop this clip")
    return read_audio(samples, rate_hz=own_rate_hz, target_rate_hz=rate_hz)


def _seek_with_soundfile(
    source: Path | Member, start_s: float, length_s: float
) -> tuple[np.ndarray, int]:
    """(L, C) float32 and their rate in Hz."""
    with soundfile.SoundFile(source) as file:
        file.seek(min(round(start_s * file.samplerate), file.frames))
        samples = file.read(round(length_s * file.samplerate), dtype="float32", always_2d=True)
        return samples, file.samplerate


def _seek_with_av(path: Path, start_s: float, length_s: float) -> tuple[np.ndarray, int]:
    """As `_seek_with_soundfile`, for what it cannot open: the sound of a video, m4a."""
    try:
        with open_media(path) as file, av.open(file, mode="r", options=NO_PLAYLISTS) as container:
            if not container.streams.audio:
                raise AudioError(f"{path}: has no sound track; choose a recording with sound")
            if start_s > 0:
                container.seek(int(max(0.0, start_s - PREROLL_S) * av.time_base))
            return _decode_between(container, start_s, start_s + length_s)
    except (av.FFmpegError, OSError) as error:
        raise _undecodable(path, error) from error


def _undecodable(path: Path, error: OSError | av.FFmpegError) -> AudioError:
    return AudioError(f"{path}: cannot be decoded ({error.strerror}); replace it or drop its clips")


def _decode_between(
    container: av.container.InputContainer, start_s: float, stop_s: float
) -> tuple[np.ndarray, int]:
    stream = container.streams.audio[0]
    start, stop = round(start_s * stream.rate), round(stop_s * stream.rate)
    resampler = av.AudioResampler(format="fltp")  # only to planar float; the rate stays
    pieces: list[np.ndarray] = [np.zeros((stream.channels, 0), np.float32)]
    for frame in container.decode(stream):
        position = round((frame.time or 0.0) * stream.rate)
        if position >= stop:
            break
        for part in resampler.resample(frame):
            pieces.append(part.to_ndarray()[:, max(0, start - position) : stop - position])
    return np.concatenate(pieces, axis=1).T, stream.rate
