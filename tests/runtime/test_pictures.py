"""Pictures that take noise: what determines them, and what never depends on them."""

from pathlib import Path

import numpy as np
import pytest

from avgan.pictures.strip import paint_pictures
from avgan.runtime import load
from avgan.runtime.arrays import noise_of
from avgan.runtime.model import Model

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def noisy(noisy_bundle: Path) -> Model:
    return load(noisy_bundle)


@pytest.fixture
def recordings(rng: np.random.Generator) -> list[np.ndarray]:
    """Three recordings of 3 s, (L,) float32, quiet so that brightness stays in its range."""
    return [(0.2 * rng.uniform(-1, 1, 3 * RATE_HZ)).astype(np.float32) for _ in range(3)]


def test_noise_is_normal_and_its_own_for_each_seed() -> None:
    noise = noise_of(3, 10_000)
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05
    assert np.array_equal(noise_of(3, 10_000), noise)
    assert not np.array_equal(noise_of(4, 10_000), noise)


def test_a_recording_gives_the_same_picture_always_and_a_seed_another_one(
    noisy: Model, noisy_bundle: Path, recordings: list[np.ndarray]
) -> None:
    first, *others = (noisy.classify(sound, RATE_HZ) for sound in recordings)
    again = load(noisy_bundle).classify(recordings[0], RATE_HZ)
    assert np.array_equal(again.picture, first.picture)
    assert len({first.seed, *(other.seed for other in others)}) == 3, "each recording its own"
    chosen = load(noisy_bundle, seed=7).classify(recordings[0], RATE_HZ)
    assert chosen.seed == 7
    assert not np.array_equal(chosen.picture, first.picture)
    assert chosen.to_dict() == first.to_dict(), "no answer depends on a seed"
    assert np.array_equal(first.another(0), first.picture)
    assert not np.array_equal(first.another(1), first.picture)
    assert np.array_equal(chosen.another(2), load(noisy_bundle, seed=9).classify(recordings[0], RATE_HZ).picture)


def test_the_windows_of_a_recording_share_their_noise(
    noisy: Model, toy_bundle: Path, recordings: list[np.ndarray]
) -> None:
    """Drawn with the toy's noise, which shifts brightness, all windows are shifted alike."""
    sound = np.concatenate(recordings)
    prediction = noisy.classify(sound, RATE_HZ, hop_s=1.0)
    plain = load(toy_bundle).classify(sound, RATE_HZ, hop_s=1.0)
    codes = np.stack([window.codes for window in prediction.windows if window.codes is not None])
    shift = prediction.decode(codes).astype(int) - plain.decode(codes).astype(int)
    assert np.ptp(shift) <= 1
    strips = [
        np.asarray(paint_pictures(each.windows, each.duration_s, (300, 40), decode=each.decode)).mean()
        for each in (prediction, plain)
    ]
    assert abs(strips[0] - strips[1]) > 0


def test_a_model_without_noise_draws_one_picture(toy_bundle: Path, recordings: list[np.ndarray]) -> None:
    prediction = load(toy_bundle, seed=5).classify(recordings[0], RATE_HZ)
    assert np.array_equal(prediction.another(3), prediction.picture)
