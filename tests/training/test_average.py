"""The moving average of weights: unbiased, by its formula, and worn without a trace."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from avgan.training.average import MovingAverage


def values(network: nn.Module) -> list[torch.Tensor]:
    return [value.detach().clone() for value in network.parameters()]


def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_weights_that_stand_still_are_their_average_from_the_first_update_on(decay: float) -> None:
    network = nn.Linear(3, 2)
    average = MovingAverage([network], decay)
    for _ in range(5):
        average.update()
        torch.testing.assert_close(average.weights(), values(network))


def test_the_average_follows_its_formula() -> None:
    network, decay = nn.Linear(1, 1, bias=False), 0.8
    average = MovingAverage([network], decay)
    seen = [3.0, -1.0, 4.0, 1.0, -5.0]
    for value in seen:
        nn.init.constant_(network.weight, value)
        average.update()
    shares = np.array([decay ** (len(seen) - 1 - k) for k in range(len(seen))])
    expected = float((shares * seen).sum() / shares.sum())
    assert average.weights()[0].item() == pytest.approx(expected, rel=1e-5)


def test_before_the_first_update_it_is_the_weights_themselves() -> None:
    network = nn.Linear(3, 2)
    average = MovingAverage([network], 0.9)
    before = values(network)
    average.put(average.weights())
    assert same(before, values(network))


def test_wearing_the_average_leaves_no_trace_even_when_it_fails() -> None:
    first, second = nn.Linear(3, 2), nn.BatchNorm1d(2)
    average = MovingAverage([first, second], 0.5)
    average.update()
    nn.init.normal_(first.weight)
    before = values(first) + values(second)
    with average.applied():
        torch.testing.assert_close(values(first) + values(second), average.weights())
        assert not torch.equal(first.weight, before[0])
    assert same(before, values(first) + values(second))
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert same(before, values(first) + values(second))


def test_its_state_comes_back() -> None:
    network = nn.Linear(3, 2)
    average = MovingAverage([network], 0.9)
    average.update()
    state = copy.deepcopy(average.state_dict())
    other = MovingAverage([network], 0.9)
    other.load_state_dict(state)
    nn.init.normal_(network.weight)
    average.update()
    other.update()
    torch.testing.assert_close(average.weights(), other.weights())
