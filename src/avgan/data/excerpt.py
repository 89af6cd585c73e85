"""The sound of a clip: a stretch of a recording or video, without decoding what lies outside it."""

from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from avgan.errors import AudioError

VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".mov", ".mkv"})
_PYAV_ONLY = VIDEO_SUFFIXES | {".m4a"}


def read_excerpt(path: Path, *, start_s: float, length_s: float, rate_hz: int) -> np.ndarray:
    """Return at most `length_s` of a file from `start_s` on, (L,) float32 mono at `rate_hz`.

    Shorter where the file ends before.

    Raises:
        AudioError: the file cannot be decoded, or ends before `start_s`.
    """
    read = _read_with_av if path.suffix.lower() in _PYAV_ONLY else _read_with_soundfile
    try:
        samples, own_rate_hz = read(path, start_s, length_s)
    except (OSError, soundfile.LibsndfileError, av.FFmpegError) as error:
        raise AudioError(
            f"{path}: not a sound file that can be decoded ({error}); replace it or drop its clip"
        ) from error
    if len(samples) == 0:
        raise AudioError(f"{path}: has no sound from {start_s:g} s on; correct or drop the clip")
    return _resample(samples, own_rate_hz, rate_hz)


def _resample(samples: np.ndarray, own_rate_hz: int, rate_hz: int) -> np.ndarray:
    return soxr.resample(samples.mean(axis=1), own_rate_hz, rate_hz)


def _read_with_soundfile(path: Path, start_s: float, length_s: float) -> tuple[np.ndarray, int]:
    """(samples, channels) float32 and their rate in Hz; seeks, so a long file costs no more."""
    with soundfile.SoundFile(path) as file:
        start = min(round(start_s * file.samplerate), file.frames)
        file.seek(start)
        samples = file.read(round(length_s * file.samplerate), dtype="float32", always_2d=True)
        return samples, file.samplerate


def _read_with_av(path: Path, start_s: float, length_s: float) -> tuple[np.ndarray, int]:
    """As `_read_with_soundfile`, for what it cannot open: the sound of a video, m4a."""
    with av.open(str(path), mode="r") as container:
        if not container.streams.audio:
            raise AudioError(f"{path}: has no sound track; give a video with sound")
        stream = container.streams.audio[0]
        rate_hz = stream.rate
        if start_s > 0:
            # Codecs carry state from block to block: enter one second early and drop it.
            container.seek(int(max(0.0, start_s - 1.0) * av.time_base))
        start, stop = round(start_s * rate_hz), round((start_s + length_s) * rate_hz)
        pieces: list[np.ndarray] = []
        resampler = av.AudioResampler(format="fltp")
        for frame in container.decode(stream):
            position = round(frame.time * rate_hz) if frame.time is not None else 0
            if position >= stop:
                break
            block = np.concatenate(
                [part.to_ndarray() for part in resampler.resample(frame)], axis=1
            )
            pieces.append(block[:, max(0, start - position) : stop - position])
    samples = np.concatenate(pieces, axis=1).T if pieces else np.zeros((0, 1), np.float32)
    return samples, rate_hz
