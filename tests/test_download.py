"""The downloader against a real server that breaks off, lies, refuses and recovers."""

import hashlib
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from avgan.download import ATTEMPTS, BLOCK_BYTES, Remote, _Redirects, _refuse_downgrade, download
from avgan.errors import DataError

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several blocks
HALF = len(CONTENT) // 2


class Server(ThreadingHTTPServer):
    """Serves CONTENT at any path; the attributes say how it misbehaves."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str] = []
        self.knows_ranges = True
        self.says_length = True
        self.breaks_at: list[int] = []
        """For each request in turn, the number of bytes after which the connection is cut."""
        self.statuses: list[int] = []
        """Answers to the first requests; then 200."""

    @property
    def remote(self) -> Remote:
        return Remote(
            url=f"http://127.0.0.1:{self.server_port}/data.bin",
            filename="data.bin",
            bytes=len(CONTENT),
            md5=hashlib.md5(CONTENT).hexdigest(),
            sha256=hashlib.sha256(CONTENT).hexdigest(),
        )


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range", "")
        server.ranges.append(wanted)
        if server.statuses and (status := server.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        start = int(wanted[6:-1]) if wanted and server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        stop = server.breaks_at.pop(0) if server.breaks_at else len(body)
        self.wfile.write(body[:stop])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "set" / "data.bin"


def fetch(remote: Remote, target: Path) -> list[float]:
    """Download without waiting; returns the waits that were asked for."""
    waits: list[float] = []
    download(remote, target, lambda line: None, sleep=waits.append)
    return waits


def files(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_arrives_whole(server: Server, target: Path) -> None:
    assert fetch(server.remote, target) == []
    assert target.read_bytes() == CONTENT
    assert files(target) == ["data.bin"]


def test_a_broken_connection_is_resumed_where_it_broke(server: Server, target: Path) -> None:
    server.breaks_at = [HALF, 1000]
    assert fetch(server.remote, target) == [1.0, 2.0]
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["", f"bytes={HALF}-", f"bytes={HALF + 1000}-"]


def test_an_earlier_call_is_resumed(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("data.bin.part").write_bytes(CONTENT[:HALF])
    fetch(server.remote, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={HALF}-"]


def test_a_server_without_ranges_starts_anew(server: Server, target: Path) -> None:
    server.knows_ranges = False
    server.breaks_at = [HALF]
    fetch(server.remote, target)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_complete_needs_no_request(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("data.bin.part").write_bytes(CONTENT)
    fetch(server.remote, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == []


def test_a_part_longer_than_the_file_is_dropped(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("data.bin.part").write_bytes(CONTENT + b"more")
    fetch(server.remote, target)
    assert target.read_bytes() == CONTENT


def test_a_server_that_keeps_breaking_off_is_given_up_and_the_part_kept(server: Server, target: Path) -> None:
    server.breaks_at = [1000] * ATTEMPTS
    with pytest.raises(DataError, match=r"attempts\); what arrived is kept"):
        fetch(server.remote, target)
    assert files(target) == ["data.bin.part"]
    assert target.with_name("data.bin.part").read_bytes() == CONTENT[: 1000 * ATTEMPTS]


def test_a_connection_that_breaks_often_but_gets_on_is_not_given_up(server: Server, target: Path) -> None:
    server.breaks_at = [1000, BLOCK_BYTES, 1000, 1000, BLOCK_BYTES, 1000, BLOCK_BYTES, 1000]
    assert len(server.breaks_at) > ATTEMPTS
    assert fetch(server.remote, target) == [1.0, 1.0, 2.0, 4.0, 1.0, 2.0, 1.0, 2.0]
    assert target.read_bytes() == CONTENT


def test_a_truncated_file_of_unsaid_length_is_refused(server: Server, target: Path) -> None:
    server.says_length = False
    server.breaks_at = [HALF]
    with pytest.raises(DataError, match=f"has {HALF:,} bytes, published are {len(CONTENT):,}"):
        fetch(server.remote, target)
    assert files(target) == []


@pytest.mark.parametrize(("field", "digits"), [("md5", 32), ("sha256", 64)])
def test_a_wrong_checksum_is_refused_and_the_file_deleted(
    server: Server, target: Path, field: str, digits: int
) -> None:
    remote = replace(server.remote, **{field: "0" * digits})
    with pytest.raises(DataError, match=f"has {field} .*, published is 000.*deleted, run"):
        fetch(remote, target)
    assert files(target) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(server: Server, target: Path, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(DataError, match=f"answers {status} .*put it at .*data.bin$"):
        fetch(server.remote, target)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Server, target: Path, status: int) -> None:
    server.statuses = [status, status]
    assert fetch(server.remote, target) == [1.0, 2.0]
    assert target.read_bytes() == CONTENT


def test_no_server_is_a_clear_error(target: Path) -> None:
    with Server() as server:
        remote = server.remote
    with pytest.raises(DataError, match=r"connection lost .*refused"):
        fetch(remote, target)


@pytest.mark.parametrize("says_length", [True, False])
def test_what_is_larger_than_allowed_is_refused_and_not_kept(server: Server, target: Path, says_length: bool) -> None:
    server.says_length = says_length
    remote = Remote(url=server.remote.url, filename="data.bin", max_bytes=HALF)
    with pytest.raises(DataError, match=f"more than the {HALF:,} bytes"):
        fetch(remote, target)
    assert files(target) == []
    fetch(replace(remote, max_bytes=len(CONTENT)), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_no_reason_to_try_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("data.bin.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot be written .No space left on device.*make room"):
        fetch(server.remote, target)
    assert len(server.ranges) == 1


def test_nobody_is_led_away_from_https_without_a_checksum() -> None:
    remote = Remote(url="https://example.org/a.zip", filename="a.zip")
    with pytest.raises(DataError, match=r"leads to http://example.org/a.zip.*sha256"):
        _refuse_downgrade(remote, "http://example.org/a.zip")
    _refuse_downgrade(remote, "https://mirror.example.org/a.zip")
    _refuse_downgrade(replace(remote, sha256="0" * 64), "http://example.org/a.zip")
    _refuse_downgrade(replace(remote, url="http://a"), "http://b")


def test_no_station_on_the_way_is_without_https() -> None:
    """https -> http -> https: the last alone would not tell."""
    remote = Remote(url="https://example.org/a.zip", filename="a.zip")
    request = urllib.request.Request(remote.url)
    led = (request, None, 302, "Found", {}, "http://example.org/b.zip")
    with pytest.raises(DataError, match="not https"):
        _Redirects(remote).redirect_request(*led)
    relative = (request, None, 302, "Found", {}, "https://example.org/b.zip")
    assert _Redirects(remote).redirect_request(*relative) is not None
    assert _Redirects(replace(remote, sha256="0" * 64)).redirect_request(*led) is not None
