"""Calibration: the properties that its parts promise, on data where the truth is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import binom

from avgan.calibration import (
    Embedded,
    calibrate,
    calibration_error,
    expected_error,
    fit_known,
    fit_temperature,
    least_sure,
    probabilities,
    shares_of,
    shortcomings,
    sure_enough,
    threshold,
)
from avgan.cli import main
from avgan.errors import DataError
from avgan.runtime.bundle import open_bundle
from avgan.runtime.unknown import STEADY, STRANGE, UNSURE

NUM_LABELS = 6


def drawn(rng: np.random.Generator, num: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits (M, N) and targets (M,) that follow their probabilities at a temperature."""
    logits = 3 * rng.standard_normal((num, NUM_LABELS))
    chances = probabilities(logits, temperature)
    targets = (chances.cumsum(1) > rng.random((num, 1))).argmax(1)
    return logits, targets


def likelihood(logits: np.ndarray, targets: np.ndarray, temperature: float) -> float:
    return float(-log_softmax(logits / temperature, 1)[np.arange(len(targets)), targets].mean())


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_and_is_the_likeliest(rng: np.random.Generator, truth: float) -> None:
    logits, targets = drawn(rng, 4_000, truth)
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(truth, rel=0.1)
    best = likelihood(logits, targets, found)
    assert best <= likelihood(logits, targets, 1.0)
    for other in np.geomspace(0.1, 10, 41):
        assert best <= likelihood(logits, targets, other) + 1e-9


def test_scaling_leaves_the_ranking_alone(rng: np.random.Generator) -> None:
    logits, _ = drawn(rng, 200, 1.0)
    order = np.argsort(logits, 1)
    for temperature in (0.3, 3.0):
        np.testing.assert_array_equal(np.argsort(probabilities(logits, temperature), 1), order)


def test_a_temperature_stays_finite_where_all_answers_are_right() -> None:
    logits = 5 * np.eye(NUM_LABELS)
    assert 0.05 <= fit_temperature(logits, np.arange(NUM_LABELS)) < 0.06
    assert 19 < fit_temperature(logits, (np.arange(NUM_LABELS) + 1) % NUM_LABELS) <= 20


def test_the_error_is_that_of_an_example_computed_by_hand() -> None:
    surest = np.array([0.95, 0.92, 0.55, 0.51, 1.0])
    correct = np.array([True, False, True, False, True])
    # bin 0.9 to 1: three of mean (0.95 + 0.92 + 1) / 3, two right; bin 0.5 to 0.6: mean 0.53, half right
    by_hand = 3 / 5 * abs(2.87 / 3 - 2 / 3) + 2 / 5 * abs(0.53 - 0.5)
    assert expected_error(surest, correct, 10) == pytest.approx(by_hand)
    assert expected_error(surest, correct, 1) == pytest.approx(abs(surest.mean() - 0.6))


def test_the_error_vanishes_for_honest_probabilities_and_grows_with_boasting(rng: np.random.Generator) -> None:
    honest = rng.uniform(0.3, 0.7, 50_000)
    correct = rng.random(50_000) < honest
    errors = [expected_error(honest + boast, correct) for boast in (0.0, 0.1, 0.2, 0.3)]
    assert errors[0] < 0.01
    assert errors == sorted(errors)
    assert errors[3] == pytest.approx(0.3, abs=0.01)


def test_the_interval_of_the_error_widens_where_clips_share_sources(rng: np.random.Generator) -> None:
    logits, targets = drawn(rng, 100, 1.0)
    table, true = np.repeat(probabilities(logits, 3.0), 4, 0), np.repeat(targets, 4)
    widths = []
    for sources in (np.arange(400), np.repeat(np.arange(100), 4)):
        found = calibration_error(table, true, sources)
        assert found.interval_95[0] <= found.interval_95[1]
        widths.append(found.interval_95[1] - found.interval_95[0])
    assert widths[1] > 1.4 * widths[0]


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("num", [60, 159, 400])
def test_a_threshold_refuses_no_more_than_its_share(rng: np.random.Generator, num: int, share: float) -> None:
    """Of values drawn alike, over many repetitions; and not much less, as far as so many values can tell."""
    trials = 4_000
    values = rng.gamma(0.5, size=(trials, num + 1))
    refused = sum(row[-1] < threshold(row[:-1], np.arange(num), share) for row in values)
    assert refused <= binom.ppf(0.9999, trials, share)
    assert refused >= binom.ppf(0.0001, trials, share - 1 / (num + 1))


def test_few_values_give_no_threshold(rng: np.random.Generator) -> None:
    assert threshold(rng.random(48), np.arange(48), 0.02) == -np.inf
    assert np.isfinite(threshold(rng.random(49), np.arange(49), 0.02))
    many_of_few = np.repeat(np.arange(48), 100)
    assert threshold(rng.random(4_800), many_of_few, 0.02) == -np.inf, "48 sources are 48"


def test_the_order_statistic_is_the_textbooks_where_each_clip_is_a_source(rng: np.random.Generator) -> None:
    values = rng.random(99)
    for share in (0.01, 0.02, 0.055, 0.5, 0.99):
        rank = int(share * 100 + 1e-9)
        assert threshold(values, np.arange(99), share) == np.sort(values)[rank - 1]


def test_a_threshold_keeps_its_share_where_clips_of_a_source_go_together(rng: np.random.Generator) -> None:
    """Forty sources of which four gave most clips: counted by clips, new sources would be refused too often."""
    trials, share, refused, by_clips = 1_500, 0.1, 0, 0
    source = np.repeat(np.arange(40), [50] * 4 + [1] * 36)
    for _ in range(trials):
        centre = rng.standard_normal(41)
        values = centre[source] + 0.1 * rng.standard_normal(len(source))
        new = centre[40] + 0.1 * rng.standard_normal()
        refused += new < threshold(values, source, share)
        by_clips += new < threshold(values, np.arange(len(source)), share)
    assert refused <= binom.ppf(0.9999, trials, share)
    assert by_clips > binom.ppf(0.9999, trials, share)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_cover_as_often_as_they_promise(rng: np.random.Generator, coverage: float) -> None:
    """Split conformal sets with wrong probabilities: neither their calibration nor their shape matters."""
    trials, num = 2_000, 150
    held = 0
    for _ in range(trials):
        logits, targets = drawn(rng, num + 1, 2.0)
        table = probabilities(logits, 0.7)
        true = table[np.arange(num + 1), targets]
        held += true[-1] >= threshold(true[:-1], np.arange(num), 1 - coverage)
    assert binom.ppf(0.0001, trials, coverage) <= held
    assert held <= binom.ppf(0.9999, trials, coverage + 1 / (num + 1))


def recordings(rng: np.random.Generator, num: int, offset: float = 0.0) -> Embedded:
    """Clips around the mean of one of a few labels, which differ along a few directions."""
    world = np.random.default_rng(1)
    means, directions = world.random((NUM_LABELS, 1_024)), world.standard_normal((8, 1_024))
    targets = np.arange(num) % NUM_LABELS
    embedding = means[targets] + 0.3 * rng.standard_normal((num, 8)) @ directions
    embedding += 0.05 * rng.standard_normal((num, 1_024)) + offset * world.standard_normal(1_024)
    return Embedded(
        np.hstack((embedding, rng.random((num, 16)))).astype(np.float32),
        np.zeros((num, NUM_LABELS)),
        np.ones(num),
        targets,
        np.arange(num),
    )


def test_the_distance_is_small_for_what_was_known_and_grows_outside(rng: np.random.Generator) -> None:
    known = fit_known(recordings(rng, 600))
    far = [known.distance(recordings(rng, 60, offset).embedding).mean() for offset in (0, 0.3, 1, 3)]
    assert far == sorted(far)
    assert far[0] < 0.1
    assert far[3] > 0.5


def test_the_distance_does_not_hear_loudness(rng: np.random.Generator) -> None:
    train = recordings(rng, 300)
    known = fit_known(train)
    np.testing.assert_allclose(known.distance(5 * train.embedding), known.distance(train.embedding), rtol=1e-3)


def test_the_distance_is_what_principal_components_leave(rng: np.random.Generator) -> None:
    """Against scikit-learn, but for the half precision of the file."""
    from sklearn.decomposition import PCA

    train = recordings(rng, 600)
    known = fit_known(train)
    vectors = train.embedding[:, :1_024].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    components = PCA(len(known.directions), svd_solver="full").fit(vectors)
    left = vectors - components.inverse_transform(components.transform(vectors))
    expected = np.linalg.norm(left, axis=1)
    np.testing.assert_allclose(known.distance(train.embedding), expected, atol=2e-3)


def test_few_clips_are_enough_to_be_finite(rng: np.random.Generator) -> None:
    known = fit_known(recordings(rng, NUM_LABELS))
    distances = known.distance(recordings(rng, 30).embedding)
    assert np.isfinite(distances).all()
    assert len(known.pack()) < 420_000


@pytest.fixture(scope="module")
def watched_run(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path, tiny_config: Callable) -> Path:
    """A finished run that held half of its videos out."""
    from avgan.training.recipe import train

    config = tiny_config({"data.validation_fraction": "0.5"})
    return train(config, data=tiny_videos, out=tmp_path_factory.mktemp("watched") / "run")


def test_a_run_is_calibrated_on_what_it_held_out_and_exported(
    watched_run: Path, tiny_videos: Path, tmp_path: Path, tone_wav: Path
) -> None:
    from avgan.export import export_bundle
    from avgan.runtime import load

    fitted = calibrate(watched_run, tiny_videos)
    assert fitted.calibration.num_sources == 4
    before, after = fitted.calibration.likelihood
    assert after <= before
    plain = load(export_bundle(watched_run, tmp_path / "plain"))
    model = load(export_bundle(watched_run, tmp_path / "calibrated", fitted=fitted))
    assert model.card.calibration == fitted.calibration
    scaled, unscaled = model.classify(tone_wav), plain.classify(tone_wav)
    assert list(scaled.scenes) == list(unscaled.scenes)
    powers = {name: value ** (1 / fitted.calibration.temperature) for name, value in unscaled.scenes.items()}
    for name, value in scaled.scenes.items():
        assert value == pytest.approx(powers[name] / sum(powers.values()), abs=1e-3)


def test_a_run_that_kept_nothing_aside_cannot_be_calibrated(tiny_run: Path, tiny_videos: Path) -> None:
    with pytest.raises(DataError, match="validation_fraction"):
        calibrate(tiny_run, tiny_videos)


@pytest.mark.parametrize(
    ("num_sources", "strange"), [(5, 0.03), (8, 0.03), (9, 0.1), (19, 0.05), (32, 1 / 33), (33, 0.03), (400, 0.03)]
)
def test_what_is_strange_is_told_from_few_sources_at_the_smallest_share_they_allow(
    num_sources: int, strange: float, rng: np.random.Generator
) -> None:
    shares = shares_of(num_sources)
    assert shares == {STEADY: 0.01, UNSURE: 0.01, STRANGE: pytest.approx(strange)}
    values = rng.random(num_sources)
    found = threshold(values, np.arange(num_sources), shares[STRANGE])
    assert (found == -np.inf) if num_sources < 9 else (values < found).mean() <= shares[STRANGE]


def test_a_bundle_says_what_it_cannot_tell(
    watched_run: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(watched_run)
    assert main(["export", run, "--data", str(tiny_videos), "-o", str(tmp_path / "small")]) == 0
    said = capsys.readouterr().err
    assert "calls no sound strange and calls no answer unsure; hold 99 out" in said
    assert main(["export", run, "-o", str(tmp_path / "plain")]) == 0
    assert "it answers whatever it hears" in capsys.readouterr().err
    fitted = open_bundle(tmp_path / "small").card.calibration
    assert fitted is not None
    some = {"num_sources": 20, "largest_distance": 0.5, "shares": shares_of(20)}
    assert "refuses up to 5%" in shortcomings(fitted.model_copy(update=some))
    assert shortcomings(fitted.model_copy(update={"num_sources": 99})) == ""


def test_a_scene_is_answered_where_enough_of_such_answers_are_right() -> None:
    surest = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, False])
    each = np.arange(5)
    assert least_sure(surest, right, each, 0.75) == 0.6
    assert least_sure(surest, right, each, 0.6) == 0.5
    assert least_sure(surest, right, each, 0.9) == 0.8
    assert least_sure(surest, ~right, each, 0.9) == 1.0
    # the first two clips are of one source and count once
    assert least_sure(surest, right, np.array([0, 0, 1, 2, 3]), 0.7) == 0.8


def test_what_is_not_sure_of_a_scene_may_be_sure_of_its_group() -> None:
    groups = ["indoor", "outdoor", "outdoor"]
    probabilities = np.array([[0.9, 0.05, 0.05], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.4, 0.3, 0.3]])
    least, of_group = sure_enough(probabilities, np.array([0, 2, 2, 0]), np.arange(4), groups)
    assert (least, of_group) == (0.9, 0.9)  # of the last, the group is outdoor as well, and wrong
    least, of_group = sure_enough(probabilities, np.array([0, 1, 1, 0]), np.arange(4), groups)
    assert (least, of_group) == (0.4, 0.0)
