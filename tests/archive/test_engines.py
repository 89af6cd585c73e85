"""Recordings classified in threads: the answers of one after another, in order, in bounded memory."""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from avgan import workers
from avgan.archive.engines import Classification, Engine, Options, classify_in_threads, classify_in_turn
from avgan.archive.sources import Recording
from avgan.errors import AudioError
from avgan.runtime import Model, Prediction, WindowPrediction, load
from avgan.workers import OrderedThreads

Taken = Callable[[Classification], tuple[list[WindowPrediction], Prediction]]


@pytest.fixture
def recordings(tmp_path: Path, rng: np.random.Generator) -> list[Recording]:
    """A dozen of 0.2 to 12 s, the first the longest, and two that are none."""
    found = []
    for number in range(12):
        path = tmp_path / f"{number}.wav"
        samples = rng.uniform(-0.5, 0.5, round(16_000 * (12 - number) + 3_200))
        soundfile.write(path, samples * rng.uniform(0, 1), 16_000)
        found.append(Recording(path.name, str(path)))
    (tmp_path / "bad.wav").write_text("text")
    found.insert(5, Recording("bad.wav", str(tmp_path / "bad.wav")))
    found.insert(9, Recording("none.wav", str(tmp_path / "none.wav")))
    return found


def everything(engine: Engine, recordings: Sequence[Recording], taken: Taken) -> list[Any]:
    """What an engine answers, to the last bit; of what failed, the error's text."""
    found: list[Any] = []
    for answer in engine(recordings):
        try:
            windows, conclusion = taken(answer)
        except AudioError as error:
            found.append(str(error))
            continue
        codes = [window.codes.tobytes() for window in windows if window.codes is not None]
        found.append((windows, codes, dict(conclusion.scenes), conclusion.to_dict()))
    return found


def test_the_answers_are_those_of_one_after_another(model: Model, recordings: list[Recording], taken: Taken) -> None:
    options = Options(hop_s=0.5, checksum=True)
    expected = everything(partial(classify_in_turn, model, options), recordings, taken)
    assert [type(one) for one in expected].count(str) == 2
    assert expected[0][3]["path"] == "0.wav"
    several = load(model.bundle.path, num_threads=3)
    assert everything(partial(classify_in_turn, several, options), recordings, taken) == expected
    for num_threads in (1, 2, 5):
        engine = partial(classify_in_threads, model, options, num_threads=num_threads)
        assert everything(engine, recordings, taken) == expected


def test_what_waits_for_its_turn_is_bounded(
    model: Model, recordings: list[Recording], taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for four windows, and the first recording's for two, all go on to the end all the same."""
    monkeypatch.setattr(workers, "MAX_WAITING", 4)
    monkeypatch.setattr(workers, "MIN_WAITING", 2)
    monkeypatch.setattr(workers, "MAX_BEGUN", 3)
    most = 0
    put = OrderedThreads._put

    def counted(threads: Any, stream: Any, window: WindowPrediction) -> None:
        nonlocal most
        put(threads, stream, window)
        most = max(most, threads._num_waiting)
        assert len(threads._begun) <= 3

    monkeypatch.setattr(OrderedThreads, "_put", counted)
    engine = partial(classify_in_threads, model, Options(0.5), num_threads=3)
    assert len(everything(engine, recordings, taken)) == len(recordings)
    assert 3 <= most <= 6


@pytest.mark.parametrize("num_threads", [1, 3])
def test_closing_ends_all_work(
    model: Model, recordings: list[Recording], num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAX_BEGUN", 2)
    before = threading.active_count()
    answers = classify_in_threads(model, Options(), recordings * 20, num_threads=num_threads)
    assert next(iter(next(answers))).start_s == 0
    assert threading.active_count() == before + num_threads
    answers.close()
    assert threading.active_count() == before


def test_computing_ahead_stops_with_who_iterates(model: Model, recordings: list[Recording]) -> None:
    several = load(model.bundle.path, num_threads=2)
    before = threading.active_count()
    answers = classify_in_turn(several, Options(hop_s=0.1), recordings)
    windows: Iterator[WindowPrediction] = iter(next(answers))
    next(windows)
    assert threading.active_count() > before
    windows.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_defect_reaches_the_caller(
    model: Model, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(model.network, "embed", broken)
    for engine in (
        partial(classify_in_threads, model, Options(), num_threads=2),
        partial(classify_in_turn, model, Options()),
    ):
        answers = engine(recordings)
        for _ in range(2):  # and the next goes on
            with pytest.raises(ZeroDivisionError):
                list(next(answers))
        answers.close()
