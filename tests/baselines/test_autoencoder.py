"""The autoencoder: that it reconstructs, and that its codes tell sounds apart."""

from dataclasses import replace

import numpy as np
import torch
from easy_sounds import easy_clips

from avgan.baselines import autoencoder
from avgan.baselines.method import Budget
from avgan.baselines.spectra import BandStatistics


def brisk(num_epochs: int) -> autoencoder.AutoencoderRival:
    rival = autoencoder.AutoencoderRival()
    rival.recipe = replace(rival.recipe, num_epochs=num_epochs, batch_size=8)
    return rival


def test_it_learns_to_reconstruct_and_tells_tones_from_noise_from_clicks() -> None:
    rival, test = brisk(15), easy_clips(6, seed=1)
    rival.fit(easy_clips(10), budget=Budget(), rng=np.random.default_rng(0))
    answers = rival.predict(test)
    assert answers.dtype == np.float64
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert rival.predict(test.select(np.array([4]))).shape == (1, 3)
    assert rival.predict(easy_clips(1, seconds=0.3)).shape == (3, 3)
    assert rival.predict(easy_clips(1, seconds=2.0)).shape == (3, 3)

    spectra = autoencoder.log_mels(test)
    inputs = torch.from_numpy(BandStatistics.of(spectra).standardise(spectra))[:, None]
    with torch.inference_mode():
        error = rival._network.eval()(inputs).mean()
    assert error < 0.6  # a network that says nothing has 1


def test_a_short_clip_is_lengthened_and_answered_the_same_each_time() -> None:
    short = easy_clips(3, seconds=0.3)
    assert autoencoder.log_mels(short).shape == (9, 64, autoencoder.SHORTEST)
    answers = []
    for _ in range(3):
        rival = brisk(2)
        rival.fit(short, budget=Budget(), rng=np.random.default_rng(5))
        answers.append(rival.predict(short))
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])
