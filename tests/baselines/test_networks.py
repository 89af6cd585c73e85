"""The rivals that are networks: their sizes, what they hear, and that they learn what is easy to hear."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from avgan.baselines import ccnn, cnn9, facn, kumar, piczak
from avgan.baselines.fitting import Recipe, cosine
from avgan.baselines.method import Budget, Clips

NUM_LABELS = 3
MAKERS: dict[str, Callable] = {
    "piczak": piczak.piczak,
    "cnn9": cnn9.cnn9,
    "ccnn": ccnn.ccnn,
    "facn": facn.facn,
    "kumar": kumar.kumar,
}


def sound(label: int, num_samples: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """A tone, noise, or clicks, each at some loudness and from some moment."""
    times = np.arange(num_samples) / rate_hz + rng.uniform(0, 1)
    if label == 0:
        wave = np.sin(2 * np.pi * rng.uniform(400, 800) * times)
    elif label == 1:
        wave = rng.standard_normal(num_samples) / 3
    else:
        wave = (times % 0.25 < 0.002) * rng.standard_normal(num_samples)
    return (wave * rng.uniform(0.1, 0.5)).astype(np.float32)


def clips(num_each: int, *, seconds: float = 0.8, seed: int = 0) -> Clips:
    targets = np.arange(num_each * NUM_LABELS) % NUM_LABELS

    def read(rate_hz: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        num_samples = round(seconds * rate_hz)
        return np.stack([sound(label, num_samples, rate_hz, rng) for label in targets])

    names = tuple(f"clip-{seed}-{index}" for index in range(len(targets)))
    return Clips(names, names, targets, NUM_LABELS, seconds, read)


def untrained(name: str, *, num_epochs: int | None = None):
    """A rival; with a number of epochs, and rates high enough for them, where one is given."""
    rival = MAKERS[name]()
    if num_epochs is not None and name != "ccnn":
        brisk = {"num_epochs": num_epochs, "batch_size": 10, "schedule": cosine}
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


def test_several_cnns_learn_too_and_cost_as_much_as_four(monkeypatch: pytest.MonkeyPatch) -> None:
    brisk = replace(untrained("cnn9", num_epochs=6).recipe)
    monkeypatch.setattr(cnn9, "recipe", lambda: brisk)
    rival = ccnn.ccnn()
    said: list[str] = []
    rival.fit(clips(6), budget=Budget(say=said.append), rng=np.random.default_rng(1))
    test = clips(5, seed=1)
    answers = rival.predict(test)
    np.testing.assert_allclose(answers.sum(1), 1.0)
    assert (answers.argmax(1) == test.targets).mean() > 0.8
    assert [line.split(":")[0] for line in said] == list(ccnn.VIEWS)
    assert rival.cost().num_parameters == 4 * size(cnn9.CNN9(NUM_LABELS))


@pytest.mark.parametrize("name", ["piczak", "kumar"])
def test_the_same_seed_gives_the_same(name: str) -> None:
    answers = []
    for _ in range(2):
        rival = untrained(name, num_epochs=2)
        rival.fit(clips(4), budget=Budget(), rng=np.random.default_rng(7))
        answers.append(rival.predict(clips(2, seed=1)))
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("name", MAKERS)
def test_a_budget_is_kept(name: str) -> None:
    rival = untrained(name)
    budget = Budget(2.0)
    began = time.monotonic()
    rival.fit(clips(4), budget=budget, rng=np.random.default_rng(1))
    assert time.monotonic() - began < 30  # a busy machine; on a quiet one it is below 8
    assert 1 <= budget.num_planned <= budget.num_wanted


def size(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_cnn9_has_the_4_69_million_parameters_of_the_original() -> None:
    assert size(cnn9.CNN9(10)) == 4_691_274
    assert sum(p.dim() == 4 for p in cnn9.CNN9(10).parameters()) == 8


def test_piczaks_network_has_the_size_of_its_layers() -> None:
    layers = (2 * 57 * 6 * 80 + 80, 80 * 3 * 80 + 80, 240 * 5000 + 5000, 5000 * 5000 + 5000, 5000 * 50 + 50)
    assert size(piczak.PiczakNet(50)) == sum(layers)


def test_the_receptive_field_of_facn_follows_rho() -> None:
    small = [(3, 1), (3, 3), (3, 3), (3, 1)] + [(1, 1)] * 8
    assert facn.kernel_sizes(5) == small
    assert facn.kernel_sizes(0) == [(3, 1)] + [(1, 1)] * 11
    assert facn.kernel_sizes(7)[:5] == [(3, 1), (3, 3), (3, 3), (3, 3), (3, 1)]
    assert facn.kernel_sizes(22) == [(3, 1)] + [(3, 3)] * 11


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
    views = ccnn.prepare(decibels)
    assert views["harmonic"][0, 10, 20] > -1 > -40 > views["harmonic"][0, 30, 60]
    assert views["percussive"][0, 30, 60] > -1 > -40 > views["percussive"][0, 10, 20]
    assert views["above the median"][0, 10, 20] == 0
    assert views["above the median"][0, 30, 60] == 90


def test_silent_segments_do_not_vote_but_a_silent_clip_does() -> None:
    test = clips(1, seconds=3.0)

    def read(rate_hz: int) -> np.ndarray:
        waveforms = test.read(rate_hz)
        waveforms[0] = 0.0
        waveforms[1, rate_hz:] = 0.0
        return waveforms

    assert np.bincount(piczak.segments_of(test).clips)[1] == 5
    segments = piczak.segments_of(replace(test, read=read))
    assert np.bincount(segments.clips)[:2].tolist() == [1, 2]


def test_segments_are_shifted_only_in_training() -> None:
    segments = piczak.segments_of(clips(2, seconds=3.0))
    items = np.arange(len(segments.clips))
    still = segments.cut(items, None)
    np.testing.assert_array_equal(still, segments.cut(items, None))
    assert not np.array_equal(still, segments.cut(items, np.random.default_rng(0)))
    first = segments.log_mel[0, :, segments.starts[0] : segments.starts[0] + piczak.LENGTH]
    np.testing.assert_allclose(still[0], np.maximum(first, first.max() - 80.0))


@pytest.mark.parametrize("name", MAKERS)
def test_cards_say_what_differs(name: str) -> None:
    card = MAKERS[name]().card
    assert card.follows
    assert card.differs
    assert not card.pretrained_on


def test_recipes_are_those_of_the_originals() -> None:
    wanted: dict[str, Recipe] = {n: MAKERS[n]().recipe for n in ("cnn9", "facn", "piczak")}
    assert (wanted["cnn9"].num_epochs, wanted["cnn9"].batch_size) == (100, 32)
    assert wanted["cnn9"].schedule(0.5) == pytest.approx(0.9**12)
    assert wanted["facn"].schedule(0.1) == 1.0
    assert wanted["facn"].schedule(0.9) == pytest.approx(0.05)
