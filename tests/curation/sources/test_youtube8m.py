"""YouTube-8M's lists, and its index of ids behind a real server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from video_site import Page, Site, open_site

from avgan.curation.sources import find_videos, youtube8m
from avgan.curation.ytdlp import FetchError, TryAgain
from avgan.errors import DataError
from avgan.scenes import TABLE_1


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as site:
        yield site


def test_lists_go_by_the_names_of_table_1(tmp_path: Path) -> None:
    for number, row in enumerate(TABLE_1.values()):
        (tmp_path / f"{row.youtube8m}.txt").write_text(f"AA{number:02}\n")
    (tmp_path / "Guitar.txt").write_text("not looked into, as no row is called so\n")
    videos = find_videos(str(tmp_path))
    assert sorted(video.label for video in videos) == sorted(TABLE_1)
    traffic = next(video for video in videos if video.label == "street_traffic")
    assert traffic.address.endswith("/2/j/i/AA/AA06.js")


@pytest.mark.parametrize("name", ["airport_terminal.txt", "Airport-Terminal.TXT", "AIRPORT TERMINAL.js"])
def test_a_name_may_be_spelt_as_files_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("AAAA")
    assert find_videos(str(tmp_path / name))[0].label == "airport"


def test_a_text_of_addresses_is_not_taken_for_a_list_of_ids(tmp_path: Path) -> None:
    path = tmp_path / "bus.txt"
    path.write_text("https://example.org/b.mp4\n")
    (video,) = find_videos(str(path))
    assert (video.address, video.label) == ("https://example.org/b.mp4", "")


def test_published_lists_are_named_by_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "0k4j.js").write_text('p("0k4j",["XE00","aqz-KE-bpKQ"]);\n')
    (tmp_path / "01bjv.js").write_text('p("01bjv",["ZZZZ"]);\n')
    (tmp_path / "vocabulary.csv").write_text(
        "Index,TrainVideoCount,KnowledgeGraphId,Name\n1,9,/m/0k4j,Guitar\n2,9,/m/01bjv,Bus\n3,9,,\n"
    )
    (video,) = find_videos(str(tmp_path))
    assert video.label == "bus"
    assert video.address == youtube8m.address_of("ZZZZ")


def test_ids_of_youtube_and_those_looked_up_before_need_no_index(tmp_path: Path) -> None:
    (tmp_path / "Tram.txt").write_text("# mine\naqz-KE-bpKQ\nABCD aqz-KE-bpKR\n\nABCE\n")
    videos = {video.id: video.address for video in find_videos(str(tmp_path))}
    assert videos.pop("aqz-KE-bpKQ") == "https://www.youtube.com/watch?v=aqz-KE-bpKQ"
    assert videos.pop("aqz-KE-bpKR") == "https://www.youtube.com/watch?v=aqz-KE-bpKR"
    ((id, address),) = videos.items()
    assert id.startswith("yt8m-ABCE-")
    assert youtube8m.is_entry(address)


def test_a_video_of_several_lists_goes_to_the_shortest(tmp_path: Path) -> None:
    (tmp_path / "Traffic.txt").write_text("AAAA\nBBBB\nCCCC\n")
    (tmp_path / "Tram.txt").write_text("CCCC\nAAAA\n")
    labels = {video.address[-7:-3]: video.label for video in find_videos(str(tmp_path))}
    assert labels == {"AAAA": "tram", "BBBB": "street_traffic", "CCCC": "tram"}


def test_ids_that_differ_in_case_alone_keep_apart(tmp_path: Path) -> None:
    (tmp_path / "Tram.txt").write_text("abcd\nABCD\nAbcD\n")
    assert len({video.id.lower() for video in find_videos(str(tmp_path))}) == 3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'p("0k4j",["AAAA","BB', "cut off"),
        (b'p("0k4j",{});', "cut off"),
        (b"AAAA\nAAAAA\n", "row 2: 'AAAAA' is no id"),
        (b"../x\n", "is no id"),
        (b"\xff\xfe", "no UTF-8"),
        (b"\n", "no id here"),
    ],
)
def test_a_damaged_list_is_named_on_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "Bus.js").write_bytes(content)
    with pytest.raises(DataError, match=problem) as caught:
        find_videos(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_id_is_looked_up(site: Site) -> None:
    address = site.put("/2/j/i/XE/XE00.js", Page(b'i("XE00","mLEJIW9HeIw");', type="text/javascript"))
    assert youtube8m.resolve(address) == "mLEJIW9HeIw"
    assert "avgan" in site.headers[-1]["User-Agent"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'i("XE01","mLEJIW9HeIw");',
        b'i("XE00","short");',
        b"<html>Moved.</html>",
        b"\xff" * 9999,
        b'i("XE00","mLEJIW9HeIw");alert(1)',
    ],
)
def test_an_entry_that_is_none_is_gone(site: Site, body: bytes) -> None:
    with pytest.raises(FetchError, match=r"gone: .*holds no id"):
        youtube8m.resolve(site.put("/2/j/i/XE/XE00.js", Page(body)))


@pytest.mark.parametrize("status", [403, 404])
def test_most_ids_that_vanished_are_not_in_the_index(site: Site, status: int) -> None:
    """The store that holds it says 403 of what it has not."""
    address = site.put("/2/j/i/XE/XE00.js", Page(b"", statuses=[status]))
    with pytest.raises(FetchError, match=f"gone: not in the index .*{status}"):
        youtube8m.resolve(address)


def test_an_index_that_is_busy_or_away_is_asked_again_later(site: Site) -> None:
    address = site.put("/2/j/i/XE/XE00.js", Page(b"", statuses=[429, 503], retry_after="9"))
    for _ in range(2):
        with pytest.raises(TryAgain) as caught:
            youtube8m.resolve(address)
        assert (caught.value.wait_s, caught.value.host) == (9.0, True)
    with pytest.raises(TryAgain, match="does not answer"):
        youtube8m.resolve("http://127.0.0.1:1/2/j/i/XE/XE00.js")


@pytest.mark.parametrize(
    "address", ["https://a/2/j/i/XE/XF00.js", "https://a/2/j/i/XE/XE000.js", "https://a/XE00.js", ""]
)
def test_other_addresses_are_no_entries(address: str) -> None:
    assert not youtube8m.is_entry(address)
