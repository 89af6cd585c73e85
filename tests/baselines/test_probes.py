"""Small classifiers and how their settings are chosen."""

from dataclasses import replace

import numpy as np
from easy_sounds import easy_clips

from avgan.baselines import probes
from avgan.baselines.method import Budget


def test_settings_are_judged_on_sources_that_were_not_learnt_from() -> None:
    clips = easy_clips(10)
    parts = probes.divide(clips, seed=0)
    assert len(parts) == probes.NUM_PARTS
    for learnt, held_out in parts:
        assert not {clips.sources[i] for i in learnt} & {clips.sources[i] for i in held_out}
    assert sorted(np.concatenate([held_out for _, held_out in parts])) == list(range(len(clips)))


def test_the_setting_that_serves_best_is_taken(rng: np.random.Generator) -> None:
    clips = easy_clips(20)
    vectors = np.eye(3)[clips.targets] + rng.normal(0, 0.2, (60, 3))
    hopeless, good = probes.logistic_regressions((1e-12, 1.0))
    hopeless[-1].set_params(max_iter=1)
    hopeless[-1].set_params(class_weight={0: 1.0, 1: 1e9, 2: 1.0})
    fitted = probes.fit_best([hopeless, good], vectors, clips, budget=Budget(), rng=rng)
    assert fitted[-1].C == 1.0


def test_too_few_sources_leave_the_middle_setting(rng: np.random.Generator) -> None:
    clips = replace(easy_clips(4), sources=tuple("abc" * 4))
    vectors = rng.normal(size=(12, 2))
    fitted = probes.fit_best(probes.linear_svms((0.1, 1.0, 10.0)), vectors, clips, budget=Budget(), rng=rng)
    assert fitted[-1].C == 1.0


def test_without_time_the_middle_setting_is_taken_untried(rng: np.random.Generator) -> None:
    said: list[str] = []
    vectors = rng.normal(size=(30, 2))
    fitted = probes.fit_best(
        probes.linear_svms((0.1, 1.0, 10.0)), vectors, easy_clips(10), budget=Budget(0.0, said.append), rng=rng
    )
    assert not said
    assert fitted[-1].C == 1.0


def test_two_labels_have_probabilities_too(rng: np.random.Generator) -> None:
    clips = easy_clips(10)
    clips = clips.select(np.flatnonzero(clips.targets < 2))
    vectors = clips.targets[:, None] + rng.normal(0, 0.1, (20, 2))
    fitted = probes.fit_best(probes.linear_svms(), vectors, clips, budget=Budget(), rng=rng)
    answers = probes.probabilities(fitted, vectors, 3)
    np.testing.assert_array_equal(answers.argmax(1), clips.targets)
    np.testing.assert_allclose(answers.sum(1), 1.0)
