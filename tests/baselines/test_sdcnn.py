"""SDCNN-style: it learns, invents what its filter believes, and keeps its budget."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from easy_sounds import easy_clips
from torch import nn

from avgan.baselines import sdcnn
from avgan.baselines.method import Budget, Clips
from avgan.baselines.sdcnn import NOISE, SDCNN, SURE, TRIES, Maker, invent, verdict
from avgan.errors import DataError


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks and a training of seconds."""
    for name, value in {
        "WIDTHS": (8, 8, 16, 16),
        "GAN_WIDTHS": (4, 8, 16, 16),
        "BATCH": 12,
        "NUM_EPOCHS": 24,
        "GAN_EPOCHS": 2,
    }.items():
        monkeypatch.setattr(sdcnn, name, value)


def fitted(*, seed: int = 0, **options: Any) -> SDCNN:
    rival = SDCNN()
    rival.fit(
        easy_clips(**({"num_each": 16, "seconds": 1.0} | options)), budget=Budget(), rng=np.random.default_rng(seed)
    )
    return rival


def test_it_names_held_out_sounds(short: None) -> None:
    test = easy_clips(5, seed=1)
    probabilities = fitted().predict(test)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    assert (probabilities.argmax(1) == test.targets).mean() > 0.8


def test_a_budget_is_kept(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdcnn, "NUM_EPOCHS", 100_000)
    monkeypatch.setattr(sdcnn, "GAN_EPOCHS", 100_000)
    rival, budget, began = SDCNN(), Budget(2.0), time.monotonic()
    rival.fit(easy_clips(8), budget=budget, rng=np.random.default_rng(0))
    assert time.monotonic() - began < 12.0
    assert 0 < budget.num_planned < budget.num_wanted


@pytest.mark.parametrize("length_s", [0.3, 3.0])
def test_clips_of_another_length_are_answered(short: None, monkeypatch: pytest.MonkeyPatch, length_s: float) -> None:
    monkeypatch.setattr(sdcnn, "NUM_EPOCHS", 1)
    rival = fitted(num_each=4)
    assert rival.predict(easy_clips(1, seconds=length_s)).shape == (3, 3)
    assert rival.cost().num_macs > 0


def of_labels(every: Clips, *labels: int) -> Clips:
    return every.select(np.flatnonzero(np.isin(every.targets, labels)))


def test_it_learns_from_further_recordings_too(short: None) -> None:
    test, known = easy_clips(5, seed=1), of_labels(easy_clips(8), 0, 1)
    rivals = sdcnn.sdcnn_with_more(), SDCNN()
    extra = of_labels(easy_clips(8, seed=7), 1, 2)
    for rival in rivals:
        rival.fit(replace(known, extra=extra), budget=Budget(), rng=np.random.default_rng(0))
    taught, untaught = (rival.predict(test).argmax(1) == test.targets for rival in rivals)
    only_there = test.targets == 2  # a label that stands in the further set alone
    assert taught[only_there].mean() > 0.7
    assert taught.mean() > 0.8
    assert not untaught[only_there].any()
    assert rivals[0].card.name == "sdcnn-av"


def test_further_recordings_of_other_labels_are_refused() -> None:
    known = easy_clips(2)

    def fit(extra: Clips | None) -> None:
        rival = sdcnn.sdcnn_with_more()
        rival.fit(replace(known, extra=extra), budget=Budget(), rng=np.random.default_rng(0))

    for nothing in (None, easy_clips(2).select(np.array([], int))):
        with pytest.raises(DataError, match="sdcnn-av: learns from a further set"):
            fit(nothing)
    for other in (replace(easy_clips(2), labels=tuple("abcd")), replace(easy_clips(2), targets=np.full(6, -1))):
        with pytest.raises(DataError, match="other labels than the protocol"):
            fit(other)


def test_a_selection_keeps_the_further_recordings() -> None:
    extra = easy_clips(2)
    assert replace(easy_clips(3), extra=extra).select(np.array([2])).extra is extra


class Suspicious(nn.Module):
    """Says label 0 where a number lies below a threshold, and label 1 above it; never label 2."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, fbank: torch.Tensor) -> torch.Tensor:
        sign = (fbank[:, 0, 9, 9] - self.threshold).sign()
        return 9.0 * torch.stack((-sign, sign, torch.full_like(sign, -1.0)), 1)


def test_the_filter_keeps_what_is_surely_of_its_label(short: None) -> None:
    torch.manual_seed(0)
    maker, targets = Maker(3).eval(), np.arange(90) % 3
    with torch.no_grad():
        some = sdcnn.RANGE * maker(torch.randn(90, NOISE), torch.from_numpy(targets))[:, 0, 9, 9]
    threshold = float(some.median())
    made, labels = invent(maker, Suspicious(threshold), targets, np.random.default_rng(0))
    assert len(made) == len(labels)
    assert set(labels) == {0, 1}
    assert (made[labels == 0, 0, 9, 9] < threshold).all()
    assert (made[labels == 1, 0, 9, 9] > threshold).all()
    # one for each recording at most, although there are several tries
    assert all((labels == label).sum() <= 30 for label in (0, 1))
    assert TRIES > 1
    assert 1 / 3 < SURE < 1


def test_nothing_believed_is_nothing_invented(short: None) -> None:
    undecided = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3))
    nn.init.zeros_(undecided[2].weight)
    nn.init.zeros_(undecided[2].bias)
    made, labels = invent(Maker(3).eval(), undecided, np.arange(6) % 3, np.random.default_rng(0))
    assert made.shape == (0, 1, 64, 128)
    assert len(labels) == 0


def test_the_verdict_is_both_cross_entropies() -> None:
    labels = torch.tensor([0, 1])
    sure = torch.tensor([[30.0, 0.0], [0.0, 30.0]])
    right = verdict((torch.tensor([30.0, 30.0]), sure), labels, real=True)
    assert float(right) == pytest.approx(0.0, abs=1e-6)
    undecided = verdict((torch.zeros(2), torch.zeros(2, 2)), labels, real=False)
    assert float(undecided) == pytest.approx(2 * np.log(2))


def test_made_fbanks_depend_on_their_label(short: None) -> None:
    maker, noise = Maker(3).eval(), torch.randn(1, NOISE)
    with torch.no_grad():
        made = [maker(noise, torch.tensor([label])) for label in (0, 1)]
    assert made[0].shape == (1, 1, 64, 128)
    assert not torch.equal(*made)
    assert float(made[0].abs().max()) <= 1.0
