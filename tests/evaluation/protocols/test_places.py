"""Protocols on field recordings: nothing that is answered was heard, by recording, by collection and by world."""

from pathlib import Path

import numpy as np
import pytest

from avgan.evaluation.comparison.answers import Answers
from avgan.evaluation.protocols import read_protocol
from avgan.evaluation.protocols.places import by_scene
from avgan.evaluation.protocols.protocol import Scored

SCENES = ("airport", "bus", "park", "tram", "cafe")
WORLDS = ("places", "further")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders with 12 recordings of each scene, two clips each, from six collections."""
    root = tmp_path_factory.mktemp("recordings")
    for world in WORLDS:
        rows = ["file,scene,source_id,start_s,repo,licence,note"]
        for scene in SCENES:
            for number in range(12):
                source = f"{world}-{scene}-{number}"
                rows += [f"{source}-{part}.ogg,{scene},{source},0,{world}-{number % 6},CC0," for part in range(2)]
        (root / world).mkdir()
        (root / world / "index.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.mark.parametrize("name", ["places", "places_collections"])
def test_five_folds_answer_the_ten_scenes_of_the_first_folder_once(data: Path, name: str) -> None:
    protocol = read_protocol(name, data)
    answered = [clip for fold in protocol.folds for clip in fold.test.clips]
    assert len(answered) == len({clip.id for clip in answered}) == 4 * 12 * 2
    assert {clip.label for clip in answered} == set(SCENES) - {"cafe"}
    assert {clip.fold for clip in answered} == {"places"}
    for fold in protocol.folds:
        heard, asked = fold.train.clips, fold.test.clips
        assert not {clip.source_id for clip in heard} & {clip.source_id for clip in asked}
        assert "cafe" in fold.train.labels
        assert {clip.fold for clip in heard} == set(WORLDS)
        if name == "places_collections":
            assert not {clip.origin for clip in heard} & {clip.origin for clip in asked}


def test_a_world_is_answered_by_who_heard_the_others_alone(data: Path) -> None:
    protocol = read_protocol("places_worlds", data)
    assert [fold.name for fold in protocol.folds] == ["further", "places"]
    for fold in protocol.folds:
        assert {clip.fold for clip in fold.test.clips} == {fold.name}
        assert {clip.fold for clip in fold.train.clips} == set(WORLDS) - {fold.name}


def test_only_the_ten_scenes_are_asked_and_each_recording_counts_once(data: Path) -> None:
    protocol = read_protocol("places", data)
    labels = protocol.answered
    assert labels == ("airport", "bus", "park", "tram")
    assert set(protocol.labels) == {*labels, "cafe"}
    clips = [clip for fold in protocol.folds for clip in fold.test.clips]
    targets = np.array([labels.index(clip.label) for clip in clips])
    probabilities = np.full((len(clips), len(labels)), 0.1)
    answers = [
        # trams are called buses, of parks one of two clips is an airport with more certainty
        {"tram": "bus"}.get(clip.label, clip.label)
        for clip in clips
    ]
    for row, answer in enumerate(answers):
        probabilities[row, labels.index(answer)] = 0.5
    first_parks = [row for row, clip in enumerate(clips) if clip.id.endswith("0.ogg") and clip.label == "park"]
    probabilities[first_parks, labels.index("airport")] = 0.7
    scored = Scored(tuple(clips), np.array([""] * len(clips)), targets, probabilities)
    report = by_scene(labels, scored)
    ten = report["groups"]["ten scenes"]
    assert ten["clips"]["accuracy"] == pytest.approx(2.5 / 4)
    # the mean over a park's two clips: 0.4 for an airport, 0.5 for a park
    assert ten["recordings"]["accuracy"] == pytest.approx(3 / 4)
    assert ten["recordings"]["num_clips"] == 48
    assert ten["groups of scenes"]["accuracy"] == pytest.approx(3.5 / 4)
    assert report["class_average"] == pytest.approx(2.5 / 4)


def test_an_answer_is_chosen_from_the_scenes_that_are_asked() -> None:
    given = Answers(
        method="any",
        fold="1",
        labels=["bus", "cafe", "tram"],
        clip_ids=["a", "b", "c"],
        sources=["a", "b", "c"],
        targets=[0, 2, 2],
        probabilities=[[0.3, 0.6, 0.1], [0.2, 0.0, 0.8], [0.0, 1.0, 0.0]],
        identity="",
        data_sha256="",
    )
    chosen = given.among(("bus", "tram"))
    assert chosen.labels == ["bus", "tram"]
    assert chosen.targets == [0, 1, 1]
    np.testing.assert_allclose(chosen.probabilities, [[0.75, 0.25], [0.2, 0.8], [0.0, 0.0]])
    assert chosen.correct.tolist() == [True, True, False]
    assert given.correct.tolist() == [False, True, False]
    assert given.among(("bus", "cafe", "tram")) is given
