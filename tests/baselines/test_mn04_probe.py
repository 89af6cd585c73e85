"""A linear classifier on mn04's vectors."""

import numpy as np
from easy_sounds import easy_clips

from avgan.baselines.method import Budget
from avgan.baselines.mn04_probe import MN04Probe


def test_it_learns_tones_from_noise_from_clicks() -> None:
    rival, test = MN04Probe(), easy_clips(4, seed=1)
    rival.fit(easy_clips(8), budget=Budget(), rng=np.random.default_rng(0))
    answers = rival.predict(test)
    np.testing.assert_allclose(answers.sum(1), 1.0, rtol=1e-5)
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert rival.predict(easy_clips(1, seconds=0.2)).shape == (3, 3)
    cost = rival.cost()
    assert 0.9e6 < cost.num_parameters < 1.1e6
    assert 0.5e7 < cost.num_macs < 2e7  # of 1.2 s
