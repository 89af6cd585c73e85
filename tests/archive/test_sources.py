"""Recordings are found wherever they are named: folders, patterns, lists, manifests."""

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan.archive.sources import expand, find_all, find_recordings, paths_of, read_list, read_manifest, summary
from avgan.audio import read_audio
from avgan.errors import AudioError, DataError
from avgan.media.kinds import is_sound


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_searched(tmp_path: Path) -> None:
    touch(tmp_path, "b.WAV", "a.mp3", "sub/deep er/ü.webm", "notes.txt", ".hidden.wav", "x.wav/in.ogg")
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
    recordings, num_empty = find_all(["*", "none"], on_error=print)
    assert [recording.name for recording in recordings] == [
        "[1].wav",
        "a.wav",
        "b.wav",
        os.path.join("x", "c.flac"),
        os.path.join("x", "y", "d.wav"),
        "none",
    ]
    assert num_empty == 0


def test_folders_without_recordings_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "empty").mkdir()
    assert find_all([str(tmp_path / "empty"), "x.wav"], on_error=said.append)[1] == 1
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
    (tmp_path / "a.csv").write_text('\ufefflabel,path\nrain,"x, y.wav"\nsea,/abs.wav\nrain,"x, y.wav"\n')
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
def test_manifests_that_are_none(tmp_path: Path, name: str, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=reason):
        read_manifest(tmp_path / name)


def sound(path: Path) -> Path:
    soundfile.write(path, np.zeros(160), 16_000, format="WAV")
    return path


def test_what_is_passed_over_is_counted_by_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.txt", "c.txt", "d.jpg", "nothing", ".DS_Store", ".git/config")
    (tmp_path / "b.txt").write_text("a list")
    (tmp_path / "c.txt").write_text("another")
    (tmp_path / "d.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(9_000))
    (tmp_path / "notes").write_text("no sound")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "never was")
    os.mkfifo(tmp_path / "pipe.wav")
    counts: Counter[str] = Counter()
    assert [path.name for path in find_recordings(tmp_path, counts)] == ["a.wav"]
    assert counts == {
        ".txt": 2,
        ".jpg": 1,
        "empty": 1,
        "hidden": 2,
        "without an ending": 1,
        "links to nothing": 1,
        "no files": 1,
    }
    assert summary(counts).startswith("9 files passed over: 2 .txt, 2 hidden, ")
    counts.clear()
    recordings, _ = find_all([str(tmp_path / "*")], on_error=print, passed_over=counts)
    assert [Path(recording.name).name for recording in recordings] == ["a.wav"]
    assert counts[".txt"] == 2


def test_linked_folders_are_searched_once(tmp_path: Path) -> None:
    (tmp_path / "archive" / "deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    sound(tmp_path / "archive" / "a.wav")
    sound(tmp_path / "other" / "b.wav")
    (tmp_path / "archive" / "linked").symlink_to("../other")
    (tmp_path / "archive" / "twice").symlink_to("../other")
    (tmp_path / "archive" / "deep" / "up").symlink_to("..")
    (tmp_path / "archive" / "c.wav").symlink_to("a.wav")  # a name of its own
    counts: Counter[str] = Counter()
    found = find_recordings(tmp_path / "archive", counts)
    names = [path.relative_to(tmp_path / "archive").as_posix() for path in found]
    assert names == ["a.wav", "c.wav", "linked/b.wav"]
    assert counts == {"folders that were searched already": 2}


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_whatever_is_heard_by_its_name_is_heard_in_a_folder(tmp_path: Path) -> None:
    plain = "wv tta voc eac3 aac mp3 mp2 ac3 caf mka m4a wma au aiff w64 nut avi opus flac"
    made: dict[str, list[str]] = {suffix: [] for suffix in plain.split()} | {
        "dts": ["-strict", "-2"],
        "ts": ["-c:a", "aac"],
        "flv": ["-ar", "44100"],
        "spx": ["-c:a", "libvorbis", "-f", "ogg"],
        "rf64": ["-f", "wav", "-rf64", "always"],
        "mpg": ["-c:a", "mp2"],
        "3gp": ["-c:a", "aac"],
    }
    command = ["ffmpeg", "-loglevel", "error", "-nostdin", "-f", "lavfi", "-i", "sine=duration=2:sample_rate=48000"]
    for suffix, options in made.items():  # of one process: most of the time it takes to start
        command += [*options, str(tmp_path / f"a.{suffix}")]
    subprocess.run(command, check=True)
    for suffix in made:
        shutil.copy(tmp_path / f"a.{suffix}", tmp_path / f"{suffix} without an ending")
    counts: Counter[str] = Counter()
    found = find_recordings(tmp_path, counts)
    assert len(found) == 2 * len(made), set(tmp_path.iterdir()) - set(found)
    assert not counts
    for path in found:
        assert len(read_audio(path)) > 31_000, path


def test_noise_is_no_recording(rng: np.random.Generator) -> None:
    heads = [rng.bytes(8_192) for _ in range(300)]
    heads += [b"\xff\xfe" + "a text of Windows\n".encode("utf-16-le") * 200, b"\xff\xfb" + bytes(8_000)]
    heads += [b"\0\0\0\x18ftypheic" + bytes(99), b"RIFF\0\0\0\0WEBPVP8 ", b"%PDF-1.7", b"import {x} from 'y';\n" * 99]
    assert not any(map(is_sound, heads))
