"""Lists of addresses in the forms in which people have them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgan.curation.record import Video
from avgan.curation.sources import find_videos
from avgan.curation.youtube import youtube_address, youtube_id_in
from avgan.errors import DataError

PAGE = "https://www.youtube.com/watch?v=aqz-KE-bpKQ"


def write(folder: Path, text: str, name: str = "list.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_all_that_a_row_says_is_kept(tmp_path: Path) -> None:
    named = write(
        tmp_path,
        "address,label,start,end,place,licence,source_id,title\n"
        f'{PAGE},Street traffic,1:10,70.5,"Lyon, FR",CC BY,walk 1,A walk\n',
    )
    assert find_videos(named) == [
        Video(
            id="aqz-KE-bpKQ-70000-70500",
            address=PAGE,
            label="street_traffic",
            start_s=70.0,
            end_s=70.5,
            place="Lyon, FR",
            licence="CC BY",
            source_id="walk 1",
            title="A walk",
        )
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "youtube_id,label\naqz-KE-bpKQ,bus\n"),
        ("list.csv", "\ufeffURL;Label;City\nhttps://youtu.be/aqz-KE-bpKQ?si=x;bus;\n"),
        ("list.csv", '"# YTID", category\naqz-KE-bpKQ,bus\n'),
        ("list.tsv", f"link\tscene\n{PAGE}&t=3s\tbus\n"),
        ("list.jsonl", json.dumps({"id": "aqz-KE-bpKQ", "label": "bus", "views": [3], "start": None}) + "\n\n"),
        ("list.ndjson", json.dumps({"webpage_url": PAGE, "category": "bus", "start_s": 0}) + "\n"),
    ],
)
def test_what_others_call_it_is_understood(tmp_path: Path, name: str, text: str) -> None:
    (video,) = find_videos(write(tmp_path, text, name))
    assert (video.id, video.label) == ("aqz-KE-bpKQ", "bus")
    assert youtube_id_in(video.address) == "aqz-KE-bpKQ"


def test_a_text_has_one_address_a_line(tmp_path: Path) -> None:
    text = f"# mine\n{PAGE}\n\n  https://example.org/a#b.mp4 \naqz-KE-bpKR\n"
    found = {video.address for video in find_videos(write(tmp_path, text, "list.txt"))}
    other = youtube_address("aqz-KE-bpKR")
    assert found == {PAGE, "https://example.org/a#b.mp4", other}
    (single,) = find_videos(PAGE)
    assert single.id == "aqz-KE-bpKQ"


def test_stretches_of_one_video_are_of_one_source(tmp_path: Path) -> None:
    rows = "id,start,end\naqz-KE-bpKQ,0,10\naqz-KE-bpKQ,10,20\naqz-KE-bpKQ,20,\naqz-KE-bpKQ,,\n"
    videos = find_videos(write(tmp_path, rows))
    assert [video.id[11:] for video in videos] == ["", "-0-10000", "-10000-20000", "-20000"]
    assert {video.source_id for video in videos} == {"aqz-KE-bpKQ"}


def test_an_id_stays_when_other_rows_go(tmp_path: Path) -> None:
    rows = [f"https://example.org/{n}.mp4,bus" for n in range(5)]
    all_ids = {video.id for video in find_videos(write(tmp_path, "\n".join(["url,label", *rows])))}
    some = {video.id for video in find_videos(write(tmp_path, "\n".join(["url,label", *rows[2:]])))}
    assert len(some) == 3
    assert some < all_ids


def test_files_of_a_list_lie_beside_it(tmp_path: Path) -> None:
    (video,) = find_videos(write(tmp_path, "path,label\nbus/1.mp4,bus\n"))
    assert video.path == str(tmp_path / "bus" / "1.mp4")
    assert video.address == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("label\nbus\n", "no column 'address'"),
        ("address,label\n,bus\n", "row 1: names no address"),
        ("address\nfile:///etc/hosts\n", "row 1: 'file:///etc/hosts' is no address"),
        ("address\nhttp://[\n", "is no address"),
        ("address\nhttps://\n", "is no address"),
        ("id\nshort\n", "11 characters"),
        ("id,start\naqz-KE-bpKQ,soon\n", "'soon' is no time"),
        ("id,start\naqz-KE-bpKQ,-1\n", "'-1' is no time"),
        ("id,start\naqz-KE-bpKQ,nan\n", "'nan' is no time"),
        ("id,start,end\naqz-KE-bpKQ,10,10\n", "row 1: ends at 10 s, before"),
        ("id,label\naqz-KE-bpKQ,bus\naqz-KE-bpKQ,tram\n", "row 2: .*twice, as 'bus' and as 'tram'"),
        ("id,label\n", "no row"),
    ],
)
def test_a_wrong_row_is_named_on_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        find_videos(write(tmp_path, text))
    assert "\n" not in str(caught.value)


@given(content=st.binary(max_size=200), name=st.sampled_from(["a.csv", "a.jsonl", "a.txt"]))
def test_any_bytes_give_videos_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    path = tmp_path_factory.mktemp("list") / name
    path.write_bytes(b"id,label\n" + content if name == "a.csv" else content)
    told = ""
    try:
        assert find_videos(str(path))
    except DataError as error:
        told = str(error)
    assert len(told.splitlines()) <= 1


@pytest.mark.parametrize(
    "address",
    [
        PAGE,
        "http://youtube.com/watch?list=x&v=aqz-KE-bpKQ",
        "https://m.youtube.com/watch?v=aqz-KE-bpKQ#t=3",
        "https://youtu.be/aqz-KE-bpKQ",
        "https://www.youtube.com/shorts/aqz-KE-bpKQ?feature=share",
        "https://www.youtube-nocookie.com/embed/aqz-KE-bpKQ",
        "https://www.youtube.com/live/aqz-KE-bpKQ",
    ],
)
def test_one_video_has_one_id_in_all_forms_of_its_address(address: str) -> None:
    assert youtube_id_in(address) == "aqz-KE-bpKQ"
    assert find_videos(address)[0].id == "aqz-KE-bpKQ"


@pytest.mark.parametrize(
    "address",
    [
        "https://notyoutube.com/watch?v=aqz-KE-bpKQ",
        "https://youtube.com.example.org/watch?v=aqz-KE-bpKQ",
        "https://www.youtube.com/@someone",
        "https://www.youtube.com/watch?v=short",
        "https://[",
    ],
)
def test_other_addresses_have_none(address: str) -> None:
    assert youtube_id_in(address) == ""
