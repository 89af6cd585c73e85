"""Measures against pictures and sounds of which the answer is known, and against what a codec does to them."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from films import drifting, film, hiss, hues

from avgan.curation.cut import cut
from avgan.curation.measures import (
    Bars,
    bar_share,
    clipped_share,
    find_bars,
    level_db,
    luminance,
    measure,
    motion,
    picture_hash,
    silent_share,
    sound_hash,
)
from avgan.curation.record import SOUND_RATE_HZ, Measures

HARSH = {"preset": "veryfast", "crf": "36", "g": "12"}
"""A key frame twice a second, of bad quality: what makes a photograph flicker most."""


def num_different_bits(one: str, other: str) -> int:
    """In how many bits two hashes of one kind differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def measured(path: Path, **made: Any) -> Measures:
    """Of a film of 3 s at 320 x 240, unless it is made otherwise."""
    film(path, **({"seconds": 3, "size": (320, 240), "fps": 12} | made))
    return measure(next(iter(cut(path, clip_s=3, skip_s=0))))


def voiced(seed: int, seconds: float = 3.0, rate_hz: int = 44_100) -> np.ndarray:
    """Noise whose colour and strength change all the time, another for each seed: about what places sound like."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(int(seconds * 4)):
        size = rate_hz // 4
        times = np.arange(size) / rate_hz
        tones = sum(np.sin(2 * np.pi * f * times) for f in rng.uniform(100, 4000, 4))
        parts.append(0.05 * rng.uniform(0.1, 1) * (tones + rng.standard_normal(size)))
    return np.concatenate(parts).astype(np.float32)


def test_a_still_does_not_move_and_a_film_does(tmp_path: Path) -> None:
    picture = hues(1)
    still = measured(tmp_path / "a.mp4", pictures=[picture], stream_options=HARSH).motion
    old = measured(tmp_path / "b.mp4", pictures=[picture], codec="mpeg4").motion
    moved = measured(tmp_path / "c.mp4", pictures=drifting(picture)).motion
    assert max(still, old) < 0.002 < 0.01 < moved


def test_motion_is_the_mean_change_of_patches() -> None:
    dark, light = np.full((24, 32), 0, np.uint8), np.full((24, 32), 255, np.uint8)
    half = dark.copy()
    half[:, :16] = 255
    assert motion([dark, light, dark]) == 1.0
    assert motion([dark, half]) == 0.5
    assert motion([dark]) == motion([]) == 0.0
    checks = (np.indices((24, 32)).sum(0) % 2 * 255).astype(np.uint8)
    assert motion([checks, 255 - checks]) < 1e-9  # as many brighter as darker in each patch
    assert motion([dark[:3, :3], light[:3, :3]]) == 1.0


def test_brightness_and_contrast(tmp_path: Path) -> None:
    black = measured(tmp_path / "a.mp4", pictures=[np.zeros((24, 32, 3), np.uint8)])
    grey = measured(tmp_path / "b.mp4", pictures=[np.full((24, 32, 3), 128, np.uint8)])
    lit = measured(tmp_path / "c.mp4", pictures=[hues(3)])
    assert black.brightness < 0.01
    assert black.contrast < 0.01
    assert grey.brightness == pytest.approx(128 / 255, abs=0.01)
    assert grey.contrast < 0.01
    assert lit.contrast > 0.1
    assert luminance(np.full((1, 1, 3), 200, np.uint8))[0, 0] == pytest.approx(200)


@pytest.mark.parametrize(
    ("bars", "share"),
    [
        ((0.0, 0.0, 0.0, 0.0), 0.0),
        ((0.125, 0.125, 0.0, 0.0), 0.25),
        ((0.0, 0.0, 0.3, 0.3), 0.6),
        ((0.1, 0.1, 0.2, 0.2), 1 - 0.8 * 0.6),
    ],
)
def test_bars_are_reported_and_change_nothing_else(
    tmp_path: Path, bars: tuple[float, float, float, float], share: float
) -> None:
    plain = measured(tmp_path / "a.mp4", pictures=drifting(hues(4)))
    barred = measured(tmp_path / "b.mp4", pictures=drifting(hues(4)), bars=bars)
    assert barred.bars == pytest.approx(share, abs=0.03)
    assert barred.brightness == pytest.approx(plain.brightness, abs=0.03)
    assert barred.contrast == pytest.approx(plain.contrast, abs=0.03)
    assert barred.motion == pytest.approx(plain.motion, rel=0.15)
    assert num_different_bits(barred.look, plain.look) <= 6


def test_what_is_no_bar() -> None:
    picture = np.full((60, 80), 120, np.uint8)
    assert find_bars(picture) == Bars()
    assert find_bars(np.zeros_like(picture)) == Bars()
    night = picture.copy()
    night[:25] = 5  # a dark sky has no counterpart below
    assert find_bars(night) == Bars()
    smeared = picture.copy()
    smeared[:10] = smeared[-10:] = 17
    assert find_bars(smeared) == Bars(10, 10, 0, 0)
    assert bar_share(find_bars(smeared), smeared.shape) == pytest.approx(1 / 3)
    assert find_bars(smeared.T) == Bars(0, 0, 10, 10)


def test_levels_of_known_sounds() -> None:
    times = np.arange(3 * SOUND_RATE_HZ) / SOUND_RATE_HZ
    tone = np.sin(2 * np.pi * 440 * times).astype(np.float32)[:, None].repeat(2, 1)
    assert level_db(tone) == pytest.approx(-3.01, abs=0.01)
    assert level_db(0.01 * tone) == pytest.approx(-43.01, abs=0.01)
    assert level_db(np.zeros((100, 2), np.float32)) == -120.0
    assert level_db(np.zeros((0, 2), np.float32)) == -120.0
    assert silent_share(tone) == 0.0
    half = tone.copy()
    half[len(half) // 2 :] = 0
    assert silent_share(half) == 0.5
    assert silent_share(1e-4 * tone) == 1.0
    one_side = tone.copy()
    one_side[:, 0] = 0
    assert silent_share(one_side) == 0.0


def test_a_muted_track_is_silent_after_any_codec(tmp_path: Path) -> None:
    muted = measured(tmp_path / "a.mp4", sound=np.zeros(44_100))
    assert muted.silent == 1.0
    assert muted.level_db < -90
    assert muted.voice == "0" * 64
    room = measured(tmp_path / "b.mp4", sound=hiss(3, 44_100, level=0.001))
    assert room.silent < 0.1
    assert -63 < room.level_db < -60  # without what lies above 16 kHz


def test_clipping_survives_codec_and_rate(tmp_path: Path) -> None:
    loud = voiced(1)
    loud *= 0.9 / np.abs(loud).max()
    fine = measured(tmp_path / "a.mp4", sound=loud)
    cut_off = measured(tmp_path / "b.mp4", sound=(16 * loud).clip(-1, 1))
    assert fine.clipped < 0.001
    assert cut_off.clipped > 0.02
    assert clipped_share(np.ones((10, 2), np.float32)) == 0.8
    assert clipped_share(np.zeros((10, 2), np.float32)) == 0.0


def test_a_copy_is_told_by_its_hashes_and_others_are_not(tmp_path: Path) -> None:
    """Another size, bad pictures, a letterbox, mono at half the loudness and 22 kHz."""
    hashes = []
    for seed in range(4):
        sound = voiced(seed)
        first = measured(tmp_path / "a.mp4", pictures=drifting(hues(seed)), sound=sound)
        copy = measured(
            tmp_path / "b.mp4",
            pictures=drifting(hues(seed)),
            sound=0.5 * soxr.resample(sound, 44_100, 22_050),
            rate_hz=22_050,
            size=(200, 160),
            bars=(0.12, 0.12, 0, 0),
            stream_options={"crf": "30"},
        )
        assert num_different_bits(first.look, copy.look) <= 7
        assert num_different_bits(first.voice, copy.voice) <= 40
        hashes.append(first)
    for one, other in combinations(hashes, 2):
        assert num_different_bits(one.look, other.look) >= 16
        assert num_different_bits(one.voice, other.voice) >= 90


def test_a_later_beginning_of_a_tenth_of_a_second_is_still_alike() -> None:
    sound = voiced(9, 11.0)
    hashes = [sound_hash(sound[start : start + 441_000], rate_hz=44_100) for start in (0, 4_410)]
    assert num_different_bits(*hashes) <= 64


@pytest.mark.parametrize("seconds", [0.1, 1.0, 5.0, 10.0])
def test_hashes_have_one_length_whatever_they_are_of(seconds: float) -> None:
    sound = voiced(2, 12.0)[: round(seconds * 44_100)]
    assert len(sound_hash(sound, rate_hz=44_100)) == 64
    for shape in ((1, 1), (7, 300), (480, 640)):
        look = picture_hash(np.random.default_rng(0).uniform(0, 255, shape))
        assert len(look) == 16
        int(look, 16)


def test_hashes_follow_the_picture_not_its_size() -> None:
    picture = luminance(hues(5, size=(640, 480)))
    small = luminance(hues(5, size=(160, 120)))
    assert num_different_bits(picture_hash(picture), picture_hash(small)) <= 4
    assert num_different_bits(picture_hash(picture), picture_hash(255 - picture)) == 64


def test_noise_of_one_seed_is_like_itself_alone() -> None:
    """Even where nothing but chance tells one noise from another."""
    hashes = [sound_hash(hiss(10, 32_000, seed=seed), rate_hz=32_000) for seed in range(6)]
    assert all(90 <= num_different_bits(a, b) <= 166 for a, b in combinations(hashes, 2))
