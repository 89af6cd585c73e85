"""What every rival promises, asked of each that METHODS names.

The fits are short ones; that a rival learns is shown in its own tests.
"""

import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from easy_sounds import easy_clips
from safetensors.torch import save_file

from avgan.baselines import METHODS, cmcgan, cnn9, facn, fitting, kumar, l3net, make, piczak, sdcnn, soundnet
from avgan.baselines.method import Budget, Clips, Method
from avgan.errors import ConfigError, DataError
from other_device import OtherDevice

NUM_EPOCHS = 2
SECONDS = 2.0

Make = Callable[..., Clips]


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where weights may lie: the real data, or nothing."""
    try:
        return Path(request.getfixturevalue("data_root"))
    except pytest.skip.Exception:
        return tmp_path


@pytest.fixture
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fit plans the same few epochs, so that the clock does not decide what is learnt."""

    def plan(self: Budget, num_wanted: int, seconds_of_one: float) -> int:
        self.num_wanted, self.num_planned = num_wanted, min(NUM_EPOCHS, num_wanted)
        return self.num_planned

    monkeypatch.setattr(Budget, "plan", plan)


def fit(name: str, clips: Clips, *, seconds: float = 1e6, seed: int = 5) -> Method:
    """A rival that has learnt; skips where it needs what is not at hand."""
    rival = make(name)
    try:
        rival.fit(clips, budget=Budget(seconds), rng=np.random.default_rng(seed))
    except DataError as error:
        pytest.skip(str(error))
    return rival


def asked(clips: Clips) -> Clips:
    """As a comparison asks: without targets, pictures and further recordings."""
    return replace(clips, targets=np.full(len(clips), -1), sample_pictures=None, extra=None)


@pytest.mark.parametrize("name", METHODS)
def test_a_card_says_who_made_it_and_what_is_the_same(name: str) -> None:
    card = make(name).card
    assert card.name == name
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name)
    assert card.title
    assert card.source
    assert card.follows
    assert card.published is None or 0 < card.published < 100
    assert all(0 < value < 100 for value in card.published_on.values())
    texts = [card.title, card.source, card.pretrained_on, *card.follows, *card.differs]
    assert all("\n" not in text and text == text.strip() for text in texts)


def test_a_name_that_is_none_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no method is called 'nobody': choose one of"):
        make("nobody")


WITHOUT_NETWORK = {"svm-mfcc", "forest-mfcc", "knn-mfcc"}
"""Hears each clip once and trains nothing."""
SEEDLESS = {"svm-mfcc", "knn-mfcc", "mn04-probe", "soundnet-5-transfer", "soundnet-8-transfer", "kumar-pretrained"}
"""Nothing that a seed decides shows in their answers to so few clips."""
ON_A_DEVICE = [name for name in METHODS if name not in WITHOUT_NETWORK]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clips:
    """All that any rival asks for, and networks so narrow that a fit takes a second."""
    narrow = (8, 12, 16)
    thin = {
        name: replace(shape, layers=tuple(replace(layer, width=8) for layer in shape.layers))
        for name, shape in (("FIVE", soundnet.FIVE), ("EIGHT", soundnet.EIGHT))
    }
    for place, name, value in (
        (facn, "WIDTHS", narrow),
        (cnn9, "WIDTHS", (*narrow, 24)),
        (l3net, "WIDTHS", (*narrow, 24)),
        (sdcnn, "WIDTHS", (*narrow, 24)),
        (sdcnn, "GAN_WIDTHS", (*narrow, 24)),
        (sdcnn, "SURE", 0.0),
        (cmcgan, "WIDTHS", (*narrow, 24)),
        (piczak, "NUM_HIDDEN", 50),
        (kumar, "WIDTHS", tuple((width,) for width in (4, 4, 8, 8, 12, 12))),
        (kumar, "WIDTH", 24),
        *((soundnet, name, shape) for name, shape in thin.items()),
    ):
        monkeypatch.setattr(place, name, value)
    for number, shape in ((5, thin["FIVE"]), (8, thin["EIGHT"])):
        layers = soundnet.SoundNet(shape, 3).layers.state_dict()
        arrays = {soundnet.published_name(name): value for name, value in layers.items()}
        save_file(arrays, tmp_path / f"soundnet{number}.safetensors")
    layers = kumar.trunk().state_dict()
    arrays = {kumar.published_name(name): value for name, value in layers.items()}
    save_file(arrays, tmp_path / "kumar.safetensors")
    known = easy_clips(2, seconds=0.5, seed=1, pictures=True, folder=tmp_path)
    return replace(known, extra=easy_clips(1, seconds=0.5, seed=3))


def watch_steps(monkeypatch: pytest.MonkeyPatch, within: Callable[[Callable[[], None]], None]) -> None:
    """Let `within` run every step of every training."""
    for trainer in (fitting.NetworkTrainer, sdcnn.GANTrainer, cmcgan.CycleTrainer):

        def step(self: Any, *arguments: Any, usual: Callable = trainer.step) -> None:
            within(lambda: usual(self, *arguments))

        monkeypatch.setattr(trainer, "step", step)


@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize("name", METHODS)
def test_the_seed_alone_decides_and_torchs_own_generator_is_left_alone(name: str, toy: Clips) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one, same = trained(name, toy), trained(name, toy)
    for first, second in zip(one, same, strict=True):
        np.testing.assert_array_equal(first, second)
    if name not in SEEDLESS:
        assert torch.equal(torch.rand(2), expected)
        other = trained(name, toy, seed=6)
        assert any((first != second).any() for first, second in zip(one, other, strict=True))


@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize("name", ON_A_DEVICE)
def test_what_a_network_learns_on_another_device_is_what_it_learns_on_the_cpu(
    name: str, toy: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "in_fast_precision", nullcontext)
    expected = trained(name, toy)
    with OtherDevice() as other:
        monkeypatch.setattr(fitting, "device", lambda: other.device)

        def within(step: Callable[[], None]) -> None:
            ran, read = other.num_operations, other.num_reads
            step()
            assert other.num_operations > ran + 10, "a step leaves the device idle"
            assert other.num_reads == read, "a step waits for the device"

        watch_steps(monkeypatch, within)
        answers = trained(name, toy)
        assert other.num_operations > 10
    np.testing.assert_allclose(answers[0], expected[0], atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize("name", ON_A_DEVICE)
def test_a_network_learns_on_cuda(name: str, toy: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    def within(step: Callable[[], None]) -> None:
        allocated = torch.cuda.memory_stats()["allocation.all.allocated"]
        torch.cuda.set_sync_debug_mode("error")  # a step that waits for the device raises
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.cuda.memory_stats()["allocation.all.allocated"] > allocated

    watch_steps(monkeypatch, within)
    answers = trained(name, toy)
    np.testing.assert_allclose(answers[0].sum(1), 1.0, atol=1e-6)


def trained(name: str, clips: Clips, *, seed: int = 5) -> list[np.ndarray]:
    """What a rival answers for the clips it has learnt from, and imagines; DataError is no excuse here."""
    rival = make(name)
    rival.fit(clips, budget=Budget(1e6), rng=np.random.default_rng(seed))
    answers = [rival.predict(asked(clips))]
    if isinstance(rival, cmcgan.CMCGAN):
        answers.append(rival.imagine(asked(clips)))
        assert answers[1].shape == (len(clips), 3, 64, 64)
    assert rival.cost().num_macs > 0 or name == "forest-mfcc"
    return answers


@pytest.mark.slow
@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize("name", METHODS)
def test_answers_are_probabilities_that_the_seed_alone_decides(name: str, folder: Path) -> None:
    known = easy_clips(8, seed=1, pictures=True, folder=folder)
    known = replace(known, extra=easy_clips(4, seed=4))
    test = easy_clips(3, seed=2, folder=folder)
    rival = fit(name, known)
    first = rival.predict(asked(test))
    assert first.shape == (9, 3)
    assert first.dtype == np.float64
    assert (first >= 0).all()
    np.testing.assert_allclose(first.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(rival.predict(test), first, atol=1e-6, err_msg="looks at targets")
    np.testing.assert_allclose(
        rival.predict(asked(test).select(np.array([4]))),
        first[[4]],
        atol=0.02,  # products in bfloat16 depend a little on the size of the batch
        err_msg="an answer depends on what else is asked",
    )
    cost = rival.cost()
    assert cost.num_parameters > 0
    assert cost.num_macs >= 0  # a forest multiplies nothing
    again = fit(name, known).predict(asked(test))
    np.testing.assert_allclose(again, first, atol=1e-5, err_msg="the same seed, another answer")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_budget_is_kept(name: str, folder: Path) -> None:
    known = easy_clips(8, seed=1, pictures=True, folder=folder)
    known = replace(known, extra=easy_clips(4, seed=4))

    def time_of(seconds: float) -> float:
        began = time.monotonic()
        fit(name, known, seconds=seconds)
        return time.monotonic() - began

    # hearing the clips and one epoch have to be; others use the machine too
    shortest = time_of(0.01)
    assert time_of(SECONDS) < SECONDS + 2 * shortest + 2.0
