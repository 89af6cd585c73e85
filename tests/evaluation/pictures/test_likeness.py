"""FID and KID against closed forms, another way of computing them, and what they must be on equal sets."""

import numpy as np
import pytest

from avgan.evaluation.pictures.likeness import (
    frechet_distance,
    kernel_distance,
    kernel_distance_with_error,
)


def test_frechet_distance_of_two_lines_is_the_closed_form(rng: np.random.Generator) -> None:
    one = rng.normal(0.0, 1.0, (400, 1))
    other = rng.normal(2.0, 3.0, (400, 1))
    means, deviations = zip(*((a.mean(), a.std(ddof=1)) for a in (one, other)), strict=True)
    expected = (means[0] - means[1]) ** 2 + (deviations[0] - deviations[1]) ** 2
    assert frechet_distance(one, other) == pytest.approx(expected)


def test_frechet_distance_takes_the_root_that_scipy_takes(rng: np.random.Generator) -> None:
    from scipy.linalg import sqrtm

    one, other = rng.normal(size=(60, 5)), rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5))
    s1, s2 = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    shift = one.mean(0) - other.mean(0)
    expected = shift @ shift + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    assert frechet_distance(one, other) == pytest.approx(expected)
    assert frechet_distance(other, one) == pytest.approx(expected)


def test_frechet_distance_to_itself_is_nothing_even_with_few_pictures(
    rng: np.random.Generator,
) -> None:
    one = rng.normal(size=(10, 30))  # covariance without full rank
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(one, one + 1.0) == pytest.approx(30.0)


def test_kernel_distance_is_the_sum_over_pairs(rng: np.random.Generator) -> None:
    one, other = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 3 + 1) ** 3)

    within = sum(k(one[i], one[j]) for i in range(4) for j in range(4) if i != j) / 12
    within += sum(k(other[i], other[j]) for i in range(5) for j in range(5) if i != j) / 20
    across = sum(k(a, b) for a in one for b in other) / 20
    assert kernel_distance(one, other) == pytest.approx(within - 2 * across)


def test_kernel_distance_has_no_bias_and_its_error_is_honest(rng: np.random.Generator) -> None:
    values, errors = [], []
    for _ in range(60):
        one, other = rng.normal(size=(2, 80, 4))
        value, error = kernel_distance_with_error(one, other)
        values.append(value)
        errors.append(error)
    spread = np.std(values)
    assert abs(np.mean(values)) < 3 * spread / 60**0.5
    assert spread < np.mean(errors) < 4 * spread


def test_kernel_distance_grows_with_the_distance(rng: np.random.Generator) -> None:
    one, other = rng.normal(size=(2, 100, 4))
    near, far = (kernel_distance(one, other + shift) for shift in (0.5, 1.0))
    assert kernel_distance(one, other) < near < far
