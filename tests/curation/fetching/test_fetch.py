"""Fetching through the real yt-dlp from a real server that refuses, breaks off, lies and is silent."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from films import film
from video_site import Page, Site, open_site

from avgan.curation import fetch as fetching
from avgan.curation.fetch import FetchSettings, fetch
from avgan.curation.record import Video
from avgan.curation.ytdlp import FetchError, Library, TryAgain, choose, meaning_of, refused_with, wait_asked
from avgan.errors import AvganError, DataError

pytest.importorskip("yt_dlp", reason="fetching needs the extra `curate`")

DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT3S"
     profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>
<AdaptationSet mimeType="video/mp4" contentType="video">
<Representation id="v1" bandwidth="100000" codecs="avc1.4d401e" width="160" height="120">
<BaseURL>picture.mp4</BaseURL></Representation>
<Representation id="v9" bandwidth="900000" codecs="avc1.4d401e" width="1920" height="1080">
<BaseURL>tall.mp4</BaseURL></Representation></AdaptationSet>
<AdaptationSet mimeType="audio/mp4" contentType="audio">
<Representation id="a1" bandwidth="64000" codecs="mp4a.40.2" audioSamplingRate="44100">
<BaseURL>sound.m4a</BaseURL></Representation></AdaptationSet></Period></MPD>
"""
PAGE = """<html><head><title>A walk</title><script type="application/ld+json">
{"@context": "https://schema.org", "@type": "VideoObject", "name": "A walk", "uploadDate": "2020-01-01",
 "description": "A walk.", "duration": "%s", "contentUrl": "%s"}</script></head><body></body></html>
"""


@dataclass
class Patience:
    """A clock that only waiting moves."""

    now_s: float = 1e9
    waits: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 3))
        self.now_s += seconds

    def clock(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Three seconds, each with its bytes: whole, without sound, sound alone."""
    folder = tmp_path_factory.mktemp("films")
    return {
        "walk": film(folder / "walk.mp4", seconds=3).read_bytes(),
        "silent": film(folder / "silent.mp4", seconds=3, sound=None).read_bytes(),
        "sound": film(folder / "sound.m4a", seconds=3, pictures=()).read_bytes(),
    }


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as site:
        yield site


WALK = Video(id="walk")
Fetch = Callable[..., Video]


@pytest.fixture
def patience() -> Patience:
    return Patience()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hosts are told apart by their ports."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def get(tmp_path: Path, shared: Path, patience: Patience) -> Fetch:
    """Fetch an address into a folder, without real waiting and without pace; other settings by name."""

    def get(address: str, *, video: Video = WALK, **changes: Any) -> Video:
        settings = replace(FetchSettings(per_hour=0, shared=shared), **changes)
        video = replace(video, address=address)
        return fetch(video, tmp_path, settings=settings, sleep=patience.sleep, clock=patience.clock)

    return get


def content_of(video: Video) -> bytes:
    return Path(video.path).read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def lost(get: Fetch, address: str, **options: Any) -> FetchError:
    with pytest.raises(FetchError) as caught:
        get(address, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_video_arrives_once(site: Site, get: Fetch, films: dict[str, bytes], tmp_path: Path) -> None:
    address = site.put("/walk.mp4", Page(films["walk"]))
    video = get(address)
    path = Path(video.path)
    assert path.read_bytes() == films["walk"]
    assert names(tmp_path) == ["walk.json", "walk.video.mp4"]
    num_asked = len(site.asked)
    assert get(address) == video
    assert len(site.asked) == num_asked, "what is there is not asked for again"
    path.write_bytes(films["walk"][:-1])
    assert content_of(get(address)) == films["walk"], "half a file is not there"


def test_picture_and_sound_may_come_apart(site: Site, get: Fetch, films: dict[str, bytes], tmp_path: Path) -> None:
    site.put("/picture.mp4", Page(films["silent"]))
    site.put("/sound.m4a", Page(films["sound"], type="audio/mp4"))
    address = site.put("/walk.mpd", Page(DASH.encode(), type="application/dash+xml"))
    known = get(address, video=Video(id="walk", label="park", licence="mine"))
    assert names(tmp_path) == ["walk.json", "walk.picture.mp4", "walk.sound.m4a"]
    assert Path(known.path).read_bytes() == films["silent"]
    assert Path(known.sound_path).read_bytes() == films["sound"]
    assert (known.label, known.licence, known.title) == ("park", "mine", "walk")
    assert "/tall.mp4" not in [path for path, _ in site.asked], "1080 lines are more than asked for"


def test_a_local_file_needs_no_fetching(tmp_path: Path) -> None:
    path = tmp_path / "walk.mp4"
    video = Video(id="walk", path=str(path), sound_path="walk.wav")
    with pytest.raises(FetchError, match=r"gone: .*no such file"):
        fetch(video, tmp_path / "out")
    path.write_bytes(b"")
    assert fetch(video, tmp_path / "out") == video
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "gone"), (410, "gone"), (401, "blocked"), (403, "blocked"), (451, "blocked")]
)
@pytest.mark.parametrize("num_good", [0, 1])
def test_a_refusal_is_final(
    site: Site, get: Fetch, films: dict[str, bytes], patience: Patience, status: int, reason: str, num_good: int
) -> None:
    """Whether it comes when the page is looked up or when the file is fetched."""
    page = Page(films["walk"], statuses=[200] * num_good + [status])
    error = lost(get, site.put("/walk.mp4", page))
    assert error.reason == reason
    assert str(status) in error.detail
    assert patience.waits == []


@pytest.mark.parametrize("num_good", [0, 1])
def test_who_is_asked_to_wait_waits_as_long(
    site: Site, get: Fetch, films: dict[str, bytes], patience: Patience, num_good: int
) -> None:
    page = Page(films["walk"], statuses=[200] * num_good + [429, 429], retry_after="77")
    assert content_of(get(site.put("/walk.mp4", page))) == films["walk"]
    assert patience.waits == [77.0, 77.0]


def test_one_who_is_asked_to_wait_makes_all_wait(
    site: Site, get: Fetch, films: dict[str, bytes], patience: Patience
) -> None:
    page = Page(b"", statuses=[429] * 9, retry_after="60")
    assert lost(get, site.put("/busy.mp4", page), attempts=2).reason == "blocked"
    assert patience.waits == [60.0]
    get(site.put("/walk.mp4", Page(films["walk"])), video=Video(id="other"))
    assert patience.waits == [60.0, 60.0], "the last refusal holds for the next video, too"


def test_nobody_waits_for_months(site: Site, get: Fetch, patience: Patience) -> None:
    page = Page(b"", statuses=[429] * 9, retry_after="9999999")
    assert lost(get, site.put("/walk.mp4", page), attempts=2).reason == "blocked"
    assert patience.waits == [3600.0]


def test_a_site_that_wants_an_account_is_no_fault_of_the_video(
    get: Fetch, tmp_path: Path, patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise meaning_of("[youtube] x: Sign in to confirm you’re not a bot. Use --cookies")

    monkeypatch.setattr(fetching, "_fetch_once", refuse)
    address = "https://www.youtube.com/watch?v=aqz-KE-bpKQ"
    with pytest.raises(AvganError, match=r"youtube.com takes .*cookies of a browser") as caught:
        get(address)
    assert not isinstance(caught.value, FetchError)
    assert patience.waits == []
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n")
    assert lost(get, address, cookies=cookies, attempts=2).reason == "blocked"
    assert patience.waits == [900.0]


def test_a_busy_server_is_asked_again(site: Site, get: Fetch, films: dict[str, bytes], patience: Patience) -> None:
    page = Page(films["walk"], statuses=[503, 200, 500])
    assert content_of(get(site.put("/walk.mp4", page))) == films["walk"]
    assert patience.waits == [2.0, 4.0]


def test_a_file_that_breaks_off_is_resumed(site: Site, get: Fetch, films: dict[str, bytes], patience: Patience) -> None:
    whole = len(films["walk"])
    page = Page(films["walk"], breaks_at=[whole, whole // 2, 1000])
    assert content_of(get(site.put("/walk.mp4", page))) == films["walk"]
    assert patience.waits
    assert any(wanted for _, wanted in site.asked), "what had arrived was asked for again"


def test_an_interrupted_call_is_resumed_by_the_next(
    site: Site, get: Fetch, films: dict[str, bytes], tmp_path: Path
) -> None:
    half = len(films["walk"]) // 2
    (tmp_path / "walk.video.mp4.part").write_bytes(films["walk"][:half])
    assert content_of(get(site.put("/walk.mp4", Page(films["walk"])))) == films["walk"]
    assert site.asked[-1] == ("/walk.mp4", f"bytes={half}-")
    assert names(tmp_path) == ["walk.json", "walk.video.mp4"]


def test_a_server_that_keeps_breaking_off_is_given_up_and_the_part_kept(
    site: Site, get: Fetch, films: dict[str, bytes], tmp_path: Path, patience: Patience
) -> None:
    page = Page(films["walk"], breaks_at=[len(films["walk"]), *[1024, 1024] * 5])
    error = lost(get, site.put("/walk.mp4", page), attempts=3)
    assert error.reason == "broken"
    assert "3 attempts" in error.detail
    assert patience.waits == [2.0, 4.0]
    assert names(tmp_path) == ["walk.video.mp4.part"]


@pytest.mark.parametrize(("name", "reason"), [("half", "broken"), ("silent", "no sound"), ("sound", "refused")])
def test_what_is_no_video_with_sound_is_refused_and_not_kept(
    site: Site, get: Fetch, films: dict[str, bytes], tmp_path: Path, name: str, reason: str
) -> None:
    """A file cut off on the server, one without sound, one without pictures."""
    body = films["walk"][: len(films["walk"]) // 2] if name == "half" else films[name]
    assert lost(get, site.put("/walk.mp4", Page(body))).reason == reason
    assert names(tmp_path) == []


def test_a_video_of_four_hours_is_not_even_begun(
    site: Site, get: Fetch, films: dict[str, bytes], tmp_path: Path
) -> None:
    film_address = site.put("/walk.mp4", Page(films["walk"]))
    address = site.put("/long", Page((PAGE % ("PT4H", film_address)).encode(), type="text/html"))
    error = lost(get, address)
    assert (error.reason, error.detail) == ("too long", "4.0 hours; allowed are 3.0")
    assert names(tmp_path) == []
    assert get(address, max_duration_s=5 * 3600).path


def test_what_lasts_longer_than_stated_is_too_long(
    site: Site, get: Fetch, films: dict[str, bytes], tmp_path: Path
) -> None:
    error = lost(get, site.put("/walk.mp4", Page(films["walk"])), max_duration_s=2.0)
    assert error.reason == "too long"
    assert names(tmp_path) == []


def test_what_is_larger_than_allowed_is_too_long(site: Site, get: Fetch, films: dict[str, bytes]) -> None:
    error = lost(get, site.put("/walk.mp4", Page(films["walk"])), max_bytes=1000)
    assert (error.reason, error.detail) == ("too long", "the file is larger than allowed")


@pytest.mark.parametrize(
    "address", ["file:///etc/hosts", "ytsearch:a walk", "http://[", "ftp://a/b.mp4", "", "walk.mp4"]
)
def test_what_is_no_web_address_is_refused(get: Fetch, address: str, tmp_path: Path) -> None:
    assert lost(get, address).reason == "refused"
    assert names(tmp_path) == []


def test_nobody_is_led_to_a_file_of_this_machine(site: Site, get: Fetch, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    moved = site.put("/moved.mp4", Page(b"", moved_to=secret.as_uri()))
    assert lost(get, moved).reason == "refused"
    meta = f'<html><head><meta http-equiv="refresh" content="0;url={secret.as_uri()}"></head></html>'
    assert lost(get, site.put("/meta", Page(meta.encode(), type="text/html"))).reason == "refused"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{secret.as_uri()}\n#EXT-X-ENDLIST\n"
    page = Page(playlist.encode(), type="application/vnd.apple.mpegurl")
    lost(get, site.put("/list.m3u8", page))
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("walk.*"))
    assert b"secret" not in kept.replace(secret.as_uri().encode(), b"")


def test_a_page_without_a_video_and_one_with_several_are_refused(
    site: Site, get: Fetch, films: dict[str, bytes]
) -> None:
    empty = site.put("/empty", Page(b"<html><body>Nothing.</body></html>", type="text/html"))
    assert lost(get, empty).reason == "refused"
    one, other = (site.put(f"/{n}.mp4", Page(films["walk"])) for n in (1, 2))
    both = f'<html><body><video src="{one}"></video><video src="{other}"></video></body></html>'
    error = lost(get, site.put("/both", Page(both.encode(), type="text/html")))
    assert (error.reason, error.detail) == ("refused", "a list of videos; name each of them")


def test_no_server_is_broken_after_all_attempts(get: Fetch, patience: Patience) -> None:
    with open_site() as closed:
        address = closed.address + "/walk.mp4"
    error = lost(get, address, attempts=2)
    assert error.reason == "broken"
    assert "connection lost" in error.detail
    assert patience.waits == [2.0]


def test_a_short_id_of_youtube8m_is_looked_up_first(site: Site, get: Fetch) -> None:
    """What it leads to cannot be fetched here: who asks for it is caught."""
    address = site.put("/2/j/i/AB/ABCD.js", Page(b'i("ABCD","aqz-KE-bpKQ");', statuses=[503]))
    asked: list[str] = []

    def refuse(name: str, address: str, *rest: Any) -> None:
        asked.append(address)
        raise FetchError("gone", "as planned")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "_fetch_once", refuse)
        lost(get, address)
    assert asked == ["https://www.youtube.com/watch?v=aqz-KE-bpKQ"]
    assert lost(get, site.address + "/2/j/i/AB/ABCE.js").reason == "gone"


def test_cookies_are_sent_and_the_file_is_left_alone(
    site: Site, get: Fetch, films: dict[str, bytes], tmp_path: Path
) -> None:
    cookies = tmp_path / "cookies.txt"
    line = "127.0.0.1\tFALSE\t/\tFALSE\t4102444800\tsession\tabc"
    cookies.write_text(f"# Netscape HTTP Cookie File\n{line}\n")
    before = cookies.read_bytes()
    address = site.put("/walk.mp4", Page(films["walk"]))
    get(address, cookies=cookies)
    assert site.headers[-1]["Cookie"] == "session=abc"
    assert cookies.read_bytes() == before


@pytest.mark.parametrize("content", ["{}", None, "\0\1\2"])
def test_bad_cookies_are_no_fault_of_the_video(get: Fetch, tmp_path: Path, content: str | None) -> None:
    cookies = tmp_path / "cookies.txt"
    if content is not None:
        cookies.write_text(content)
    with pytest.raises(AvganError, match="cookies") as caught:
        get("http://127.0.0.1:1/walk.mp4", cookies=cookies)
    assert not isinstance(caught.value, FetchError)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_no_fault_of_the_video(site: Site, get: Fetch, films: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "walk.video.mp4.part").symlink_to("/dev/full")
    with pytest.raises(AvganError, match=f"{os.strerror(errno.ENOSPC)}.*make room") as caught:
        get(site.put("/walk.mp4", Page(films["walk"])))
    assert not isinstance(caught.value, FetchError)


def test_a_missing_javascript_runtime_is_no_fault_of_the_video(tmp_path: Path) -> None:
    library = Library(tmp_path, "", 10**9)
    info = {"formats": [], "webpage_url": "https://www.youtube.com/watch?v=aqz-KE-bpKQ"}
    with pytest.raises(FetchError):
        library.choose(info, max_height_px=720)
    library._ydl.get_info_extractor("Youtube").report_warning(
        "No supported JavaScript runtime could be found. Only deno is enabled", only_once=True
    )
    with pytest.raises(DataError, match="pip install deno") as caught:
        library.choose(info, max_height_px=720)
    assert not isinstance(caught.value, FetchError)
    assert "\n" not in str(caught.value)
    with pytest.raises(FetchError):
        library.choose(info | {"webpage_url": "https://example.org/"}, max_height_px=720)


def test_a_missing_library_is_told_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(AvganError, match=r"pip install 'avgan\[curate\]'") as caught:
        fetch(Video(id="a", address="http://127.0.0.1:1/a.mp4"), tmp_path)
    assert not isinstance(caught.value, FetchError)


def test_what_arrived_is_described_beside_it(site: Site, get: Fetch, films: dict[str, bytes], tmp_path: Path) -> None:
    film_address = site.put("/walk.mp4", Page(films["walk"]))
    address = site.put("/page", Page((PAGE % ("PT3S", film_address)).encode(), type="text/html"))
    video = get(address)
    note = json.loads((tmp_path / "walk.json").read_text())
    assert (note["title"], note["address"]) == ("A walk", address)
    assert note["duration_s"] == pytest.approx(3.0, abs=0.1)
    assert video.title == "A walk"


def form(height: int | None, *, picture: bool | None = True, sound: bool | None = True, **more: Any) -> dict[str, Any]:
    codec = {True: "some", False: "none", None: None}
    row = {"height": height, "vcodec": codec[picture], "acodec": codec[sound], "protocol": "https"}
    return row | more


def test_the_file_to_fetch_is_the_tallest_that_is_not_too_tall() -> None:
    low, high = form(360), form(1080)
    assert choose([low, high], max_height_px=720) == (low,)
    assert choose([high], max_height_px=720) == (high,), "rather too tall than none"
    assert choose([form(2160), high], max_height_px=720) == (high,)
    only = form(None, picture=None, sound=None)
    assert choose([only], max_height_px=720) == (only,), "nobody says what it is"


def test_picture_and_sound_are_joined_where_that_is_better() -> None:
    sounds = [form(None, picture=False, abr=abr) for abr in (48, 128)]
    low, high = form(360), form(720, sound=False)
    assert choose([*sounds, low, high], max_height_px=720) == (high, sounds[1])
    assert choose([*sounds, low, form(360, sound=False)], max_height_px=720) == (low,)
    assert choose([low, high], max_height_px=720) == (low,), "there is no sound for the other"


@pytest.mark.parametrize(
    ("formats", "reason"),
    [
        ([form(360, sound=False)], "no sound"),
        ([form(None, picture=False)], "refused"),
        ([form(360, has_drm=True)], "refused"),
        ([form(360, protocol="rtmp")], "refused"),
        ([form(360, ext="mhtml")], "refused"),
        ([], "refused"),
    ],
)
def test_what_cannot_be_fetched_has_its_reason(formats: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        choose(formats, max_height_px=720)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("[youtube] x: Video unavailable", "gone"),
        ("[youtube] x: Private video. Sign in if you've been granted access to this video", "gone"),
        ("x: This video has been removed by the uploader", "gone"),
        (
            "x: Video unavailable. This video is no longer available because the YouTube account associated with it "
            "has been terminated.",
            "gone",
        ),
        ("x: The uploader has not made this video available in your country", "blocked"),
        ("x: Sign in to confirm your age. This video may be inappropriate for some users.", "blocked"),
        ("x: Join this channel to get access to members-only content", "blocked"),
        ("x: This live event will begin in 3 days.", "refused"),
        ("x: This video is DRM protected", "refused"),
        ("x: Requested format is not available. Use --list-formats", "refused"),
        ("x: Unable to extract player; please report this issue on https://example.org", "broken"),
    ],
)
def test_what_sites_say_in_words_has_its_reason(said: str, reason: str) -> None:
    problem = meaning_of(f"\x1b[0;31mERROR:\x1b[0m {said}")
    assert isinstance(problem, FetchError)
    assert problem.reason == reason
    assert "ERROR" not in problem.detail
    assert "report this" not in problem.detail


def test_a_site_that_takes_us_for_a_robot_is_left_alone_for_a_while() -> None:
    for said in ("Sign in to confirm you’re not a bot", "has been rate-limited by YouTube"):
        problem = meaning_of(said)
        assert isinstance(problem, TryAgain)
        assert problem.host
        assert problem.wait_s
        assert problem.wait_s >= 900
        assert problem.reason == "blocked"


def test_statuses_are_final_or_not() -> None:
    assert isinstance(refused_with(429), TryAgain)
    assert isinstance(refused_with(503, wait_s=3.0), TryAgain)
    for status in (301, 400, 404, 418, 451, 501):
        assert isinstance(refused_with(status), FetchError)
    assert [wait_asked(text) for text in ("12", "", "Fri, 31 Dec 1999", "-1", "9" * 30)] == [
        12.0,
        None,
        None,
        None,
        None,
    ]


def test_an_error_survives_the_way_between_processes() -> None:
    error = FetchError("gone", "the server answers 404")
    with ProcessPoolExecutor(1) as pool, pytest.raises(FetchError, match=f"^{error}$") as caught:
        pool.submit(_raise, error).result()
    assert (caught.value.reason, caught.value.detail) == ("gone", "the server answers 404")


def _raise(error: Exception) -> None:
    raise error
