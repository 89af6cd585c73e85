"""The autoencoder: that it repeats, and that its codes tell sounds apart."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from avgan.baselines import autoencoder
from avgan.baselines.fitting import band_statistics
from avgan.baselines.method import Budget, Clips


def brisk(num_epochs: int) -> autoencoder.AutoencoderRival:
    rival = autoencoder.AutoencoderRival()
    rival.recipe = replace(rival.recipe, num_epochs=num_epochs, batch_size=8)
    return rival


def test_it_learns_to_repeat_and_tells_tones_from_noise_from_clicks(easy_clips: Callable[..., Clips]) -> None:
    rival, test = brisk(15), easy_clips(6, seed=1)
    rival.fit(easy_clips(10), budget=Budget(), rng=np.random.default_rng(0))
    answers = rival.predict(test)
    assert answers.dtype == np.float64
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert rival.predict(test.select(np.array([4]))).shape == (1, 3)
    assert rival.predict(easy_clips(1, seconds=0.3)).shape == (3, 3)
    assert rival.predict(easy_clips(1, seconds=2.0)).shape == (3, 3)

    spectra = autoencoder.hear(test)
    mean, spread = band_statistics(spectra)
    inputs = torch.from_numpy((spectra - mean) / spread)[:, None]
    with torch.inference_mode():
        error = rival._network.eval()(inputs).mean()
    assert error < 0.6  # a network that says nothing has 1


def test_the_same_seed_gives_the_same_answers(easy_clips: Callable[..., Clips]) -> None:
    answers = []
    for _ in range(2):
        rival = brisk(2)
        rival.fit(easy_clips(5), budget=Budget(), rng=np.random.default_rng(5))
        answers.append(rival.predict(easy_clips(2, seed=1)))
    np.testing.assert_array_equal(*answers)


def test_a_short_clip_is_lengthened_and_answered_the_same_each_time(easy_clips: Callable[..., Clips]) -> None:
    short = easy_clips(3, seconds=0.3)
    assert autoencoder.hear(short).shape == (9, 64, autoencoder.SHORTEST)
    answers = []
    for _ in range(3):
        rival = brisk(2)
        rival.fit(short, budget=Budget(), rng=np.random.default_rng(5))
        answers.append(rival.predict(short))
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_a_budget_is_kept(easy_clips: Callable[..., Clips]) -> None:
    began, budget = time.monotonic(), Budget(2.0)
    rival = brisk(10_000)
    rival.fit(easy_clips(5), budget=budget, rng=np.random.default_rng(0))
    assert time.monotonic() - began < 8
    assert 1 <= budget.num_planned < budget.num_wanted
    assert rival.cost().num_macs > rival.cost().num_parameters > 0
