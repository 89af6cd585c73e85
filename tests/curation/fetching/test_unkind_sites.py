"""Sites that send without end, a byte at a time, or what yt-dlp would hand to other programs."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from films import film
from video_site import Page, Site, open_site

from avgan.curation import ytdlp
from avgan.curation.fetch import FetchSettings, fetch
from avgan.curation.record import Video
from avgan.curation.ytdlp import FetchError

pytest.importorskip("yt_dlp", reason="fetching needs the extra `curate`")

ENDLESS = 3_000_000


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as site:
        yield site


def lost(address: str, folder: Path, **changes: Any) -> FetchError:
    """How fetching ends, with nothing left behind."""
    options: dict[str, Any] = {"per_hour": 0, "attempts": 2, "shared": folder / "shared"}
    settings = FetchSettings(**options | changes)
    with pytest.raises(FetchError) as caught:
        fetch(Video(id="a", address=address), folder, settings=settings, sleep=lambda seconds: None)
    return caught.value


def arrived(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("a.*"))


def test_a_file_without_a_length_is_cut_at_the_limit(site: Site, tmp_path: Path) -> None:
    page = Page(bytes(ENDLESS), says_length=False)
    error = lost(site.put("/a.mp4", page), tmp_path, max_bytes=1_000_000)
    assert error.reason == "too long"
    assert "1,000,000" in error.detail
    assert arrived(tmp_path) <= 1_000_000


def test_fragments_together_keep_to_the_limit(site: Site, tmp_path: Path) -> None:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXT-X-VERSION:3"]
    for number in range(12):
        site.put(f"/{number}.ts", Page(bytes(250_000), "video/mp2t"))
        lines += ["#EXTINF:1,", f"{number}.ts"]
    playlist = "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode()
    address = site.put("/a.m3u8", Page(playlist, "application/vnd.apple.mpegurl"))
    error = lost(address, tmp_path, max_bytes=1_000_000)
    assert error.reason == "too long"
    asked = {path for path, _ in site.asked if path.endswith(".ts")}
    assert len(asked) <= 5


@pytest.mark.parametrize("begin", [0, 100_000])
def test_a_trickle_is_let_go(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: int) -> None:
    monkeypatch.setattr(ytdlp, "TRICKLE_S", 1.0)
    monkeypatch.setattr(ytdlp, "PIECE_BYTES", 64)
    content = film(tmp_path / "film.mp4", seconds=3).read_bytes()
    page = Page(content + bytes(200_000), trickles_after=begin)
    began_s = time.monotonic()
    error = lost(site.put("/a.mp4", page), tmp_path)
    assert error.reason == "broken"
    assert time.monotonic() - began_s < 60
    assert "bytes a second" in error.detail


def test_a_page_that_trickles_is_let_go_too(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ytdlp, "TRICKLE_S", 1.0)
    monkeypatch.setattr(ytdlp, "PIECE_BYTES", 64)
    page = Page(b"<html>" + b" " * 100_000, "text/html", trickles_after=2_000)
    began_s = time.monotonic()
    assert lost(site.put("/watch", page), tmp_path).reason in {"broken", "refused"}
    assert time.monotonic() - began_s < 60


def test_the_systems_ffmpeg_is_never_started(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A playlist with keys that yt-dlp cannot use itself."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("ffmpeg", "ffprobe", "avconv"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho ffmpeg version 7\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    site.put("/0.ts", Page(bytes(9_400), "video/mp2t"))
    for method in ("SAMPLE-AES", "SAMPLE-AES-CTR", "AES-256"):
        key = f'#EXT-X-KEY:METHOD={method},URI="{site.address}/key"'
        lines = [
            "#EXTM3U",
            "#EXT-X-TARGETDURATION:1",
            "#EXT-X-VERSION:5",
            key,
            "#EXTINF:1,",
            "0.ts",
            "#EXT-X-ENDLIST",
            "",
        ]
        playlist = "\n".join(lines).encode()
        address = site.put("/a.m3u8", Page(playlist, "application/vnd.apple.mpegurl"))
        assert lost(address, tmp_path).reason in {"refused", "broken"}
    assert not (tmp_path / "ran").exists()
