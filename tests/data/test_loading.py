"""Stores give the right sound and picture for any indices, cached or not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan.data.datasets import find
from avgan.data.datasets.folder import read_folder
from avgan.data.loading import ImageStore, RowCache, WaveformStore, read_excerpt
from avgan.data.manifest import Clip, Manifest
from avgan.errors import AudioError, ImageError

Maker = Callable[..., Path]
RATE_HZ = 16_000


@pytest.fixture
def tones(tmp_path: Path, tone: Maker) -> Manifest:
    """Four recordings of 200, 400, 600 and 800 Hz and of other lengths and rates."""
    clips = []
    for number, (seconds, rate_hz) in enumerate([(1.0, 16_000), (3.0, 16_000), (2.0, 44_100), (0.5, 8_000)]):
        name = f"{number}.wav"
        tone(tmp_path / name, seconds=seconds, hz=200.0 * (number + 1), rate_hz=rate_hz)
        clips.append(Clip(id=name, source_id=name, audio_path=name))
    return Manifest("own", tmp_path, tuple(clips))


def test_any_order_and_repetition(tones: Manifest, pitch: Callable[..., float]) -> None:
    store = WaveformStore(tones, rate_hz=RATE_HZ, window_s=0.5)
    indices = [3, 0, 2, 0, 1]
    waveforms = store.get(np.array(indices))
    assert waveforms.shape == (5, 8000)
    assert waveforms.dtype == np.float32
    assert [pitch(w) for w in waveforms] == pytest.approx([200 * (i + 1) for i in indices], abs=3)
    np.testing.assert_array_equal(waveforms[1], waveforms[3])


@pytest.mark.parametrize("cache_bytes", [0, 8000 * 2 * 2, 1 << 20])
def test_the_cache_changes_no_value(tones: Manifest, cache_bytes: int) -> None:
    store = WaveformStore(tones, rate_hz=RATE_HZ, window_s=0.5, cache_bytes=cache_bytes)
    reference = np.concatenate([WaveformStore(tones, rate_hz=RATE_HZ, window_s=0.5).get([i]) for i in range(4)])
    for indices in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 1]):
        np.testing.assert_array_equal(store.get(indices), reference[indices])


def test_short_clips_are_repeated_and_long_ones_are_cut(tones: Manifest) -> None:
    waveforms = WaveformStore(tones, rate_hz=RATE_HZ, window_s=2.0).get([0, 1])
    assert waveforms.shape == (2, 32_000)
    assert np.abs(waveforms[0, :16_000]).max() == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_array_equal(waveforms[0, 16_000:], waveforms[0, :16_000])
    assert np.abs(waveforms[1, 16_000:]).max() == pytest.approx(0.5, abs=1e-3)


def test_the_end_of_a_clip_is_kept_to(tones: Manifest) -> None:
    short = replace(tones, clips=(replace(tones.clips[1], start_s=1.0, end_s=1.5),))
    waveform = WaveformStore(short, rate_hz=RATE_HZ, window_s=1.0).get([0])[0]
    assert np.abs(waveform[7000:8000]).max() > 0.4
    np.testing.assert_array_equal(waveform[8000:], waveform[:8000])


def test_int16_costs_no_more_than_half_a_step(tones: Manifest) -> None:
    waveform = WaveformStore(tones, rate_hz=RATE_HZ, window_s=1.0).get([0])[0]
    exact, _ = soundfile.read(tones.root / "0.wav")
    assert np.abs(waveform - exact).max() < 0.51 / 32_767


def test_nothing_asked_nothing_given(tones: Manifest) -> None:
    assert WaveformStore(tones, rate_hz=RATE_HZ, window_s=1.0).get([]).shape == (0, 16_000)
    assert ImageStore(tones).get([]).shape == (0, 3, 128, 128)
    assert len(ImageStore(tones)) == len(WaveformStore(tones, rate_hz=1, window_s=1.0)) == 4


def test_rows_are_decoded_once_while_the_cache_lasts() -> None:
    decoded: list[int] = []

    def decode(index: int) -> np.ndarray:
        decoded.append(index)
        return np.full(4, index, np.uint8)

    cache = RowCache(decode, cache_bytes=8)
    for _ in range(2):
        rows = cache.rows([0, 1, 2, 0])
        assert [int(row[0]) for row in rows] == [0, 1, 2, 0]
    assert sorted(decoded) == [0, 1, 2, 2]


def test_pictures_of_any_size(tmp_path: Path, picture: Maker) -> None:
    picture(tmp_path / "a.png", (255, 0, 0))
    picture(tmp_path / "b.png", (0, 0, 255), size_px=300)
    clips = tuple(Clip(id=n, source_id=n, image_path=f"{n}.png") for n in "ab")
    images = ImageStore(Manifest("own", tmp_path, clips), cache_bytes=0).get([1, 0])
    assert images.shape == (2, 3, 128, 128)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images.mean(axis=(2, 3)), [[0, 0, 255], [255, 0, 0]])


def test_sound_and_picture_of_a_video_are_of_one_moment(
    tmp_path: Path, video: Maker, pitch: Callable[..., float]
) -> None:
    video(tmp_path / "bus" / "v.mp4")
    video(tmp_path / "tram" / "w.mkv", hz=(1600.0,))
    manifest = read_folder(tmp_path, window_s=2.0)
    assert [clip.start_s for clip in manifest.clips] == [0, 2, 4, 0]
    waveforms = WaveformStore(manifest, rate_hz=RATE_HZ, window_s=2.0).get(range(4))
    # The codec rings for a moment where the tone changes; the middle of the window is clean.
    heard = [pitch(waveform[4000:28_000]) for waveform in waveforms]
    assert heard == pytest.approx([400, 800, 1600, 1600], abs=5)
    colours = ImageStore(manifest).get(range(4)).mean(axis=(2, 3))
    assert colours.argmax(axis=1).tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_an_excerpt_is_the_stretch_of_the_whole(tmp_path: Path, tone: Maker, suffix: str) -> None:
    path = tone(tmp_path / f"a.{suffix}", seconds=4.0)
    whole = read_excerpt(path, start_s=0, length_s=9, rate_hz=RATE_HZ)
    stretch = read_excerpt(path, start_s=1.25, length_s=0.5, rate_hz=RATE_HZ)
    assert len(whole) == 64_000
    np.testing.assert_allclose(stretch, whole[20_000:28_000], atol=1e-3)


def test_a_late_excerpt_of_a_video_is_aligned(tmp_path: Path, video: Maker) -> None:
    """Seeking lands on some packet before; the samples must still be those of the asked time."""
    path = video(tmp_path / "v.mp4")
    whole = read_excerpt(path, start_s=0, length_s=9, rate_hz=RATE_HZ)
    stretch = read_excerpt(path, start_s=3.25, length_s=1.5, rate_hz=RATE_HZ)
    np.testing.assert_allclose(stretch, whole[52_000 : 52_000 + len(stretch)], atol=2e-3)


def test_a_start_behind_the_end_is_a_clear_error(tmp_path: Path, tone: Maker, video: Maker) -> None:
    for path in (tone(tmp_path / "a.wav"), video(tmp_path / "v.mp4")):
        with pytest.raises(AudioError, match="has no sound from 90 s on"):
            read_excerpt(path, start_s=90, length_s=1, rate_hz=RATE_HZ)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    clip = Clip(id="a", source_id="a", audio_path="a.wav", image_path="a.jpg")
    late = replace(clip, id="b", start_s=5.0)
    manifest = Manifest("own", tmp_path, (clip, late))
    store = WaveformStore(manifest, rate_hz=RATE_HZ, window_s=1.0)
    for index in range(2):
        with pytest.raises(AudioError, match=r"a\.wav"):
            store.get([index])
    with pytest.raises(ImageError, match=r"a\.jpg"):
        ImageStore(manifest).get([0])


def test_real_recordings_and_photographs(data_root: Path) -> None:
    esc50, miniplaces = find(data_root, "esc50"), find(data_root, "miniplaces")
    waveforms = WaveformStore(esc50, rate_hz=RATE_HZ, window_s=5.0).get(range(0, 2000, 250))
    assert waveforms.shape == (8, 80_000)
    assert (np.abs(waveforms).max(axis=1) > 0.001).all()
    images = ImageStore(miniplaces).get(range(0, 20_000, 2500))
    assert images.shape == (8, 3, 128, 128)
    assert (images.std(axis=(1, 2, 3)) > 5).all()
