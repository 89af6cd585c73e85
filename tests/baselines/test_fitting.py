"""The loop of the rivals: learns, keeps its budget, repeats itself, and counts what it should count."""

import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from avgan.baselines import fitting
from avgan.baselines.method import Budget

NUM_LABELS = 3


def problem(num_items: int = 90) -> tuple[Tensor, np.ndarray]:
    """(M, 1, 8, 12) noise with one of three bands louder, and which one."""
    rng = np.random.default_rng(5)
    targets = np.arange(num_items) % NUM_LABELS
    inputs = rng.standard_normal((num_items, 1, 8, 12)).astype(np.float32)
    inputs[np.arange(num_items), 0, targets * 2] += 2.0
    return torch.from_numpy(inputs), targets


def small_network(rng: np.random.Generator) -> nn.Module:
    with fitting.seeded(rng):
        return nn.Sequential(
            nn.Conv2d(1, 8, (8, 1)),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(8, NUM_LABELS),
        )


def recipe(**changes) -> fitting.Recipe:
    given = {
        "num_epochs": 15,
        "batch_size": 20,
        "optimiser": lambda parameters: torch.optim.Adam(parameters, lr=0.02),
        "schedule": fitting.one_cycle,
    }
    return fitting.Recipe(**(given | changes))


def fit(*, budget: Budget | None = None, seed: int = 1, pause_s: float = 0.0, **changes):
    """Train on the problem; return (answers, network, the learning rates of all steps)."""
    inputs, targets = problem()
    rng = np.random.default_rng(seed)
    network = small_network(rng)
    rates: list[float] = []

    def optimiser(parameters):
        made = torch.optim.Adam(parameters, lr=0.02)
        made.register_step_pre_hook(lambda own, *_: rates.append(own.param_groups[0]["lr"]))
        return made

    def draw(items: np.ndarray, _: np.random.Generator | None) -> Tensor:
        time.sleep(pause_s)
        return inputs[torch.from_numpy(items)]

    fitting.fit_network(
        network,
        draw,
        targets,
        num_labels=NUM_LABELS,
        recipe=recipe(optimiser=optimiser, **changes),
        budget=budget or Budget(),
        rng=rng,
    )
    return fitting.predict_network(network, draw, len(inputs)), network, rates


@pytest.mark.parametrize("changes", [{}, {"mixup_alpha": 0.3}, {"average_from": 0.5}])
def test_it_learns(changes: dict) -> None:
    answers, _, _ = fit(**changes)
    assert (answers.argmax(1) == problem()[1]).mean() > 0.95
    np.testing.assert_allclose(answers.sum(1), 1.0)


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    first, second, third = (fit(mixup_alpha=0.3, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, third)


def test_the_global_generator_of_torch_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fit(budget=Budget(1.0), num_epochs=2)
    assert torch.rand(1) == expected


def test_a_budget_is_kept_and_the_schedule_still_ends() -> None:
    budget = Budget(1.5)
    began = time.monotonic()
    _, _, rates = fit(budget=budget, num_epochs=1_000, pause_s=0.02)
    assert time.monotonic() - began < 6.0  # much more than on a quiet machine
    assert budget.num_wanted == 1_000
    assert 1 <= budget.num_planned < 40
    assert rates[-1] < 0.1 * max(rates)


def test_a_fit_that_slows_down_plans_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "seconds_of_step", lambda *_: 0.002)
    budget = Budget(1.5)
    _, _, rates = fit(budget=budget, num_epochs=1_000, pause_s=0.02)
    assert budget.seconds_left > -1.0
    assert rates[-1] < 0.2 * max(rates)


def test_averaged_weights_have_statistics_of_their_own() -> None:
    last, _, _ = fit(num_epochs=8, schedule=lambda done: 1.0)
    averaged, network, _ = fit(num_epochs=8, schedule=lambda done: 1.0, average_from=0.5)
    assert not np.allclose(last, averaged)
    assert network[1].num_batches_tracked == 4  # batches of the one pass, not of the training


def test_parts_share_a_budget() -> None:
    budget = Budget(8.0)
    assert budget.share(1 / 4).seconds == pytest.approx(2.0, abs=0.1)
    assert Budget().share(1 / 4).seconds is None


def test_cost_counts_weights_and_products() -> None:
    cost = fitting.cost_of(small_network(np.random.default_rng(0)), torch.zeros(1, 1, 8, 12))
    assert cost.num_parameters == (8 * 8 + 8) + 16 + (8 * 3 + 3)
    assert cost.num_macs == 12 * 8 * 8 + 8 * 3


def test_rolling_moves_time_and_loses_nothing() -> None:
    inputs = problem()[0]
    moved = fitting.rolled(inputs, np.random.default_rng(0))
    assert not torch.equal(moved, inputs)
    torch.testing.assert_close(moved.sort(-1).values, inputs.sort(-1).values)


def test_mixed_labels_stay_distributions_of_mostly_one() -> None:
    inputs, targets = problem()
    labels = nn.functional.one_hot(torch.from_numpy(targets)).float()
    mixed_inputs, mixed_labels = fitting.mixed(inputs, labels, 0.3, np.random.default_rng(0))
    torch.testing.assert_close(mixed_labels.sum(1), torch.ones(len(labels)))
    assert (mixed_labels.argmax(1) == torch.from_numpy(targets)).float().mean() > 0.95
    assert mixed_inputs.shape == inputs.shape
