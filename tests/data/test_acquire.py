"""Getting and checking a data set as a whole: licence first, archives unpacked, problems in plain words."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from avgan.data import acquire
from avgan.data.datasets import DATASETS, Remote
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError

Maker = Callable[..., Path]

INDEX = "path,scene,split\ntrain/yard/1.png,yard,train\nval/coast/1.png,coast,val\n"


@pytest.fixture
def archive(tmp_path: Path, picture: Maker) -> bytes:
    """A tiny MiniPlaces in a zip, inside one outer folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as files:
        files.writestr("outer/index.csv", INDEX)
        for name in ("train/yard/1.png", "val/coast/1.png"):
            files.write(picture(tmp_path / "source.png"), f"outer/{name}")
    return buffer.getvalue()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, archive: bytes) -> list[str]:
    """MiniPlaces as if it could be fetched; returns the files asked for. HTTP has tests of its own."""
    asked: list[str] = []

    def download(remote: Remote, target: Path, say: Callable[[str], None]) -> None:
        asked.append(remote.filename)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive)

    remote = Remote(url="https://host/mini.zip", filename="mini.zip", unpack=True, strip=1)
    declared = replace(DATASETS["miniplaces"], remotes=(remote,))
    monkeypatch.setitem(DATASETS, "miniplaces", declared)
    monkeypatch.setattr(acquire, "download", download)
    return asked


def test_get_says_the_licence_first_and_unpacks(tmp_path: Path, served: list[str]) -> None:
    said: list[str] = []
    folder = acquire.get("miniplaces", tmp_path, say=said.append)
    assert folder == tmp_path / "miniplaces"
    assert DATASETS["miniplaces"].licence in said[0]
    assert acquire.check("miniplaces", tmp_path) == []
    assert sorted(path.name for path in folder.iterdir()) == [".complete", "index.csv", "train", "val"]


def test_get_again_fetches_nothing(tmp_path: Path, served: list[str]) -> None:
    for _ in range(2):
        acquire.get("miniplaces", tmp_path, say=lambda line: None)
    assert served == ["mini.zip"]


def test_get_after_a_broken_unpacking_unpacks_again(
    tmp_path: Path, served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack_half(archive: Path, folder: Path, *, strip: int) -> None:
        (folder / "index.csv").write_text(INDEX)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(acquire, "unpack", unpack_half)
        with pytest.raises(KeyboardInterrupt):
            acquire.get("miniplaces", tmp_path, say=lambda line: None)
    assert acquire.check("miniplaces", tmp_path) != []
    acquire.get("miniplaces", tmp_path, say=lambda line: None)
    assert acquire.check("miniplaces", tmp_path) == []
    assert served == ["mini.zip"]


def test_an_archive_put_there_by_hand_is_verified(
    tmp_path: Path, served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = DATASETS["miniplaces"]
    remotes = (replace(declared.remotes[0], bytes=5),)
    monkeypatch.setitem(DATASETS, "miniplaces", replace(declared, remotes=remotes))
    (tmp_path / "miniplaces").mkdir()
    (tmp_path / "miniplaces" / "mini.zip").write_bytes(b"page of errors")
    with pytest.raises(DataError, match="has 14 bytes, published are 5"):
        acquire.get("miniplaces", tmp_path, say=lambda line: None)


def test_get_leaves_what_somebody_else_put_there(tmp_path: Path, served: list[str]) -> None:
    (tmp_path / "miniplaces").mkdir()
    (tmp_path / "miniplaces" / "index.csv").write_text(INDEX)
    said: list[str] = []
    acquire.get("miniplaces", tmp_path, say=said.append)
    assert served == []
    assert "already in" in said[-1]


def test_what_no_program_can_fetch_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no program can fetch it; ask for the MiniPlaces"):
        acquire.get("miniplaces", tmp_path, say=lambda line: None)


def zip_of(path: Path, name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as files:
        files.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["outer/../../evil.txt", "../evil.txt", "a/../b.txt"])
def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path / "a.zip", name, b"x")
    with pytest.raises(DataError, match="unsafe name"):
        acquire.unpack(archive, tmp_path / "set", strip=0)
    assert not (tmp_path / "evil.txt").exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_archive_is_deleted_and_said(tmp_path: Path, compression: int) -> None:
    archive = zip_of(tmp_path / "a.zip", "a.txt", bytes(range(256)), compression)
    damaged = bytearray(archive.read_bytes())
    damaged[36] ^= 0xFF  # 30 bytes of header, 5 of name, then the content
    archive.write_bytes(damaged)
    with pytest.raises(DataError, match=r"a\.zip: damaged .*deleted; run the command again"):
        acquire.unpack(archive, tmp_path / "set", strip=0)
    assert not archive.exists()
    assert not (tmp_path / "set" / "a.txt").exists()


def test_check_names_missing_damaged_and_altered_files(
    tmp_path: Path, tone: Maker, picture: Maker, video: Maker
) -> None:
    tone(tmp_path / "good.wav")
    picture(tmp_path / "good.jpg")
    video(tmp_path / "good.mp4")
    (tmp_path / "bad.wav").write_bytes(b"RIFF, not quite")
    (tmp_path / "bad.jpg").write_bytes(b"not a picture")
    clips = (
        Clip(id="0", source_id="0", audio_path="good.wav", image_path="good.jpg"),
        Clip(id="1", source_id="1", audio_path="good.mp4", image_path="good.mp4", frame_s=1.0),
        Clip(id="2", source_id="2", audio_path="bad.wav"),
        Clip(id="3", source_id="3", image_path="bad.jpg"),
        Clip(id="4", source_id="4", audio_path="absent.wav"),
        Clip(id="5", source_id="5", audio_path="absent.wav", start_s=5.0),
        Clip(id="6", source_id="6", audio_path="good.wav", audio_sha256="0" * 64),
        Clip(id="7", source_id="7", audio_path="good.wav", start_s=60.0),
    )
    problems = acquire.check_media(Manifest("own", tmp_path, clips))
    assert len(problems) == 5
    for problem, expected in zip(
        problems, ["bad.wav", "bad.jpg", "absent.wav: missing", "good.wav: altered", "no sound from 60 s"], strict=True
    ):
        assert expected in problem


def test_check_of_nothing_says_how_to_get_it(tmp_path: Path) -> None:
    assert "avgan data get esc50" in acquire.check("esc50", tmp_path)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["esc50", "miniplaces"])
def test_every_file_of_the_real_data_can_be_decoded(data_root: Path, name: str) -> None:
    assert acquire.check(name, data_root) == []
