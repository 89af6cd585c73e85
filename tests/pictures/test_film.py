"""A film shows what was imagined at its time, sounds as it sounded, and is there whole or not at all."""

import errno
import os
import resource
from collections.abc import Callable
from math import ceil
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from avgan.audio import read_audio
from avgan.errors import AudioError, AvganError
from avgan.pictures import film
from avgan.pictures.film import FADE_S, FRAMES_PER_S, PICTURE_PX, SHOT_S, SIZE_PX, write_film
from avgan.pictures.thinning import Thinning
from avgan.runtime.prediction import UNKNOWN, WindowPrediction


def decode(codes: np.ndarray) -> np.ndarray:
    """Pictures (B, 128, 128, 3) of one colour each: red and blue say the code."""
    pictures = np.full((len(codes), 128, 128, 3), 128, np.uint8)
    pictures[..., 0] = codes[:, :1, :1]
    pictures[..., 2] = 255 - codes[:, :1, :1]
    return pictures


def windows_of(codes: list[int], window_s: float = 2.0) -> Thinning:
    """Side by side; the code 0 is unknown."""
    thinning = Thinning()
    for number, code in enumerate(codes):
        scene, reason = (f"scene {code}", "") if code else (UNKNOWN, "silent")
        at_s = number * window_s
        grid = np.full((16, 16), code, np.uint16)
        thinning.add(WindowPrediction(at_s, at_s + window_s, scene, None, 0.8, reason, codes=grid))
    return thinning


def decoded(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """Frames (H, W, 3) and the times in s at which they are shown."""
    with av.open(os.fspath(path.absolute())) as container:
        frames = list(container.decode(video=0))
        return [frame.to_ndarray(format="rgb24") for frame in frames], [
            float(frame.pts * frame.time_base) for frame in frames
        ]


@pytest.fixture(scope="module")
def chirp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 s of a rising tone, 44.1 kHz, stereo: every moment of it sounds differently."""
    times_s = np.arange(6 * 44_100) / 44_100
    wave = 0.5 * np.sin(2 * np.pi * (200 * times_s + 200 * times_s**2))
    path = tmp_path_factory.mktemp("chirp") / "chirp.wav"
    soundfile.write(path, np.stack([wave, wave], 1), 44_100)
    return path


@pytest.fixture(scope="module")
def short(chirp: Path) -> Path:
    """Its film: two seconds each of two scenes, and of what is unknown."""
    return write_film(chirp.with_name("film.mp4"), windows_of([40, 200, 0]), 6.0, decode=decode, source=chirp)


@pytest.fixture(scope="module")
def frames(short: Path) -> list[np.ndarray]:
    """The frames of that film."""
    frames, times_s = decoded(short)
    assert times_s == pytest.approx(np.arange(len(frames)) / FRAMES_PER_S)
    return frames


def test_a_short_recording_plays_as_it_sounded(short: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(short)) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]
        assert container.duration / av.time_base == pytest.approx(6.0, abs=0.05)
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert len(frames) == 6 * FRAMES_PER_S
    assert {frame.shape for frame in frames} == {(SIZE_PX[1], SIZE_PX[0], 3)}
    for code, start_s in ((40, 0.0), (200, 2.0 + FADE_S)):
        for frame in frames[int(start_s * FRAMES_PER_S) + 1 : (int(start_s) // 2 + 1) * 2 * FRAMES_PER_S]:
            np.testing.assert_allclose(frame[:PICTURE_PX].mean((0, 1)), (code, 128, 255 - code), atol=4)


def test_the_sound_comes_when_its_picture_is_seen(short: Path, chirp: Path) -> None:
    heard, original = (read_audio(each, target_rate_hz=16_000) for each in (short, chirp))
    assert len(heard) == pytest.approx(len(original), abs=400)  # AAC comes in blocks
    size = 2**18
    product = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(original, size))
    correlation = np.fft.irfft(product)
    assert abs((int(correlation.argmax()) + size // 2) % size - size // 2) <= 16  # 1 ms
    num = min(len(heard), len(original))
    assert np.corrcoef(heard[:num], original[:num])[0, 1] > 0.97


def test_one_picture_fades_into_the_next(frames: list[np.ndarray]) -> None:
    reds = [frame[:PICTURE_PX, :, 0].mean() for frame in frames[: 4 * FRAMES_PER_S]]
    between = reds[2 * FRAMES_PER_S + 1 : ceil((2 + FADE_S) * FRAMES_PER_S)]
    assert len(between) >= 4
    assert between == sorted(between)
    assert max(np.diff(reds)) < 0.35 * 160


def test_what_is_unknown_is_dark_and_carries_no_number(frames: list[np.ndarray]) -> None:
    known, unknown = frames[3 * FRAMES_PER_S], frames[5 * FRAMES_PER_S]
    assert unknown[:PICTURE_PX].mean() < 0.5 * known[:PICTURE_PX].mean()
    certainty = np.s_[PICTURE_PX + 8 : PICTURE_PX + 42, 400:500]
    assert known[certainty].max() > 120
    assert unknown[certainty].max() < 50


def test_scene_and_time_are_written(frames: list[np.ndarray]) -> None:
    a, b, c = (frames[round(t * FRAMES_PER_S)].astype(int) for t in (0.5, 1.5, 3.5))
    scene, clock = np.s_[PICTURE_PX : PICTURE_PX + 74], np.s_[PICTURE_PX + 80 :, 380:]
    assert a[scene].max() > 180
    assert np.abs(a - b)[scene].max() < 40
    assert np.abs(a - c)[scene].max() > 100
    assert np.abs(a - b)[clock].max() > 100


@pytest.mark.parametrize("duration_s", [0.01, 0.5, 3.3])
def test_the_shortest_recordings_have_a_film(tmp_path: Path, duration_s: float) -> None:
    frames, _ = decoded(write_film(tmp_path / "f.mp4", windows_of([50]), duration_s, decode=decode))
    assert abs(len(frames) - duration_s * FRAMES_PER_S) <= 1


def a_day() -> Thinning:
    """A window every second for 24 hours; the hour is in the code."""
    thinning = Thinning()
    for second in range(24 * 3600 - 4):
        code = 10 * (second // 3600) + 5
        codes = np.full((16, 16), code, np.uint16)
        thinning.add(WindowPrediction(second, second + 5, f"hour {code}", None, 0.9, codes=codes))
    return thinning


def test_a_day_goes_by_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chirp: Path) -> None:
    monkeypatch.setattr(film, "LONGEST_S", 6.0)
    num_drawn = 0

    def counting(codes: np.ndarray) -> np.ndarray:
        nonlocal num_drawn
        num_drawn += len(codes)
        return decode(codes)

    path = write_film(tmp_path / "day.mp4", a_day(), 86_400.0, decode=counting, source=chirp)
    with av.open(str(path)) as container:
        assert not container.streams.audio
        assert container.duration / av.time_base == pytest.approx(6.0, abs=0.05)
    frames, times_s = decoded(path)
    assert len(frames) == 6 * FRAMES_PER_S
    assert num_drawn <= 6 / SHOT_S
    for frame, time_s in zip(frames, times_s, strict=True):
        hour = time_s * 4
        assert frame[:PICTURE_PX, :, 0].mean() == pytest.approx(10 * hour, abs=25)


@pytest.mark.slow
def test_the_longest_film_lasts_a_minute(tmp_path: Path) -> None:
    path = write_film(tmp_path / "day.mp4", a_day(), 86_400.0, decode=decode)
    with av.open(str(path)) as container:
        assert container.duration / av.time_base == pytest.approx(60.0, abs=0.05)
        assert container.streams.video[0].frames == 60 * FRAMES_PER_S


@pytest.mark.parametrize("duration_s", [60.0, 60.000_000_1, 60.03])
def test_a_minute_is_a_minute_also_where_the_format_pads_it(duration_s: float) -> None:
    cut = film.Cut.of(windows_of([1] * 30), duration_s)
    assert cut.speed == 1
    assert film.Cut.of(windows_of([1] * 31), 62.0).speed == pytest.approx(62 / 60)


def test_it_plays_before_it_is_loaded(tmp_path: Path) -> None:
    content = write_film(tmp_path / "f.mp4", windows_of([5]), 1.0, decode=decode).read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")


@pytest.mark.parametrize("name", ["a:b.mp4", "100 %d.mp4", "海 ü 💥.mp4", "\udcff.mp4", "-i"])
def test_any_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_film(Path("x:y") / name, windows_of([5]), 0.5, decode=decode)
    assert [each.name for each in (tmp_path / "x:y").iterdir()] == [name]
    assert len(decoded(path)[0]) == FRAMES_PER_S // 2


def test_an_ffmpeg_without_the_best_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "CODECS", ("no such codec", "mpeg4"))
    path = write_film(tmp_path / "f.mp4", windows_of([80]), 1.0, decode=decode)
    assert decoded(path)[0][10][:PICTURE_PX].mean((0, 1)) == pytest.approx([80, 128, 175], abs=6)


def interrupted(codes: np.ndarray) -> np.ndarray:
    if codes[0, 0, 0] == 7:
        raise KeyboardInterrupt
    return decode(codes)


def test_ctrl_c_leaves_what_was_there(tmp_path: Path) -> None:
    path = write_film(tmp_path / "f.mp4", windows_of([5]), 0.5, decode=decode)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_film(path, windows_of([5, 6, 7]), 6.0, decode=interrupted)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.fixture
def full_disk() -> Callable[[], None]:
    """A function after which this process can write no more than 4 kB to a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))  # type: ignore[misc]
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_where_no_more_can_be_written(tmp_path: Path, full_disk: Callable[[], None]) -> None:
    full_disk()
    with pytest.raises(AvganError, match=r"f\.mp4: cannot be written .*too large.*another place"):
        write_film(tmp_path / "f.mp4", windows_of([5, 200]), 4.0, decode=decode)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written(tmp_path: Path, tone_wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AvganError, match="is no folder"):
        write_film(tone_wav / "f.mp4", windows_of([5]), 0.5, decode=decode)

    def read_only(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("avgan.files.os.open", read_only)
    with pytest.raises(AvganError, match="Read-only"):
        write_film(tmp_path / "f.mp4", windows_of([5]), 0.5, decode=decode)


def test_a_sound_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        write_film(tmp_path / "f.mp4", windows_of([5]), 1.0, decode=decode, source=tmp_path / "gone.wav")
    assert list(tmp_path.iterdir()) == []
