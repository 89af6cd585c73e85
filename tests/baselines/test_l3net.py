"""Look, Listen and Learn: its pairs, its size, and that its sound tower tells sounds apart."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from avgan.baselines import l3net
from avgan.baselines.method import Budget, Clips
from avgan.errors import DataError


def brisk(num_epochs: int, batch_size: int = 12) -> l3net.L3NetRival:
    rival = l3net.L3NetRival()
    rival.recipe = replace(rival.recipe, num_epochs=num_epochs, batch_size=batch_size)
    return rival


def test_a_second_is_heard_as_in_the_original() -> None:
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
    pairs = l3net.draw_pairs(samples, pictures, items, rng)
    assert pairs.shape == (14, l3net.RATE_HZ + 48)
    heard = (pairs[:, 0] * 32767 / 1000).round()
    seen = (pairs[:, -1] * 255).round()
    torch.testing.assert_close(heard, torch.arange(14.0) % num_clips)
    assert ((heard == seen) == (torch.arange(14) < num_clips)).all()


@pytest.mark.slow
def test_it_learns_tones_from_noise_from_clicks(easy_clips: Callable[..., Clips]) -> None:
    rival, test = brisk(4), easy_clips(4, seed=1)
    rival.fit(easy_clips(8, pictures=True), budget=Budget(), rng=np.random.default_rng(0))
    answers = rival.predict(test)  # without pictures
    assert answers.dtype == np.float64
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert rival.predict(easy_clips(1, seconds=0.3)).shape == (3, 3)


def test_a_budget_is_kept_and_a_seed_gives_the_same_answers(easy_clips: Callable[..., Clips]) -> None:
    answers = []
    for _ in range(2):
        rival = brisk(1)
        rival.fit(easy_clips(2, pictures=True), budget=Budget(), rng=np.random.default_rng(5))
        answers.append(rival.predict(easy_clips(1, seed=1)))
    np.testing.assert_array_equal(*answers)
    began, budget = time.monotonic(), Budget(2.0)
    brisk(1000, 3).fit(easy_clips(2, pictures=True), budget=budget, rng=np.random.default_rng(0))
    assert time.monotonic() - began < 12
    assert 1 <= budget.num_planned < budget.num_wanted


def test_without_pictures_it_says_so(easy_clips: Callable[..., Clips]) -> None:
    with pytest.raises(DataError, match="pictures"):
        brisk(1).fit(easy_clips(2), budget=Budget(), rng=np.random.default_rng(0))
