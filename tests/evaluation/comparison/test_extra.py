"""Further recordings: given to who learns from them, never of what is asked about, and part of what a method is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan.baselines import make
from avgan.baselines.method import Clips, Cost
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.evaluation.comparison import compare as comparing
from avgan.evaluation.comparison.answers import read_answers
from avgan.evaluation.comparison.clips import Extra, Sounds, clips_to_learn_from, unrelated
from avgan.evaluation.protocols import read_protocol
from avgan.evaluation.protocols.protocol import Fold


def recordings(root: Path, names: str, num: int, rate_hz: int = 16_000, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for label in names:
        (root / label).mkdir(parents=True)
        for number in range(num):
            waveform = 0.1 * rng.standard_normal(rate_hz)
            soundfile.write(root / label / f"{seed}-{number}.wav", waveform, rate_hz)
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return recordings(tmp_path / "data", "ab", 2)


def test_clips_of_known_labels_are_given_with_the_numbers_of_the_protocol(data: Path, tmp_path: Path) -> None:
    protocol = read_protocol("folder", data)
    extra = Extra(recordings(tmp_path / "more", "bc", 3, seed=1), protocol)
    fold = protocol.folds[0]
    sounds = Sounds.of(protocol)
    known = clips_to_learn_from(fold, protocol, sounds, data=data, pictures=None, extra=extra)
    assert known.extra is not None
    assert known.extra.targets.tolist() == [1, 1, 1]
    assert known.extra.labels == ("a", "b")
    assert known.extra.read(16_000).shape == (3, 80_000)
    assert known.select(np.array([0])).extra is known.extra
    with pytest.raises(DataError, match="no recording has a label of folder, such as 'a'"):
        Extra(recordings(tmp_path / "other", "cd", 2), protocol)


def test_what_is_of_a_tested_source_file_or_city_is_left_out() -> None:
    """As of TAU: its sources are locations, its places cities; Milan is asked about as never heard."""

    def clip(name: str, source: str, place: str = "", **more: str) -> Clip:
        return Clip(id=name, source_id=source, place=place, label="bus", audio_path=name, **more)

    def side(*clips: Clip) -> Manifest:
        return Manifest("tau2019", Path(), clips)

    train = side(clip("1", "lyon-1", "lyon"), clip("2", "paris-1", "paris"))
    test = side(clip("3", "lyon-2", "lyon"), clip("4", "milan-1", "milan", audio_sha256="ff"))
    further = side(
        clip("5", "lyon-2", "lyon"),  # a location that is asked about
        clip("6", "milan-9", "milan"),  # a city that is asked about as never heard
        clip("7", "web", "", audio_sha256="ff"),  # the very file
        clip("8", "lyon-3", "lyon"),
        clip("9", "rome-1", "rome"),
        clip("10", "lyon-1", "lyon"),
        clip("11", "web-2"),
    )
    kept = unrelated(further, Fold("1", train, test))
    assert [each.id for each in kept.clips] == ["8", "9", "10", "11"]


def test_nothing_left_is_said(data: Path) -> None:
    protocol = read_protocol("folder", data)
    extra = Extra(data, protocol)
    fold = protocol.folds[0]
    assert {clip.source_id for clip in unrelated(extra.manifest, fold).clips}.isdisjoint(
        clip.source_id for clip in fold.test.clips
    )
    with pytest.raises(DataError, match="all further recordings are of sources or cities"):
        extra.of(replace(fold, test=extra.manifest, train=fold.train.select(lambda _: False)))


def test_it_is_part_of_what_a_method_is_and_of_the_settings(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Clips | None] = []

    class Guess:
        card = make("sdcnn-av").card

        def fit(self, clips: Clips, **_: object) -> None:
            given.append(clips.extra)

        def predict(self, clips: Clips) -> np.ndarray:
            return np.full((len(clips), 2), 0.5)

        def cost(self) -> Cost:
            return Cost(1, 1)

    monkeypatch.setattr("avgan.evaluation.comparison.compare.make", lambda name: Guess())
    more = recordings(tmp_path / "more", "ab", 2, seed=1)

    def ask(out: str, extra: Path | None) -> str:
        comparing.compare(
            protocol="folder", methods=("sdcnn-av",), data=data, out=tmp_path / out, folds=("1",), extra=extra
        )
        stored = read_answers(tmp_path / out, "sdcnn-av", "1")
        assert stored is not None
        return stored.identity

    first = ask("one", more)
    assert given[-1] is not None
    assert len(given[-1]) == 4
    recordings(tmp_path / "others", "ab", 3, seed=2)
    assert ask("two", tmp_path / "others") != first
    with pytest.raises(comparing.ConfigError, match="extra is "):
        ask("one", tmp_path / "others")


def test_without_further_recordings_the_method_is_left_out_and_says_what_to_do(data: Path, tmp_path: Path) -> None:
    report = comparing.compare(protocol="folder", methods=("sdcnn-av",), data=data, out=tmp_path / "out")
    assert "--extra" in report["failed"]["sdcnn-av"]
