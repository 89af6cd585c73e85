"""Segments cover the recording without gaps, whatever the windows."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgan.runtime.prediction import WindowPrediction
from avgan.runtime.timeline import Minutes, Segment, segments


def window(number: int, scene: str, hop_s: float = 1.0, probability: float = 0.5) -> WindowPrediction:
    start_s = number * hop_s
    return WindowPrediction(start_s, start_s + 5.0, scene, None, probability)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.sampled_from([0.5, 1.0, 5.0]))
def test_segments_partition_the_recording(scenes: list[str], hop_s: float) -> None:
    windows = [window(i, scene, hop_s) for i, scene in enumerate(scenes)]
    found = list(segments(windows))
    assert found[0].start_s == 0
    assert found[-1].end_s == windows[-1].end_s
    for one, other in pairwise(found):
        assert one.end_s == other.start_s
        assert one.scene != other.scene
    assert sum(one.num_windows for one in found) == len(windows)


def test_probability_is_the_mean_and_codes_are_of_the_surest() -> None:
    (found,) = segments([window(0, "a", probability=0.2), window(1, "a", probability=0.6)])
    assert found.probability == pytest.approx(0.4)


def test_nothing_gives_nothing() -> None:
    assert list(segments([])) == []


def spread(found: list[Segment]) -> list[tuple[str, float, float]]:
    return [(each.answer, each.start_s, each.end_s) for each in found]


def test_what_flickers_within_a_window_belongs_to_its_neighbour() -> None:
    windows = [window(i, "b" if i in (4, 5) else "a") for i in range(10)]
    (found,) = segments(windows)
    assert (found.scene, found.num_windows, found.probability) == ("a", 10, 0.5)
    # Three new seconds of a window of five are enough.
    windows = [window(i, "b" if i in (4, 5, 6) else "a") for i in range(10)]
    assert spread(list(segments(windows))) == [("a", 0, 6), ("b", 6, 9), ("a", 9, 14)]


def test_windows_that_overlap_by_half_or_less_are_each_believed() -> None:
    for hop_s in (2.5, 5.0):
        scenes = "abacb"
        windows = [window(i, scene, hop_s) for i, scene in enumerate(scenes)]
        assert [each.scene for each in segments(windows)] == list(scenes)


def test_what_changes_all_the_time_becomes_what_is_most_of_it() -> None:
    scenes = "aaaaaa" + "bcbbcb" * 3
    found = list(segments(window(i, scene) for i, scene in enumerate(scenes)))
    assert [each.scene for each in found] == ["a", "b"]
    assert sum(each.num_windows for each in found) == len(scenes)


def test_a_segment_says_what_was_heard_in_it_and_how_much() -> None:
    words = ({"speech": 0.8, "traffic": 0.4}, {"traffic": 0.6}, {}, {"traffic": 0.6})
    heard = [replace(window(i, "a"), sounds=sounds) for i, sounds in enumerate(words)]
    (found,) = segments(heard)
    assert found.sounds == pytest.approx({"traffic": 0.4, "speech": 0.2})
    assert (found.sound, found.sound_probability) == ("traffic", pytest.approx(1.6 / 3))


def test_sounds_without_places_are_told_apart_by_the_sound() -> None:
    windows = [replace(window(i, "", 5.0), sound=sound) for i, sound in enumerate(("rain", "rain", "dog"))]
    assert spread(list(segments(windows))) == [("rain", 0, 10), ("dog", 10, 15)]


def test_a_segment_of_a_model_of_sounds_is_named_by_its_answer() -> None:
    heard = [("a", 0.3), ("a", 0.3), ("b", 0.99), ("a", 0.3)]
    (found,) = segments(
        replace(window(i, ""), sound=sound, sounds={sound: value}, probability=value)
        for i, (sound, value) in enumerate(heard)
    )
    assert (found.answer, found.sound, list(found.sounds)) == ("a", "a", ["a", "b"])


def test_groups_keep_their_likely_scenes() -> None:
    group = replace(window(0, "transport"), group="transport", within=("tram", "metro"))
    (found,) = segments([group])
    assert (found.group, found.within) == ("transport", ("tram", "metro"))


def test_minutes_count_each_second_once() -> None:
    minutes = Minutes()
    for i in range(7):
        sounds = {"dog": 0.5} if i < 3 else {"dog": 0.5, "rain": 0.9}
        minutes.add(replace(window(i, "a" if i < 3 else "b"), sounds=sounds))
    minutes.close()
    assert dict(minutes.answers_s) == pytest.approx({"a": 5.0, "b": 6.0})
    assert dict(minutes.sounds_s) == pytest.approx({"dog": 11.0, "rain": 6.0})
