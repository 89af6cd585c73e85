"""The large sets in many zips, from a real server whose connections break: resumed, verified, unpacked, read."""

import functools
import hashlib
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from avgan.data import acquire
from avgan.data.datasets import DATASETS, Dataset, find, tau
from avgan.errors import DataError

PLACES = {"train": ["bus-lisbon-1", "tram-paris-2"], "test": ["bus-milan-3"]}
PARTS = {
    "tau2019": ("doc", "meta", "audio.1", "audio.2"),
    "tau_av_2021": ("doc", "meta", "examples", "audio.1", "audio.2", "video.1"),
}
STEMS = {
    "tau2019": "TAU-urban-acoustic-scenes-2019-development",
    "tau_av_2021": "TAU-urban-audio-visual-scenes-2021-development",
}

every_set = pytest.mark.parametrize("name", list(PARTS))


class Server(ThreadingHTTPServer):
    """Serves files by their path, cutting connections as `cuts` says: {file: bytes sent to each request in turn}."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.contents: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = {}
        self.asked: list[tuple[str, int]] = []
        """File and first byte of each request."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        content = self.server.contents.get(path)
        if content is None:
            self.send_error(404)
            return
        name = path.rpartition("/")[2]
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.asked.append((name, start))
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cuts = self.server.cuts.get(name)
        self.wfile.write(body[: cuts.pop(0)] if cuts else body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def declared(
    name: str, server: Server, tau_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Dataset:
    """The declaration with its record on the server: a tiny tree, packed as the publisher packs it."""
    tree = tau_tree(tmp_path / "published", name, PLACES)
    (tree / "README.md").write_text("What it is.")
    files = {part: [] for part in PARTS[name]}  # type: ignore[var-annotated]
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        kind = path.relative_to(tree).parts[0]
        half = 1 + (kind == "audio" and "bus" in path.name)
        where = {"README.md": "doc", "audio": f"audio.{half}", "video": "video.1"}
        files[where.get(kind, "meta")].append(path)
    record, packages = f"http://127.0.0.1:{server.server_port}/record/1", []
    for part, paths in files.items():
        archive = tmp_path / "part.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path in paths:
                zipped.write(path, f"{STEMS[name]}/{path.relative_to(tree)}")
        content = archive.read_bytes()
        server.contents[f"/record/1/files/{STEMS[name]}.{part}.zip"] = content
        packages.append((part, len(content), hashlib.md5(content).hexdigest()))
    changed = replace(DATASETS[name], remotes=tau.remotes(record, STEMS[name], packages))
    monkeypatch.setitem(DATASETS, name, changed)
    no_wait = functools.partial(acquire.download, sleep=lambda seconds: None)
    monkeypatch.setattr(acquire, "download", no_wait)
    return changed


@every_set
def test_a_set_arrives_over_connections_that_break(
    name: str, declared: Dataset, server: Server, tmp_path: Path
) -> None:
    audio = f"{STEMS[name]}.audio.1.zip"
    server.cuts = {audio: [700, 50], f"{STEMS[name]}.meta.zip": [10]}
    said: list[str] = []
    root = acquire.get(name, tmp_path / "data", say=said.append)
    assert declared.licence in said[0]
    assert [start for file, start in server.asked if file == audio] == [0, 700, 750]
    assert list(root.glob("*.zip")) == list(root.glob("*.part")) == []
    assert acquire.check_media(find(tmp_path / "data", name)) == []
    published = {path for path in (tmp_path / "published").rglob("*") if path.is_file()}
    for path in published:
        arrived = root / path.relative_to(tmp_path / "published")
        assert arrived.read_bytes() == path.read_bytes()
    server.asked.clear()
    acquire.get(name, tmp_path / "data", say=lambda line: None)
    assert server.asked == []


@every_set
def test_a_command_that_was_killed_goes_on_where_it_was(
    name: str, declared: Dataset, server: Server, tmp_path: Path
) -> None:
    """Given up in the middle of the last part: what is unpacked is not fetched again, the rest from its last byte."""
    last = f"{STEMS[name]}.{PARTS[name][-1]}.zip"
    server.cuts = {last: [900, 0, 0, 0, 0]}
    with pytest.raises(DataError, match="what arrived is kept, run the command again"):
        acquire.get(name, tmp_path / "data", say=lambda line: None)
    assert (tmp_path / "data" / name / f"{last}.part").stat().st_size == 900
    server.asked.clear()
    acquire.get(name, tmp_path / "data", say=lambda line: None)
    assert server.asked == [(last, 900)]
    assert acquire.check_media(find(tmp_path / "data", name)) == []


@every_set
def test_a_part_that_is_not_the_published_one_is_refused_and_fetched_anew(
    name: str, declared: Dataset, server: Server, tmp_path: Path
) -> None:
    path = f"/record/1/files/{STEMS[name]}.audio.2.zip"
    good = server.contents[path]
    server.contents[path] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(DataError, match=r"has md5 .* published is .*; deleted, run the command"):
        acquire.get(name, tmp_path / "data", say=lambda line: None)
    assert any("missing" in line for line in acquire.check(name, tmp_path / "data"))
    server.contents[path] = good
    acquire.get(name, tmp_path / "data", say=lambda line: None)
    assert acquire.check_media(find(tmp_path / "data", name)) == []


def test_a_large_download_is_announced_and_a_small_disk_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def refuse(*args: object) -> None:
        raise DataError("no network")

    monkeypatch.setattr(acquire, "download", refuse)
    monkeypatch.setattr(acquire.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 5 * 10**9}))
    with pytest.raises(DataError, match="no network"):
        acquire.get("tau_av_2021", tmp_path, say=said.append)
    assert said[1].startswith("27 of 27 files to fetch, 107.7 GB, into")
    assert said[2].startswith("warning: only 5.0 GB are free")
