"""Clips against videos of known truth: which frame, which sample, whatever the container, and in constant memory."""

import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soxr
from films import counted, film, frame_times, hiss, read_count, read_ticks, tick_times

from avgan.audio import read_audio
from avgan.curation.cut import CutError, cut, picture_times
from avgan.curation.record import SOUND_RATE_HZ, Cut


def shown_at(time_s: float, times: list[float]) -> int:
    """Which frame a player shows: the last that begins at or before a time."""
    return sum(begin_s <= time_s + 1e-6 for begin_s in times) - 1


def all_clips(path: Path, **options: Any) -> tuple[list[Cut], str]:
    """The clips of a video, and the reason why there are no more."""
    clips: list[Cut] = []
    try:
        for clip in cut(path, **options):
            clips.append(clip)
    except CutError as error:
        said = str(error)
        reason = error.reason if str(path) in said and "\n" not in said else f"unclear: {said}"
        return clips, reason
    return clips, ""


@pytest.mark.parametrize(
    ("name", "made", "tolerance"),
    [
        ("aac.mp4", {}, 0.6),
        ("exact.mp4", {"sound_codec": "flac"}, 0.6),
        ("variable.mkv", {"variable": True, "sound_codec": "flac", "fps": 30}, 0.6),
        ("ntsc.mp4", {"fps": 30_000 / 1001, "rate_hz": 48_000}, 0.6),
        ("web.webm", {"codec": "libvpx", "sound_codec": "libopus", "rate_hz": 48_000}, 2.0),
        ("old.avi", {"codec": "mpeg4", "sound_codec": "pcm_s16le", "fps": 12.5}, 0.6),
        ("stream.ts", {"starts_s": 100.0, "sound_starts_s": 0.3}, 0.6),
        ("late.mkv", {"starts_s": 7.0, "sound_starts_s": 0.5, "sound_codec": "flac"}, 0.6),
        ("telephone.mkv", {"rate_hz": 8_000, "sound_codec": "flac"}, 0.6),
        ("studio.mkv", {"rate_hz": 96_000, "sound_codec": "flac"}, 0.6),
        ("ours.mkv", {"rate_hz": 32_000, "sound_codec": "flac"}, 1e-3),
    ],
)
def test_each_clip_has_its_very_frame_and_its_very_samples(
    tmp_path: Path, name: str, made: dict[str, Any], tolerance: float
) -> None:
    path = film(tmp_path / name, seconds=13, size=(96, 72), **made)
    times = frame_times(13, fps=made.get("fps", 25), variable=made.get("variable", False))
    clips, reason = all_clips(path, clip_s=2.0, num_frames=3)
    assert reason == ""
    assert [clip.start_s for clip in clips] == [5, 7, 9, 11]
    for clip in clips:
        wanted = [clip.start_s + 2 * share for share in (0.5, 1 / 6, 5 / 6)]
        assert [read_count(frame) for frame in clip.frames] == [shown_at(t, times) for t in wanted]
        for time_s, number in zip(clip.frame_times_s, map(read_count, clip.frames), strict=True):
            assert time_s == pytest.approx(times[number], abs=0.001)  # Matroska rounds to 1 ms
        assert clip.sound.shape == (64_000, 2)
        assert clip.sound.dtype == np.float32
        found = read_ticks(clip.sound[:, 0], SOUND_RATE_HZ) + clip.start_s
        ticked = tick_times(13) + made.get("sound_starts_s", 0.0)
        ticked = ticked[(ticked > clip.start_s) & (ticked < clip.end_s)]
        # In samples: half of one for the grid, and what a lossy codec adds.
        assert found * SOUND_RATE_HZ == pytest.approx(ticked * SOUND_RATE_HZ, abs=tolerance)


def test_clips_side_by_side_are_the_sound_without_a_seam(tmp_path: Path) -> None:
    sound = np.stack([hiss(12, 44_100, seed=1), hiss(12, 44_100, seed=2)], 1)
    path = film(tmp_path / "a.mkv", seconds=12, sound=sound, sound_codec="flac")
    clips, _ = all_clips(path, clip_s=1.0, skip_s=0.0)
    joined = np.concatenate([clip.sound for clip in clips])
    whole = soxr.resample(sound, 44_100, SOUND_RATE_HZ)
    assert len(clips) == 12
    assert np.abs(joined - whole).max() < 1e-3  # 16 bits in between


def test_the_first_seconds_and_what_is_outside_of_the_stretch_are_left_out(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", seconds=31, fps=5)

    def starts(**options: Any) -> list[float]:
        return [clip.start_s for clip in all_clips(path, **options)[0]]

    assert starts(clip_s=10) == [5, 15]
    assert starts(clip_s=5) == [5, 10, 15, 20, 25]
    assert starts(clip_s=1) == list(range(5, 31))
    assert starts(clip_s=10, skip_s=0) == [0, 10, 20]
    assert starts(clip_s=5, start_s=2) == [5, 10, 15, 20, 25]
    assert starts(clip_s=5, start_s=7.5, end_s=18) == [7.5, 12.5]
    assert starts(clip_s=5, start_s=7.5, end_s=17.5) == [7.5, 12.5]
    assert all_clips(path, clip_s=5, end_s=9) == ([], "too short")
    assert all_clips(path, clip_s=30) == ([], "too short")


def test_a_late_stretch_of_a_long_video_is_the_same_whether_entered_or_reached(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", seconds=50, fps=10, size=(64, 48), sound_codec="flac")
    reached = all_clips(path, clip_s=2.5)[0][-2:]
    entered = all_clips(path, clip_s=2.5, start_s=45)[0]
    assert [clip.start_s for clip in entered] == [45, 47.5]
    for one, other in zip(reached, entered, strict=True):
        assert (one.frames[0] == other.frames[0]).all()
        assert one.frame_times_s == other.frame_times_s
        assert np.abs(one.sound - other.sound).max() < 1e-4


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_phone_held_otherwise_gives_upright_pictures(tmp_path: Path, degrees: int) -> None:
    def turned(number: int, time_s: float) -> np.ndarray:
        return np.rot90(counted(number), -degrees // 90)

    size = (120, 160) if degrees != 180 else (160, 120)
    path = film(tmp_path / "a.mp4", seconds=3, fps=10, pictures=turned, size=size, rotation=degrees)
    (clip,), _ = all_clips(path, clip_s=3, skip_s=0)
    assert clip.frames[0].shape == (120, 160, 3)
    assert clip.thumbnails[0].shape == (120, 160)
    assert read_count(clip.frames[0]) == 15


def test_bars_stay_unless_they_are_to_go(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", seconds=3, fps=10, size=(320, 240), bars=(0.2, 0.2, 0.1, 0.1))
    (kept,), _ = all_clips(path, clip_s=3, skip_s=0)
    (cropped,), _ = all_clips(path, clip_s=3, skip_s=0, crop_bars=True)
    assert kept.frames[0].shape == (240, 320, 3)
    height, width, _ = cropped.frames[0].shape
    assert 142 <= height <= 146
    assert 254 <= width <= 258
    assert read_count(cropped.frames[0]) == 15


def test_frames_are_at_most_640_px_wide_and_never_enlarged(tmp_path: Path) -> None:
    for size, expected in (((1280, 720), (360, 640)), ((320, 180), (180, 320))):
        path = film(tmp_path / "a.mp4", seconds=1, fps=5, size=size)
        (clip,), _ = all_clips(path, clip_s=1, skip_s=0)
        assert clip.frames[0].shape == (*expected, 3)
        assert read_count(clip.frames[0]) == 2


def test_pixels_that_are_not_square_are_shown_in_proportion(tmp_path: Path) -> None:
    wide = {"preset": "ultrafast", "aspect": "64:45"}  # of a pixel: a television's 16:9
    path = film(tmp_path / "a.mp4", seconds=1, fps=5, size=(180, 144), stream_options=wide)
    (clip,), _ = all_clips(path, clip_s=1, skip_s=0)
    assert clip.frames[0].shape == (144, 256, 3)
    assert read_count(clip.frames[0]) == 2


def test_mono_goes_to_both_channels_and_six_are_mixed(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * 44_100) / 44_100)
    options = {"seconds": 2, "fps": 5, "sound_codec": "flac"}
    (mono,), _ = all_clips(film(tmp_path / "1.mkv", sound=tone, **options), clip_s=2, skip_s=0)
    assert (mono.sound[:, 0] == mono.sound[:, 1]).all()
    assert np.abs(mono.sound).max() == pytest.approx(0.5, abs=0.01)
    left_only = np.zeros((len(tone), 6))
    left_only[:, 0] = tone
    path = film(tmp_path / "6.mkv", sound=left_only, **options)
    (mixed,), _ = all_clips(path, clip_s=2, skip_s=0)
    assert np.abs(mixed.sound[:, 0]).max() > 0.15
    assert np.abs(mixed.sound[:, 1]).max() < 1e-3


def test_a_gap_in_the_sound_moves_nothing_and_costs_the_clips_it_touches(tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.ts", seconds=14, fps=10, sound="ticks")
    holed = tmp_path / "holed.ts"
    _drop_sound(whole, holed, from_s=6.2, to_s=7.1)
    clips, reason = all_clips(holed, clip_s=1, skip_s=0)
    assert reason == "damaged"
    starts = [clip.start_s for clip in clips]
    assert 6 not in starts
    assert {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12} <= set(starts)
    unhurt = {clip.start_s: clip for clip in all_clips(whole, clip_s=1, skip_s=0)[0]}
    for clip in clips[-4:]:
        found = read_ticks(clip.sound[:, 0], SOUND_RATE_HZ)
        expected = read_ticks(unhurt[clip.start_s].sound[:, 0], SOUND_RATE_HZ)
        # In samples: the container's clock ticks at 90 kHz.
        assert found * SOUND_RATE_HZ == pytest.approx(expected * SOUND_RATE_HZ, abs=0.6)


def test_time_stamps_that_jump_by_hours_cost_neither_hours_nor_what_came_before(tmp_path: Path) -> None:
    def later(packet: Any, time_s: float) -> bool:
        ticks = round((36_000 if time_s >= 9 else 0) / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return True

    in_order = {"bf": "0"}
    whole = film(tmp_path / "whole.mkv", seconds=14, fps=10, size=(64, 48), stream_options=in_order)
    jumped = tmp_path / "jumped.mkv"
    _copy(whole, jumped, later)
    clips, reason = all_clips(jumped, clip_s=1)
    assert [clip.start_s for clip in clips] == [5, 6, 7, 8]
    assert reason == "damaged"


def _drop_sound(source: Path, target: Path, *, from_s: float, to_s: float) -> None:
    """Copy a film without some packets of its sound."""

    def stays(packet: Any, time_s: float) -> bool:
        return packet.stream.type != "audio" or not from_s <= time_s < to_s

    _copy(source, target, stays)


def _copy(source: Path, target: Path, stays: Callable[[Any, float], bool]) -> None:
    """Copy the packets that stay, of which `stays` is told the time."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        first = {s.index: s.start_time for s in old.streams}
        for packet in old.demux():
            if packet.dts is None:
                continue
            time_s = float((packet.pts - first[packet.stream.index]) * packet.time_base)
            if stays(packet, time_s):
                packet.stream = streams[packet.stream.index]
                new.mux(packet)


@pytest.mark.parametrize(
    ("made", "reason"), [({"sound": None}, "no sound"), ({"pictures": ()}, "no picture"), ({"seconds": 6}, "too short")]
)
def test_what_cannot_be_cut_says_why(tmp_path: Path, made: dict[str, Any], reason: str) -> None:
    path = film(tmp_path / "a.mp4", **({"seconds": 12, "fps": 5} | made))
    assert all_clips(path, clip_s=5) == ([], reason)


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    text = tmp_path / "a.mp4"
    text.write_text("no video")
    playlist = tmp_path / "b.mp4"
    playlist.write_text("#EXTM3U\n#EXTINF:5,\nother.mp4\n")
    for path in (text, playlist, tmp_path / "missing.mp4", tmp_path):
        assert all_clips(path, clip_s=5) == ([], "damaged")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_truncated_file_gives_the_clips_before_the_end(tmp_path: Path, name: str) -> None:
    fast = {"movflags": "faststart"} if name == "a.mp4" else None
    path = film(tmp_path / name, seconds=30, fps=10, sound=hiss(30, 44_100), container_options=fast)
    whole, _ = all_clips(path, clip_s=5)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clips, reason = all_clips(path, clip_s=5)
    assert 1 <= len(clips) < len(whole) == 5
    if name != "a.ts":  # a transport stream does not say how long it is
        assert reason == "damaged"
    for one, other in zip(clips, whole, strict=False):
        assert (one.frames[0] == other.frames[0]).all()
        kept = 160_000 if one is not clips[-1] else 160_000 - 3_500  # a tenth of a second may lack
        assert (one.sound[:kept] == other.sound[:kept]).all()


def test_a_file_without_its_index_gives_nothing(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", seconds=12, fps=10)  # the index is at the end
    path.write_bytes(path.read_bytes()[:-2000])
    assert all_clips(path, clip_s=5) == ([], "damaged")


def test_damage_in_the_middle_is_survived(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", seconds=25, fps=10, sound=hiss(25, 44_100))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = np.random.default_rng(0).bytes(4000)
    path.write_bytes(content)
    clips, _ = all_clips(path, clip_s=5)
    assert len(clips) >= 2
    assert all(clip.sound.shape == (160_000, 2) for clip in clips)


def test_a_track_that_appears_on_the_way_is_no_obstacle(tmp_path: Path) -> None:
    """As in a recorded broadcast, where a programme follows another."""
    path = film(tmp_path / "a.ts", seconds=6, fps=10)
    second = film(tmp_path / "b.ts", seconds=1, fps=10).read_bytes()
    # Its sound gets another number, in the list of tracks and in each packet.
    second = second.replace(b"\xe1\x01", b"\xe1\x05").replace(b"\x47\x41\x01", b"\x47\x41\x05")
    path.write_bytes(path.read_bytes() + second)
    clips, _ = all_clips(path, clip_s=1, skip_s=1)
    assert len(clips) >= 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is damaged
        assert len(read_audio(path)) >= 5.9 * 16_000


def test_sound_in_a_file_of_its_own(tmp_path: Path) -> None:
    picture = film(tmp_path / "a.f1.mp4", seconds=12, fps=10, sound=None)
    sound = film(tmp_path / "a.f2.m4a", seconds=12, pictures=(), rate_hz=48_000)
    whole, _ = all_clips(film(tmp_path / "b.mp4", seconds=12, fps=10, rate_hz=48_000), clip_s=3)
    parts, reason = all_clips(picture, clip_s=3, sound_path=sound)
    assert reason == ""
    assert len(parts) == len(whole) == 2
    for one, other in zip(parts, whole, strict=True):
        assert (one.frames[0] == other.frames[0]).all()
        assert (one.sound == other.sound).all()


def test_a_cover_is_no_picture(tmp_path: Path) -> None:
    """Of one frame that is shown all the time nothing can be told about a place."""
    path = film(tmp_path / "a.mkv", seconds=12, fps=0.1, size=(64, 48))
    clips, _ = all_clips(path, clip_s=5)
    assert all((a == b).all() for clip in clips for a, b in zip(clip.thumbnails, clip.thumbnails[1:], strict=False))


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    peaks = []
    for seconds in (15, 60):
        path = film(tmp_path / f"{seconds}.mp4", seconds=seconds, fps=5, size=(320, 240))
        tracemalloc.start()
        num_clips = sum(1 for _ in cut(path, clip_s=5))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert num_clips == (seconds - 5) // 5
    assert peaks[1] < 1.2 * peaks[0]


def test_the_same_video_gives_the_same_clips(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", seconds=12, fps=10, variable=True)
    once, again = (all_clips(path, clip_s=3, num_frames=2)[0] for _ in range(2))
    for one, other in zip(once, again, strict=True):
        assert one.sound.tobytes() == other.sound.tobytes()
        for a, b in zip(one.frames + one.thumbnails, other.frames + other.thumbnails, strict=True):
            assert a.tobytes() == b.tobytes()


def test_pictures_are_taken_from_the_middle_first() -> None:
    assert picture_times(1) == [0.5]
    assert picture_times(2) == [0.5, 0.75]
    assert picture_times(5) == pytest.approx([0.5, 0.1, 0.3, 0.7, 0.9])
    for number in range(1, 9):
        times = picture_times(number)
        assert len(set(times)) == number
        assert all(0 < time < 1 for time in times)
