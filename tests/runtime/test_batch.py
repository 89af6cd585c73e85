"""Many recordings: all are found, and no bad one costs the others."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan.audio import AudioSource
from avgan.errors import AudioError, AvganError
from avgan.runtime import Model, Prediction, load
from avgan.runtime.batch import PictureFolder, Recording, Sink, classify_all, find_recordings


class Collector(Sink):
    def __init__(self) -> None:
        self.paths: list[str] = []
        self.closed = False

    def end(self, prediction: Prediction) -> None:
        self.paths.append(prediction.path)

    def close(self) -> None:
        self.closed = True


class Full(Sink):
    """A sink whose disk is full."""

    def end(self, prediction: Prediction) -> None:
        raise AvganError("disk full")

    def close(self) -> None:
        raise AvganError("not reached")


@pytest.fixture(scope="module")
def model(toy_bundle: Path) -> Model:
    return load(toy_bundle)


def nothing(line: str) -> None:
    pass


def test_folders_are_searched(tmp_path: Path) -> None:
    for name in (
        "b.WAV",
        "a.mp3",
        "sub/deep er/ü.webm",
        "notes.txt",
        ".hidden.wav",
        "x.wav/in.ogg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in find_recordings(tmp_path)]
    assert names == ["a.mp3", "b.WAV", "sub/deep er/ü.webm", "x.wav/in.ogg"]
    assert find_recordings(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(AudioError, match="no recording"):
        find_recordings((tmp_path / "empty").mkdir() or tmp_path / "empty")


def test_one_bad_source_and_one_bad_sink_cost_nothing_else(model: Model, tone_wav: Path) -> None:
    said: list[str] = []
    collector = Collector()
    sources: list[Recording] = [
        Recording("a", tone_wav), Recording("b", b"text"), Recording("c", tone_wav), Recording("d", tone_wav),
    ]  # fmt: skip
    num_failed = classify_all(
        model, sources, [Full(), collector], complain=said.append, progress=nothing
    )
    assert collector.paths == ["a", "c", "d"]
    assert collector.closed
    assert num_failed == 2
    assert len(said) == 2
    assert said[0] == "disk full"


def test_a_defect_costs_one_recording(
    model: Model, tone_wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    collector = Collector()

    def broken(source: AudioSource, **_: object) -> Prediction:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(model, "listen", broken)
    assert classify_all(
        model, [Recording("a", tone_wav)], [collector], complain=said.append, progress=nothing
    )
    assert said == ["a: failed (ZeroDivisionError: two lines); please report this"]


def test_what_was_finished_is_written_when_interrupted(model: Model, tone_wav: Path) -> None:
    collector = Collector()

    def interrupt(line: str) -> None:
        if line.startswith("2/"):
            raise KeyboardInterrupt

    sources: list[Recording] = [Recording("a", tone_wav), Recording("b", tone_wav)]
    with pytest.raises(KeyboardInterrupt):
        classify_all(model, sources, [collector], complain=nothing, progress=interrupt)
    assert collector.paths == ["a"]
    assert collector.closed


def test_pictures_of_one_name_do_not_overwrite_each_other(model: Model, tmp_path: Path) -> None:
    sources: list[Recording] = []
    for name in ("x.wav", "sub/x.wav", "sub/X.flac"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(16_000), 16_000)
        sources.append(Recording(str(path), path))
    sources.append(Recording("<standard input>", (tmp_path / "x.wav").read_bytes()))
    folder = tmp_path / "pictures"
    assert not classify_all(
        model, sources, [PictureFolder(folder)], complain=nothing, progress=nothing
    )
    assert sorted(path.name for path in folder.iterdir()) == [
        "X-3.png", "standard input.png", "x-2.png", "x.png",
    ]  # fmt: skip
