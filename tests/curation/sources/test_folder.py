"""A folder, a pattern or a file of one's own."""

from pathlib import Path

import pytest

from avgan.curation.sources import find_videos
from avgan.errors import DataError


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in ("bus/1.mp4", "bus/2.mp4", "park/1.mp4", "park/.1.mp4", "park/notes.txt", "loose.mov"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "clips"


def test_the_label_is_the_folder_that_a_video_lies_in(clips: Path) -> None:
    found = [(Path(video.path).name, video.label) for video in find_videos(str(clips))]
    assert sorted(found) == [("1.mp4", "bus"), ("1.mp4", "park"), ("2.mp4", "bus"), ("loose.mov", "clips")]


@pytest.mark.parametrize("named", ["bus", "bus/*.mp4", "bus/?.mp4", "*/[12].mp4", "**/*.mp4", "*", "bus/1.mp4"])
def test_an_id_does_not_depend_on_how_a_video_is_named(clips: Path, named: str) -> None:
    all_ids = {video.path: video.id for video in find_videos(str(clips))}
    found = find_videos(str(clips / named))
    assert found
    assert all(all_ids[video.path] == video.id for video in found)


def test_a_pattern_is_taken_at_its_word_where_such_a_file_exists(clips: Path) -> None:
    (clips / "bus" / "[1].mp4").touch()
    assert [Path(v.path).name for v in find_videos(str(clips / "bus" / "[1].mp4"))] == ["[1].mp4"]


def test_scenes_are_spelt_as_the_paper_does(tmp_path: Path) -> None:
    for folder in ("Street Traffic", "metro-station", "My garden"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.mp4").touch()
    labels = {video.label for video in find_videos(str(tmp_path))}
    assert labels == {"street_traffic", "metro_station", "My garden"}


def test_names_of_all_scripts_and_cases_keep_apart(tmp_path: Path) -> None:
    (tmp_path / "park").mkdir()
    names = ["été.mp4", "市场.mp4", "A.mp4", "a b.mp4", "a-b.mp4", "x" * 200 + ".mp4"]
    for name in names:
        (tmp_path / "park" / name).touch()
    ids = [video.id for video in find_videos(str(tmp_path))]
    assert len({id.lower() for id in ids}) == len(names)
    assert all(id.isascii() and len(id) < 60 for id in ids)


def test_a_folder_without_videos_says_so(clips: Path) -> None:
    (clips / "none").mkdir()
    with pytest.raises(DataError, match="no video here"):
        find_videos(str(clips / "none"))
