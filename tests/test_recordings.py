"""Recordings as recorders, editors and streams leave them: all of their sound, at its own time, or a note."""

import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan.audio import AudioStream, read_audio
from avgan.errors import AudioError
from avgan.media import BLOCK_SAMPLES
from avgan.media.channels import BEHIND
from avgan.media.tracks import avi_late_s
from sounds import encoded

RATE_HZ = 16_000
Tone = Callable[..., np.ndarray]

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", "-nostdin", *map(str, arguments)], check=True)


def heard(source: Path | bytes, **options: int) -> tuple[np.ndarray, tuple[str, ...]]:
    stream = AudioStream(source, **options)
    return np.concatenate(list(stream)), stream.warnings


def loud_spans(waveform: np.ndarray) -> list[tuple[float, float]]:
    """When there is sound, to a tenth of a second: (from, to)."""
    size = RATE_HZ // 20
    parts = waveform[: len(waveform) // size * size].reshape(-1, size)
    loud = np.concatenate(([0], np.abs(parts).max(1) > 0.05, [0])).astype(int)
    edges = np.flatnonzero(np.diff(loud)) / 20
    return [(round(a, 1), round(b, 1)) for a, b in edges.reshape(-1, 2)]


@pytest.fixture
def tone_file(tmp_path: Path, make_tone: Tone) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, make_tone(duration_s=3.0), RATE_HZ)
    return path


PICTURE = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=16")


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts", "flv", "nut", "mpg", "avi"])
def test_sound_that_starts_later_is_heard_later(tmp_path: Path, tone_file: Path, suffix: str) -> None:
    path = tmp_path / f"late.{suffix}"
    codec = ["-ar", "44100"] * (suffix in ("flv", "mpg"))
    ffmpeg(*PICTURE, "-itsoffset", "10", "-i", tone_file, "-map", "0:v", "-map", "1:a", *codec, path)
    waveform, notes = heard(path)
    ((begin_s, end_s),) = loud_spans(waveform)
    assert (begin_s, end_s) == (pytest.approx(10, abs=0.15), pytest.approx(13, abs=0.15))
    assert any("begins" in note for note in notes)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["m4a", "mka"])
def test_an_edit_list_before_the_sound_counts(tmp_path: Path, tone_file: Path, suffix: str) -> None:
    path = tmp_path / f"late.{suffix}"
    ffmpeg("-itsoffset", "10", "-i", tone_file, path)
    assert loud_spans(heard(path)[0])[0][0] == pytest.approx(10, abs=0.15)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["mkv", "mov", "ts", "mp4", "nut"])
def test_a_hole_is_silence_as_long_as_it_lasts(tmp_path: Path, tone_file: Path, suffix: str) -> None:
    path = tmp_path / f"hole.{suffix}"
    ffmpeg(
        *PICTURE,
        "-i",
        tone_file,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-af",
        "asetpts='PTS+if(gte(T,1.5),8/TB,0)'",
        "-c:a",
        "aac",
        path,
    )
    waveform, notes = heard(path)
    spans = loud_spans(waveform)
    assert [t for span in spans for t in span] == pytest.approx([0, 1.5, 9.5, 11], abs=0.2)
    assert any("holes of 8" in note or "holes of 7" in note for note in notes)


@needs_ffmpeg
@pytest.mark.parametrize(("suffix", "codec"), [("ogg", "libvorbis"), ("opus", "libopus"), ("oga", "flac")])
def test_joined_ogg_files_are_heard_in_full(tmp_path: Path, tone_file: Path, suffix: str, codec: str) -> None:
    one, other = tmp_path / f"one.{suffix}", tmp_path / f"other.{suffix}"
    ffmpeg("-i", tone_file, "-c:a", codec, one)
    ffmpeg("-i", tone_file, "-af", "volume=0.5,apad=pad_dur=1", "-ac", "2", "-c:a", codec, other)
    waveform, notes = heard(one.read_bytes() + other.read_bytes() + one.read_bytes())
    assert len(waveform) / RATE_HZ == pytest.approx(10, abs=0.1)
    assert [t for span in loud_spans(waveform) for t in span] == pytest.approx([0, 6, 7, 10], abs=0.15)
    assert notes == ()


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["flv", "tta", "voc", "wma"])
def test_other_files_joined_end_to_end_are_heard_in_full(tmp_path: Path, tone_file: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    ffmpeg("-i", tone_file, "-ar", "44100", path)
    waveform, notes = heard(2 * path.read_bytes())
    assert len(waveform) / RATE_HZ == pytest.approx(6, abs=0.25)
    assert notes == ()


@pytest.mark.parametrize("kind", ["FLAC", "OGG"])
def test_another_kind_of_file_behind_a_wav_is_no_noise(make_tone: Tone, kind: str) -> None:
    tone, file = make_tone(duration_s=2.0), io.BytesIO()
    soundfile.write(file, tone, RATE_HZ, format=kind)
    waveform, _ = heard(encoded(tone) + file.getvalue())
    assert len(waveform) / RATE_HZ == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "AU", "CAF", "RF64"])
def test_files_joined_end_to_end_are_heard_in_full_or_it_is_said(make_tone: Tone, kind: str) -> None:
    waveform, notes = heard(encoded(make_tone(duration_s=3.0), kind=kind) * 2)
    assert len(waveform) / RATE_HZ == pytest.approx(6, abs=0.01) or notes


@needs_ffmpeg
@pytest.mark.parametrize("num_channels", [1, 2, 6])
@pytest.mark.parametrize("has_tag", [True, False])
def test_joined_wavpack_files_are_heard_in_full(
    tmp_path: Path, tone_file: Path, num_channels: int, has_tag: bool
) -> None:
    path = tmp_path / "a.wv"
    ffmpeg("-i", tone_file, "-ac", str(num_channels), path)
    content = path.read_bytes()
    content = content if has_tag else content[: content.index(b"APETAGEX")]
    waveform, notes = heard(content + content)
    assert len(waveform) == 6 * RATE_HZ
    assert not any("damaged" in note for note in notes)
    np.testing.assert_allclose(waveform[3 * RATE_HZ :], heard(content)[0], atol=1e-4)


@needs_ffmpeg
@pytest.mark.parametrize("codec", ["pcm_s16le", "libmp3lame", "aac", "ac3"])
@pytest.mark.parametrize("late_s", [0.0, 0.5, 4.0])
def test_an_avi_is_late_by_what_stands_before_its_sound(
    tmp_path: Path, tone_file: Path, codec: str, late_s: float
) -> None:
    path = tmp_path / "a.avi"
    ffmpeg(*PICTURE, "-itsoffset", str(late_s), "-i", tone_file, "-map", "0:v", "-map", "1:a", "-c:a", codec, path)
    waveform, notes = heard(path)
    due_s = late_s if late_s >= 1 else 0.0  # recorders write sound as long behind its pictures
    assert loud_spans(waveform) == [(pytest.approx(due_s, abs=0.15), pytest.approx(due_s + 3, abs=0.15))]
    assert not any("damaged" in note for note in notes)


def avi_of(chunks: list[tuple[bytes, int]]) -> bytes:
    """An AVI of pictures (00, 25 a second) and PCM (01, 16 kHz, 16 bit), without its index."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    def track(kind: bytes, scale: int, rate: int, unit_bytes: int, form: bytes) -> bytes:
        header = struct.pack("<4s16xII16xI", kind, scale, rate, unit_bytes).ljust(56, b"\0")
        return chunk(b"LIST", b"strl" + chunk(b"strh", header) + chunk(b"strf", form))

    pictures = track(b"vids", 1, 25, 0, struct.pack("<IiiHH4s20x", 40, 64, 48, 1, 24, b"MJPG"))
    sound = track(b"auds", 1, RATE_HZ, 2, struct.pack("<HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16))
    hdrl = chunk(b"LIST", b"hdrl" + chunk(b"avih", bytes(56)) + pictures + sound)
    movi = chunk(b"LIST", b"movi" + b"".join(chunk(name, bytes(size)) for name, size in chunks))
    return chunk(b"RIFF", b"AVI " + hdrl + movi)


PICTURES, SECOND = [(b"00dc", 10)] * 50, [(b"01wb", 2 * RATE_HZ)]


@pytest.mark.parametrize(
    ("chunks", "expected_s"),
    [
        (PICTURES + SECOND + PICTURES, 1.0),  # 2 s of pictures, then the first second of sound
        (PICTURES[:25] + SECOND + PICTURES, 0.0),  # a second of both, sound behind
        (PICTURES + SECOND + SECOND, 0.0),  # all pictures, then all sound
        (SECOND + PICTURES, 0.0),
        (PICTURES, 0.0),
        ([(b"LIST", 4)], 0.0),
        ([], 0.0),
    ],
)
def test_where_an_avi_has_its_sound(chunks: list[tuple[bytes, int]], expected_s: float) -> None:
    content = avi_of(chunks)
    for cut in (len(content), len(content) - 1, 60, 12, 3):
        file = io.BytesIO(content[:cut])
        file.seek(2)
        found = avi_late_s(file, 0)
        assert found in (pytest.approx(expected_s), 0.0)
        assert found == pytest.approx(expected_s) or cut < len(content)
        assert file.tell() == 2
    assert avi_late_s(io.BytesIO(content), 7) == 0


STATED = [0, 1_000, 48_000, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]


@pytest.mark.parametrize("stated", STATED)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_wav_that_states_less_than_it_holds_is_heard_to_its_end(make_tone: Tone, stated: int, subtype: str) -> None:
    content = encoded(make_tone(duration_s=4.0), subtype=subtype)
    at = content.index(b"data") + 4
    waveform, notes = heard(content[:at] + struct.pack("<I", stated) + content[at + 4 :])
    assert len(waveform) == 4 * RATE_HZ
    assert any("to the end of the file" in note for note in notes)


def test_a_second_chunk_of_sound_that_nobody_reads_is_noted(make_tone: Tone) -> None:
    whole = encoded(make_tone(duration_s=2.0))
    data = whole.index(b"data")
    _, notes = heard(whole + whole[data:])
    assert any("damaged" in note for note in notes)


def test_a_w64_that_states_less_than_it_holds_says_so(make_tone: Tone) -> None:
    file = io.BytesIO()
    soundfile.write(file, make_tone(duration_s=2.0), RATE_HZ, format="W64")
    content = bytearray(file.getvalue())
    place = content.index(b"data") + 16
    assert heard(bytes(content))[1] == ()
    content[place : place + 8] = (24 + RATE_HZ).to_bytes(8, "little")
    _, notes = heard(bytes(content))
    assert any("damaged" in note for note in notes)


@pytest.mark.parametrize("num_files", [1, 2])
def test_a_flac_of_unknown_length_is_heard_to_its_end(make_tone: Tone, num_files: int) -> None:
    file = io.BytesIO()
    tone = make_tone(duration_s=3.3)
    soundfile.write(file, tone, RATE_HZ, format="FLAC")
    content = bytearray(file.getvalue())
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])  # as FFmpeg writes it to a pipe
    waveform, _ = heard(bytes(content) + (num_files - 1) * file.getvalue())
    assert len(waveform) == num_files * len(tone)


@pytest.mark.parametrize("num_channels", [3, 8])
def test_a_stream_of_unknown_length_is_not_called_damaged(num_channels: int) -> None:
    samples = np.full((RATE_HZ + 1, num_channels), 1_000, ">i2")
    head = struct.pack(">4sIIIII", b".snd", 24, 0xFFFF_FFFF, 3, RATE_HZ, num_channels)
    waveform, notes = heard(head + samples.tobytes())
    assert len(waveform) == len(samples)
    assert not any("damaged" in note for note in notes)


def test_channels_in_an_order_of_their_own_crash_nothing(make_tone: Tone) -> None:
    """An AIFF of 8 channels whose layout (kAudioChannelLayoutTag_MPEG_7_1_C) FFmpeg keeps as a map."""
    tone = make_tone(duration_s=2.0)
    samples = np.zeros((len(tone), 8), ">i2")
    samples[:, 2] = 32_767 * tone
    rate = b"\x40\x0c\xfa\0\0\0\0\0\0\0"  # 16 kHz in 80 bits
    chunks = (
        (b"CHAN", struct.pack(">III", 0x0080_0008, 0, 0)),
        (b"COMM", struct.pack(">HIH", 8, len(samples), 16) + rate),
        (b"SSND", bytes(8) + samples.tobytes()),
    )
    content = b"AIFF" + b"".join(name + struct.pack(">I", len(body)) + body for name, body in chunks)
    for _ in range(3):  # of memory that is freed twice, the first is seldom noticed
        waveform, _ = heard(b"FORM" + struct.pack(">I", len(content)) + content)
        assert level(waveform) == pytest.approx(level(tone), rel=0.02)


def test_what_follows_the_sound_of_a_wav_is_not_taken_for_sound(make_tone: Tone) -> None:
    content = encoded(make_tone(duration_s=2.0))
    title = b"LIST" + struct.pack("<I", 20_004) + b"INFO" + bytes(20_000)
    for rest in (title, b"ID3\x04" + b"x" * 9_000, b"\0" * 9_000, b"TAG" + b"x" * 125):
        waveform, notes = heard(content + rest)
        assert (len(waveform), notes) == (2 * RATE_HZ, ())


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "FLAC", "OGG", "W64", "RF64", "CAF"])
def test_a_file_that_is_cut_off_says_so(rng: np.random.Generator, kind: str) -> None:
    content = encoded(0.1 * rng.standard_normal(RATE_HZ * 8), kind=kind)
    waveform, notes = heard(content[: len(content) * 5 // 8])
    assert 4 < len(waveform) / RATE_HZ < 6
    assert any("damaged" in note for note in notes)
    assert heard(content)[1] == ()


def two_tracks(path: Path, *filters: str, options: tuple[str, ...] = ()) -> None:
    """A file with two sound tracks: 440 Hz and 880 Hz, each through a filter."""
    tones = [f"sine=frequency={hz}:duration=3:sample_rate=16000,volume=4" for hz in (440, 880)]
    inputs = [part for tone in tones for part in ("-f", "lavfi", "-i", tone)]
    graph = ";".join(f"[{i}:a]{f}[t{i}]" for i, f in enumerate(filters))
    ffmpeg(*inputs, "-filter_complex", graph, "-map", "[t0]", "-map", "[t1]", "-c:a", "flac", *options, path)


def pitch_hz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * RATE_HZ / len(waveform))


@needs_ffmpeg
@pytest.mark.parametrize(
    ("filters", "options", "expected_hz"),
    [
        (("anull", "anull"), (), 440),
        (("volume=0", "anull"), (), 880),
        (("anull", "volume=0"), ("-disposition:a:0", "0", "-disposition:a:1", "default"), 440),
        (("anull", "anull"), ("-disposition:a:0", "0", "-disposition:a:1", "default"), 880),
        (("anull", "anull"), ("-disposition:a:0", "comment", "-disposition:a:1", "0"), 880),
    ],
)
def test_the_default_track_is_heard_unless_it_is_silent(
    tmp_path: Path, filters: tuple[str, str], options: tuple[str, ...], expected_hz: int
) -> None:
    path = tmp_path / "two.mkv"
    two_tracks(path, *filters, options=options)
    waveform, notes = heard(path)
    assert pitch_hz(waveform) == pytest.approx(expected_hz, abs=2)
    assert any("2 sound tracks" in note and "--track" in note for note in notes)


@needs_ffmpeg
def test_the_note_names_the_track_that_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    options = ("-disposition:a:0", "comment", "-disposition:a:1", "0")
    two_tracks(path, "anull", "anull", options=options)
    _, notes = heard(path)
    assert any("used number 2" in note and "(1)" in note for note in notes)


@needs_ffmpeg
def test_a_track_can_be_chosen(tmp_path: Path, tone_file: Path) -> None:
    path = tmp_path / "two.mkv"
    two_tracks(path, "anull", "anull")
    for track, expected_hz in ((1, 440), (2, 880)):
        waveform, notes = heard(path, track=track)
        assert pitch_hz(waveform) == pytest.approx(expected_hz, abs=2)
        assert notes == ()
    for wrong in (0, 3, -1):
        with pytest.raises(AudioError, match="track"):
            heard(path, track=wrong)
    assert len(heard(tone_file, track=1)[0]) == 3 * RATE_HZ
    with pytest.raises(AudioError, match="no sound track 2"):
        heard(tone_file, track=2)


def level(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(waveform[RATE_HZ // 2 : -RATE_HZ // 2] ** 2)))


def test_a_plain_stereo_recording_is_the_mean_to_the_last_bit(rng: np.random.Generator) -> None:
    left = 0.1 * rng.standard_normal(RATE_HZ * 20).astype(np.float32)
    right = (0.5 * left + 0.05 * rng.standard_normal(len(left))).astype(np.float32)
    right[: RATE_HZ * 3] = 0  # a moment of sound on one side only
    left[RATE_HZ * 8 : RATE_HZ * 10] *= -1
    stereo = np.stack((left, right), 1)
    expected = (left + right) / np.float32(2)
    np.testing.assert_array_equal(read_audio(stereo, rate_hz=RATE_HZ), expected)


@pytest.mark.parametrize("gain", [1.0, 0.6])
def test_a_reversed_channel_does_not_cancel_the_other(rng: np.random.Generator, gain: float) -> None:
    left = 0.1 * rng.standard_normal(RATE_HZ * 8).astype(np.float32)
    content = encoded(np.stack((left, -gain * left), 1), subtype="FLOAT")
    waveform, notes = heard(content)
    np.testing.assert_allclose(waveform, left * (1 + gain) / 2, atol=1e-5)
    assert any("channel 2 of 2" in note and "polarity" in note for note in notes)


@pytest.mark.parametrize("turned", [slice(0, 2), slice(2, None), slice(5, None), slice(6, 8)])
def test_polarity_that_changes_on_the_way_silences_nothing(rng: np.random.Generator, turned: slice) -> None:
    sound = (0.1 * rng.standard_normal((12, BLOCK_SAMPLES))).astype(np.float32)
    other = sound.copy()
    other[turned] *= -1
    stream = AudioStream(np.stack([sound.ravel(), other.ravel()], 1), rate_hz=RATE_HZ)
    waveform = np.concatenate(list(stream))
    assert all(level(block) > 0.09 for block in waveform.reshape(12, -1))
    assert any("polarity" in note for note in stream.warnings)


def test_a_reversed_channel_is_found_after_silence(rng: np.random.Generator) -> None:
    left = 0.1 * rng.standard_normal(RATE_HZ * 70).astype(np.float32)
    left[: RATE_HZ * 60] = 0
    waveform = read_audio(np.stack((left, -left), 1), rate_hz=RATE_HZ)
    np.testing.assert_allclose(waveform, left, atol=1e-5)


@pytest.mark.parametrize("num_channels", [2, 4, 8])
@pytest.mark.parametrize("noise", [0.0, 1e-5])
def test_one_live_channel_is_heard_at_its_own_level(rng: np.random.Generator, num_channels: int, noise: float) -> None:
    samples = noise * rng.standard_normal((RATE_HZ * 6, num_channels))
    live = 0.1 * rng.standard_normal(len(samples))
    samples[:, num_channels // 2] = live
    waveform = read_audio(samples.astype(np.float32), rate_hz=RATE_HZ)
    np.testing.assert_allclose(waveform, live, atol=1e-4)


def test_a_channel_that_comes_alive_is_heard_at_once(rng: np.random.Generator) -> None:
    sound = 0.1 * rng.standard_normal(RATE_HZ * 60).astype(np.float32)
    samples = np.zeros((len(sound), 2), np.float32)
    samples[: RATE_HZ * 30, 0] = sound[: RATE_HZ * 30]
    samples[RATE_HZ * 30 :, 1] = sound[RATE_HZ * 30 :]
    waveform = read_audio(samples, rate_hz=RATE_HZ)
    late = slice(RATE_HZ * 33, None)
    assert level(waveform[late]) > 0.45 * level(sound[late])


def surround(rng: np.random.Generator, live: list[int]) -> bytes:
    """A 5.1 WAV whose layout is known (FL FR FC LFE BL BR), noise in some channels."""
    samples = np.zeros((RATE_HZ * 6, 6), np.int16)
    for channel in live:
        samples[:, channel] = 3_000 * rng.standard_normal(len(samples))
    data = samples.tobytes()
    head = struct.pack("<HHIIHHHHI", 0xFFFE, 6, RATE_HZ, RATE_HZ * 12, 12, 16, 22, 16, 0x3F) + bytes.fromhex(
        "0100000000001000800000aa00389b71"
    )
    chunks = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data))
    return b"RIFF" + struct.pack("<I", len(chunks) + len(data)) + chunks + data


@pytest.mark.parametrize(
    ("live", "gain"),
    [
        ([2], 1.0),  # a voice in the centre
        ([0, 1, 2, 4, 5], np.sqrt(0.5 + 1 + BEHIND**2 / 2)),
        ([2, 3], 1.0),  # LFE is left out
        ([3], 1.0),  # unless it is all there is: a recorder with eight inputs, and this one plugged in
        ([0, 1], np.sqrt(0.5)),
        ([4], 1.0),
    ],
)
def test_surround_is_mixed_by_its_layout(rng: np.random.Generator, live: list[int], gain: float) -> None:
    waveform, notes = heard(surround(rng, live))
    assert level(waveform) == pytest.approx(gain * 3_000 / 32_768, rel=0.05)
    assert any("6 channels" in note for note in notes)


def test_a_choice_does_not_depend_on_how_the_file_is_handed_over(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(surround(rng, [0, 2, 5]))
    by_path = heard(path)[0]
    np.testing.assert_array_equal(by_path, heard(path.read_bytes())[0])
    np.testing.assert_array_equal(by_path, heard(path)[0])


def test_an_offset_is_taken_away(rng: np.random.Generator) -> None:
    sound = (0.001 * rng.standard_normal(RATE_HZ * 6)).astype(np.float32)
    stream = AudioStream(sound + np.float32(0.3), rate_hz=RATE_HZ)
    waveform = np.concatenate(list(stream))
    np.testing.assert_allclose(waveform, sound, atol=1e-4)
    assert any("offset" in note for note in stream.warnings)


def test_an_offset_changes_nothing_however_the_sound_comes(rng: np.random.Generator) -> None:
    sound = (0.3 + 0.01 * rng.standard_normal((4 * RATE_HZ, 1))).astype(np.float32)
    whole = np.concatenate(list(AudioStream(sound, rate_hz=RATE_HZ)))
    assert abs(whole.mean()) < 1e-3
    pieces = AudioStream((sound[at : at + 80], float(RATE_HZ)) for at in range(0, len(sound), 80))
    live = np.concatenate(list(pieces))
    # the first tenth of a second is too short to tell an offset from a wave
    assert abs(live[RATE_HZ:] - whole[RATE_HZ:]).max() < 2e-3
    low = 0.3 * np.sin(2 * np.pi * 40 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)[:, None]
    wave = AudioStream((low[at : at + 80], float(RATE_HZ)) for at in range(0, len(low), 80))
    assert np.abs(np.concatenate(list(wave)) - low[:, 0]).max() < 1e-6
