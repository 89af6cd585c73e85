"""The teacher: what it learns is a logistic regression, each source once, and it can be learnt from."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from avgan.training.teacher import Teacher, source_weights


def test_it_says_what_the_logistic_regression_says(rng: np.random.Generator) -> None:
    embeddings = rng.standard_normal((60, 5)).astype(np.float32)
    targets = np.repeat(np.arange(3), 20)
    embeddings[:, 0] += 2.0 * targets
    sources = [f"s{index // 2}" for index in range(60)]
    teacher = Teacher(embeddings, targets, sources=sources, devices=[""] * 60, c=0.5)
    scaled = (embeddings - embeddings.mean(0)) / embeddings.std(0)
    probe = LogisticRegression(C=0.5, max_iter=500).fit(scaled, targets, sample_weight=source_weights(targets, sources))
    said = teacher(torch.from_numpy(embeddings)).numpy()
    assert np.allclose(said, probe.predict_proba(scaled), atol=1e-3)


def test_of_two_labels_each_has_its_probability(rng: np.random.Generator) -> None:
    embeddings = rng.standard_normal((40, 3)).astype(np.float32)
    targets = (embeddings[:, 1] > 0).astype(np.int64)
    sources = [str(index) for index in range(40)]
    teacher = Teacher(embeddings, targets, sources=sources, devices=[""] * 40, c=10.0)
    said = teacher(torch.from_numpy(embeddings))
    assert torch.allclose(said.sum(1), torch.ones(40))
    assert (said.argmax(1).numpy() == targets).mean() > 0.9


def test_it_learns_the_place_and_not_the_recorder(rng: np.random.Generator) -> None:
    # number 0 tells the place, number 1 the recorder, which made nearly all of the stations
    stations = rng.random(400) < 0.5
    second = np.where(rng.random(400) < 0.95, stations, ~stations)
    embeddings = rng.standard_normal((400, 4)).astype(np.float32)
    embeddings[:, 0] += 1.5 * stations
    embeddings[:, 1] += 6.0 * second
    targets = stations.astype(np.int64)
    sources = [str(index) for index in range(400)]

    def stations_among_airports(devices: list[str]) -> float:
        teacher = Teacher(embeddings, targets, sources=sources, devices=devices, c=1.0)
        airports = rng.standard_normal((400, 4)).astype(np.float32)
        airports[:, 1] += 6.0  # all by the second recorder
        return float((teacher(torch.from_numpy(airports)).argmax(1) == 1).float().mean())

    assert stations_among_airports([""] * 400) > 0.6
    devices = ["second" if by_second else "first" for by_second in second]
    assert stations_among_airports(devices) < 0.35


def test_a_step_to_another_recorder_changes_nothing_that_it_says(rng: np.random.Generator) -> None:
    embeddings = rng.standard_normal((90, 6)).astype(np.float32)
    targets = np.tile(np.arange(3), 30)
    devices = [("a", "b")[index // 45] for index in range(90)]
    embeddings[45:, 2] += 3.0
    sources = [str(index) for index in range(90)]
    teacher = Teacher(embeddings, targets, sources=sources, devices=devices, c=1.0)
    heard = torch.from_numpy(embeddings)
    chance = torch.from_numpy(rng.standard_normal((90, len(teacher.steps)))).float()
    elsewhere = teacher.as_if_elsewhere(heard, chance)
    assert (elsewhere - heard)[:, 2].std() > 1.0
    assert torch.allclose(teacher(elsewhere), teacher(heard), atol=1e-4)


def test_a_source_counts_once_however_many_clips_it_gave() -> None:
    targets = np.array([0, 0, 0, 0, 1, 1])
    weights = source_weights(targets, ["a", "a", "a", "b", "c", "d"])
    assert np.isclose(weights[:3].sum(), weights[3])
    assert np.isclose(weights.mean(), 1.0)
    # half as many recordings of a label: each counts more, but not so much that both labels count the same
    few = source_weights(np.array([0, 0, 1]), ["a", "b", "c"])
    assert few[0] < few[2] < few[0] + few[1]
