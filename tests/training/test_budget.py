"""A run shortened to the time there is for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avgan.training import budget
from avgan.training import data as training_data
from avgan.training.budget import excerpt, shortened, spread

LONG = {f"{stage}.num_steps": "5000" for stage in ("vqvae", "imagination", "classifier")}


def test_all_stages_give_the_same_share_of_their_steps(
    tiny_config: Callable[..., Any], tiny_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(LONG | {"classifier.num_steps": "100"})
    costs = {"vqvae": 500.0, "imagination": 300.0, "classifier": 200.0}
    monkeypatch.setattr(budget, "measure", lambda *_, **__: (80.0, costs))
    short = shortened(config, data=tiny_videos, sounds=None, seconds=200.0)
    # 0.9 * 200 s - 80 s are left for 1,000 s of steps; reading the data took a moment of them
    assert short.vqvae.num_steps == short.imagination.num_steps == pytest.approx(500, abs=50)
    assert short.classifier.num_steps == pytest.approx(10, abs=1)
    assert short.loop == config.loop


def test_who_has_the_time_is_not_shortened_and_who_has_none_does_one_step(
    tiny_config: Callable[..., Any], tiny_videos: Path
) -> None:
    config = tiny_config({"vqvae.num_steps": "0"})
    assert shortened(config, data=tiny_videos, sounds=None, seconds=600.0) == config
    hurried = shortened(config, data=tiny_videos, sounds=None, seconds=0.0)
    assert (hurried.vqvae.num_steps, hurried.imagination.num_steps) == (0, 1)


def test_an_excerpt_pairs_as_the_whole_does(
    tiny_config: Callable[..., Any], tiny_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avgan.training.budget.NUM_ITEMS", 3)
    config = tiny_config()
    whole = training_data.load(config.imagination, tiny_videos, seed=0)
    part, factor = excerpt(whole)
    assert factor == 8 / 3
    assert [clip.id for clip in part.train.clips] == [whole.train.clips[index].id for index in (0, 2, 5)]
    for sound, clip in enumerate(part.train.clips):
        image = part.pairing.draw(sound, np.random.default_rng(0))
        assert part.pairing.images[image].id == clip.id
    np.testing.assert_array_equal(part.train.waveforms.get([1]), whole.train.waveforms.get([2]))
    np.testing.assert_array_equal(part.images.get([1]), whole.images.get([2]))
    np.testing.assert_array_equal(spread(5, 1.0), range(5))
