"""`avgan explain`: the strongest stretch in words, a picture, problems in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avgan import cli

RATE_HZ = 16_000
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def hiss_wav(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two seconds: faint noise, and hiss in the third quarter of the second."""
    sound = 0.001 * rng.uniform(-1, 1, 2 * RATE_HZ)
    sound[RATE_HZ * 3 // 2 : RATE_HZ * 7 // 4] = rng.uniform(-0.9, 0.9, RATE_HZ // 4)
    path = tmp_path / "hiss.wav"
    soundfile.write(path, sound, RATE_HZ)
    return path


def test_says_when_and_draws_it(hiss_wav: Path, toy_bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    picture = tmp_path / "why.png"
    command = ["explain", str(hiss_wav), "-o", str(picture), "--model", str(toy_bundle)]
    assert cli.main([*command, "--start", "1"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    first, second = out.splitlines()
    assert first.startswith(f"{hiss_wav} 0:01-0:02  beach: hiss ")
    words = second.split("strongest")[1].split(" s, ")[0].split()
    start_s, end_s = float(words[0]), float(words[2])
    assert 1.4 <= start_s < end_s <= 1.8
    assert "; without it " in second
    assert Image.open(picture).format == "PNG"


def test_answers_in_json(hiss_wav: Path, toy_bundle: Path, capsys: Capture) -> None:
    command = ["explain", str(hiss_wav), "--format", "json", "--model", str(toy_bundle)]
    assert cli.main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["path"] == str(hiss_wav)
    assert (answer["scene"], answer["label"]) == ("beach", "hiss")
    assert len(answer["saliency"][0]) == len(answer["times_s"])
    assert answer["neighbours"] == []


def test_the_unknown_is_called_so(toy_bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(RATE_HZ), RATE_HZ)
    assert cli.main(["explain", str(path), "--model", str(toy_bundle)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "unknown (silent); best guess quiet" in first
    assert "nothing stands out" in second


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["no.wav"], 1, "no such file"),
        (["TONE", "--start", "7"], 1, "ends at 2.0 s"),
        (["TONE", "--start", "-1"], 2, "start"),
        (["TONE", "-o", "/dev/null/why.png"], 1, "cannot be written"),
        (["TONE", "--format", "yaml"], 2, "format"),
        ([], 2, "path"),
    ],
)
def test_problems_are_told_in_one_line(
    tone_wav: Path, toy_bundle: Path, capsys: Capture, arguments: list[str], status: int, line: str
) -> None:
    named = [str(tone_wav) if word == "TONE" else word for word in arguments]
    assert cli.main(["explain", *named, "--model", str(toy_bundle)]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert line in err.lower()


def test_reads_standard_input(
    hiss_wav: Path,
    toy_bundle: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    make_stdin: Callable[[bytes], object],
) -> None:
    monkeypatch.setattr("sys.stdin", make_stdin(hiss_wav.read_bytes()))
    assert cli.main(["explain", "-", "--model", str(toy_bundle)]) == 0
    assert capsys.readouterr().out.startswith("<standard input> 0:01-0:02  beach: hiss ")


@pytest.fixture
def make_stdin() -> Callable[[bytes], object]:
    """A function that gives a standard input of those bytes."""
    import io

    return lambda content: io.TextIOWrapper(io.BytesIO(content))
