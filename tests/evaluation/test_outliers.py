"""Sounds made from nothing: what they promise, and that the two sides share none."""

import numpy as np
import pytest

from avgan.audio import SILENT_PEAK, Level
from avgan.evaluation.outliers import KINDS, Dice, clip_badly, cut_short, loudest, make

RATE_HZ = 16_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["choose", "test"])
def test_sounds_are_finite_in_range_and_follow_from_the_seed(kind: str, side: str) -> None:
    made = make(kind, 3, side=side, duration_s=2.0)
    assert made.shape == (3, 2 * RATE_HZ)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert np.abs(made).max() <= 1
    np.testing.assert_array_equal(made[:2], make(kind, 2, side=side, duration_s=2.0))
    assert (np.abs(made).max() < SILENT_PEAK) == (kind == "silence")
    if kind != "silence":
        assert not np.array_equal(made[0], made[1])
        assert not np.array_equal(made, make(kind, 3, side=side, seed=1, duration_s=2.0))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "silence"])
def test_the_sides_differ(kind: str) -> None:
    sides = [make(kind, 2, side=side, duration_s=1.0) for side in ("choose", "test")]
    assert not np.array_equal(*sides)


def test_no_parameter_is_drawn_on_both_sides(rng: np.random.Generator) -> None:
    drawn = {}
    for side in ("choose", "test"):
        dice = Dice(rng, side)
        drawn[side] = np.array([dice.log_uniform(10, 1_000) for _ in range(2_000)])
        assert {dice.pick("abcdef") for _ in range(200)} == set("ace" if side == "choose" else "bdf")
    assert all(values.min() >= 10 and values.max() < 1_000 for values in drawn.values())
    cells = {side: set(np.floor(6 * np.log10(values / 10)).astype(int)) for side, values in drawn.items()}
    assert cells["choose"] & cells["test"] == set()
    assert cells["choose"] | cells["test"] == set(range(12))


def test_a_badly_clipped_recording_is_seen_as_clipped(rng: np.random.Generator) -> None:
    waveform = (0.1 * rng.standard_normal(RATE_HZ)).astype(np.float32)
    clipped = clip_badly(waveform, Dice(rng, "test"))
    level = Level()
    level.add(clipped[:, None], RATE_HZ)
    assert np.abs(clipped).max() == 1
    assert level.clipped_share(0, 1) > 0.1


def test_the_loudest_stretch_is_found(rng: np.random.Generator) -> None:
    waveform = (0.01 * rng.standard_normal(RATE_HZ)).astype(np.float32)
    waveform[7_000:7_100] += 0.5
    assert len(loudest(waveform, 200)) == 200
    assert loudest(waveform, 200).sum() == pytest.approx(waveform[7_000:7_100].sum(), abs=2)
    assert loudest(waveform, 10 * RATE_HZ) is waveform
    assert 0.01 <= len(cut_short(waveform, Dice(rng, "test"), RATE_HZ)) / RATE_HZ <= 0.05
