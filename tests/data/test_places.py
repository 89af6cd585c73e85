"""Field recordings of places: what is read of their index, one folder or several."""

from pathlib import Path

import pytest

from avgan.data.datasets import find
from avgan.errors import DataError
from avgan.scenes import DCASE_SCENES, SCENES, groups_of

HEADER = "file,scene,source_id,start_s,repo,path,licence,note\n"


def write_index(folder: Path, rows: list[str]) -> None:
    folder.mkdir(parents=True)
    (folder / "index.csv").write_text(HEADER + "".join(row + "\n" for row in rows))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_index(
        tmp_path / "world",
        [
            "a.ogg,tram,one,0,ann/sounds,x/a.wav,CC0,",
            "b.ogg,bar,two,0,ben/sounds,b.wav,none stated,short",
            "c.ogg,bus,three,4,ben/sounds,c.wav,CC0,bus arriving; heard at the stop",
            "d.ogg,arcade,four,0,ben/sounds,d.wav,CC0,",
        ],
    )
    write_index(tmp_path / "another", ["a.ogg,metro,five,0,cat/sounds,,CC0,ride not stated"])
    return tmp_path


def test_folders_beside_each_other_are_one_set_and_its_folds(data: Path) -> None:
    manifest = find(data, "places")
    assert {clip.fold for clip in manifest.clips} == {"world", "another"}
    assert {clip.audio_path for clip in manifest.clips} >= {"world/a.ogg", "another/a.ogg"}
    alone = find(data / "world", "places")
    assert [clip.audio_path for clip in alone.clips] == ["a.ogg", "b.ogg", "c.ogg", "d.ogg"]
    assert {clip.fold for clip in alone.clips} == {"world"}
    assert {clip.id for clip in alone.clips} < {clip.id for clip in manifest.clips}


def test_a_label_is_a_scene_of_the_tree_or_nothing(data: Path) -> None:
    labels = {clip.source_id: clip.label for clip in find(data, "places").clips}
    assert labels == {"one": "tram", "two": "restaurant", "three": "", "four": "", "five": "metro"}


def test_each_clip_says_where_it_is_from_and_under_what_terms(data: Path) -> None:
    clip = find(data, "places").clips[1]
    assert (clip.origin, clip.address, clip.licence) == ("ann/sounds", "ann/sounds/x/a.wav", "CC0")


def test_a_folder_without_an_index_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"write index\.csv"):
        find(tmp_path, "places")


def test_the_tree_has_the_scenes_of_dcase_in_the_groups_of_its_task_1b() -> None:
    groups = groups_of(DCASE_SCENES)
    assert groups is not None
    assert {scene for scene, group in groups.items() if group == "transport"} == {"bus", "metro", "tram"}
    assert {scene for scene, group in groups.items() if group == "indoor"} == {
        "airport",
        "metro_station",
        "shopping_mall",
    }
    assert groups_of(("tram", "my kitchen")) is None
    assert all(scene.photographs for scene in SCENES.values())
