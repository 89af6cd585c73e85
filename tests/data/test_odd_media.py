"""What training reads of odd recordings and videos is what `classify` hears there, and the rest is said in a line."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan.audio import AudioStream, extent
from avgan.data.datasets.folder import read_folder
from avgan.data.loading import ImageStore, WaveformStore, read_excerpt
from avgan.images import read_frame, shown

RATE_HZ = 16_000
Maker = Callable[..., Path]
Pitch = Callable[..., float]

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def ffmpeg(*arguments: str | Path) -> None:
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", "-nostdin"]
    subprocess.run([*command, *map(str, arguments)], check=True)


def sine(hz: float, seconds: float) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"sine=frequency={hz}:duration={seconds}:sample_rate=16000")


def pictures(seconds: float, source: str = "testsrc=size=64x48:rate=25") -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"{source}:duration={seconds}")


def make_video(path: Path, *, seen_s: float = 20, heard_s: float = 20, late_s: float = 0, hz: float = 440) -> Path:
    """Pictures from the beginning on, and a tone that begins later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = ["-ar", "44100"] * (path.suffix in (".flv", ".mpg"))
    ffmpeg(*pictures(seen_s), "-itsoffset", str(late_s), *sine(hz, heard_s), "-map", "0:v", "-map", "1:a", *codec, path)
    return path


def whole(path: Path) -> np.ndarray:
    return np.concatenate(list(AudioStream(path)))


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts", "flv", "nut", "mpg", "avi"])
@pytest.mark.parametrize("late_s", [0, 6])
def test_an_excerpt_is_what_is_heard_there(tmp_path: Path, suffix: str, late_s: float) -> None:
    path = make_video(tmp_path / f"v.{suffix}", heard_s=10, late_s=late_s, seen_s=16)
    expected = whole(path)
    for start_s in (0.0, 3.0, 7.5, 8.0):
        stretch = read_excerpt(path, start_s=start_s, length_s=1.25, rate_hz=RATE_HZ)
        first = round(start_s * RATE_HZ)
        there = expected[first : first + len(stretch)]
        # Time stamps are rounded to a millisecond, which turns a tone a little: compare how loud it is, and when.
        loud, due = (np.abs(part[:20_000]).reshape(-1, 400).max(1) > 0.05 for part in (stretch, there))
        assert len(stretch) == pytest.approx(20_000, abs=100)
        assert np.sum(loud != due) <= 2


@needs_ffmpeg
@pytest.mark.parametrize(("suffix", "codec"), [("ogg", "libvorbis"), ("flac", "flac"), ("wav", "pcm_s16le")])
def test_an_excerpt_of_joined_files_reaches_into_the_second(
    tmp_path: Path, pitch: Pitch, suffix: str, codec: str
) -> None:
    path, parts = tmp_path / f"joined.{suffix}", []
    for hz in (440, 880):
        ffmpeg(*sine(hz, 3), "-c:a", codec, tmp_path / f"{hz}.{suffix}")
        parts.append((tmp_path / f"{hz}.{suffix}").read_bytes())
    path.write_bytes(b"".join(parts))
    for start_s, hz in ((1.0, 440), (4.0, 880)):
        stretch = read_excerpt(path, start_s=start_s, length_s=1, rate_hz=RATE_HZ)
        assert (len(stretch), pitch(stretch)) == (RATE_HZ, pytest.approx(hz, abs=3))
    across = read_excerpt(path, start_s=2.0, length_s=2, rate_hz=RATE_HZ)
    assert [pitch(half) for half in np.split(across, 2)] == pytest.approx([440, 880], abs=3)


@needs_ffmpeg
def test_the_channels_of_an_excerpt_are_chosen_by_what_is_in_them(
    tmp_path: Path, make_tone: Callable[..., np.ndarray]
) -> None:
    tone = make_tone(duration_s=9.0)
    quiet = np.zeros_like(tone)
    for name, channels in {"inverted": (tone, -tone), "dead": (tone, quiet)}.items():
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, np.stack(channels, 1), RATE_HZ)
        stretch = read_excerpt(path, start_s=3.0, length_s=5.0, rate_hz=RATE_HZ)
        np.testing.assert_allclose(stretch, tone[48_000:128_000], atol=1e-3)


@needs_ffmpeg
@pytest.mark.parametrize("start_s", [0.0, 1.5])
def test_the_track_of_an_excerpt_is_the_one_with_sound(tmp_path: Path, pitch: Pitch, start_s: float) -> None:
    path = tmp_path / "two.mkv"
    ffmpeg(
        *sine(440, 4),
        *sine(880, 4),
        "-filter_complex",
        "[0:a]volume=0[q]",
        "-map",
        "[q]",
        "-map",
        "1:a",
        "-c:a",
        "flac",
        path,
    )
    stretch = read_excerpt(path, start_s=start_s, length_s=1, rate_hz=RATE_HZ)
    assert pitch(stretch) == pytest.approx(880, abs=3)


@needs_ffmpeg
def test_where_time_stamps_jump_an_excerpt_is_counted_by_the_sound(tmp_path: Path, pitch: Pitch) -> None:
    path, parts = tmp_path / "streams.ts", []
    for hz in (440, 880):
        ffmpeg(*sine(hz, 6), "-c:a", "aac", tmp_path / f"{hz}.ts")
        parts.append((tmp_path / f"{hz}.ts").read_bytes())
    path.write_bytes(b"".join(parts))
    found = extent(path)
    assert not found.is_steady
    assert found.stretches == ((0.0, pytest.approx(12, abs=0.2)),)
    for start_s, hz in ((2.0, 440), (8.0, 880)):
        stretch = read_excerpt(path, start_s=start_s, length_s=2, rate_hz=RATE_HZ)
        assert pitch(stretch) == pytest.approx(hz, abs=3)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mov"])
def test_videos_give_clips_where_there_is_sound_and_picture(tmp_path: Path, suffix: str) -> None:
    make_video(tmp_path / "a" / f"1.{suffix}")
    make_video(tmp_path / "a" / f"2.{suffix}", seen_s=12)
    make_video(tmp_path / "b" / f"1.{suffix}", heard_s=12)
    make_video(tmp_path / "b" / f"2.{suffix}", heard_s=14, late_s=6)
    manifest = read_folder(tmp_path, window_s=5.0)
    spans: dict[str, list[float]] = {}
    for clip in manifest.clips:
        assert clip.end_s is not None
        spans.setdefault(clip.source_id, []).extend((clip.start_s, clip.end_s))
    expected = {
        f"a/1.{suffix}": [0, 5, 5, 10, 10, 15, 15, 20],
        f"a/2.{suffix}": [0, 5, 5, 10, 10, 13],  # the last picture stays for a second
        f"b/1.{suffix}": [0, 5, 5, 10, 10, 12],
        f"b/2.{suffix}": [6, 11, 11, 16, 16, 20],
    }
    assert spans == {name: pytest.approx(times, abs=0.2) for name, times in expected.items()}
    assert "pictures without sound: 2 (b/1" in manifest.left_out
    assert "sound without pictures: 1 (a/2" in manifest.left_out
    heard = WaveformStore(manifest, rate_hz=RATE_HZ, window_s=5.0).get(range(len(manifest)))
    assert (np.abs(heard[:, :20_000]).max(1) > 0.05).all()
    assert ImageStore(manifest).get(range(len(manifest))).std((1, 2, 3)).min() > 5


@needs_ffmpeg
def test_a_hole_in_the_sound_makes_no_clip(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        ffmpeg(
            *pictures(20),
            *sine(440, 12),
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-af",
            "asetpts='PTS+if(gte(T,6),8/TB,0)'",
            "-c:a",
            "aac",
            tmp_path / label / "hole.mp4",
        )
    manifest = read_folder(tmp_path, window_s=5.0)
    times = [clip.start_s for clip in manifest.clips[: len(manifest) // 2]]
    assert times == pytest.approx([0, 5, 14, 19], abs=0.1)
    assert "pictures without sound: 2 (a/hole.mp4: 6" in manifest.left_out


@needs_ffmpeg
def test_pictures_are_those_of_the_files_clock(tmp_path: Path) -> None:
    """Red for 4 s, then blue; the sound begins 5 s before the pictures."""
    path = tmp_path / "late.mkv"
    ffmpeg(
        *sine(440, 14),
        "-itsoffset",
        "5",
        "-f",
        "lavfi",
        "-i",
        "color=red:size=64x64:rate=10:duration=4[out0];color=blue:size=64x64:rate=10:duration=4[b];[out0][b]concat",
        "-map",
        "0:a",
        "-map",
        "1:v",
        path,
    )
    assert shown(path) == pytest.approx((5, 13), abs=0.3)
    for time_s, channel in ((0, 0), (6, 0), (8, 0), (10, 2), (40, 2)):
        assert read_frame(path, time_s).mean((1, 2)).argmax() == channel


def test_what_cannot_be_used_is_counted_by_reason_before_anything_is_trained(
    tmp_path: Path, tone: Maker, picture: Maker, video: Maker
) -> None:
    for label in ("bus", "tram"):
        video(tmp_path / label / "whole.mp4")
        picture(tmp_path / label / "x.jpg")
        (tmp_path / label / "noise.mp4").write_bytes(b"not media" * 99)
    (tmp_path / "bus" / "empty.wav").write_bytes(b"")
    (tmp_path / "tram" / "cut.jpg").write_bytes((tmp_path / "tram" / "x.jpg").read_bytes()[:300])
    manifest = read_folder(tmp_path, window_s=6.0)
    assert {clip.source_id.split("/")[1] for clip in manifest.clips} == {"whole.mp4", "x.jpg"}
    line = manifest.left_out
    assert line.startswith(f"{tmp_path}: left out: cannot be decoded: 4 (bus/empty.wav: ")
    assert "\n" not in line
    assert manifest.select(lambda clip: True).left_out == line


def test_what_is_no_recording_is_counted_too_and_what_is_one_is_found_without_its_ending(
    tmp_path: Path, tone: Maker, video: Maker
) -> None:
    tone(tmp_path / "bus" / "a.wav").rename(tmp_path / "bus" / "a")
    video(tmp_path / "tram" / "v.mp4").rename(tmp_path / "tram" / "v.dat")
    tone(tmp_path / "loose.wav")
    (tmp_path / "bus" / "notes.txt").write_text("rain")
    (tmp_path / "bus" / "more").mkdir()
    (tmp_path / "readme.md").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bus" / ".hidden.wav").write_bytes(b"")
    manifest = read_folder(tmp_path, window_s=6.0)
    assert [(clip.audio_path, clip.image_path) for clip in manifest.clips] == [
        ("bus/a", ""),
        ("tram/v.dat", "tram/v.dat"),
    ]
    assert manifest.left_out == (
        f"{tmp_path}: left out: folders without recordings, videos or pictures: 1 (empty); "
        "in no label folder: 1 (loose.wav); "
        "neither recordings, videos nor pictures: 3 (readme.md, ...)"
    )
