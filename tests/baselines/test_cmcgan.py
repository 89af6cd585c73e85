"""CMCGAN-style: each network learns from what it should, sounds become pictures, labels are read from the bridge."""

import time
from typing import Any

import numpy as np
import pytest
import torch
from easy_sounds import COLOURS, easy_clips

from avgan.baselines import cmcgan
from avgan.baselines.cmcgan import CMCGAN, Critic, Cycle, CycleTrainer, alike_loss, small
from avgan.baselines.method import Budget
from avgan.errors import DataError


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks and a training of seconds."""
    monkeypatch.setattr(cmcgan, "WIDTHS", (8, 16, 16, 32))
    monkeypatch.setattr(cmcgan, "BATCH", 12)
    monkeypatch.setattr(cmcgan, "NUM_EPOCHS", 25)
    monkeypatch.setattr(cmcgan, "LEARNING_RATE", 2e-3)


def fitted(*, seed: int = 0, **options: Any) -> CMCGAN:
    rival = CMCGAN()
    rival.fit(
        easy_clips(**({"num_each": 16, "seconds": 1.0, "pictures": True} | options)),
        budget=Budget(),
        rng=np.random.default_rng(seed),
    )
    return rival


def test_it_names_and_pictures_held_out_sounds(short: None) -> None:
    rival, test = fitted(), easy_clips(5, seed=1)
    probabilities = rival.predict(test)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    assert (probabilities.argmax(1) == test.targets).mean() > 0.8

    imagined = rival.imagine(test)
    assert imagined.shape == (15, 3, 64, 64)
    assert imagined.dtype == np.uint8
    colour = imagined.mean((2, 3))
    nearest = np.square(colour[:, None] - COLOURS).sum(2).argmin(1)
    assert (nearest == test.targets).mean() > 0.8
    np.testing.assert_array_equal(imagined, rival.imagine(test))


def test_a_budget_is_kept(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cmcgan, "NUM_EPOCHS", 100_000)
    rival, budget, began = CMCGAN(), Budget(2.0), time.monotonic()
    rival.fit(easy_clips(8, pictures=True), budget=budget, rng=np.random.default_rng(0))
    assert time.monotonic() - began < 12.0
    assert budget.num_planned <= budget.num_wanted


def test_without_pictures_it_names_sounds_and_imagines_nothing(short: None) -> None:
    rival = fitted(pictures=False)
    assert (rival.predict(easy_clips(3, seed=1)).argmax(1) == easy_clips(3).targets).mean() > 0.6
    with pytest.raises(DataError, match="without pictures"):
        rival.imagine(easy_clips(1))


@pytest.mark.parametrize("length_s", [0.3, 3.0])
def test_clips_of_another_length_are_answered(short: None, monkeypatch: pytest.MonkeyPatch, length_s: float) -> None:
    monkeypatch.setattr(cmcgan, "NUM_EPOCHS", 1)
    rival = fitted(num_each=4)
    assert rival.predict(easy_clips(1, seconds=length_s)).shape == (3, 3)
    assert rival.imagine(easy_clips(1, seconds=length_s)).shape == (3, 3, 64, 64)


def test_cycle_and_critic_each_move_in_their_own_turn(short: None) -> None:
    torch.manual_seed(0)
    trainer = CycleTrainer(
        torch.rand(12, 1, 64, 64) * 2 - 1, np.arange(12) % 3, lambda rng: rng.integers(256, size=(12, 3, 64, 64))
    )
    moved: dict[int, list[str]] = {}

    def watch(which: int, loss: torch.Tensor) -> None:
        trainer.optimisers[which].zero_grad(set_to_none=True)
        loss.backward()
        network = (trainer.cycle, trainer.critic)[which]
        moved[which] = [
            name
            for name, parameter in network.named_parameters()
            if parameter.grad is not None and parameter.grad.abs().sum() > 0
        ]
        own = (trainer.critic, trainer.cycle)[which]
        if which == 1:  # what is generated is held fixed while the critic learns
            assert all(parameter.grad is None for parameter in own.parameters())

    trainer.update = watch  # type: ignore[method-assign]
    trainer.step(np.arange(12), 0.0, np.random.default_rng(0))
    ways = {"encode_sound", "encode_picture", "decode_sound", "decode_picture"}
    assert {name.split(".")[0] for name in moved[0]} == ways
    assert {name.split(".")[0] for name in moved[1]} == {"sound", "picture", "score"}


def test_ways_that_are_right_cost_nothing() -> None:
    sound, picture = torch.rand(2, 1, 64, 64), torch.rand(2, 3, 64, 64)
    right = cmcgan.Ways(picture, sound, sound, picture, sound, picture)
    assert float(alike_loss(right, sound, picture)) == 0.0
    wrong = cmcgan.Ways(picture + 0.6, sound, sound, picture, sound, picture)
    assert float(alike_loss(wrong, sound, picture)) == pytest.approx(0.1)


def test_shapes_on_the_way() -> None:
    sound, picture = torch.zeros(2, 1, 64, 64), torch.zeros(2, 3, 64, 64)
    ways = Cycle()(sound, picture)
    assert ways.picture_of_sound.shape == ways.picture_back.shape == picture.shape
    assert ways.sound_of_picture.shape == ways.sound_back.shape == sound.shape
    assert Critic()(sound, picture).shape == (2,)


def test_pictures_of_any_size_become_small_ones() -> None:
    made = small(np.full((70, 3, 128, 128), 255, np.uint8))
    assert made.shape == (70, 3, 64, 64)
    assert float(made.min()) == 1.0
    assert float(small(np.zeros((1, 3, 50, 60), np.uint8)).max()) == -1.0


def test_its_cost_is_counted(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cmcgan, "NUM_EPOCHS", 1)
    cost = fitted(num_each=4).cost()
    assert cost.num_parameters > 0
    assert cost.num_macs > 8 * 16 * 32 * 32
