"""`avgan classify` as people meet it: real files, every bad input there is."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan.images import read_image
from sounds import encoded

Run = Callable[..., subprocess.CompletedProcess[str]]
RATE_HZ = 16_000


def write_bad_inputs(folder: Path, tone: np.ndarray) -> dict[str, tuple[Path, str]]:
    """Inputs that give no answer, each with what its line must say."""
    empty = folder / "empty.wav"
    empty.touch()
    no_samples = folder / "no samples.wav"
    soundfile.write(no_samples, np.zeros(0), RATE_HZ)
    text = folder / "text.wav"
    text.write_text("this is a shopping list\n" * 50)
    cut = folder / "cut.m4a"
    content = encoded(tone, kind="M4A")
    cut.write_bytes(content[: len(content) // 2])
    nan = folder / "nan.wav"
    soundfile.write(nan, np.full(RATE_HZ, np.nan, np.float32), RATE_HZ, subtype="FLOAT")
    no_recordings = folder / "folder"
    no_recordings.mkdir()
    return {
        "empty": (empty, "is empty"),
        "no samples": (no_samples, "holds no sound"),
        "text": (text, "not a sound file"),
        "cut": (cut, "not a sound file"),
        "nan": (nan, "no sample is a finite number"),
        "folder": (no_recordings, "no recording in this folder"),
        "missing": (folder / "missing.wav", "no such file"),
    }


def write_odd_inputs(folder: Path, tone: np.ndarray) -> dict[str, tuple[Path, str]]:
    """Inputs that do give an answer, each with what it is warned of ("": nothing)."""

    def write(name: str, samples: np.ndarray, rate_hz: int, subtype: str) -> Path:
        soundfile.write(folder / name, samples, rate_hz, subtype=subtype)
        return folder / name

    part = write("part.wav", tone, RATE_HZ, "PCM_16")
    part.write_bytes(part.read_bytes()[: part.stat().st_size * 3 // 4])
    some_nan = tone.copy()
    some_nan[:10] = np.nan
    return {
        "silent": (write("silent.wav", 0 * tone, RATE_HZ, "PCM_16"), "is silent"),
        "clipped": (write("clipped.wav", np.clip(9 * tone, -1, 1), RATE_HZ, "PCM_16"), "clipped"),
        "some nan": (write("some-nan.wav", some_nan, RATE_HZ, "FLOAT"), "not numbers"),
        "studio": (write("studio.wav", np.tile(tone[:, None], 8), 96_000, "PCM_24"), "shorter"),
        "1 ms": (write("1ms.wav", tone[:16], RATE_HZ, "PCM_16"), "shorter than 1 s"),
        "truncated": (part, "damaged"),
        "name": (write("Straße am Meer 海 '\"$.wav", tone, RATE_HZ, "PCM_16"), ""),
    }


def test_every_odd_input_gives_an_answer_and_every_bad_one_a_line(
    run: Run, tmp_path: Path, make_tone: Callable[..., np.ndarray]
) -> None:
    tone = make_tone(duration_s=2.0)
    (tmp_path / "in put").mkdir()
    bad = write_bad_inputs(tmp_path / "in put", tone)
    odd = write_odd_inputs(tmp_path / "in put", tone)
    paths = [path for pair in zip(bad.values(), odd.values(), strict=True) for path, _ in pair]
    result = run("classify", "--format", "jsonl", *paths, model=True)
    assert result.returncode == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    answers = [row for row in rows if "error" not in row]
    assert [answer["path"] for answer in answers] == [str(path) for path, _ in odd.values()]
    assert {row["path"] for row in rows if "error" in row} == {
        str(path) for kind, (path, _) in bad.items() if kind != "folder"
    }
    lines = result.stderr.splitlines()
    assert "6 of 13 failed: 2 not a sound file that can be decoded" in lines[-1]
    for path, expected in bad.values():
        (line,) = [line for line in lines if str(path) in line]
        assert expected in line
    for answer, (path, expected) in zip(answers, odd.values(), strict=True):
        assert sum(answer["scenes"].values()) <= 1.001
        assert any(expected in warning for warning in answer["warnings"]) == bool(expected)
        assert any(str(path) in line for line in lines) == bool(expected)
    assert all(line.startswith("avgan: ") for line in lines)


@pytest.mark.parametrize("kind", ["empty", "no samples", "text", "cut", "nan", "folder", "missing"])
def test_a_bad_input_alone(run: Run, tmp_path: Path, make_tone: Callable[..., np.ndarray], kind: str) -> None:
    path, expected = write_bad_inputs(tmp_path, make_tone())[kind]
    for arguments in (["classify", path], ["imagine", path, "-o", tmp_path / "picture.png"]):
        result = run(*arguments, model=True)
        assert result.returncode == 1
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        assert expected in result.stderr or "is a folder" in result.stderr
    assert not (tmp_path / "picture.png").exists()


def test_formats_and_outputs(run: Run, tone_wav: Path, tmp_path: Path) -> None:
    table = run("classify", tone_wav, model=True)
    assert table.returncode == 0
    assert table.stderr == ""
    assert str(tone_wav) in table.stdout
    (from_json,) = json.loads(run("classify", tone_wav, "--format", "json", model=True).stdout)
    over_time = ["classify", tone_wav, "--format", "csv", "--hop", "0.5"]
    for more, expected in (([], 1), (["--windows"], 3)):
        rows = run(*over_time, *more, model=True).stdout
        assert len(list(csv.DictReader(io.StringIO(rows)))) == expected
    labels = run("classify", tone_wav, "--format", "audacity", model=True).stdout
    heard = f"{from_json['scene']}: {from_json['sound']}"
    assert labels == f"0.000000\t2.000000\t{heard}\n"
    result = run(
        "classify",
        tmp_path,
        "--images",
        "new/pictures",
        "--report",
        "new/page.html",
        "--top",
        "1",
        "--format",
        "jsonl",
        model=True,
    )
    answer = json.loads(result.stdout)
    assert answer["scene"] == from_json["scene"]
    assert len(answer["scenes"]) == 1
    assert read_image(tmp_path / "new" / "pictures" / "tone.png").shape == (3, 128, 128)
    assert "tone.wav" in (tmp_path / "new" / "page.html").read_text()


def test_several_pictures_of_one_recording(run: Run, tone_wav: Path, tmp_path: Path, noisy_bundle: Path) -> None:
    named = ["--model", noisy_bundle]

    def drawn(folder: str) -> list[bytes]:
        return [path.read_bytes() for path in sorted((tmp_path / folder).glob("*.png"))]

    four = run("classify", tone_wav, "--images", "four", "--pictures", "4", *named)
    assert four.returncode == 0, four.stderr
    names = sorted(path.name for path in (tmp_path / "four").iterdir())
    assert names == ["tone (2).png", "tone (3).png", "tone (4).png", "tone.png"]
    assert len(set(drawn("four"))) == 4
    run("classify", tone_wav, "--images", "again", *named)
    assert (tmp_path / "again" / "tone.png").read_bytes() == (tmp_path / "four" / "tone.png").read_bytes()
    run("classify", tone_wav, "--images", "seeded", "--seed", "3", *named)
    assert drawn("seeded") != drawn("again")
    imagined = run("imagine", tone_wav, "-o", "one.png", "--seed", "3", *named)
    assert imagined.returncode == 0, imagined.stderr
    assert read_image(tmp_path / "one.png").shape == (3, 128, 128)
    for options, said in (
        (["--pictures", "2", *named], "needs a folder"),
        (["--images", "x", "--pictures", "2"], "draws one picture of a sound"),
        (["--seed", "2"], "draws one picture of a sound"),
    ):
        refused = run("classify", tone_wav, *options, model="--model" not in options)
        assert refused.returncode == 2
        assert said in refused.stderr


def test_standard_input(run: Run, tone_wav: Path, tmp_path: Path) -> None:
    content = tone_wav.read_bytes()
    piped = run("classify", "-", "--format", "jsonl", "--report", "page.html", model=True, stdin=content)
    (filed,) = run("classify", tone_wav, "--format", "jsonl", model=True).stdout.splitlines()
    assert json.loads(piped.stdout) | {"path": ""} == json.loads(filed) | {"path": ""}
    assert "standard input" in (tmp_path / "page.html").read_text()
    nothing = run("classify", "-", model=True)
    assert nothing.returncode == 1
    assert "is empty" in nothing.stderr
    drawn = run("imagine", "-", "-o", "p.png", model=True, stdin=content)
    assert (tmp_path / "p.png").exists(), drawn.stderr


def test_a_place_where_nothing_can_be_written(run: Run, tone_wav: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for option, place in (("--images", "file/pictures"), ("--report", "file/page.html")):
        result = run("classify", tone_wav, tone_wav, option, place, model=True)
        assert result.returncode == 1
        assert len(result.stdout.splitlines()) == 3  # the answers are there all the same
        assert len(result.stderr.splitlines()) == 1
        assert "cannot be written" in result.stderr
    result = run("imagine", tone_wav, "-o", "file/a.png", model=True)
    assert result.returncode == 1
    assert "choose another place" in result.stderr
    result = run("demo", "-o", "file", model=True)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(run: Run, tone_wav: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    result = run("classify", tone_wav, "--images", "locked", model=True)
    assert result.returncode == 1
    assert "Permission denied" in result.stderr


def test_interrupt(toy_bundle: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    """Ctrl-C in the middle of a long recording: the answer before it is there, and one line."""
    short, long = tmp_path / "short.wav", tmp_path / "long.flac"
    soundfile.write(short, rng.uniform(-0.5, 0.5, RATE_HZ), RATE_HZ)
    with soundfile.SoundFile(long, "w", RATE_HZ, 1) as file:
        for _ in range(20):
            file.write(np.zeros(60 * RATE_HZ, np.int16))
    command = [
        sys.executable,
        "-m",
        "avgan",
        "classify",
        short,
        long,
        "--format",
        "jsonl",
        "--hop",
        "0.01",
        "--model",
        toy_bundle,
    ]
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a job started in the background ignores Ctrl-C, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert json.loads(first)["path"] == str(short)
        assert process.stdout.read() == ""
        assert process.stderr.read().splitlines() == ["avgan: interrupted; what was finished before is kept"]


def test_a_reader_that_goes_away(toy_bundle: Path, tone_wav: Path) -> None:
    """avgan classify ... | head"""
    command = [sys.executable, "-m", "avgan", "classify", *[str(tone_wav)] * 50, "--format", "jsonl"]
    with subprocess.Popen(
        [*command, "--model", str(toy_bundle)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1
