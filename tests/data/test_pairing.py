"""Every sound is shown only with pictures it may be shown with, and with all of them in the long run."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from avgan.data.manifest import Clip, Manifest
from avgan.data.pairing import only_strong, pair_by_label, pair_synchronous, pair_within, shuffled
from avgan.errors import DataError

SOUNDS = tuple(
    Clip(id=f"{label}{n}", source_id=f"{label}{n}", label=label, audio_path=f"{label}{n}.wav")
    for label in ("dog", "cat", "wind")
    for n in range(4)
)
IMAGES = tuple(
    Clip(id=f"{scene}{n}", source_id=f"{scene}{n}", label=scene, image_path=f"{scene}{n}.jpg")
    for scene in ("yard", "desert")
    for n in range(5)
)
SCENE = {"dog": "yard", "cat": "yard", "wind": "desert"}
SCENES = {label: (scene,) for label, scene in SCENE.items()}


def test_by_label_offers_all_pictures_of_the_scene_and_no_others() -> None:
    pairing = pair_by_label(SOUNDS, IMAGES, SCENES)
    assert pairing.kind == "by_label"
    for sound, choices in zip(pairing.sounds, pairing.image_choices, strict=True):
        assert choices.dtype == np.int64
        assert {IMAGES[i].label for i in choices} == {SCENE[sound.label]}
        assert len(choices) == 5


def test_draws_reach_every_choice_alike_and_follow_the_generator() -> None:
    pairing = pair_by_label(SOUNDS, IMAGES, SCENES)
    drawn = [pairing.draw(0, np.random.default_rng(seed)) for seed in range(50)]
    again = [pairing.draw(0, np.random.default_rng(seed)) for seed in range(50)]
    assert drawn == again
    rng = np.random.default_rng(0)
    counts = Counter(pairing.draw(0, rng) for _ in range(5000))
    assert set(counts) == set(pairing.image_choices[0].tolist())
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_a_scene_without_pictures_is_named() -> None:
    with pytest.raises(DataError, match=r"no picture of the scene 'desert', which 'wind' needs"):
        pair_by_label(SOUNDS, IMAGES[:5], SCENES)


def test_a_label_without_scene_is_named() -> None:
    with pytest.raises(DataError, match="'wind' has no scene"):
        pair_by_label(SOUNDS, IMAGES, {"dog": ("yard",), "cat": ("yard",)})


@pytest.mark.parametrize(("sounds", "images"), [(SOUNDS, ()), ((), IMAGES)])
def test_nothing_to_pair_is_a_clear_error(sounds: tuple[Clip, ...], images: tuple[Clip, ...]) -> None:
    lacking = "pictures" if sounds else "recordings"
    with pytest.raises(DataError, match=f"no {lacking} to pair"):
        pair_by_label(sounds, images, SCENES)


def videos() -> tuple[Clip, ...]:
    return tuple(
        Clip(id=str(n), source_id=str(n), label="bus", audio_path="v.mp4", image_path="v.mp4") for n in range(3)
    )


def test_synchronous_pairs_are_of_one_clip_and_silent_ones_are_left_out() -> None:
    silent = Clip(id="s", source_id="s", image_path="s.mp4")
    pairing = pair_synchronous(Manifest("own", Path(), (silent, *videos())))
    assert pairing.kind == "synchronous"
    rng = np.random.default_rng(0)
    for index, sound in enumerate(pairing.sounds):
        assert pairing.images[pairing.draw(index, rng)] == sound
    assert len(pairing.sounds) == 3


def test_without_videos_nothing_is_synchronous() -> None:
    with pytest.raises(DataError, match="no clip has both"):
        pair_synchronous(Manifest("own", Path(), SOUNDS))


def test_a_manifest_is_paired_by_what_it_holds() -> None:
    assert pair_within(Manifest("own", Path(), videos())).kind == "synchronous"
    pictures = tuple(Clip(id=f"p{label}", source_id=label, label=label, image_path="x.jpg") for label in SCENES)
    pairing = pair_within(Manifest("own", Path(), (*SOUNDS, *pictures)))
    assert pairing.kind == "by_label"
    assert all(
        pairing.images[int(choices[0])].label == sound.label
        for sound, choices in zip(pairing.sounds, pairing.image_choices, strict=True)
    )
    with pytest.raises(DataError, match="no pictures to pair with"):
        pair_within(Manifest("own", Path(), SOUNDS))


def test_the_control_shows_each_sound_what_belongs_to_another_scene() -> None:
    pairing = pair_by_label(SOUNDS, IMAGES, SCENES)
    scenes = [SCENE[sound.label] for sound in SOUNDS]
    control = shuffled(pairing, scenes, seed=3)
    assert (control.sounds, control.images) == (pairing.sounds, pairing.images)
    shown = [IMAGES[int(choices[0])].label for choices in control.image_choices]
    assert all(other != own for other, own in zip(shown, scenes, strict=True))
    again = shuffled(pairing, scenes, seed=3)
    assert all((a == b).all() for a, b in zip(control.image_choices, again.image_choices, strict=True))
    with pytest.raises(DataError, match="all recordings are of one scene"):
        shuffled(pairing, ["yard"] * len(SOUNDS), seed=3)


def test_weak_sounds_may_be_shown_anything_and_strong_ones_keep_their_place() -> None:
    pairing = pair_by_label(SOUNDS, IMAGES, SCENES)
    strong = {SOUNDS[0].label}
    loosened = only_strong(pairing, strong)
    assert 0 < sum(sound.label in strong for sound in SOUNDS) < len(SOUNDS)
    for sound, before, after in zip(SOUNDS, pairing.image_choices, loosened.image_choices, strict=True):
        kept = before.tolist() if sound.label in strong else list(range(len(IMAGES)))
        assert after.tolist() == kept


def test_videos_beside_labels_without_any_are_paired_by_label() -> None:
    """By their own frames alone they would push the other labels out."""
    picture = Clip(id="pdog", source_id="pdog", label="dog", image_path="x.jpg")
    dogs = [clip for clip in SOUNDS if clip.label == "dog"]
    pairing = pair_within(Manifest("own", Path(), (*videos(), *dogs, picture)))
    assert pairing.kind == "by_label"
    assert {clip.label for clip in pairing.sounds} == {"dog", *(c.label for c in videos())}


def test_a_label_that_several_scenes_show_is_paired_with_the_pictures_of_all() -> None:
    both = pair_by_label(SOUNDS, IMAGES, SCENES | {"dog": ("yard", "desert", "nowhere")})
    for sound, choices in zip(both.sounds, both.image_choices, strict=True):
        shown = {IMAGES[i].label for i in choices}
        assert shown == ({"yard", "desert"} if sound.label == "dog" else {SCENE[sound.label]})
