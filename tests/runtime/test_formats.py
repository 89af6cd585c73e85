"""Predictions as text: what machines parse stays parsable, what people read stays aligned."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from avgan.runtime import Prediction, WindowPrediction
from avgan.runtime.formats import WRITERS, clock, percent


@pytest.fixture
def prediction() -> Prediction:
    windows = tuple(
        WindowPrediction(
            start_s=5.0 * i, end_s=5.0 * i + 5, scene="coast", sound="sea_waves", probability=0.7
        )
        for i in range(2)
    )
    return Prediction(
        scene="coast",
        sound="sea_waves",
        scenes={"coast": 0.7123456789, "forest": 0.2876, "church": 0.00005},
        sounds={"sea_waves": 0.7, "wind": 0.3},
        codes=np.zeros((16, 16), np.int64),
        draw=lambda codes: np.zeros((len(codes), 128, 128, 3), np.uint8),
        windows=windows,
        duration_s=10.0,
        warnings=("the recording is silent",),
        path='a "b", ü.wav',
    )


def written(name: str, predictions: list[Prediction], *, by_window: bool = False) -> str:
    file = io.StringIO()
    writer = WRITERS[name](file, top=2, by_window=by_window)
    for one in predictions:
        writer.end(one)
    writer.close()
    return file.getvalue()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_and_json_lines_hold_the_same(prediction: Prediction, count: int) -> None:
    array = json.loads(written("json", [prediction] * count))
    lines = written("jsonl", [prediction] * count).splitlines()
    assert array == [json.loads(line) for line in lines]
    assert len(array) == count
    for facts in array:
        assert facts["path"] == prediction.path
        assert facts["scenes"] == {"coast": 0.712346, "forest": 0.2876}
        assert len(facts["windows"]) == 2


def test_csv(prediction: Prediction) -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", [prediction] * 2))))
    assert len(rows) == 2
    assert rows[0]["path"] == prediction.path
    assert (rows[0]["scene"], rows[0]["sound"]) == ("coast", "sea_waves")
    assert float(rows[0]["probability"]) == pytest.approx(0.712346)
    by_window = list(csv.DictReader(io.StringIO(written("csv", [prediction], by_window=True))))
    assert [(float(r["start_s"]), float(r["end_s"])) for r in by_window] == [(0, 5), (5, 10)]


def test_table_is_aligned_and_takes_scene_models(prediction: Prediction) -> None:
    scene_only = dataclasses.replace(
        prediction, sound=None, sounds={}, path="longer name than b.wav"
    )
    lines = written("table", [prediction, scene_only], by_window=True).splitlines()
    assert len(lines) == 1 + 2 * 3
    column = lines[0].index("scene")
    assert all(line[column:].startswith("coast") for line in lines[1:])
    assert written("table", []) == ""


def test_table_on_a_terminal_keeps_names_as_they_are(prediction: Prediction) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    file = Terminal()
    writer = WRITERS["table"](file, top=1, by_window=False)
    writer.end(dataclasses.replace(prediction, path="[bold]x[/bold].wav"))
    writer.close()
    assert "[bold]x[/bold].wav" in file.getvalue()


def test_percent_and_clock() -> None:
    assert [percent(p) for p in (0, 0.001, 0.5, 0.999, 1)] == [
        "0 %",
        "<1 %",
        "50 %",
        "100 %",
        "100 %",
    ]
    assert [clock(t) for t in (0, 5.25, 59.99, 65, 3_600, 86_399.5)] == [
        "0:00", "0:05.2", "1:00", "1:05", "1:00:00", "23:59:59.5",
    ]  # fmt: skip
