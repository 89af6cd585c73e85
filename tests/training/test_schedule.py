"""Samples, randomness and rates depend on the number of a step, and on nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgan.errors import ConfigError
from avgan.training.schedule import generator_of, indices_at, rate_factor, share_of_process


@given(st.integers(1, 40), st.integers(1, 15), st.integers(0, 5))
def test_every_epoch_is_a_permutation(num_items: int, batch_size: int, seed: int) -> None:
    num_epochs = 3
    num_steps = -(-num_epochs * num_items // batch_size)
    drawn = np.concatenate(
        [
            indices_at(step, num_items=num_items, batch_size=batch_size, seed=seed, stage="s")
            for step in range(num_steps)
        ]
    )
    for epoch in range(num_epochs):
        part = drawn[epoch * num_items : (epoch + 1) * num_items]
        assert sorted(part) == list(range(num_items))


def test_epochs_stages_and_seeds_draw_different_orders() -> None:
    def order(**changed: object) -> tuple[int, ...]:
        settings = {"step": 0, "num_items": 50, "batch_size": 50, "seed": 0, "stage": "a"} | changed
        return tuple(indices_at(settings.pop("step"), **settings))

    orders = {order(), order(step=1), order(seed=1), order(stage="b")}
    assert len(orders) == 4
    assert order(step=1) in orders  # asked again out of order, it is the same


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 30))
def test_the_shares_of_the_processes_are_the_whole(num_processes: int, share: int, step: int) -> None:
    items = indices_at(step, num_items=17, batch_size=num_processes * share, seed=0, stage="vqvae")
    shares = [share_of_process(items, rank, num_processes) for rank in range(num_processes)]
    np.testing.assert_array_equal(np.concatenate(shares), items)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size 5 does not divide over 2 processes"):
        share_of_process(np.arange(5), 0, 2)


def test_a_generator_belongs_to_its_place() -> None:
    places = [(0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1)]
    drawn = {generator_of(seed, *place).integers(2**40) for seed, *place in places}
    assert len(drawn) == 4
    assert generator_of(0, "a", 1).integers(2**40) in drawn


@pytest.mark.parametrize(
    ("schedule", "first", "middle", "last"),
    [
        ("constant", 1.0, 1.0, 1.0),
        ("linear", 1.0, 0.5, 0.01),
        ("cosine", 1.0, 0.5, 0.5 * (1 + np.cos(0.99 * np.pi))),
        ("one_cycle", 0.04, 0.5 * (1 + np.cos(4 / 9 * np.pi)), 0.5 * (1 + np.cos(89 / 90 * np.pi))),
    ],
)
def test_rates(schedule: str, first: float, middle: float, last: float) -> None:
    factors = [rate_factor(schedule, step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(first)
    assert factors[50] == pytest.approx(middle)
    assert factors[99] == pytest.approx(last)
    assert all(0.0 < factor <= 1.0 for factor in factors)


def test_one_cycle_rises_to_one_and_falls_ever_after() -> None:
    factors = [rate_factor("one_cycle", step, 1000) for step in range(1000)]
    top = int(np.argmax(factors))
    assert top == 100
    assert factors[top] == pytest.approx(1.0)
    assert all(np.diff(factors[: top + 1]) > 0)
    assert all(np.diff(factors[top:]) < 0)
