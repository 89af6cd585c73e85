"""Text of others (names of files, labels, answers of servers) moves no cursor and computes nothing."""

import csv
import io
import json
import os
import pty
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from avgan.archive.formats import CSVWriter, LabelWriter, Layout, from_cell, to_cell
from avgan.archive.output import Output
from avgan.cli.app import say, show_progress
from avgan.errors import AvganError, printable
from avgan.runtime.timeline import Segment

CLIPBOARD = "\x1b]52;c;aGVsbG8=\x07"
NASTY = ["\x1b[2J", CLIPBOARD, "\x9b31m", "\u202egpj.exe", "a\rb", "a\nb", "\x00", "\x7f"]


@pytest.mark.parametrize("text", NASTY)
def test_what_a_terminal_obeys_is_taken_away(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say(f"{text}: the server answers 404 {text}")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show_progress(f"checking {text}")
    said = capsys.readouterr().err.replace("\r\x1b[K", "")
    assert said.count("\n") == 1
    assert all(sign.isprintable() or sign == "\n" for sign in said)
    assert printable("Straße 日本 \udc80") == "Straße 日本 \udc80"


@pytest.mark.skipif(not hasattr(pty, "openpty"), reason="this system has no terminals to ask")
def test_a_terminal_gets_no_sequence_of_a_file_name(tone_wav: Path, toy_bundle: Path, tmp_path: Path) -> None:
    """The whole command on a terminal, with names that would write its clipboard."""
    name = f"a{CLIPBOARD}.wav"
    shutil.copy(tone_wav, tmp_path / name)
    (tmp_path / f"b{CLIPBOARD}.wav").write_bytes(b"no sound")
    named = ["classify", name, f"b{CLIPBOARD}.wav", "--model", str(toy_bundle)]
    commands = [[*named, *options] for options in (["--format", "table"], ["--format", "csv"], ["--hop", "0.5"])]
    code = "import json, sys; from avgan.cli import main; [main(command) for command in json.loads(sys.argv[1])]"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(commands)], stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path
    )
    os.close(theirs)
    shown = bytearray()
    with suppress(OSError):  # the other side was closed
        while part := os.read(ours, 1 << 16):
            shown += part
    process.wait(60)
    os.close(ours)
    assert shown.count(b"]52;") >= len(commands)
    assert b"\x1b]" not in shown
    assert b"\x07" not in shown


@pytest.mark.parametrize("text", ["=1+2", "+1", "-x.wav", "@a", "\tx", "\rx", "'=1", "''-1", "'a", "", "a=b"])
def test_cells_are_no_formulas_and_come_back(text: str) -> None:
    cell = to_cell(text)
    assert cell[:1] not in {"=", "+", "-", "@", "\t", "\r"}
    assert from_cell(cell) == text
    assert cell == text or cell == f"'{text}"


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0.wav", "=a\rb.wav", '=a\r\n"b.wav', "=a\n,b.wav"])
def test_rows_whose_names_look_like_formulas_are_gone_on_with(tmp_path: Path, name: str) -> None:
    path = tmp_path / "answers.csv"
    row = {"path": name, "error": "+no sound", "made_with": "test"}
    with Output(path, "test") as output:
        writer = CSVWriter(output.file, Layout())
        writer.write(row)
    with path.open(newline="") as file:
        (read,) = csv.DictReader(file)
    assert read["path"] == "'" + row["path"]
    assert read["error"] == "'+no sound"
    with Output(path, "test") as output:
        assert output.done == {row["path"]}


def test_labels_for_audacity_keep_to_their_columns() -> None:
    file = io.StringIO()
    segment = Segment(
        start_s=0.0, end_s=1.0, scene="a\tb\nc", sound="d\te", probability=0.5, reason="\x1b[2J", num_windows=1
    )
    LabelWriter(file, Layout(unit="segment")).segment(segment)
    assert file.getvalue().count("\n") == 1
    assert file.getvalue().count("\t") == 2


@pytest.mark.parametrize(
    "content",
    [
        '{"path": "a", "made_with": "x"}\n' + '{"path": "' + "[" * 10 + '"}\n{"made_with": "x"}\n',
        '{"path": "a", "x": ' + "[" * 100_000 + "\n",
        '{"path": "a", "made_with": "x"}\n' + "[" * 100_000 + "\n",
        '{"path": ["a"], "made_with": "x"}\n',
    ],
)
def test_rows_of_another_make_are_told_in_a_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(content)
    with pytest.raises(AvganError) as caught, Output(path, "x"):
        pass
    assert "\n" not in str(caught.value)


def test_cells_that_are_too_long_are_told_in_a_line(
    tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    path = tmp_path / "answers.csv"
    with Output(path, "x") as output:
        CSVWriter(output.file, Layout()).write({"path": "a" * 200_000, "made_with": "x"})
    ran = run("classify", "a.wav", "-o", path, model=True)
    assert ran.returncode == 1
    assert "another make" in ran.stderr
    ran = run("classify", "--list", path, model=True)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="closes descriptors as shells of Unix do")
@pytest.mark.parametrize("closed", ["0", "1", "2"])
def test_closed_streams_are_no_reason_for_a_traceback(
    tmp_path: Path, tone_wav: Path, toy_bundle: Path, closed: str
) -> None:
    errors = tmp_path / "errors"
    for arguments in (
        ["classify", str(tone_wav), "--model", str(toy_bundle)],
        ["models"],
        ["classify", "-", "--model", str(toy_bundle)],
    ):
        command = [sys.executable, "-m", "avgan", *arguments]
        close = f'exec {closed}{"<" if closed == "0" else ">"}&-; exec "$@"'
        with errors.open("wb") as err:
            ran = subprocess.run(
                ["sh", "-c", close, "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                timeout=60,
            )
        said = errors.read_text()
        assert "Traceback" not in said
        assert "Exception" not in said
        if closed == "1":
            assert ran.returncode == 1
            assert "standard output is closed" in said or "no sound" in said or "empty" in said


def test_a_user_without_a_home_is_told_in_a_line(
    run: Callable[..., subprocess.CompletedProcess[str]],
    toy_bundle: Path,
    tone_wav: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a container that runs as nobody the system knows."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "AVGAN_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for arguments, status in (
        (["models"], 0),
        (["models", "remove", "x"], 1),
        (["models", "add", str(toy_bundle)], 1),
        (["classify", str(tone_wav), "--model", str(toy_bundle)], 0),
    ):
        ran = run(*arguments)
        assert ran.returncode == status, ran.stderr
        assert ("AVGAN_HOME" in ran.stderr) is (arguments[0] == "models")
