"""Recordings are found wherever they are named: folders, patterns, lists, manifests."""

import json
import os
from pathlib import Path

import pytest

from avgan.archive.sources import (
    expand,
    find_all,
    find_recordings,
    paths_of,
    read_list,
    read_manifest,
)
from avgan.errors import AudioError, DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_searched(tmp_path: Path) -> None:
    touch(
        tmp_path, "b.WAV", "a.mp3", "sub/deep er/ü.webm", "notes.txt", ".hidden.wav", "x.wav/in.ogg"
    )
    names = [path.relative_to(tmp_path).as_posix() for path in find_recordings(tmp_path)]
    assert names == ["a.mp3", "b.WAV", "sub/deep er/ü.webm", "x.wav/in.ogg"]
    assert find_recordings(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(AudioError, match="no recording"):
        find_recordings((tmp_path / "empty").mkdir() or tmp_path / "empty")


def test_patterns_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "b.wav", "a.wav", "a.txt", "x/c.flac", "x/y/d.wav", "[1].wav", "odd.bin")
    assert expand("*.wav") == ["[1].wav", "a.wav", "b.wav"]
    assert expand("**/*.wav") == ["[1].wav", "a.wav", "b.wav", os.path.join("x", "y", "d.wav")]
    assert expand("*") == ["[1].wav", "a.wav", "b.wav", "x"]  # no text where there are recordings
    assert expand("*.bin") == ["odd.bin"]  # but what was asked for
    assert expand("[1].wav") == ["[1].wav"]  # a name before it is a pattern
    assert expand("none*.wav") == ["none*.wav"]  # which will be said to be missing
    recordings, num_empty = find_all(["*", "none"], complain=print)
    assert [recording.name for recording in recordings] == [
        "[1].wav", "a.wav", "b.wav", os.path.join("x", "c.flac"), os.path.join("x", "y", "d.wav"),
        "none",
    ]  # fmt: skip
    assert num_empty == 0


def test_folders_without_recordings_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "empty").mkdir()
    assert find_all([str(tmp_path / "empty"), "x.wav"], complain=said.append)[1] == 1
    assert len(said) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a.wav\nb c.wav\n\nd.wav", ["a.wav", "b c.wav", "d.wav"]),
        (b"a.wav\r\nb.wav\r\n", ["a.wav", "b.wav"]),
        (b"with\nnewline.wav\0b.wav\0", ["with\nnewline.wav", "b.wav"]),
        ("ü.wav\n".encode() + b"\xff.wav\n", ["ü.wav", os.fsdecode(b"\xff.wav")]),
    ],
)
def test_lists(content: bytes, expected: list[str]) -> None:
    assert read_list(content) == expected


def test_manifests_name_paths_relative_to_themselves(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        '\ufefflabel,path\nrain,"x, y.wav"\nsea,/abs.wav\nrain,"x, y.wav"\n'
    )
    assert read_manifest(tmp_path / "a.csv") == [str(tmp_path / "x, y.wav"), "/abs.wav"]
    rows = [{"path": "ü.wav"}, {"path": "", "audio_path": "b.wav"}]
    lines = "\n\n".join(map(json.dumps, rows))
    (tmp_path / "a.jsonl").write_text(lines)
    assert read_manifest(tmp_path / "a.jsonl") == [str(tmp_path / "ü.wav"), str(tmp_path / "b.wav")]
    assert paths_of(Path("here/m.parquet"), [{"path": "a.wav"}]) == [os.path.join("here", "a.wav")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "file,label\na.wav,rain\n", "row 1 names no recording"),
        ("a.jsonl", '{"path": "a.wav"}\n{"path": 3}\n', "row 2 names no recording"),
        ("a.jsonl", '{"path": "a.wav"}\nnot json\n', "line 2 is no JSON object"),
        ("a.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("a.csv", None, "No such file"),
    ],
)
def test_manifests_that_are_none(
    tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=reason):
        read_manifest(tmp_path / name)
