"""What holds for every source of videos, whichever is added."""

import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avgan.curation.sources import SOURCES, find_all, find_videos
from avgan.errors import DataError

Make = Callable[[Path], Path]


def make_folder(root: Path) -> Path:
    for name in ("bus/1.mp4", "bus/2.webm", "Metro Station/a b.MOV", "deep/er/park/3.mkv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not looked into")
    return root


def make_addresses(root: Path) -> Path:
    path = root / "list.csv"
    path.write_text("address,label\naqz-KE-bpKQ,park\nhttps://example.org/b.mp4,bus\n")
    return path


def make_youtube8m(root: Path) -> Path:
    (root / "Airport terminal.txt").write_text("AAAA\nBBBB\n")
    (root / "Bus.js").write_text('p("0k4j",["CCCC","AAAA"]);')
    return root


@pytest.fixture(params=sorted(SOURCES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def named(name: str, tmp_path: Path, tau_tree: Callable[..., Path]) -> Path:
    """What a user names to mean a source of this kind."""
    root = tmp_path / "here"
    root.mkdir()
    if name == "tau":
        return tau_tree(root, "tau_av_2021", {"train": ["bus-lisbon-1"], "test": ["tram-milan-2"]})
    makers: dict[str, Make] = {"folder": make_folder, "addresses": make_addresses, "youtube8m": make_youtube8m}
    return makers[name](root)


def test_ids_are_unique_sorted_and_fit_for_files(named: Path) -> None:
    videos = find_videos(str(named))
    ids = [video.id for video in videos]
    assert len(ids) > 1
    assert ids == sorted(set(ids))
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}", id) for id in ids)
    assert len({id.lower() for id in ids}) == len(ids)


def test_each_video_lies_somewhere_and_says_what_it_shows(named: Path) -> None:
    for video in find_videos(str(named)):
        assert video.label
        assert Path(video.path).is_file() if video.path else video.address.startswith("https://")
        assert not video.sound_path or Path(video.sound_path).is_file()
        assert video.end_s is None or video.end_s > video.start_s >= 0


def test_only_its_own_source_takes_it(name: str, named: Path) -> None:
    assert next(one for one, source in SOURCES.items() if source.matches(str(named))) == name


def test_the_same_is_found_again_and_after_a_move(named: Path, tmp_path: Path) -> None:
    found = find_videos(str(named))
    assert find_videos(str(named)) == found
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = find_videos(str(tmp_path / "there" / named.relative_to(tmp_path / "here")))
    assert [video.id for video in moved] == [video.id for video in found]


def test_no_connection_is_opened(named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    find_videos(str(named))


def test_what_is_named_twice_is_there_once(named: Path) -> None:
    assert find_all([str(named), str(named)]) == find_videos(str(named))


@pytest.mark.parametrize("what", ["missing", "empty", "text.pdf", "missing.mp4", "none/*.mp4", "x.csv"])
def test_what_is_no_source_is_told_on_one_line(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pdf").write_text("no")
    with pytest.raises(DataError) as caught:
        find_videos(str(tmp_path / what))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / what))


def test_others_of_one_id_get_a_number(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "bus").mkdir(parents=True)
        (tmp_path / place / "bus" / "1.mp4").touch()
    one, two = (str(tmp_path / place) for place in ("a", "b"))
    found = find_all([one, two])
    assert [Path(video.path).parts[-3] for video in found] == ["a", "b"]
    assert found[1].id == f"{found[0].id}-2"
    assert find_all([two, one])[0].path == find_videos(two)[0].path
