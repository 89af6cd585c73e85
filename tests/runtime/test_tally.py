"""What a whole recording comes to: scene, group or nothing; shares of its time; what was heard in it."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from avgan.errors import BundleError
from avgan.runtime import load
from avgan.runtime.prediction import UNKNOWN, Prediction
from avgan.runtime.unknown import QUIET, SILENT, UNSURE

RATE_HZ = 16_000


def noise(seconds: float, amplitude: float = 0.2) -> np.ndarray:
    """A hiss, which the toy takes for a beach, and for a dog."""
    rng = np.random.default_rng(0)
    return (amplitude * rng.standard_normal(round(seconds * RATE_HZ))).clip(-1, 1).astype(np.float32)


def tone(seconds: float, amplitude: float = 0.2) -> np.ndarray:
    """A rumble, which the toy takes for a road with traffic."""
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (amplitude * np.sin(2 * np.pi * 100 * times_s)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


@pytest.fixture
def places(toy_places: Path) -> "Hear":
    return Hear(toy_places)


class Hear:
    def __init__(self, path: Path) -> None:
        self.model = load(path)

    def __call__(self, *parts: np.ndarray, hop_s: float | None = None) -> Prediction:
        return self.model.classify(np.concatenate(parts), RATE_HZ, hop_s=hop_s)


def test_scene_group_and_sounds_stand_side_by_side(places: Hear) -> None:
    prediction = places(noise(1))
    assert (prediction.scene, prediction.group, prediction.within) == ("beach", "outdoor", ())
    assert (prediction.sound, list(prediction.sounds)) == ("dog", ["dog"])
    assert prediction.groups["outdoor"] == pytest.approx(1, abs=0.01)
    (window,) = prediction.windows
    assert (window.scene, window.group, window.sound) == ("beach", "outdoor", "dog")
    assert prediction.answer == window.answer == "beach"
    found = prediction.to_dict()
    assert found["group"] == found["windows"][0]["group"] == "outdoor"
    assert list(found["sounds"]) == list(found["windows"][0]["sounds"]) == ["dog"]


def test_a_group_is_answered_where_no_scene_is_sure(places: Hear) -> None:
    prediction = places(tone(1, 0.05))
    assert (prediction.scene, prediction.group, prediction.within) == ("outdoor", "outdoor", ("road",))
    assert prediction.known
    assert prediction.probability == pytest.approx(prediction.groups["outdoor"], abs=1e-6)
    assert prediction.picture.shape == (128, 128, 3)


def test_neither_scene_nor_group_is_unknown_but_what_is_heard_is_told(places: Hear) -> None:
    prediction = places(noise(1, 0.031))
    assert (prediction.scene, prediction.group, prediction.reason) == (UNKNOWN, "", UNSURE)
    assert prediction.sound == "dog"
    assert prediction.windows[0].sounds.keys() == {"dog"}
    assert prediction.windows[0].group == ""


@pytest.mark.parametrize(
    ("waveform", "reason"),
    [(silence(1), SILENT), (2.0**-15 * np.sign(noise(1)), QUIET), (2 * 2.0**-15 * np.sign(noise(1)), QUIET)],
)
def test_of_what_has_no_sound_nothing_is_told(places: Hear, waveform: np.ndarray, reason: str) -> None:
    prediction = places(waveform.astype(np.float32))
    assert (prediction.scene, prediction.reason, prediction.sound) == (UNKNOWN, reason, None)
    assert not prediction.sounds
    assert f"the recording is {reason}" in prediction.warnings


def test_what_rises_above_the_last_two_steps_of_16_bits_is_answered(toy_bundle: Path) -> None:
    quiet = 3 * 2.0**-15 * np.sign(noise(2))
    prediction = Hear(toy_bundle)(quiet.astype(np.float32))
    assert prediction.known
    assert not any("quiet" in warning or "silent" in warning for warning in prediction.warnings)


def test_a_recording_of_two_scenes_says_for_how_long_it_is_each(places: Hear) -> None:
    prediction = places(tone(6), noise(4))
    assert prediction.shares == pytest.approx({"road": 0.6, "beach": 0.4})
    assert prediction.scene == "road"
    # Sure of the road while it hears it, though that is not all of the time.
    assert prediction.probability == pytest.approx(0.99, abs=0.02)
    assert prediction.scenes["road"] == pytest.approx(0.6, abs=0.02)
    assert any("road 60 % of the time, beach 40 %" in each for each in prediction.warnings)
    assert prediction.sounds == pytest.approx({"traffic": 0.6, "dog": 0.4}, abs=0.02)


def test_one_odd_window_is_not_worth_a_remark(places: Hear) -> None:
    prediction = places(tone(9), noise(1))
    assert not any("several scenes" in each for each in prediction.warnings)
    assert prediction.shares == pytest.approx({"road": 0.9, "beach": 0.1})


def test_a_group_and_its_own_scene_are_not_two_things(places: Hear) -> None:
    prediction = places(tone(5, 0.05), tone(5, 0.2))
    assert prediction.shares == pytest.approx({"outdoor": 0.5, "road": 0.5})
    assert prediction.scene == "road"
    assert not any("several scenes" in each for each in prediction.warnings)
    assert places(tone(7, 0.05), tone(3, 0.2)).scene == "outdoor"


def test_the_loud_minute_in_an_hour_of_silence_is_remarked_on(places: Hear) -> None:
    prediction = places(silence(100), noise(5), silence(95))
    assert (prediction.scene, prediction.reason) == (UNKNOWN, SILENT)
    assert "silent for most of the time, but beach for 5 s from 1:40" in prediction.warnings
    assert list(prediction.sounds) == ["dog"]


def test_windows_that_overlap_make_no_minute_longer(places: Hear) -> None:
    model = places.model
    sound = np.concatenate([silence(40), noise(5), silence(40)])
    prediction = model.classify(sound, RATE_HZ, hop_s=0.25)
    (remark,) = [line for line in prediction.warnings if "most of the time" in line]
    seconds = int(re.search(r"for (\d+) s", remark)[1])  # type: ignore[index]
    assert seconds <= 8  # what windows reach into the noise, too


def test_sounds_without_places_name_the_sound_and_draw_it(toy_sounds: Path) -> None:
    prediction = Hear(toy_sounds)(noise(2))
    assert (prediction.scene, prediction.sound, prediction.reason) == ("", "hiss", "")
    assert prediction.known
    assert prediction.answer == "hiss"
    assert not prediction.scenes
    assert list(prediction.sounds) == ["hiss", "bells", "rumble", "quiet"]
    assert prediction.probability == pytest.approx(prediction.sounds["hiss"])
    assert prediction.shares == {"hiss": 1.0}
    assert prediction.picture.shape == (128, 128, 3)
    assert prediction.windows[0].answer == "hiss"
    unheard = Hear(toy_sounds)(silence(1))
    assert (unheard.scene, unheard.sound, unheard.answer) == (UNKNOWN, None, UNKNOWN)
    with pytest.raises(BundleError, match="not calibrated"):
        prediction.likely()


def test_sounds_without_places_are_explained_as_such(toy_sounds: Path) -> None:
    explained = Hear(toy_sounds).model.explain(noise(1), RATE_HZ)
    assert (explained.scene, explained.sound, explained.label) == ("", "hiss", "hiss")


def test_an_explanation_names_the_group_that_was_answered(places: Hear) -> None:
    explained = places.model.explain(tone(1, 0.05), RATE_HZ)
    assert (explained.scene, explained.label) == ("outdoor", "road")


def test_likely_scenes_of_a_prediction_go_along_its_tree(places: Hear) -> None:
    # road 52 %, library 24 %, church 15 %, beach 9 %; 30 % is needed
    assert places(tone(1, 0.05)).likely(0.9) == ("road",)


def test_a_prediction_travels_with_all_that_it_says(places: Hear) -> None:
    prediction = places(tone(6), noise(4))
    for twin in (pickle.loads(pickle.dumps(prediction)), copy.deepcopy(prediction)):
        assert twin.to_dict() == prediction.to_dict()
