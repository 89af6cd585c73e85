"""Metrics against scikit-learn, intervals against what they promise, reports against their numbers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, precision_score, recall_score
from sklearn.metrics import log_loss as scikit_learns_log_loss

from avgan.evaluation.report import headline, per_class_table, write_report
from avgan.metrics import (
    bootstrap_interval,
    log_loss,
    mean_and_deviation,
    mean_over_folds,
    paired_test,
    share,
    shares_by,
)

NUM_LABELS = 5
CORRECT = np.array([True, True, False, True])
SOURCES = ["a", "a", "b", "c"]


@pytest.fixture
def answers(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    targets = rng.integers(NUM_LABELS - 1, size=300)  # one label never occurs
    answers = np.where(rng.random(300) < 0.7, targets, rng.integers(NUM_LABELS, size=300))
    return targets, answers


def test_interval_covers_the_truth_as_often_as_it_says(rng: np.random.Generator) -> None:
    covered = 0
    for trial in range(200):
        correct = rng.random(200) < 0.8
        low, high = bootstrap_interval(correct, np.arange(200), seed=trial, num_resamples=500)
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
    assert mean_and_deviation([0.8]) == (0.8, None)


def test_per_class_table_states_recall_and_precision(answers) -> None:
    targets, given = answers
    labels = [f"label {number}" for number in range(NUM_LABELS)]
    table = per_class_table(confusion_matrix(targets, given, labels=range(NUM_LABELS)), labels, title="title")
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
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "per_class.md", "confusion.png"}
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored == report | {"interval_95": [0.7, 0.9]}
    assert headline(report) in (tmp_path / "per_class.md").read_text()
    assert "80.0 % +- 2.0 over folds [70.0, 90.0]" in headline(report)
    assert Image.open(tmp_path / "confusion.png").size[0] > 200


def test_a_value_lies_inside_its_interval_where_folds_are_unequal(rng: np.random.Generator) -> None:
    """One small fold that is all wrong halves the mean over folds and hardly moves the share of all clips."""
    folds = np.array(["large"] * 2_000 + ["small"] * 20)
    correct = np.concatenate((rng.random(2_000) < 0.9, np.zeros(20, bool)))
    value = mean_over_folds(correct, folds)
    assert value == pytest.approx(correct[:2_000].mean() / 2)
    low, high = bootstrap_interval(correct, np.arange(2_020), folds)
    assert low <= value <= high
    assert high < correct.mean(), "the pooled share is another figure"
    for trial in range(20):
        sizes = rng.integers(1, 12, size=5)
        names = np.repeat(np.arange(5), sizes)
        values = rng.random(len(names)) < 0.5
        low, high = bootstrap_interval(values, rng.integers(6, size=len(names)), names, seed=trial)
        assert low <= mean_over_folds(values, names) <= high


def test_the_interval_of_a_mean_over_folds_covers_it(rng: np.random.Generator) -> None:
    folds = np.repeat([0, 1], [60, 180])
    chance = np.where(folds == 0, 0.5, 0.9)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.random(240) < chance, np.arange(240), folds, seed=trial, num_resamples=400)
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 199


def recordings_of_a_fold(rng: np.random.Generator) -> np.ndarray:
    """The source of each of 400 clips as in ESC-50's fold 1: many have one, some up to eight."""
    sizes = rng.choice([1, 2, 3, 4, 8], p=[0.5, 0.25, 0.1, 0.1, 0.05], size=400)
    return np.repeat(np.arange(400), sizes)[:400]


def mcnemar(correct: np.ndarray, other: np.ndarray) -> float:
    """The exact test that takes clips for independent."""
    first, second = int(np.sum(correct & ~other)), int(np.sum(other & ~correct))
    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def test_equal_methods_are_called_different_as_often_as_the_level_says(rng: np.random.Generator) -> None:
    """Clips of a source are right or wrong together: McNemar's test is wrong twice as often as it says, ours is not."""
    trials, old, new = 300, 0, 0
    for _ in range(trials):
        source = recordings_of_a_fold(rng)
        correct, other = (rng.random((2, source.max() + 1)) < 0.75)[:, source]
        old += mcnemar(correct, other) < 0.05
        new += paired_test(correct, other, source, num_flips=399) < 0.05
    assert old / trials > 0.1
    # 0.05 and three standard errors of a share of 300
    assert new / trials < 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


def test_a_better_method_is_found(rng: np.random.Generator) -> None:
    source = recordings_of_a_fold(rng)
    correct, other = (rng.random((2, source.max() + 1)) < [[0.9], [0.7]])[:, source]
    assert paired_test(correct, other, source) < 0.001
    assert paired_test(correct, other, source) == paired_test(other, correct, source)


def test_few_sources_are_counted_exactly() -> None:
    """Of ten clips with a difference, all for one side: 2 of 2^10 patterns; McNemar's test says the same of clips that
    are sources of their own."""
    correct, other = np.ones(30, bool), np.array([False] * 10 + [True] * 20)
    assert paired_test(correct, other, np.arange(30)) == pytest.approx(2 / 2**10)
    assert mcnemar(correct, other) == pytest.approx(2 / 2**10)
    assert paired_test(correct, other, np.repeat(np.arange(6), 5)) == pytest.approx(2 / 2**2)
    assert paired_test(correct, correct, np.arange(30)) == 1.0


def test_sampled_flips_agree_with_counting(rng: np.random.Generator) -> None:
    values, others = rng.random((2, 40)) < 0.5
    difference = (values.astype(float) - others)[values != others]
    num = len(difference)
    assert num > 14
    first = int((difference > 0).sum())
    exact = float(binomtest(first, num).pvalue)
    assert paired_test(values, others, np.arange(40)) == pytest.approx(exact, abs=0.02)


def test_a_share_knows_its_interval_and_how_much_it_rests_on() -> None:
    found = share(CORRECT, SOURCES)
    assert (found["accuracy"], found["num_clips"], found["num_sources"]) == (0.75, 4, 3)
    low, high = found["interval_95"]
    assert low == 0 < 0.75 < high == 1


def test_one_source_has_no_interval() -> None:
    assert share(CORRECT, ["a"] * 4)["interval_95"] is None


def test_sources_that_err_together_widen_the_interval(rng: np.random.Generator) -> None:
    """Clips of one location are right or wrong together: as if there were ten clips, not a thousand."""
    correct = np.repeat(rng.random(10) < 0.7, 100)
    together = share(correct, [str(number) for number in np.repeat(np.arange(10), 100)])
    apart = share(correct, [str(number) for number in range(1000)])

    def width(found: dict) -> float:
        return float(np.diff(found["interval_95"])[0])

    assert width(together) > 5 * width(apart)


def test_groups_hold_each_clip_once() -> None:
    found = shares_by(["x", "y", "x", "x"], CORRECT, SOURCES)
    assert list(found) == ["x", "y"]
    assert [part["num_clips"] for part in found.values()] == [3, 1]
    assert [part["accuracy"] for part in found.values()] == [pytest.approx(2 / 3), 1.0]


def test_mean_over_classes_and_log_loss_equal_scikit_learns(rng: np.random.Generator) -> None:
    targets = rng.integers(3, size=200)
    probabilities = rng.dirichlet(np.ones(3), size=200)
    given = probabilities.argmax(1)
    assert mean_over_folds(given == targets, targets) == pytest.approx(balanced_accuracy_score(targets, given))
    assert log_loss(targets, probabilities) == pytest.approx(scikit_learns_log_loss(targets, probabilities))
    assert np.isfinite(log_loss(np.array([0]), np.array([[0.0, 1.0]])))
