"""Rules: each defect has its reason, Table 1 is as printed, and a verdict depends on one clip alone."""

from typing import Any

import pytest
from clips import clip
from hypothesis import given
from hypothesis import strategies as st

from avgan.curation.select import DEFECTS, SCENE_OF_NAME, WRONG_LABEL, Limits, Rules, judge, plain_name
from avgan.errors import ConfigError
from avgan.scenes import TABLE_1

BY_TABLE = Rules(labels="table_1")
PLANTED: list[tuple[str, dict[str, Any]]] = [
    ("black", {"brightness": 0.01}),
    ("plain", {"contrast": 0.001}),
    ("bars", {"bars": 0.3}),
    ("still", {"motion": 0.0}),
    ("silent", {"level_db": -120.0}),
    ("silent", {"silent": 0.9}),
    ("clipped", {"clipped": 0.5}),
    ("music", {"music": 0.9}),
    ("speech", {"speech": 0.95}),
]


@pytest.mark.parametrize(("reason", "known"), PLANTED)
def test_each_defect_has_its_reason(reason: str, known: dict[str, Any]) -> None:
    verdict = judge(clip(**known), Rules())
    assert (verdict.reason, verdict.is_kept) == (reason, False)
    assert str(next(iter(known.values()))).rstrip("0").rstrip(".") in verdict.detail
    tolerant = Rules(defects=tuple(name for name in DEFECTS if name != reason))
    assert judge(clip(**known), tolerant).is_kept


def test_every_defect_is_planted() -> None:
    assert {reason for reason, _ in PLANTED} == set(DEFECTS)


def test_a_good_clip_is_kept_under_its_label() -> None:
    verdict = judge(clip(), Rules())
    assert (verdict.label, verdict.reason, verdict.detail) == ("bus", "", "")


def test_the_first_reason_is_given() -> None:
    dark = clip(brightness=0.0, contrast=0.0, motion=0.0)
    assert judge(dark, Rules()).reason == "black"
    assert judge(dark, Rules(defects=("still", "black"))).reason == "still"


def test_an_unknown_defect_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="stil: no defect that is known; known: black"):
        Rules(defects=("stil",))


@pytest.mark.parametrize("scene", TABLE_1)
def test_table_1_asks_for_a_row_in_picture_and_sound(scene: str) -> None:
    row = TABLE_1[scene]
    for place in row.places365:
        for sound in row.audioset:
            seen = (("sky", 0.5), (place, 0.1))
            sound_tags = (("Silence", 0.5), (sound, 0.1))
            assert judge(clip(label=scene, scenes=seen, sounds=sound_tags), BY_TABLE).is_kept
    seen, sound_tags = ((row.places365[0], 0.9),), ((row.audioset[0], 0.9),)
    blind = judge(clip(label=scene, scenes=(("sky", 0.9),), sounds=sound_tags), BY_TABLE)
    deaf = judge(clip(label=scene, scenes=seen, sounds=(("Silence", 0.9),)), BY_TABLE)
    assert (blind.reason, blind.detail) == (WRONG_LABEL, "the picture shows sky")
    assert (deaf.reason, deaf.detail) == (WRONG_LABEL, "the sound is Silence")


def test_only_the_first_five_count() -> None:
    others = tuple((f"other {number}", 0.9) for number in range(5))
    sound_tags = (("Bus", 0.9),)
    fifth = (*others[:4], ("bus_interior", 0.0))
    sixth = (*others, ("bus_interior", 0.8))
    assert judge(clip(scenes=fifth, sounds=sound_tags), BY_TABLE).is_kept
    assert judge(clip(scenes=sixth, sounds=sound_tags), BY_TABLE).reason == WRONG_LABEL


def test_a_source_may_use_the_names_of_youtube_8m() -> None:
    for scene, row in TABLE_1.items():
        assert SCENE_OF_NAME[plain_name(row.youtube8m)] == scene
    named = clip(label="Train station", scenes=(("train_interior", 1.0),), sounds=(("Train", 1.0),))
    verdict = judge(named, BY_TABLE)
    assert (verdict.label, verdict.reason) == ("metro_station", "")
    unknown = judge(clip(label="beach"), BY_TABLE)
    assert (unknown.reason, unknown.detail) == (WRONG_LABEL, "no scene of Table 1")


def test_taggers_may_spell_otherwise() -> None:
    seen = (("/s/subway_station/platform", 0.5),)
    sound_tags = (("Subway, metro, underground", 0.5),)
    assert judge(clip(label="metro", scenes=seen, sounds=sound_tags), BY_TABLE).is_kept
    assert not judge(clip(label="park", scenes=seen, sounds=sound_tags), BY_TABLE).is_kept


def test_without_a_label_the_row_that_fits_best_is_taken() -> None:
    seen = (("park", 0.6), ("road", 0.3))
    sound_tags = (("Engine", 0.5), ("Bird", 0.4))
    assert judge(clip(label="", scenes=seen, sounds=sound_tags), BY_TABLE).label == "park"
    nothing = judge(clip(label="", scenes=seen, sounds=()), BY_TABLE)
    assert (nothing.reason, nothing.label) == (WRONG_LABEL, "")
    assert nothing.detail == "no row of Table 1 has park, road with not tagged"


def test_a_folder_without_labels_keeps_nothing_by_its_labels() -> None:
    assert judge(clip(label=""), Rules()).reason == "no label"


@given(motions=st.lists(st.floats(0, 1), max_size=8), limit=st.floats(0, 1), seed=st.randoms())
def test_a_verdict_depends_on_its_clip_alone(motions: list[float], limit: float, seed: Any) -> None:
    clips = [clip(f"film-{number}", motion=motion) for number, motion in enumerate(motions)]
    rules = Rules(limits=Limits(min_motion=limit))
    expected = {clip.id: judge(clip, rules) for clip in clips}
    seed.shuffle(clips)
    assert {clip.id: judge(clip, rules) for clip in clips} == expected
    assert all(verdict.is_kept == (verdict.candidate.measures.motion >= limit) for verdict in expected.values())
