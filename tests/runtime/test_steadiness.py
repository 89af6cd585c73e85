"""How much a sound changes: little in noise, much in events, whatever the level."""

from collections.abc import Callable

import numpy as np
import pytest

from avgan.runtime.steadiness import band_levels, change_db

RATE_HZ = 16_000


def change(waveform: np.ndarray) -> float:
    return change_db(band_levels(waveform, RATE_HZ))


def test_noise_and_tones_change_less_than_events(
    rng: np.random.Generator, make_tone: Callable[..., np.ndarray]
) -> None:
    noise = (0.1 * rng.standard_normal(5 * RATE_HZ)).astype(np.float32)
    tone = make_tone(duration_s=5.0) + 0.01 * noise
    events = noise * (np.arange(len(noise)) % RATE_HZ < 2_000)
    swell = noise * np.linspace(0.1, 1, len(noise), dtype=np.float32)
    assert change(noise) < 0.7
    assert change(tone) < 0.7
    assert min(change(events), change(swell)) > 2


@pytest.mark.parametrize("gain", [0.05, 0.5, 8.0])
def test_loudness_plays_no_part(rng: np.random.Generator, gain: float) -> None:
    waveform = (0.1 * rng.standard_normal(5 * RATE_HZ) * np.repeat([1, 3], 40_000)).astype(np.float32)
    assert change(gain * waveform) == pytest.approx(change(waveform), abs=0.05)


def test_a_known_step_gives_its_decibels() -> None:
    """Half of the parts 20 dB louder: their standard deviation is that of ten 0s and ten 20s."""
    rng = np.random.default_rng(0)
    waveform = 0.01 * rng.standard_normal(10 * RATE_HZ) * np.repeat([1, 10], 5 * RATE_HZ)
    levels = band_levels(waveform.astype(np.float32), RATE_HZ)
    assert levels.shape[0] == 20
    expected = np.std([0.0] * 10 + [20.0] * 10, ddof=1)
    assert change_db(levels) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("num_samples", [0, 100, 8_000, 24_000])
def test_too_little_sound_says_nothing(num_samples: int) -> None:
    assert change(np.zeros(num_samples, np.float32)) == float("inf")


def test_silence_does_not_change() -> None:
    assert change(np.zeros(5 * RATE_HZ, np.float32)) == 0


def test_how_steady_a_sound_is_does_not_depend_on_its_level(rng: np.random.Generator) -> None:
    times_s = np.arange(5 * 16_000) / 16_000
    swelling = (0.2 + np.sin(2 * np.pi * 0.3 * times_s) ** 2) * rng.standard_normal(len(times_s))
    # Its upper bands lie 60 dB below the lower ones, as outdoors.
    steep = np.convolve(swelling, np.exp(-np.arange(400) / 40), mode="same")
    for sound in (swelling, steep, rng.standard_normal(len(times_s))):
        loud = 0.1 * sound / np.abs(sound).max()
        changes = [change_db(band_levels(loud * 10 ** (db / 20), 16_000)) for db in (0, -20, -40)]
        assert changes == pytest.approx([changes[0]] * 3, abs=0.02)
