"""Look, Listen and Learn: its pairs, its size, and that its sound tower tells sounds apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from easy_sounds import easy_clips

from avgan.baselines import l3net
from avgan.baselines.method import Budget
from avgan.errors import DataError


def brisk(num_epochs: int, batch_size: int = 12) -> l3net.L3NetRival:
    rival = l3net.L3NetRival()
    rival.recipe = replace(rival.recipe, num_epochs=num_epochs, batch_size=batch_size)
    return rival


def test_a_second_is_transformed_as_in_the_original() -> None:
    times = torch.arange(l3net.RATE_HZ) / l3net.RATE_HZ
    tone = torch.sin(2 * torch.pi * 6_000 * times)[None]
    spectrogram = l3net.decibels(tone)
    assert spectrogram.shape == (1, 1, 257, 199)
    assert (spectrogram[0, 0].argmax(0) == 6_000 * l3net.N_FFT // l3net.RATE_HZ).all()
    # the sound tower as published: its eight convolutions, their biases and batch norms
    num_parameters = sum(parameter.numel() for parameter in l3net.Tower(1).parameters())
    assert num_parameters == pytest.approx(4_688_066, abs=10)


def test_pairs_belong_together_or_do_not(rng: np.random.Generator) -> None:
    num_clips = 7
    samples = np.repeat(np.arange(num_clips, dtype=np.int16)[:, None] * 1000, 60_000, 1)
    pictures = np.zeros((2, num_clips, 3, 4, 4), np.uint8) + np.arange(num_clips, dtype=np.uint8)[:, None, None, None]
    items = np.arange(2 * num_clips)
    pairs = l3net.pairs_of(samples, pictures, items, rng)
    assert pairs.shape == (14, l3net.RATE_HZ + 48)
    sounds = (pairs[:, 0] * 32767 / 1000).round()
    shown = (pairs[:, -1] * 255).round()
    torch.testing.assert_close(sounds, torch.arange(14.0) % num_clips)
    assert ((sounds == shown) == (torch.arange(14) < num_clips)).all()


@pytest.mark.slow
def test_it_learns_tones_from_noise_from_clicks() -> None:
    rival, test = brisk(4), easy_clips(4, seed=1)
    rival.fit(easy_clips(8, pictures=True), budget=Budget(), rng=np.random.default_rng(0))
    answers = rival.predict(test)  # without pictures
    assert answers.dtype == np.float64
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert rival.predict(easy_clips(1, seconds=0.3)).shape == (3, 3)


def test_without_pictures_it_says_so() -> None:
    with pytest.raises(DataError, match="pictures"):
        brisk(1).fit(easy_clips(2), budget=Budget(), rng=np.random.default_rng(0))
