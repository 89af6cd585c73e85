"""The words for what is heard."""

import numpy as np
import pytest

from avgan.networks.trunks.mn04 import tag_names
from avgan.runtime.bundle import Tags
from avgan.runtime.sounds import LEFT_OUT, MOST_WORDS, TagWords, vocabulary, word_for


def hear(thresholds: float | tuple[float, ...] = 0.5, **tags: float) -> dict[str, float]:
    """The words for AudioSet's tags, given with _ for what no argument may hold."""
    names = tag_names()
    given = {name.replace("_", " "): value for name, value in tags.items()}
    row = np.array([[given.get(name.split(",")[0], 0.0) for name in names]], np.float32)
    (words,) = TagWords(Tags(names=names, thresholds=thresholds)).choose(row)
    return words


def test_words_are_those_that_reach_their_threshold_from_the_highest() -> None:
    words = hear(Speech=0.7, Walk=0.9, Traffic_noise=0.5, Dog=0.49)
    assert list(words) == ["footsteps", "speech", "traffic"]
    assert words["speech"] == pytest.approx(0.7)


def test_each_tag_has_its_own_threshold() -> None:
    tag_words = TagWords(Tags(names=("Dog", "Rain"), thresholds=(0.9, 0.1)))
    assert tag_words.choose(np.array([[0.8, 0.2], [0.9, 0.0]])) == [{"rain": 0.2}, {"dog": 0.9}]


def test_no_general_word_stands_beside_a_more_exact_one() -> None:
    assert list(hear(Animal=0.9, Dog=0.6)) == ["dog"]
    assert list(hear(Animal=0.9, Dog=0.4)) == ["animal"]  # it is not told, so it replaces nothing
    words = hear(Vehicle=0.9, Car=0.8, Car_alarm=0.6, Subway=0.7)
    assert list(words) == ["metro", "car alarm"]


def test_names_of_one_meaning_are_one_word_with_the_highest_probability() -> None:
    assert hear(Bird=0.6, Chirp=0.8, Squawk=0.5) == {"birds": pytest.approx(0.8)}
    assert list(hear(Male_speech=0.6)) == list(hear(Female_speech=0.9)) == ["speech"]


def test_what_is_no_sound_is_not_told() -> None:
    assert hear(Silence=0.9, Field_recording=0.9) == {}
    row = np.array([[name.startswith(("Inside", "Outside")) for name in tag_names()]], float)
    assert TagWords(Tags(names=tag_names(), thresholds=0.5)).choose(row) == [{}]


def test_no_window_has_more_words_than_one_reads() -> None:
    every = np.linspace(0.5, 1.0, len(tag_names()))[None]
    (words,) = TagWords(Tags(names=tag_names(), thresholds=0.1)).choose(every)
    assert len(words) == MOST_WORDS
    assert list(words.values()) == sorted(words.values(), reverse=True)


def test_every_name_of_audioset_has_a_short_word() -> None:
    known = vocabulary()
    assert set(known.word_of) <= set(tag_names())
    words = [word_for(name) for name in tag_names()]
    assert all(word == LEFT_OUT or 0 < len(word) <= 22 for word in words)
    assert not any(set(word) & set(",;(_") for word in words)
    for word, parents in known.parents.items():
        assert word not in parents
        assert parents <= known.parents.keys()


def test_names_of_other_networks_are_told_in_their_own_words() -> None:
    assert word_for("Church_Organ, big (pipe)") == "church organ"
    tag_words = TagWords(Tags(names=("my_frog",), thresholds=0.3))
    assert tag_words.choose(np.array([[0.4]])) == [{"my frog": 0.4}]
