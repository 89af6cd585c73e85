"""A linear classifier on YAMNet's vectors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avgan.baselines.rival import Budget, Clips
from avgan.baselines.yamnet_probe import YAMNetProbe
from avgan.errors import DataError


def test_it_learns_tones_from_noise_from_clicks(
    easy_clips: Callable[..., Clips], data_root: Path
) -> None:
    rival, test = YAMNetProbe(), easy_clips(4, seed=1)
    rival.fit(easy_clips(8, folder=data_root), budget=Budget(), rng=np.random.default_rng(0))
    answers = rival.predict(test)
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert rival.predict(easy_clips(1, seconds=0.3)).shape == (3, 3)
    cost = rival.cost()
    assert 3.1e6 < cost.num_parameters < 3.3e6
    assert 6e7 < cost.num_macs < 8e7  # of the one patch in 1.2 s


def test_without_weights_it_says_how_to_get_them(
    easy_clips: Callable[..., Clips], tmp_path: Path
) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(DataError, match=r"weights|avgan data get yamnet"):
            YAMNetProbe().fit(
                easy_clips(2, folder=folder), budget=Budget(), rng=np.random.default_rng(0)
            )
