"""What is added is sound and whole, or nothing is added: bad zips, broken connections, a full disk."""

import errno
import hashlib
import io
import json
import os
import shutil
import stat
import struct
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avgan.errors import AvganError, BundleError, DataError
from avgan.runtime import library, load
from avgan.runtime.bundle import find_bundle, home, installed


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVGAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def add(source: Path | str, **options: Any) -> library.Bundle:
    return library.add(source, say=lambda line: None, **options)


def names() -> list[str]:
    return [bundle.card.name for bundle in library.added(pytest.fail)]


def left_over(folder: Path) -> list[str]:
    """Files that lie about below a home, the models left aside."""
    return [str(path) for path in (folder / "incoming").rglob("*")]


def changed(bundle: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a bundle whose card says something else; its checksums are brought up to date."""
    shutil.copytree(bundle, folder)
    card = json.loads((folder / "card.json").read_text())
    content = (folder / "model.onnx").read_bytes()
    card["sha256"] = {"model.onnx": hashlib.sha256(content).hexdigest()}
    (folder / "card.json").write_text(json.dumps(card | changes))
    return folder


def zipped(bundle: Path, *, inside: str = "", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for file in sorted(bundle.iterdir()):
            archive.write(file, inside + file.name)
    return buffer.getvalue()


def with_member(content: bytes, name: str, member: bytes = b"", mode: int = 0o644) -> bytes:
    """A zip with one member more."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, member)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "zipped folder"])
def test_a_bundle_is_added_found_and_removed(toy_bundle: Path, tmp_path: Path, kind: str) -> None:
    source = toy_bundle
    if kind != "folder":
        inside = "toy/" if kind == "zipped folder" else ""
        source = write(tmp_path / "toy.zip", zipped(toy_bundle, inside=inside))
    bundle = add(source)
    assert bundle.path == home() / "models" / "toy"
    assert sorted(path.name for path in bundle.path.iterdir()) == ["card.json", "model.onnx"]
    assert names() == ["toy"]
    assert find_bundle("toy").path == bundle.path
    hiss = np.random.default_rng(0).uniform(-0.3, 0.3, 16_000).astype(np.float32)
    assert load("toy").classify(hiss, 16_000).scene == "beach"
    assert add(source).path == bundle.path  # the same once more
    assert library.remove("toy") == bundle.path
    assert names() == []
    assert left_over(home()) == []
    with pytest.raises(BundleError, match="no such bundle"):
        find_bundle("toy")


def test_only_what_the_card_names_is_taken(toy_bundle: Path, tmp_path: Path) -> None:
    content = with_member(zipped(toy_bundle, inside="toy/"), "toy/setup.py", b"import os")
    bundle = add(write(tmp_path / "toy.zip", content))
    assert sorted(path.name for path in bundle.path.iterdir()) == ["card.json", "model.onnx"]


def test_a_name_that_is_taken(toy_bundle: Path, tmp_path: Path) -> None:
    add(toy_bundle)
    other = changed(toy_bundle, tmp_path / "other", version="2")
    with pytest.raises(BundleError, match="another model is called 'toy'; avgan models remove toy"):
        add(other)
    shutil.rmtree(home() / "models" / "toy")
    (home() / "models" / "toy").mkdir()
    with pytest.raises(BundleError, match="there already and damaged; avgan models remove toy"):
        add(other)
    library.remove("toy")
    assert add(other).card.version == "2"


def test_a_shipped_model_stays(toy_bundle: Path, tmp_path: Path) -> None:
    shipped = installed()[0]
    name = shipped.card.name
    assert add(shipped.path).path == shipped.path
    with pytest.raises(BundleError, match=f"called '{name}'; it came with avgan"):
        add(changed(toy_bundle, tmp_path / "other", name=name))
    with pytest.raises(BundleError, match="came with avgan and stays"):
        library.remove(name)
    assert names() == []


@pytest.mark.parametrize("name", ["", "..", "../toy", "a/b", "/toy", "toy\\x", "x" * 99, ".hidden"])
def test_a_name_is_no_path(toy_bundle: Path, tmp_path: Path, name: str) -> None:
    add(toy_bundle)
    with pytest.raises(BundleError, match="no plain name"):
        add(changed(toy_bundle, tmp_path / "other", name=name))
    with pytest.raises(BundleError, match="no such model"):
        library.remove(name)
    assert names() == ["toy"]


def test_zips_that_are_refused(toy_bundle: Path, tmp_path: Path) -> None:
    content = zipped(toy_bundle)
    link = stat.S_IFLNK | 0o777
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("card.json", bytes(200 << 20))
    bomb = bytearray(buffer.getvalue())
    for signature, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):  # says: 3 GB
        struct.pack_into("<I", bomb, bomb.index(signature) + offset, 3 << 30)
    encrypted = bytearray(content)
    for signature, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        encrypted[encrypted.index(signature) + offset] |= 1
    many = io.BytesIO(content)
    with zipfile.ZipFile(many, "a") as archive:
        for number in range(1_001):
            archive.writestr(f"{number}.txt", b"")
    cases = {
        "unsafe name '../card.json'": with_member(content, "../card.json", b"{}"),
        "unsafe name '/etc/x'": with_member(content, "/etc/x"),
        "unsafe name 'a\\\\..\\\\..\\\\x'": with_member(content, "a\\..\\..\\x"),
        "unsafe name 'C:x'": with_member(content, "C:x"),
        "holds the link 'passwd'": with_member(content, "passwd", b"/etc/passwd", link),
        "more than 1,000 files": many.getvalue(),
        "or 1,073,741,824 bytes": bytes(bomb),
        "encrypted": bytes(encrypted),
        "unusual way": zipped(toy_bundle, method=zipfile.ZIP_LZMA),
        "not a zip file": content[: len(content) // 2],
        "File is not a zip": b"",
        "can't decode": content.replace(b"card.json", b"\xffard.json").replace(
            b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\0\x08"
        ),
        "card.json is missing": with_member(b"", "a.txt"),
        "model.onnx is missing": with_member(b"", "card.json", (toy_bundle / "card.json").read_bytes()),
    }
    for expected, bad in cases.items():
        path = write(tmp_path / "bad.zip", bad)
        for use in (add, load):  # the rules hold with `--model` as well
            with pytest.raises(BundleError) as caught:
                use(path)
            assert expected in str(caught.value)
            assert "bad.zip" in str(caught.value)
            assert str(home()) not in str(caught.value)
            assert "\n" not in str(caught.value)
        assert names() == []
        assert left_over(home()) == []


def test_a_zip_damaged_anywhere_is_refused_or_harmless(
    toy_bundle: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    content = zipped(toy_bundle)
    for place in rng.integers(0, len(content), 60):
        bad = bytearray(content)
        bad[place] ^= 1 << int(rng.integers(8))
        with suppress(AvganError):
            bundle = add(write(tmp_path / "bad.zip", bytes(bad)))
            # Only a date, say, was damaged.
            assert bundle.read("model.onnx") == (toy_bundle / "model.onnx").read_bytes()
            library.remove("toy")
    assert names() == []
    assert left_over(home()) == []


def test_bundles_that_are_not_sound(toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"model.onnx": "0" * 64}
    outside = {"../model.onnx": "0" * 64}
    sounds = dict.fromkeys("abcde", "road")
    cases = {
        "sha256 differs": changed(toy_bundle, tmp_path / "a", sha256=wrong),
        "no plain name": changed(toy_bundle, tmp_path / "b", sha256=outside),
        "a bundle of format 9": changed(toy_bundle, tmp_path / "c", format=9),
        "not valid": changed(toy_bundle, tmp_path / "d", labels=[]),
        "shape (1, 4)": changed(toy_bundle, tmp_path / "e", labels=list(sounds), scene_of_label=sounds),
        "no bundle there": tmp_path,
        "cannot be read (No such file": tmp_path / "missing",
    }
    for expected, bad in cases.items():
        with pytest.raises(BundleError) as caught:
            add(bad)
        assert expected in str(caught.value)
        assert str(bad) in str(caught.value)
        assert str(home()) not in str(caught.value)
    text = tmp_path / "f"
    shutil.copytree(toy_bundle, text)
    (text / "model.onnx").write_bytes(b"no network")
    with pytest.raises(BundleError, match="not an ONNX file"):
        add(changed(text, tmp_path / "g"))
    assert names() == []
    assert left_over(home()) == []


def test_a_stated_checksum(toy_bundle: Path, tmp_path: Path) -> None:
    content = zipped(toy_bundle)
    path = write(tmp_path / "toy.zip", content)
    with pytest.raises(BundleError, match="not the one stated"):
        add(path, sha256="0" * 64)
    with pytest.raises(BundleError, match="is a folder"):
        add(toy_bundle, sha256="0" * 64)
    assert names() == []
    add(path, sha256=hashlib.sha256(content).hexdigest())
    assert names() == ["toy"]


def test_a_damaged_model_hides_no_other(toy_bundle: Path) -> None:
    add(toy_bundle)
    (home() / "models" / "broken").mkdir()
    lines: list[str] = []
    assert [bundle.card.name for bundle in library.added(lines.append)] == ["toy"]
    assert len(lines) == 1
    assert "avgan models remove broken" in lines[0]
    with pytest.raises(BundleError, match=r"card\.json is missing"):
        find_bundle("broken")
    library.remove("broken")


def test_a_full_disk(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_bytes(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises(BundleError, match=r"cannot be written .No space left.*AVGAN_HOME"):
            add(toy_bundle)
    assert names() == []
    assert left_over(home()) == []


def test_a_home_that_cannot_be(toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AVGAN_HOME", str(tmp_path / "file"))
    with pytest.raises(BundleError, match="set AVGAN_HOME to another folder"):
        add(toy_bundle)
    with pytest.raises(DataError, match="set AVGAN_HOME to another folder"):
        add("https://localhost/a.zip")
    assert names() == []


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "HOME/.local/share/avgan"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/avgan"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "HOME/.local/share/avgan"),
        ("darwin", {"XDG_DATA_HOME": "/data"}, "HOME/Library/Application Support/avgan"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/avgan"),
        ("win32", {}, "HOME/AppData/Local/avgan"),
        ("linux", {"AVGAN_HOME": "~/models"}, "HOME/models"),
    ],
)
def test_where_models_lie(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("AVGAN_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/somebody"} | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert home().as_posix() == expected.replace("HOME", "/somebody")


class Server(ThreadingHTTPServer):
    """Serves one file at any address; breaks off where it is told to."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.ranges: list[str] = []
        self.breaks_at: list[int] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/toy.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range", "")
        server.ranges.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(wanted[6:-1]) if wanted else 0
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        stop = server.breaks_at.pop(0) if server.breaks_at else len(body)
        self.wfile.write(body[:stop])


@pytest.fixture
def server(toy_bundle: Path) -> Iterator[Server]:
    with Server(zipped(toy_bundle)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_model_from_an_address(server: Server) -> None:
    add(server.url)
    assert names() == ["toy"]
    assert left_over(home()) == []


def test_a_download_that_was_given_up_is_resumed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.breaks_at = [100]

    def give_up(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("avgan.download.download.__kwdefaults__", {"sleep": give_up})
        with pytest.raises(KeyboardInterrupt):
            add(server.url)
    assert len(left_over(home())) == 1  # what arrived
    add(server.url)
    assert server.ranges == ["", "bytes=100-"]
    assert names() == ["toy"]
    assert left_over(home()) == []


def test_what_arrives_is_not_what_was_stated(server: Server) -> None:
    good = hashlib.sha256(server.content).hexdigest()
    server.content = server.content[:-1] + b"x"
    with pytest.raises(DataError, match="deleted, run the command again"):
        add(server.url, sha256=good)
    assert (names(), left_over(home())) == ([], [])


def test_what_arrives_is_no_bundle(server: Server) -> None:
    server.content = b"<html>please log in</html>"
    with pytest.raises(BundleError, match="not a zip file") as caught:
        add(server.url)
    assert server.url in str(caught.value)
    assert (names(), left_over(home())) == ([], [])
    server.status = 404
    with pytest.raises(DataError, match="answers 404"):
        add(server.url)


def test_what_arrives_is_too_large(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MAX_BYTES", 1_000)
    with pytest.raises(DataError, match="more than the 1,000 bytes"):
        add(server.url)
    assert (names(), left_over(home())) == ([], [])


def test_what_was_killed_is_removed_and_two_wait_for_each_other(toy_bundle: Path, server: Server) -> None:
    half = home() / "incoming" / "tmpabc" / "stage"
    half.mkdir(parents=True)
    (half / "model.onnx").write_bytes(bytes(1_000))
    refused: list[str] = []

    def add_too(line: str) -> None:  # said while the first is at work
        with pytest.raises(BundleError, match="another avgan adds or removes a model") as caught:
            add(server.url)
        refused.append(str(caught.value))

    server.breaks_at = [100]
    library.add(server.url, say=add_too)
    assert len(refused) == 1
    assert names() == ["toy"]
    assert left_over(home()) == []


@pytest.mark.parametrize("url", ["http://example.org/a.zip", "ftp://localhost/a", "file:///a.zip"])
def test_an_address_that_cannot_be_trusted(url: str) -> None:
    with pytest.raises(BundleError, match="https address"):
        add(url)
