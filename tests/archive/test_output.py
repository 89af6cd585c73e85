"""A file of rows that is gone on with: nothing is done twice, and nothing half done is kept."""

import json
from pathlib import Path

import numpy as np
import pytest

from avgan.archive.formats import CSVWriter, JSONLinesWriter, Layout, Unit
from avgan.archive.output import FORMATS, Output
from avgan.archive.sources import Recording
from avgan.errors import AvganError
from avgan.runtime import Prediction, WindowPrediction
from avgan.runtime.timeline import Segment

NAMES = ["a.wav", 'b "x", ü.wav', "two\nlines.wav", "d\udcff.wav", "<standard input>"]
BAD = 2  # of them fails
MADE = "us, it"


def prediction(name: str) -> Prediction:
    return Prediction(
        scene="coast",
        sound=None,
        scenes={"coast": 1.0},
        sounds={},
        codes=np.zeros((1, 1), np.int64),
        windows=(),
        duration_s=2.0,
        path=name,
        decode=lambda codes: codes,
    )


def write(path: Path, unit: Unit, *, made_with: str = MADE, retry: bool = False) -> list[str]:
    """Write what is lacking, as a batch does; returns the names that were."""
    with Output(path, made_with, retry=retry) as output:
        left = [name for name in NAMES if name not in output.done]
        layout = Layout(unit, made_with=made_with)
        writer: CSVWriter | JSONLinesWriter
        if output.format == "csv":
            writer = CSVWriter(output.file, layout, header=output.is_new)
        else:
            writer = JSONLinesWriter(output.file, layout)
        for name in left:
            writer.begin(Recording(name, b""))
            for start_s in (0.0, 1.0):
                writer.window(WindowPrediction(start_s, start_s + 1, "coast", None, 1.0))
                writer.segment(Segment(start_s, start_s + 1, "coast", None, 1.0))
            if name == NAMES[BAD] and not retry:
                writer.fail(f"{name}: gone")
            else:
                writer.end(prediction(name))
        writer.close()
        return left


@pytest.mark.parametrize("unit", ["recording", "segment"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_wherever_it_was_cut_off_the_rest_is_done(tmp_path: Path, suffix: str, unit: Unit) -> None:
    path = tmp_path / "new folder" / f"rows{suffix}"
    assert write(path, unit) == NAMES
    whole = path.read_bytes()
    assert write(path, unit) == []
    assert path.read_bytes() == whole
    fewest = len(NAMES)
    for size in [*range(0, len(whole), 17), len(whole) - 1]:
        path.write_bytes(whole[:size])
        left = write(path, unit)
        assert path.read_bytes() == whole
        assert left == NAMES[len(NAMES) - len(left) :]
        assert len(left) <= fewest  # never more again than before one more byte
        fewest = len(left)
    assert fewest == 1


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_failed_is_done_unless_it_is_tried_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, "recording")
    with Output(path, MADE) as output:
        assert output.num_failed == 1
    assert write(path, "recording", retry=True) == [NAMES[BAD]]
    with Output(path, MADE) as output:  # the later row holds
        assert output.done == set(NAMES)
        assert output.num_failed == 0
    assert write(path, "recording", retry=True) == []
    assert b"gone" not in path.read_bytes()  # of one recording there are not two answers


@pytest.mark.parametrize("unit", ["recording", "segment"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_retry_that_was_cut_off_leaves_one_answer_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, unit: Unit
) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, unit)
    with monkeypatch.context() as patch:
        patch.setattr(Output, "_drop_superseded", lambda self: None)
        write(path, unit, retry=True)
    assert b"gone" in path.read_bytes()
    write(path, unit)
    assert b"gone" not in path.read_bytes()
    with Output(path, MADE) as output:
        assert output.done == set(NAMES)


def test_a_recording_is_the_same_by_another_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows.jsonl", "recording")
    with Output(tmp_path / "rows.jsonl", MADE) as output:
        assert output.has("a.wav")
        assert output.has("./a.wav")
        assert output.has(str(tmp_path / "x" / ".." / "a.wav"))
        assert not output.has(str(tmp_path / "x" / "a.wav"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_of_another_model_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, "recording")
    before = path.read_bytes()
    with pytest.raises(AvganError, match=r"made with us, it, not with them; name another"):
        Output(path, "them")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "name,age\nx,1\n"),
        ("a.csv", "path,start_s,end_s,scene\nx,0,1,coast\n"),
        ("a.csv", "p" * 3),
        ("a.jsonl", '{"name": "x"}\n'),
        ("a.jsonl", '{"path": "x"}\nnot json\n'),
        ("a.jsonl", '{"path": "x"}\n3\n'),
        ("a.jsonl", "shopping list"),
    ],
)
def test_files_of_others_are_left_as_they_are(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(AvganError, match="name another file"):
        Output(path, MADE)
    assert path.read_text() == content


def test_two_do_not_write_at_once(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    refused = pytest.raises(AvganError, match="another avgan is writing")
    with Output(tmp_path / "a.jsonl", MADE), refused:
        Output(tmp_path / "a.jsonl", MADE)
    with Output(tmp_path / "a.jsonl", MADE) as output:
        assert output.is_new


def test_rows_are_read_back_as_they_were_named(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", "recording")
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["path"] for line in lines] == NAMES
