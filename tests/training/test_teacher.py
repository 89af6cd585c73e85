"""The teacher: what it learns is a logistic regression, each source once, and it can be learnt from."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from avgan.training.teacher import Teacher, lacking, source_weights


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
    # number 0 tells the place, number 1 the recorder; the second has made stations and parks, and no airport
    places = np.concatenate((np.repeat([0, 1, 2], 50), np.repeat([1, 2], 150)))
    second = np.arange(len(places)) >= 150

    def recordings(places: np.ndarray, by_second: np.ndarray) -> np.ndarray:
        embeddings = rng.standard_normal((len(places), 4)).astype(np.float32)
        embeddings[np.arange(len(places)), np.where(places == 2, 3, 0)] += np.where(places == 0, -2.0, 2.0)
        embeddings[:, 1] += 4.0 * by_second
        return embeddings

    embeddings = recordings(places, second)
    airports = recordings(np.zeros(400, np.int64), np.ones(400, bool))

    def airports_found(devices: list[str]) -> float:
        sources = [str(index) for index in range(len(places))]
        teacher = Teacher(embeddings, places, sources=sources, devices=devices, c=0.01)
        return float((teacher(torch.from_numpy(airports)).argmax(1) == 0).float().mean())

    known = airports_found(["second" if by_second else "first" for by_second in second])
    assert known > 0.6
    assert airports_found([""] * len(places)) < known - 0.1


def test_a_recorder_lacks_what_others_have_more_sources_of() -> None:
    targets = np.array([0, 0, 0, 1, 1, 1, 1, 2])
    sources = ["a", "b", "c", "d", "e", "f", "g", "h"]
    devices = ["x", "x", "x", "x", "x", "x", "y", "y"]
    found = lacking(targets, sources, devices)
    # x has no 2; y has one source of 1, where x has three, and all there are of 2; nothing lacks what it is
    assert found[:3].tolist() == [[False, False, True]] * 3
    assert found[6].tolist() == [True, False, False]
    assert found[7].tolist() == [True, True, False]
    assert not lacking(targets, sources, ["x"] * 8).any()


def test_a_source_counts_once_however_many_clips_it_gave() -> None:
    targets = np.array([0, 0, 0, 0, 1, 1])
    weights = source_weights(targets, ["a", "a", "a", "b", "c", "d"])
    assert np.isclose(weights[:3].sum(), weights[3])
    assert np.isclose(weights.mean(), 1.0)
    # half as many recordings of a label: each counts more, but not so much that both labels count the same
    few = source_weights(np.array([0, 0, 1]), ["a", "b", "c"])
    assert few[0] < few[2] < few[0] + few[1]
