"""Metrics against scikit-learn, intervals against what they promise, reports against their numbers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_score, recall_score

from avgan.evaluation.metrics import (
    accuracy,
    bootstrap_interval,
    confusion,
    mcnemar,
    mean_and_deviation,
)
from avgan.evaluation.report import headline, per_class_table, write_report

NUM_LABELS = 5


@pytest.fixture
def answers(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    targets = rng.integers(NUM_LABELS - 1, size=300)  # one label never occurs
    answers = np.where(rng.random(300) < 0.7, targets, rng.integers(NUM_LABELS, size=300))
    return targets, answers


def test_accuracy_and_confusion_equal_scikit_learns(answers) -> None:
    targets, given = answers
    assert accuracy(targets, given) == pytest.approx(accuracy_score(targets, given))
    expected = confusion_matrix(targets, given, labels=range(NUM_LABELS))
    np.testing.assert_array_equal(confusion(targets, given, NUM_LABELS), expected)


def test_interval_covers_the_truth_as_often_as_it_says(rng: np.random.Generator) -> None:
    covered = 0
    for trial in range(200):
        correct = rng.random(200) < 0.8
        low, high = bootstrap_interval(correct, np.arange(200), seed=trial, num_draws=500)
        assert low <= correct.mean() <= high
        covered += low <= 0.8 <= high
    assert 180 <= covered <= 200


def test_interval_equals_the_binomials_for_single_clips(rng: np.random.Generator) -> None:
    correct = rng.random(2_000) < 0.8
    low, high = bootstrap_interval(correct, np.arange(2_000))
    error = 1.96 * np.sqrt(correct.mean() * (1 - correct.mean()) / 2_000)
    assert low == pytest.approx(correct.mean() - error, abs=0.003)
    assert high == pytest.approx(correct.mean() + error, abs=0.003)


def test_clips_of_one_source_count_as_one(rng: np.random.Generator) -> None:
    """Ten identical clips of each source know no more than one does."""
    sources = rng.random(100) < 0.8
    correct, groups = np.repeat(sources, 10), np.repeat(np.arange(100), 10)
    alone = bootstrap_interval(correct, np.arange(1_000))
    together = bootstrap_interval(correct, groups)
    assert together == pytest.approx(bootstrap_interval(sources, np.arange(100)))
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])


def test_interval_is_repeatable_and_does_not_mind_names_of_groups() -> None:
    correct = np.array([True, False, True, True])
    by_name = bootstrap_interval(correct, np.array(["b", "a", "b", "c"]))
    by_number = bootstrap_interval(correct, np.array([1, 0, 1, 2]))
    assert by_name == by_number
    assert bootstrap_interval(np.ones(4, bool), np.arange(4)) == (1.0, 1.0)


def test_mean_and_deviation_are_the_samples() -> None:
    mean, deviation = mean_and_deviation([0.8, 0.9, 0.7])
    assert mean == pytest.approx(0.8)
    assert deviation == pytest.approx(0.1)
    assert np.isnan(mean_and_deviation([0.8])[1])


def test_per_class_table_states_recall_and_precision(answers) -> None:
    targets, given = answers
    labels = [f"label {number}" for number in range(NUM_LABELS)]
    table = per_class_table(confusion(targets, given, NUM_LABELS), labels, title="title")
    rows = dict(re.findall(r"^\| (label \d) \| (.*) \|$", table, re.MULTILINE))
    options = {"labels": range(NUM_LABELS), "average": None, "zero_division": 0}
    recall = recall_score(targets, given, **options)
    precision = precision_score(targets, given, **options)
    for number, label in enumerate(labels):
        clips, own_recall, own_precision, taken_for = rows[label].split(" | ")
        assert int(clips) == (targets == number).sum()
        assert float(own_recall) == pytest.approx(100 * recall[number], abs=0.06)
        assert float(own_precision) == pytest.approx(100 * precision[number], abs=0.06)
        if clips != "0":
            wrong = given[(targets == number) & (given != number)]
            most = np.bincount(wrong, minlength=NUM_LABELS).max()
            assert taken_for.endswith(f"({most})")
            assert label not in taken_for
    recalls = [float(row.split(" | ")[1]) for row in rows.values()]
    assert recalls == sorted(recalls)  # the worst first


def test_a_bar_in_a_label_does_not_end_the_cell() -> None:
    table = per_class_table(np.array([[3, 1], [0, 2]]), ["a|b", "c"], title="title")
    rows = table.splitlines()[2:]
    assert rows[2] == r"| a\|b | 4 | 75.0 | 100.0 | c (1) |"
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    mistaken = per_class_table(np.array([[3, 0], [2, 1]]), ["a|b", "c"], title="title")
    assert r"a\|b (2)" in mistaken


def test_a_report_writes_its_three_files_and_replaces_older_ones(tmp_path: Path) -> None:
    report = {
        "protocol": "esc50",
        "preset": "compact",
        "classifier": "joint",
        "seed": 3,
        "accuracy": 0.8,
        "deviation_over_folds": 0.02,
        "interval_95": (0.7, 0.9),
        "labels": ["a|b", "c"],
        "confusion": [[4, 1], [1, 4]],
    }
    (tmp_path / "report.json").write_text("old")
    write_report(report, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.json",
        "per_class.md",
        "confusion.png",
    }
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored == report | {"interval_95": [0.7, 0.9]}
    assert headline(report) in (tmp_path / "per_class.md").read_text()
    assert "80.0 % +- 2.0 over folds [70.0, 90.0]" in headline(report)
    assert Image.open(tmp_path / "confusion.png").size[0] > 200


def test_mcnemar_equals_scipys_binomial_test(rng: np.random.Generator) -> None:
    for num_items in (1, 8, 50, 2_000, 14_000):
        correct, other = rng.random((2, num_items)) < rng.uniform(0.3, 0.9, (2, 1))
        first, second, p = mcnemar(correct, other)
        assert first == sum(a and not b for a, b in zip(correct, other, strict=True))
        assert second == sum(b and not a for a, b in zip(correct, other, strict=True))
        if first + second:
            expected = binomtest(first, first + second).pvalue
            assert p == pytest.approx(expected, rel=1e-9)
        assert mcnemar(other, correct) == (second, first, p)


def test_mcnemar_of_a_published_table() -> None:
    """Discordant pairs 4 and 20: two-sided 2 * P(X <= 4), X ~ B(24, 1/2)."""
    correct = np.array([True] * 4 + [False] * 20 + [True] * 30)
    other = np.array([False] * 4 + [True] * 20 + [True] * 30)
    assert mcnemar(correct, other) == (4, 20, pytest.approx(2 * 12_951 / 2**24))
    assert mcnemar(correct, correct) == (0, 0, 1.0)
