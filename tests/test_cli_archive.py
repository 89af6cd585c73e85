"""`avgan classify` on archives: named in many ways, resumed, killed, on full disks; always the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from avgan import cli

RATE_HZ = 16_000
Avgan = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def archive(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Nine recordings of 0.2 to 4 s in folders with odd names; and one file that is none."""
    for number in range(9):
        path = tmp_path / f"day {number % 3}" / f"ü {number}.wav"
        path.parent.mkdir(exist_ok=True)
        samples = rng.uniform(-0.5, 0.5, RATE_HZ * (number // 2) + 3_200) * (number % 4) / 3
        soundfile.write(path, samples, RATE_HZ)
    (tmp_path / "day 1" / "bad.wav").write_text("text")
    return tmp_path


@pytest.fixture
def avgan(avgan: Avgan, archive: Path) -> Avgan:
    """Run a command on the toy model, in the archive."""
    return partial(avgan, model=True)


def test_an_archive_can_be_named_in_many_ways(avgan: Avgan, archive: Path) -> None:
    names = [str(path.relative_to(archive)) for path in sorted(archive.rglob("*.wav"))]
    (archive / "list.txt").write_text("\n".join(names))
    (archive / "list.csv").write_text("path,label\n" + "".join(f"{name},x\n" for name in names))
    (archive / "list.jsonl").write_text("".join(json.dumps({"path": n}) + "\n" for n in names))
    status, expected, _ = avgan("classify", *names, "--format", "csv")
    assert status == 1
    assert expected.count("\n") == 1 + len(names)
    ways: list[tuple[list[str], bytes]] = [
        (["day 0", "day 1", "day 2"], b""),
        (["day */*.wav"], b""),
        (["**/*.wav"], b""),
        (["--list", "list.txt"], b""),
        (["--list", "list.csv"], b""),
        (["--list", "list.jsonl"], b""),
        (["--list", "-"], "\0".join(names).encode()),
        (["day 0", "--list", "-"], "\r\n".join(n for n in names if "day 0" not in n).encode()),
    ]
    for arguments, stdin in ways:
        found = avgan("classify", *arguments, "--format", "csv", stdin=stdin)
        assert found[:2] == (1, expected), arguments


def test_a_parquet_manifest(avgan: Avgan, archive: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    clips = ["day 0/ü 0.wav", "day 0/ü 3.wav", "day 0/ü 3.wav"]  # two excerpts of one
    pq.write_table(pa.table({"id": ["a", "b", "c"], "audio_path": clips}), archive / "m.parquet")
    status, out, _ = avgan("classify", "--list", "m.parquet", "--format", "jsonl")
    assert status == 0
    assert [json.loads(line)["path"] for line in out.splitlines()] == clips[:2]
    (archive / "broken.parquet").write_text("text")
    assert avgan("classify", "--list", "broken.parquet")[0] == 1


@pytest.mark.parametrize("more", [[], ["--hop", "0.25"], ["--hop", "0.25", "--windows"]])
def test_the_bytes_do_not_depend_on_the_jobs(avgan: Avgan, archive: Path, more: list[str]) -> None:
    found = []
    for number, jobs in enumerate((1, 2, 7)):
        printed = avgan("classify", ".", "--format", "jsonl", "--jobs", jobs, *more)
        avgan("classify", ".", "-o", f"{number}.jsonl", "--jobs", jobs, *more)
        assert (archive / f"{number}.jsonl").read_text() == printed[1]
        found.append(printed[:2])  # what is passed over are the files of the rounds before, too
    assert found[0] == found[1] == found[2]
    name = os.path.join("day 2", "ü 8.wav")
    _, alone, _ = avgan("classify", name, "--format", "jsonl", *more)
    assert alone in found[0][1]
    assert alone.count("\n") == sum(json.dumps(name) in line for line in found[0][1].splitlines())


def test_the_shipped_bundle_gives_the_same_bytes_too(data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from avgan.runtime.bundle import installed

    if not installed():
        pytest.skip("no bundle is installed")
    clips = sorted((data_root / "esc50" / "audio").glob("5-*"))[:3]
    found = []
    for jobs in ("1", "2"):
        assert cli.main(["classify", *map(str, clips), "--format", "jsonl", "--jobs", jobs]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    assert cli.main(["classify", str(clips[0]), "--format", "jsonl"]) == 0
    assert capsys.readouterr().out == found[0].splitlines(keepends=True)[0]


def test_only_the_rest_is_done(avgan: Avgan, archive: Path) -> None:
    (archive / "later").mkdir()
    (archive / "day 2").rename(archive / "later" / "day 2")
    first = ["classify", "day 0", "day 1", "-o", "out/rows.csv"]
    assert avgan(*first)[0] == 1
    everything = ["classify", "day 0", "day 1", "later", "-o", "out/rows.csv"]
    status, out, lines = avgan(*everything)
    assert (status, out) == (1, "")
    assert lines == [
        "avgan: out/rows.csv: holds 7 recordings, 3 are left",
        "avgan: 1 failed in earlier runs; --retry tries them again",
        "avgan: wrote out/rows.csv",
    ]
    again = (archive / "out/rows.csv").read_bytes()
    assert avgan(*everything)[0] == 1
    assert (archive / "out/rows.csv").read_bytes() == again
    bad = archive / "day 1" / "bad.wav"
    bad.write_bytes((archive / "day 1" / "ü 1.wav").read_bytes())
    assert avgan(*everything, "--retry")[0] == 0
    assert avgan(*everything)[0] == 0
    rows = (archive / "out/rows.csv").read_text().splitlines()
    assert len(rows) == 1 + 10  # those of the failure are gone
    status, _, lines = avgan(*everything, "--top", "1")
    assert status == 1
    assert len(lines) == 1
    assert "name another file" in lines[0]


def test_a_file_is_named_with_its_checksum_rate_and_makers(avgan: Avgan, archive: Path) -> None:
    import hashlib

    path = archive / "day 2" / "ü 8.wav"
    _, out, _ = avgan("classify", path, "--format", "jsonl")
    row = json.loads(out)
    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (row["rate_hz"], row["duration_s"]) == (RATE_HZ, 4.2)
    assert row["made_with"].startswith("avgan ")
    assert ", toy 1 " in row["made_with"]
    _, piped, _ = avgan("classify", "-", "--format", "jsonl", stdin=path.read_bytes())
    assert json.loads(piped)["sha256"] == row["sha256"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["day 0", "-o", "rows.txt"], "name a .csv or a .jsonl file"),
        (["day 0", "-o", "rows.csv", "--format", "jsonl"], "leave --format out"),
        (["day 0", "--retry"], "name it with --output"),
        (["day 0", "--format", "audacity"], "of one recording, not of 3"),
        (["-", "--list", "-"], "a recording or a list, not both"),
        (["day 0", "--jobs", "0"], "--jobs"),
    ],
)
def test_what_does_not_go_together(avgan: Avgan, arguments: list[str], expected: str) -> None:
    status, out, lines = avgan("classify", *arguments)
    assert (status, out, len(lines)) == (2, "", 1)
    assert expected in lines[0]


@pytest.mark.parametrize("content", [None, "label\nrain\n"])
def test_a_list_that_is_none(avgan: Avgan, archive: Path, content: str | None) -> None:
    if content:
        (archive / "list.csv").write_text(content)
    status, out, lines = avgan("classify", "--list", "list.csv")
    assert (status, out, len(lines)) == (1, "", 1)
    assert "list.csv" in lines[0]


@contextmanager
def started(toy_bundle: Path, folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "avgan", "classify", *arguments, "--model", str(toy_bundle)]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_a_process_that_is_ended_is_gone_on_with(
    toy_bundle: Path, tmp_path: Path, avgan: Avgan, sent: signal.Signals, status: int
) -> None:
    """Some windows of a long recording have been written, and others are done, when the signal comes."""
    for number, num_parts in enumerate((1, 1, 200)):
        with soundfile.SoundFile(tmp_path / f"{number}.flac", "w", RATE_HZ, 1) as file:
            for _ in range(num_parts):
                file.write(np.zeros(6 * RATE_HZ, np.int16))
    wanted = ["*.flac", "-o", "rows.csv", "--hop", "0.05", "--windows", "--jobs", "2"]
    rows = tmp_path / "rows.csv"
    with started(toy_bundle, tmp_path, *wanted) as process:
        while process.poll() is None and not (rows.exists() and "2.flac" in rows.read_text()):
            time.sleep(0.05)
        process.send_signal(sent)
        assert process.wait(60) == status
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
    assert lines == (["avgan: terminated; what was finished before is kept"] if status == 143 else [])
    (tmp_path / "2.flac").write_bytes((tmp_path / "1.flac").read_bytes())  # what is left is short
    _, _, lines = avgan("classify", *wanted)
    assert lines[0] == "avgan: rows.csv: holds 2 recordings, 1 are left"
    done = rows.read_text().splitlines()
    num_windows = len(done) // 3
    assert len(done) == 1 + 3 * num_windows
    assert sum(line.startswith("2.flac,") for line in done) == num_windows
    assert sum("avgan " in line for line in done) == 3


def test_a_full_disk_is_one_line(toy_bundle: Path, archive: Path, avgan: Avgan) -> None:
    resource = pytest.importorskip("resource")
    limit = 6_000

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-B", "-m", "avgan", "classify", ".", "-o", "rows.jsonl"]
    result = subprocess.run(
        [*command, "--model", str(toy_bundle)], cwd=archive, preexec_fn=limited, capture_output=True, text=True
    )
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if "bad.wav" not in line]
    assert line.startswith("avgan: rows.jsonl: cannot be written (File too large); make room")
    assert (archive / "rows.jsonl").stat().st_size == limit  # and in it half a row, which is cut off
    assert avgan("classify", ".", "-o", "rows.jsonl")[2][0].endswith(" are left")
    assert avgan("classify", ".", "-o", "whole.jsonl")[0] == 1
    assert (archive / "rows.jsonl").read_bytes() == (archive / "whole.jsonl").read_bytes()


@pytest.mark.slow
def test_a_cluster_gives_the_same_rows(avgan: Avgan, archive: Path) -> None:
    ray = pytest.importorskip("ray")
    for more in ([], ["--hop", "0.5", "--windows"]):
        wanted = ["classify", ".", "none.wav", "--format", "jsonl", *more]
        here = avgan(*wanted)
        there = avgan(*wanted, "--engine", "ray", "--jobs", "2")
        assert there == here
        assert here[0] == 1
    assert not ray.is_initialized()


@pytest.mark.parametrize("output", [(), ("-o", "x.csv")])
def test_a_summary_counts_what_a_folder_held_by_reason(
    tmp_path: Path, run: Callable[..., Any], tone_wav: Path, output: tuple[str, ...]
) -> None:
    archive = tmp_path / "archive"
    (archive / "below").mkdir(parents=True)
    (archive / "nothing").mkdir()
    for name in ("a.wav", "below/b.wav", "c"):
        (archive / name).write_bytes(tone_wav.read_bytes())
    for name in ("notes.txt", "more.txt", "picture.jpg", ".hidden.wav"):
        (archive / name).write_bytes(b"text")
    (archive / "empty").touch()
    (archive / "broken.wav").write_bytes(b"no sound" * 9)
    arguments = ("classify", archive, archive / "nothing", "--summary", "s.json", *output)
    ran = run(*arguments, model=True)
    assert ran.returncode == 1
    expected = {
        "found": 4,
        "done_before": 0,
        "heard": 3,
        "failed": {"not a sound file that can be decoded": 1},
        "failed_before": 0,
        "passed_over": {".txt": 2, ".jpg": 1, "hidden": 1, "empty": 1},
        "without_recordings": 1,
    }
    assert json.loads((tmp_path / "s.json").read_text()) == expected
    assert "5 files passed over: 2 .txt, 1 .jpg, 1 empty, 1 hidden" in ran.stderr
    if output:
        run(*arguments, model=True)
        again = json.loads((tmp_path / "s.json").read_text())
        assert again == expected | {
            "done_before": 4,
            "heard": 0,
            "failed": {},
            "failed_before": 1,
            "passed_over": expected["passed_over"],
        }
