"""Small real recordings in every container and codec that soundfile and PyAV write: what mutations start from.

    python tests/fuzz/seeds.py FOLDER

writes them as files, for `harness_audio.py`.
"""

import io
import sys
from pathlib import Path

import av
import numpy as np
import soundfile

RATE_HZ = 16_000
DURATION_S = 0.4

NOT_READ = {"RAW", "SD2", "HTK", "MAT4", "MAT5", "MPC2K", "PAF", "SDS", "WVE", "XI"}
"""What libsndfile writes and we do not read: without a header, or so rare that it is not worth its dangers."""

WITH_PICTURE = (("mp4", "libx264"), ("matroska", "mpeg4"), ("avi", "mpeg4"), ("webm", "libvpx-vp9"))
ENCODED = (
    ("ipod", "aac"),
    ("ipod", "alac"),
    ("mp4", "aac"),
    ("mp4", "libmp3lame"),
    ("mov", "pcm_s16le"),
    ("3gp", "aac"),
    ("adts", "aac"),
    ("ac3", "ac3"),
    ("eac3", "eac3"),
    ("webm", "libopus"),
    ("matroska", "pcm_f32le"),
    ("matroska", "libopus"),
    ("ogg", "libopus"),
    ("mp3", "libmp3lame"),
    ("mp2", "mp2"),
    ("avi", "pcm_s16le"),
    ("avi", "mp2"),
    ("flv", "aac"),
    ("mpegts", "aac"),
    ("mpegts", "mp2"),
    ("asf", "wmav2"),
    ("asf", "wmav1"),
    ("wv", "wavpack"),
    ("tta", "tta"),
    ("caf", "alac"),
    ("wav", "adpcm_ms"),
    ("wav", "adpcm_ima_wav"),
    ("aiff", "pcm_s16be"),
    ("au", "pcm_s16be"),
    ("w64", "pcm_s16le"),
    ("nut", "pcm_s16le"),
    ("amr", "libopencore_amrnb"),
)
MANY_CHANNELS = (
    ("matroska", "ac3", "5.1"),
    ("matroska", "libopus", "7.1"),
    ("ipod", "aac", "7.1"),
    ("ipod", "aac", "hexadecagonal"),
)


def tone(num_channels: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A tone in noise (L, C), not clipped."""
    times = np.arange(int(DURATION_S * rate_hz)) / rate_hz
    noise = 0.05 * np.random.default_rng(0).standard_normal((len(times), num_channels))
    return 0.3 * np.sin(2 * np.pi * 440 * times)[:, None] + noise


def written_by_soundfile() -> dict[str, bytes]:
    """One file for each container and subtype of libsndfile; every other one in stereo."""
    found = {}
    for container in sorted(soundfile.available_formats().keys() - NOT_READ):
        for number, subtype in enumerate(soundfile.available_subtypes(container)):
            file = io.BytesIO()
            samples = tone(1 + number % 2)
            try:
                soundfile.write(file, samples, RATE_HZ, subtype=subtype, format=container)
            except (soundfile.SoundFileError, ValueError):
                file = io.BytesIO()  # mono only, or another rate only, or read only
                try:
                    soundfile.write(file, tone(1, 8_000), 8_000, subtype=subtype, format=container)
                except (soundfile.SoundFileError, ValueError):
                    continue
            if file.getvalue():
                found[f"soundfile-{container}-{subtype}".lower()] = file.getvalue()
    return found


def written_by_av() -> dict[str, bytes]:
    """One file for each container and codec of FFmpeg that this build can write."""
    found = {}
    for container, codec in ENCODED:
        content = _encode(container, codec, None)
        if content:
            found[f"av-{container}-{codec}"] = content
    for container, codec, layout in MANY_CHANNELS:
        content = _encode(container, codec, None, layout)
        if content:
            found[f"av-{container}-{codec}-{layout}"] = content
    for container, picture in WITH_PICTURE:
        codec = "libopus" if container == "webm" else "aac"
        content = _encode(container, codec, picture)
        if content:
            found[f"av-{container}-{codec}-{picture}"] = content
    return found


def _encode(container: str, codec: str, picture: str | None, layout: str = "mono") -> bytes | None:
    file = io.BytesIO()
    rate_hz = 48_000 if "opus" in codec or "ac3" in codec else 16_000
    if codec == "libopencore_amrnb":
        rate_hz = 8_000
    try:
        with av.open(file, "w", format=container) as out:
            sound = out.add_stream(codec, rate=rate_hz, layout=layout)
            num_channels = sound.layout.nb_channels
            sound.bit_rate = 64_000 * num_channels
            sound.options = {"strict": "experimental"}
            video = out.add_stream(picture, rate=5, width=64, height=48) if picture else None
            if video is not None:
                video.pix_fmt = "yuv420p"
                for _ in range(2):
                    pixels = np.zeros((48, 64, 3), np.uint8)
                    out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
                out.mux(video.encode(None))
            sound.open(strict=False)
            resampler = av.AudioResampler(sound.format.name, layout, rate_hz, sound.frame_size or 0)
            samples = tone(num_channels, rate_hz).astype(np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, "flt", layout)
            frame.sample_rate = rate_hz
            parts = resampler.resample(frame)
            for part in parts if sound.frame_size else (*parts, *resampler.resample(None)):
                out.mux(sound.encode(part))  # whole frames only: some encoders refuse another
            out.mux(sound.encode(None))
    except (av.error.FFmpegError, ValueError):
        return None  # not in this build of FFmpeg
    return file.getvalue()


def recordings() -> dict[str, bytes]:
    """All of them, by name."""
    return written_by_soundfile() | written_by_av()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in recordings().items():
        (folder / name).write_bytes(content)
