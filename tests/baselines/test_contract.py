"""What every rival promises, asked of each that METHODS names.

The fits are short ones; that a rival learns is shown in its own tests.
"""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avgan.baselines import METHODS, make
from avgan.baselines.rival import Budget, Clips, Rival
from avgan.errors import ConfigError, DataError

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


def fit(name: str, clips: Clips, *, seconds: float = 1e6, seed: int = 5) -> Rival:
    """A rival that has learnt; skips where it needs what is not at hand."""
    rival = make(name)
    try:
        rival.fit(clips, budget=Budget(seconds), rng=np.random.default_rng(seed))
    except DataError as error:
        pytest.skip(str(error))
    return rival


def asked(clips: Clips) -> Clips:
    """As a comparison asks: without targets and pictures."""
    return replace(clips, targets=np.full(len(clips), -1), draw=None)


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


@pytest.mark.slow
@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize("name", METHODS)
def test_answers_are_probabilities_that_the_seed_alone_decides(
    name: str, easy_clips: Make, folder: Path
) -> None:
    known = easy_clips(8, seed=1, pictures=True, folder=folder)
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
def test_a_budget_is_kept(name: str, easy_clips: Make, folder: Path) -> None:
    known = easy_clips(8, seed=1, pictures=True, folder=folder)

    def time_of(seconds: float) -> float:
        began = time.monotonic()
        fit(name, known, seconds=seconds)
        return time.monotonic() - began

    # hearing the clips and one epoch have to be; others use the machine too
    shortest = time_of(0.01)
    assert time_of(SECONDS) < SECONDS + 2 * shortest + 2.0
