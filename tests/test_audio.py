"""Any recording in, mono float32 at one rate out; or one line that says what to do."""

import io
import shutil
import struct
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from avgan.audio import BLOCK_SAMPLES, AudioStream, Level, fit, read_audio, windows
from avgan.errors import AudioError
from avgan.media import decoding, sound_codecs
from sounds import encoded

SOUNDFILE_FORMATS = [
    ("a.wav", "PCM_U8"),
    ("a.wav", "PCM_16"),
    ("a.wav", "PCM_24"),
    ("a.wav", "PCM_32"),
    ("a.wav", "FLOAT"),
    ("a.wav", "DOUBLE"),
    ("a.flac", "PCM_16"),
    ("a.ogg", "VORBIS"),
    ("a.mp3", "MPEG_LAYER_III"),
    ("a.aiff", "PCM_16"),
]
AV_FORMATS = [("a.m4a", "aac"), ("a.mp4", "aac"), ("a.webm", "libopus"), ("a.opus", "libopus")]


def encode(path: Path, samples: np.ndarray, *, codec: str, rate_hz: int = 48_000) -> Path:
    """Write (L,) samples with PyAV, as a phone or a browser would; mp4 gets a picture track too."""
    with av.open(path, "w") as container:
        sound = container.add_stream(codec, rate=rate_hz, layout="mono")
        if path.suffix == ".mp4":
            video = container.add_stream("libx264", rate=5, width=64, height=48, pix_fmt="yuv420p")
            for _ in range(5):
                picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        resampler = av.AudioResampler(format=sound.format.name, layout="mono", rate=rate_hz)
        for start in range(0, len(samples), 960):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 960], "fltp", "mono")
            frame.sample_rate, frame.pts = rate_hz, start
            for converted in resampler.resample(frame):
                container.mux(sound.encode(converted))
        container.mux(sound.encode(None))
    return path


def loudness(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(waveform**2)))


def strongest_hz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * 16_000 / len(waveform))


@pytest.mark.parametrize(("name", "subtype"), SOUNDFILE_FORMATS)
def test_soundfile_formats_give_the_same_sound(
    tmp_path: Path, make_tone: Callable[..., np.ndarray], name: str, subtype: str
) -> None:
    tone = make_tone(rate_hz=44_100, duration_s=2.0)
    path = tmp_path / name
    soundfile.write(path, np.stack([tone, tone], 1), 44_100, subtype=subtype)
    waveform = read_audio(path)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert len(waveform) == pytest.approx(32_000, abs=1)
    assert strongest_hz(waveform) == pytest.approx(440, abs=1)
    assert loudness(waveform) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("suffix", ["mkv", "wav", "nut", "avi"])
def test_a_codec_of_nobody_is_refused_by_its_name(
    tmp_path: Path, make_tone: Callable[..., np.ndarray], suffix: str
) -> None:
    """A decoder that is seldom used is one whose defects nobody has looked for."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    soundfile.write(tmp_path / "a.wav", make_tone(), 16_000)
    path = tmp_path / f"odd.{suffix}"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", tmp_path / "a.wav", "-c:a", "dfpwm", path]
    subprocess.run(command, check=True)
    with pytest.raises(AudioError, match=r"not read: dfpwm|unimplemented format|not recognised"):
        read_audio(path)


def test_the_decoders_of_sound_are_named() -> None:
    known = set(sound_codecs().split(","))
    assert {"aac", "flac", "opus", "vorbis", "mp3float", "pcm_s16le", "wmav2"} <= known
    assert not known & {"apac", "osq", "shorten", "wavesynth", "bonk", "smackaud"}


@pytest.mark.parametrize(("name", "codec"), AV_FORMATS)
def test_containers_of_phones_and_browsers_are_decoded(
    tmp_path: Path, make_tone: Callable[..., np.ndarray], name: str, codec: str
) -> None:
    tone = make_tone(rate_hz=48_000, duration_s=2.0)
    waveform = read_audio(encode(tmp_path / name, tone, codec=codec))
    assert len(waveform) == pytest.approx(32_000, abs=800)  # codecs pad to whole frames
    assert strongest_hz(waveform) == pytest.approx(440, abs=1)
    assert loudness(waveform) == pytest.approx(0.5 / np.sqrt(2), rel=0.04)


def test_path_bytes_and_file_object_agree(tone_wav: Path) -> None:
    expected = read_audio(tone_wav)
    content = tone_wav.read_bytes()
    np.testing.assert_array_equal(read_audio(str(tone_wav)), expected)
    np.testing.assert_array_equal(read_audio(content), expected)
    np.testing.assert_array_equal(read_audio(io.BytesIO(content)), expected)
    with tone_wav.open("rb") as file:
        np.testing.assert_array_equal(read_audio(file), expected)
        assert not file.closed


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_blockwise_resampling_equals_resampling_at_once(rng: np.random.Generator, rate_hz: int) -> None:
    samples = rng.standard_normal(rate_hz * 3).astype(np.float32)
    assert len(samples) % BLOCK_SAMPLES
    expected = soxr.resample(samples, rate_hz, 16_000, quality="HQ")
    waveform = read_audio(samples, rate_hz=rate_hz)
    assert len(waveform) == len(expected)
    np.testing.assert_allclose(waveform, expected, atol=1e-4)


def test_what_needs_no_resampling_is_untouched(rng: np.random.Generator) -> None:
    samples = rng.standard_normal(100_000).astype(np.float32)
    np.testing.assert_array_equal(read_audio(samples, rate_hz=16_000), samples)


def test_channels_are_averaged_whichever_axis_they_are_on(rng: np.random.Generator) -> None:
    channels = rng.uniform(-1, 1, (8, 5_000)).astype(np.float32)
    expected = channels.mean(0)
    np.testing.assert_allclose(read_audio(channels, rate_hz=16_000), expected, atol=1e-6)
    np.testing.assert_allclose(read_audio(channels.T, rate_hz=16_000), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8])
def test_integers_are_read_at_full_scale(make_tone: Callable[..., np.ndarray], dtype: type[np.generic]) -> None:
    tone = make_tone()
    info = np.iinfo(dtype)
    half = (int(info.max) - int(info.min) + 1) / 2
    integers = np.clip(tone.astype(np.float64) * half, -half, half - 1) + (half + info.min)
    np.testing.assert_allclose(read_audio(integers.astype(dtype), rate_hz=16_000), tone, atol=1 / half + 1e-6)


def test_eight_channels_at_96_khz(tmp_path: Path, make_tone: Callable[..., np.ndarray]) -> None:
    tone = make_tone(rate_hz=96_000)
    path = tmp_path / "studio.wav"
    soundfile.write(path, np.stack([tone] * 8, 1), 96_000, subtype="PCM_24")
    waveform = read_audio(path)
    assert len(waveform) == 16_000
    assert strongest_hz(waveform) == pytest.approx(440, abs=1)


def test_one_millisecond(make_tone: Callable[..., np.ndarray]) -> None:
    samples = make_tone(duration_s=0.001, rate_hz=48_000)
    assert len(read_audio(samples, rate_hz=48_000)) == 16


def test_spaces_and_unicode_in_a_path(tone_wav: Path) -> None:
    path = tone_wav.rename(tone_wav.with_name("Straße am Meer 海 – ñ.wav"))
    assert len(read_audio(path)) == 32_000


def test_rate_is_asked_for_where_it_is_unknown_and_refused_where_it_is_known(tone_wav: Path) -> None:
    with pytest.raises(AudioError, match="rate_hz"):
        read_audio(np.zeros(16_000, np.float32))
    with pytest.raises(AudioError, match="states its own"):
        read_audio(tone_wav, rate_hz=8_000)
    with pytest.raises(AudioError, match="hertz"):
        read_audio(np.zeros(100, np.float32), rate_hz=16)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((2, 2, 2), np.float32), "shape"),
        (np.zeros(10, np.int64), "full scale"),
        (np.zeros(10, bool), "full scale"),
        (np.zeros(10, complex), "full scale"),
        (np.zeros(0, np.float32), "no sound"),
        (np.full(10, np.nan), "finite"),
        (np.full(10, np.inf), "finite"),
    ],
)
def test_arrays_that_are_no_sound(array: np.ndarray, match: str) -> None:
    with pytest.raises(AudioError, match=match):
        read_audio(array, rate_hz=16_000)


def test_some_bad_samples_become_zero_and_are_reported(make_tone: Callable[..., np.ndarray]) -> None:
    tone = make_tone()
    tone[100:104] = [np.nan, np.inf, -np.inf, -3e38]
    with pytest.warns(UserWarning, match="4 samples are not numbers"):
        waveform = read_audio(tone, rate_hz=16_000)
    assert np.isfinite(waveform).all()
    np.testing.assert_array_equal(waveform[100:104], 0)
    np.testing.assert_array_equal(waveform[104:], tone[104:])


def test_nan_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.full(1_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="finite"):
        read_audio(path)


def test_a_title_that_is_no_text_is_no_reason_to_refuse(make_tone: Callable[..., np.ndarray]) -> None:
    content = encoded(make_tone())
    title = b"LIST" + struct.pack("<I", 18) + b"INFOINAM" + struct.pack("<I", 6) + b"Caf\xe9\xff\0"
    content = content[:12] + title + content[12:]
    blocks = list(decoding._decode_with_av(io.BytesIO(content), decoding._Job("a.wav", [])))
    assert sum(len(block.samples) for block in blocks) == len(make_tone())


def test_things_that_are_no_recording(tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("this is a shopping list\n" * 100)
    empty = tmp_path / "empty.wav"
    empty.touch()
    no_samples = tmp_path / "none.wav"
    soundfile.write(no_samples, np.zeros(0, np.float32), 16_000)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\nnotes.wav\n#EXT-X-ENDLIST\n")
    for path, match in [
        (text, "not a sound file that can be decoded"),
        (empty, "is empty"),
        (no_samples, "holds no sound"),
        (playlist, "not a sound file"),
        (tmp_path, "is a folder"),
        (tmp_path / "missing.wav", "no such file"),
    ]:
        with pytest.raises(AudioError, match=match) as caught:
            read_audio(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(AudioError, match="binary"), text.open() as file:
        read_audio(file)  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="not a sound"):
        read_audio(None)  # type: ignore[arg-type]


def test_a_video_without_sound(tmp_path: Path) -> None:
    path = tmp_path / "mute.mp4"
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=5, width=64, height=48, pix_fmt="yuv420p")
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
        container.mux(video.encode(picture))
        container.mux(video.encode(None))
    with pytest.raises(AudioError, match="no sound track"):
        read_audio(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_truncated_file_gives_its_beginning(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, (0.1 * rng.standard_normal(44_100 * 4)).astype(np.float32), 44_100)
    whole = read_audio(path)
    content = path.read_bytes()
    part = read_audio_quietly(content[: len(content) // 2])
    assert 0.3 * len(whole) < len(part) < 0.6 * len(whole)
    compared = len(part) - 2_000  # the resampler rings at the end; a codec may fade
    np.testing.assert_allclose(part[:compared], whole[:compared], atol=1e-3)


def test_a_truncated_mp4_is_one_line(tmp_path: Path, make_tone: Callable[..., np.ndarray]) -> None:
    content = encode(tmp_path / "a.m4a", make_tone(rate_hz=48_000), codec="aac").read_bytes()
    with pytest.raises(AudioError, match="convert it"):
        read_audio(content[: len(content) // 2])


def test_damage_in_the_middle_is_reported_and_the_rest_used(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, (0.1 * rng.standard_normal(16_000 * 8)).astype(np.float32), 16_000)
    content = path.read_bytes()
    stream = AudioStream(content[: len(content) * 3 // 4])
    assert sum(map(len, stream)) > 16_000 * 3
    assert any("damaged" in warning for warning in stream.warnings)


def read_audio_quietly(content: bytes) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_audio(content)


def test_any_bytes_give_a_sound_or_an_audio_error(tone_wav: Path) -> None:
    head = tone_wav.read_bytes()[:44]

    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(st.binary(min_size=0, max_size=400), st.booleans(), st.integers(0, 43))
    def check(noise: bytes, has_head: bool, position: int) -> None:
        content = head[:position] + noise[:1] + head[position + 1 :] + noise if has_head else noise
        try:
            result: np.ndarray | str = read_audio_quietly(content)
        except AudioError as error:
            result = str(error)
        assert "\n" not in result if isinstance(result, str) else len(result) > 0

    check()


def inspect_waveform(waveform: np.ndarray) -> tuple[str, ...]:
    """What is wrong with a waveform (L,)."""
    level = Level()
    level.add(waveform[:, None], 16_000)
    return level.warnings


def test_a_level_warns_of_what_is_wrong(make_tone: Callable[..., np.ndarray]) -> None:
    tone = make_tone(duration_s=2.0)
    assert inspect_waveform(tone) == ()
    assert "silent" in inspect_waveform(np.zeros(20_000, np.float32))[0]
    assert "clipped" in inspect_waveform(np.clip(4 * tone, -1, 1))[0]
    assert "shorter than 1 s" in inspect_waveform(tone[:8_000])[0]
    assert "outside" in inspect_waveform(tone * 32_768)[0]
    full_scale = make_tone(duration_s=2.0, frequency_hz=500.0) * 2
    assert inspect_waveform(full_scale) == ()


def test_windows_cover_the_recording_and_tell_the_time() -> None:
    waveform = np.arange(16_000 * 12, dtype=np.float32)
    found = list(windows(waveform, rate_hz=16_000, window_s=5.0))
    assert [(w.start_s, w.end_s) for w in found] == [(0, 5), (5, 10), (10, 12)]
    assert all(w.waveform.shape == (80_000,) for w in found)
    np.testing.assert_array_equal(found[2].waveform[:32_000], waveform[160_000:])
    np.testing.assert_array_equal(found[2].waveform[32_000:], 0)


@pytest.mark.parametrize(
    ("duration_s", "hop_s", "times"),
    [
        (5.0, None, [(0, 5)]),
        (5.5, None, [(0, 5)]),  # half a second more is not worth an answer of its own
        (0.25, None, [(0, 0.25)]),  # but it is where it is all there is
        (6.0, None, [(0, 5), (5, 6)]),
        (7.0, 2.5, [(0, 5), (2.5, 7)]),
        (7.5, 2.5, [(0, 5), (2.5, 7.5)]),
        (12.0, 10.0, [(0, 5), (10, 12)]),  # a hop that skips sound
        (9.0, 10.0, [(0, 5)]),
    ],
)
def test_last_window_and_hops(duration_s: float, hop_s: float | None, times: list[tuple[float, float]]) -> None:
    waveform = np.arange(round(16_000 * duration_s), dtype=np.float32)
    found = list(windows(waveform, rate_hz=16_000, window_s=5.0, hop_s=hop_s))
    assert [(w.start_s, w.end_s) for w in found] == times
    for window in found:
        start, end = round(window.start_s * 16_000), round(window.end_s * 16_000)
        np.testing.assert_array_equal(window.waveform[: end - start], waveform[start:end])


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12), window=st.integers(1, 120), hop=st.integers(1, 200)
)
def test_windows_of_blocks_equal_windows_of_the_whole(sizes: list[int], window: int, hop: int) -> None:
    waveform = np.arange(sum(sizes), dtype=np.float32)
    blocks = np.split(waveform, np.cumsum(sizes)[:-1])
    options = {"rate_hz": 100, "window_s": window / 100, "hop_s": hop / 100}
    whole = list(windows(waveform, **options))
    parts = list(windows(iter(blocks), **options))
    assert [(w.start_s, w.end_s) for w in whole] == [(w.start_s, w.end_s) for w in parts]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a.waveform, b.waveform)


def test_fit() -> None:
    waveform = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(fit(waveform, 2), [1, 2])
    np.testing.assert_array_equal(fit(waveform, 5), [1, 2, 3, 0, 0])
    np.testing.assert_array_equal(fit(waveform, 7, fill="repeat"), [1, 2, 3, 1, 2, 3, 1])
    np.testing.assert_array_equal(fit(waveform[:0], 2, fill="repeat"), [0, 0])


def test_a_long_recording_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    hour = 3_600
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for _ in range(hour // 60):
            file.write(np.zeros(16_000 * 60, np.float32))
    largest = max(len(block) for block in AudioStream(path))
    assert largest <= BLOCK_SAMPLES


def test_real_recordings(data_root: Path) -> None:
    for path in sorted((data_root / "tau_samples" / "audio").glob("*.wav")):
        waveform = read_audio(path)
        assert len(waveform) == pytest.approx(160_000, abs=1)
        assert inspect_waveform(waveform) == ()
