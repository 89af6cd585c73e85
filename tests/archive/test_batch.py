"""Many recordings: no bad one costs the others, and each window reaches every sink as it comes."""

import os
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan.archive.batch import FileNames, Outcome, PictureFolder, Sink, classify_all
from avgan.archive.engines import Classification, Options, classify_in_turn
from avgan.archive.sources import Recording
from avgan.audio import AudioSource
from avgan.errors import AvganError
from avgan.runtime import Model, Prediction, WindowPrediction
from avgan.runtime.timeline import Segment


class Diary(Sink):
    """Notes every call."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def begin(self, recording: Recording) -> None:
        self.entries.append(f"begin {recording.name}")

    def window(self, window: WindowPrediction) -> None:
        self.entries.append(f"window {window.start_s:g}")

    def segment(self, segment: Segment) -> None:
        self.entries.append(f"segment {segment.start_s:g}-{segment.end_s:g} {segment.scene}")

    def end(self, prediction: Prediction) -> None:
        self.entries.append(f"end {prediction.path}")

    def fail(self, reason: str) -> None:
        self.entries.append(f"fail {reason}")

    def close(self) -> None:
        self.entries.append("close")


class Full(Sink):
    """A sink whose disk is full."""

    def end(self, prediction: Prediction) -> None:
        raise AvganError("disk full; make room")

    def close(self) -> None:
        raise AvganError("not reached")


def classify(model: Model, recordings: Sequence[Recording], sinks: Sequence[Sink], said: list[str]) -> Outcome:
    engine = partial(classify_in_turn, model, Options())
    return classify_all(engine, recordings, sinks, on_error=said.append)


def test_windows_and_segments_come_in_order(model: Model, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "two halves.wav"
    noise = rng.uniform(-0.5, 0.5, 32_000)
    soundfile.write(path, np.concatenate((noise, 0 * noise)), 16_000)
    diary = Diary()
    said: list[str] = []
    assert classify(model, [Recording("a", str(path))], [diary], said).is_good
    assert diary.entries == [
        "begin a",
        "window 0",
        "window 1",
        "window 2",
        "segment 0-2 beach",
        "window 3",
        "segment 2-4 unknown",
        "end a",
        "close",
    ]
    assert said == []


def test_one_bad_source_and_one_bad_sink_cost_nothing_else(model: Model, tone_wav: Path) -> None:
    said: list[str] = []
    diary = Diary()
    sources: dict[str, AudioSource] = {"a": tone_wav, "b": b"text", "c": tone_wav, "d": tone_wav}
    recordings = [Recording(name, source) for name, source in sources.items()]
    outcome = classify(model, recordings, [Full(), diary], said)
    ends = [entry for entry in diary.entries if entry.startswith(("end", "fail"))]
    assert [entry[:5] for entry in ends] == ["end a", "fail ", "end c", "end d"]
    assert diary.entries[-1] == "close"
    assert outcome.failed == {"the recording: not a sound file that can be decoded": 1}
    assert outcome.num_lost_sinks == 1
    assert not outcome.is_good
    assert len(said) == 2
    assert said[0] == "disk full; make room"


def test_reasons_are_counted_without_names(model: Model, tmp_path: Path) -> None:
    recordings = []
    for number in range(3):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(b"text" * number)
        recordings.append(Recording(str(path), str(path)))
    outcome = classify(model, recordings, [], [])
    assert outcome.failed == {"the file is empty": 1, "not a sound file that can be decoded": 2}


def test_a_defect_costs_one_recording(model: Model, tone_wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def broken(waveforms: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(model.network, "embed", broken)
    assert not classify(model, [Recording("a", tone_wav)], [Diary()], said).is_good
    assert said == ["a: failed (ZeroDivisionError: two lines); please report this"]


def test_a_disk_that_is_full_is_not_the_recordings_fault(model: Model, tone_wav: Path) -> None:
    class Broken(Sink):
        def window(self, window: WindowPrediction) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        classify(model, [Recording("a", tone_wav)], [Broken()], [])


def test_what_was_finished_is_written_when_interrupted(model: Model, tone_wav: Path) -> None:
    class Interrupting(Sink):
        def begin(self, recording: Recording) -> None:
            if recording.name == "b":
                raise KeyboardInterrupt

    closed = []

    def engine(recordings: Sequence[Recording]) -> Generator[Classification, None, None]:
        try:
            yield from classify_in_turn(model, Options(), recordings)
        finally:
            closed.append(True)

    diary = Diary()
    recordings = [Recording("a", tone_wav), Recording("b", tone_wav)]
    with pytest.raises(KeyboardInterrupt):
        classify_all(engine, recordings, [diary, Interrupting()], on_error=print)
    assert diary.entries[-3:] == ["end a", "begin b", "close"]
    assert closed


def test_names_that_are_reserved_do_not_depend_on_what_comes_first() -> None:
    archive = ["a/x.wav", "b/x.wav", "c/x.wav"]
    assert [FileNames(archive).of(name) for name in reversed(archive)] == ["x-3", "x-2", "x"]
    names = FileNames()
    assert [names.of(name) for name in reversed(archive)] == ["x", "x-2", "x-3"]


def test_names_leave_room_for_numbers_and_endings() -> None:
    names = FileNames()
    for each in 2 * ["ä" * 127 + ".wav"]:
        assert len(os.fsencode(names.of(each) + " (100).strip.png")) <= 255


def test_pictures_of_one_name_do_not_overwrite_each_other(model: Model, tmp_path: Path) -> None:
    recordings: list[Recording] = []
    for name in ("x.wav", "sub/x.wav", "sub/X.flac"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(16_000), 16_000)
        recordings.append(Recording(str(path), path))
    recordings.append(Recording("<standard input>", (tmp_path / "x.wav").read_bytes()))
    folder = tmp_path / "pictures"
    assert classify(model, recordings, [PictureFolder(folder)], []).is_good
    assert sorted(path.name for path in folder.iterdir()) == ["X-3.png", "standard input.png", "x-2.png", "x.png"]
