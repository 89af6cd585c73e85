"""The rivals that are networks: their sizes, what they are given, and that they learn what is easy to tell apart."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from easy_sounds import easy_clips

from avgan.baselines import ccnn, cnn9, facn, kumar, piczak
from avgan.baselines.fitting import Recipe
from avgan.baselines.method import Budget

NUM_LABELS = 3
MAKERS: dict[str, Callable] = {
    "piczak": piczak.Piczak,
    "cnn9": cnn9.cnn9,
    "ccnn": ccnn.ccnn,
    "facn": facn.facn,
    "kumar": kumar.kumar,
}


clips = partial(easy_clips, seconds=0.8)


def untrained(name: str, *, num_epochs: int | None = None):
    """A rival; with a number of epochs, and rates high enough for them, where one is given."""
    rival = MAKERS[name]()
    if num_epochs is not None and name != "ccnn":
        brisk = {"num_epochs": num_epochs, "batch_size": 10, "schedule": lambda done: 1.0 - done}
        if name != "piczak":
            brisk["optimiser"] = lambda parameters: torch.optim.Adam(parameters, lr=1e-3)
        rival.recipe = replace(rival.recipe, **brisk)
    return rival


@pytest.mark.parametrize(("name", "num_epochs"), [("piczak", 12), ("cnn9", 6), ("facn", 5), ("kumar", 8)])
def test_it_learns_tones_from_noise_from_clicks(name: str, num_epochs: int) -> None:
    rival = untrained(name, num_epochs=num_epochs)
    rival.fit(clips(8), budget=Budget(), rng=np.random.default_rng(1))
    test = clips(5, seed=1)
    answers = rival.predict(test)
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert answers.dtype == np.float64
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert len(rival.predict(test.select(np.array([3])))) == 1
    assert rival.predict(clips(1, seconds=0.3)).shape == (3, NUM_LABELS)
    assert rival.predict(clips(1, seconds=2.0)).shape == (3, NUM_LABELS)


def test_several_cnns_learn_too_and_cost_as_much_as_four() -> None:
    rival = ccnn.ccnn()
    rival.recipe = replace(untrained("cnn9", num_epochs=6).recipe, loss=ccnn.loss)
    rival.fit(clips(6), budget=Budget(), rng=np.random.default_rng(1))
    test = clips(5, seed=1)
    answers = rival.predict(test)
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert rival.cost().num_parameters == 4 * size(cnn9.CNN9(NUM_LABELS))


def size(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_cnn9_has_the_4_69_million_parameters_of_the_original() -> None:
    assert size(cnn9.CNN9(10)) == 4_691_274
    assert sum(p.dim() == 4 for p in cnn9.CNN9(10).parameters()) == 8


def test_piczaks_network_has_the_size_of_its_layers() -> None:
    layers = (2 * 57 * 6 * 80 + 80, 80 * 3 * 80 + 80, 240 * 5000 + 5000, 5000 * 5000 + 5000, 5000 * 50 + 50)
    assert size(piczak.PiczakNet(50)) == sum(layers)


def test_facn_knows_how_high_a_sound_is() -> None:
    hidden = torch.rand(2, 3, 8, 5)
    heights = facn.heights(hidden)
    torch.testing.assert_close(heights[0, 0, :, 0], torch.arange(-4, 4) / 4)
    convolution = facn.FrequencyAwareConvolution(3, 6, 3)
    weight = torch.cat([convolution.of_sound.weight, convolution.of_height.weight], dim=1)
    beside = torch.cat([hidden, heights.expand(2, 1, -1, -1)], dim=1)
    expected = torch.nn.functional.conv2d(beside, weight, padding=1)
    torch.testing.assert_close(convolution(hidden), expected)


def test_an_untrained_block_of_facn_changes_nothing() -> None:
    block = facn.FrequencyAwareBlock(4, 4, (3, 1)).eval()
    hidden = torch.rand(1, 4, 6, 6)
    torch.testing.assert_close(block(hidden), hidden)


def test_kumars_network_scores_each_1_5_seconds() -> None:
    network = kumar.SegmentCNN(50).eval()
    for num_steps, num_segments in ((128, 1), (431, 5)):
        inner = network.trunk(torch.zeros(1, 1, 128, num_steps))
        assert inner.shape == (1, 1024, 1, num_segments)


def test_views_of_ccnn_tell_what_lasts_from_what_strikes() -> None:
    decibels = np.full((1, 40, 120), -90.0, np.float32)
    decibels[:, 10] = 0.0  # a tone
    decibels[:, :, 60] = 0.0  # a click
    views = dict(zip(ccnn.VIEWS, ccnn.prepare(decibels).swapaxes(0, 1), strict=True))
    assert views["harmonic"][0, 10, 20] > -1 > -40 > views["harmonic"][0, 30, 60]
    assert views["percussive"][0, 30, 60] > -1 > -40 > views["percussive"][0, 10, 20]
    assert views["above the median"][0, 10, 20] == 0
    assert views["above the median"][0, 30, 60] == 90


def test_silent_segments_do_not_vote_but_a_silent_clip_does() -> None:
    test = clips(1, seconds=3.0)

    def read(rate_hz: int, rows: np.ndarray) -> np.ndarray:
        waveforms = test.read(rate_hz)
        waveforms[0] = 0.0
        waveforms[1, rate_hz:] = 0.0
        return waveforms[rows]

    assert np.bincount(piczak.segments_of(test).clips)[1] == 5
    segments = piczak.segments_of(replace(test, read_rows=read))
    assert np.bincount(segments.clips)[:2].tolist() == [1, 2]


def test_segments_are_shifted_only_in_training() -> None:
    segments = piczak.segments_of(clips(2, seconds=3.0))
    items = np.arange(len(segments.clips))
    still = segments.cut(items, None)
    np.testing.assert_array_equal(still, segments.cut(items, None))
    assert not np.array_equal(still, segments.cut(items, np.random.default_rng(0)))
    first = segments.log_mel[0, :, segments.starts[0] : segments.starts[0] + piczak.LENGTH]
    np.testing.assert_allclose(still[0], np.maximum(first, first.max() - 80.0))


def test_recipes_are_those_of_the_originals() -> None:
    wanted: dict[str, Recipe] = {n: MAKERS[n]().recipe for n in ("cnn9", "facn", "piczak")}
    assert (wanted["cnn9"].num_epochs, wanted["cnn9"].batch_size) == (100, 32)
    assert wanted["cnn9"].schedule(0.5) == pytest.approx(0.9**12)
    assert wanted["facn"].schedule(0.1) == 1.0
    assert wanted["facn"].schedule(0.9) == pytest.approx(0.05)
