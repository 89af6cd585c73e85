"""Answers as text: what machines parse stays parsable, what people read stays aligned, nothing is kept."""

import csv
import dataclasses
import io
import json
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from avgan.archive.formats import CSV_COLUMNS, WRITERS, Layout, Unit
from avgan.archive.sources import Recording
from avgan.runtime import Prediction, WindowPrediction
from avgan.runtime.timeline import Segment, segments
from avgan.runtime.wording import clock, percent

NAME = 'a "b", ü.wav'
WIDTHS = (24, 8, 9)


def window(start_s: float, scene: str, reason: str = "") -> WindowPrediction:
    sound = None if reason else f"{scene}_sound"
    return WindowPrediction(start_s, start_s + 4, scene, sound, 0.71234567, reason, None, sound and 0.6)


NOTES = [["note:", "the", "recording", "is", each] for each in ("silent", "clipped")]
WINDOWS = [window(0, "coast"), window(1, "coast"), window(3, "unknown", "silent")]


@pytest.fixture
def prediction() -> Prediction:
    return Prediction(
        scene="coast",
        sound="sea_waves",
        scenes={"coast": 0.7123456789, "forest": 0.2876, "church": 0.00005},
        sounds={"sea_waves": 0.7, "wind": 0.3},
        codes=np.zeros((16, 16), np.int64),
        decode=lambda codes: np.zeros((len(codes), 128, 128, 3), np.uint8),
        windows=(),
        duration_s=7.0,
        rate_hz=44_100.0,
        sha256="ab" * 32,
        warnings=("the recording is silent", "the recording is clipped"),
        path=NAME,
    )


def written(
    format: str,
    predictions: list[Prediction],
    unit: Unit = "recording",
    *,
    file: io.StringIO | None = None,
    fails: bool = False,
) -> str:
    """What a writer makes of recordings that all sound like WINDOWS."""
    file = file or io.StringIO()
    writer = WRITERS[format](file, Layout(unit, top=2, made_with="us, it", widths=WIDTHS))
    for one in predictions:
        writer.begin(Recording(one.path, b""))
        for window in WINDOWS:
            writer.window(window)
        for segment in segments(WINDOWS):
            writer.segment(segment)
        if fails:
            writer.fail(f"{one.path}: gone; find it")
        else:
            writer.end(one)
    writer.close()
    return file.getvalue()


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("unit", ["recording", "segment", "window"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_lines_and_csv_hold_the_same(prediction: Prediction, count: int, unit: Unit) -> None:
    array = json.loads(written("json", [prediction] * count, unit))
    assert rows_of(written("jsonl", [prediction] * count, unit)) == array
    assert written("ndjson", [prediction], unit) == written("jsonl", [prediction], unit)
    flat = list(csv.DictReader(io.StringIO(written("csv", [prediction] * count, unit))))
    assert len(flat) == len(array) == count * {"recording": 1, "segment": 2, "window": 3}[unit]
    for row, cells in zip(array, flat, strict=True):
        assert list(cells) == list(CSV_COLUMNS)
        for key in ("path", "scene", "sound", "reason", "sha256", "made_with"):
            assert cells[key] == (row.get(key) or "")
        for key in ("start_s", "end_s", "probability", "sound_probability", "duration_s", "rate_hz"):
            if row.get(key) is not None:
                assert float(cells[key]) == row[key]
        if row["reason"]:  # of no answer nothing is sure
            assert (row["probability"], cells["probability"]) == (None, "")
        assert cells["warnings"] == "; ".join(row.get("warnings", ()))


def test_a_row_for_each_recording(prediction: Prediction) -> None:
    (row,) = rows_of(written("jsonl", [prediction]))
    assert row["path"] == NAME
    assert row["scenes"] == {"coast": 0.712346, "forest": 0.2876}
    assert row["made_with"] == "us, it"
    assert "windows" not in row
    (cells,) = csv.DictReader(io.StringIO(written("csv", [prediction])))
    assert (cells["start_s"], cells["end_s"], cells["sound_probability"]) == ("0", "7.0", "0.7")


def test_over_time_the_last_row_says_that_all_is_there(prediction: Prediction) -> None:
    for unit, spans in (("segment", [(0, 4), (4, 7)]), ("window", [(0, 4), (1, 5), (3, 7)])):
        rows = rows_of(written("jsonl", [prediction], unit))  # type: ignore[arg-type]
        assert [(row["start_s"], row["end_s"]) for row in rows] == spans
        assert [("duration_s" in row, "made_with" in row) for row in rows[:-1]] == [(False, False)] * (len(spans) - 1)
        assert (rows[-1]["scene"], rows[-1]["reason"]) == ("unknown", "silent")
        assert (rows[-1]["duration_s"], rows[-1]["rate_hz"]) == (7.0, 44_100.0)
        assert rows[-1]["warnings"] == list(prediction.warnings)


def test_what_failed_has_a_row_with_the_reason(prediction: Prediction) -> None:
    error = f"{NAME}: gone; find it"
    rows = rows_of(written("jsonl", [prediction], fails=True))
    assert rows == [{"path": NAME, "error": error, "made_with": "us, it"}]
    rows = rows_of(written("jsonl", [prediction], "segment", fails=True))
    assert [row.get("scene") for row in rows] == ["coast", "unknown", None]
    cells = list(csv.DictReader(io.StringIO(written("csv", [prediction], "segment", fails=True))))
    assert [row["error"] for row in cells] == ["", "", error]
    assert written("audacity", [prediction], "segment", fails=True).count("\n") == 2


def test_rows_come_as_soon_as_they_are_sure() -> None:
    file = io.StringIO()
    writer = WRITERS["jsonl"](file, Layout("window"))
    writer.begin(Recording("a", b""))
    for number in range(5):
        writer.window(window(number, "coast"))
        assert file.getvalue().count("\n") == number  # the latest may yet be the last


def test_label_track(prediction: Prediction) -> None:
    assert written("audacity", [prediction], "segment") == (
        "0.000000\t4.000000\tcoast: coast_sound\n4.000000\t7.000000\tunknown (silent)\n"
    )
    assert written("audacity", [prediction], "window").count("\n") == 3


def test_table_is_aligned_and_takes_scene_models(prediction: Prediction) -> None:
    scene_only = dataclasses.replace(prediction, sound=None, sounds={}, path="other.wav")
    refused = dataclasses.replace(prediction, scene="unknown", sound=None, reason="silent")
    lines = written("table", [prediction, scene_only, refused]).splitlines()
    assert len(lines) == 4
    column = lines[0].index("scene")
    assert [line[column : column + 13].split() for line in lines[1:]] == [["coast", "71"], ["coast", "71"], ["unknown"]]
    remarks = lines[0].index("remarks")
    notes = "; note: the recording is silent; note: the recording is clipped"
    assert [line[remarks:] for line in lines[1:]] == [
        f"or forest 29 %{notes}",
        f"or forest 29 %{notes}",
        "silent; note: the recording is clipped",
    ]
    assert written("table", []) == ""


def test_table_over_time(prediction: Prediction) -> None:
    lines = written("table", [prediction, prediction], "segment").splitlines()
    assert [line.split() for line in lines] == [
        ["a", '"b",', "ü.wav"],
        ["time", "scene", "sound", "remarks"],
        ["0:00-0:04", "coast", "71", "%", "coast_sound"],
        ["0:04-0:07", "unknown", "silent"],
        *NOTES,
        ["a", '"b",', "ü.wav"],
        ["0:00-0:04", "coast", "71", "%", "coast_sound"],
        ["0:04-0:07", "unknown", "silent"],
        *NOTES,
    ]
    assert len({line.index("coast") for line in lines if " coast " in line}) == 1


def test_a_name_cannot_steer_a_terminal(prediction: Prediction) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    odd = dataclasses.replace(prediction, path="\x1b]0;title\x07[bold]x\n.wav")
    text = written("table", [odd], file=Terminal())
    assert "?]0;title?[bold]x?.wav" in text
    assert "\x1b[1mcoast" in text  # our own


def test_percent_and_clock() -> None:
    assert [percent(p) for p in (0, 0.001, 0.5, 0.999, 1)] == ["0 %", "<1 %", "50 %", "100 %", "100 %"]
    assert [clock(t) for t in (0, 5.25, 59.99, 65, 3_600, 86_399.5)] == [
        "0:00",
        "0:05.2",
        "1:00",
        "1:05",
        "1:00:00",
        "23:59:59.5",
    ]


BEGAN = "20240501_235958"


def test_the_time_of_day_stands_in_rows_and_tables(prediction: Prediction) -> None:
    named = dataclasses.replace(
        prediction, path=f"{BEGAN}.wav", warnings=(), recorded_at=datetime(2024, 5, 1, 23, 59, 58)
    )
    assert rows_of(written("jsonl", [named]))[0]["recorded_at"] == "2024-05-01T23:59:58"
    rows = rows_of(written("jsonl", [named], "window"))
    assert [row["recorded_at"] for row in rows] == ["2024-05-01T23:59:58", "2024-05-01T23:59:59", "2024-05-02T00:00:01"]
    flat = list(csv.DictReader(io.StringIO(written("csv", [named], "window"))))
    assert [row["recorded_at"] for row in flat] == [row["recorded_at"] for row in rows]
    assert "recorded 2024-05-01 23:59:58" in written("table", [named])
    lines = written("table", [named], "window").splitlines()
    assert lines[0] == f"{BEGAN}.wav  recorded 2024-05-01 23:59:58"
    assert lines[1].split()[:3] == ["time", "clock", "scene"]
    assert [line.split()[1] for line in lines[2:]] == ["23:59:58", "23:59:59", "00:00:01"]
    assert len({line.index(" coast ") for line in lines if " coast " in line}) == 1
    assert rows_of(written("jsonl", [prediction]))[0]["recorded_at"] is None


def test_a_long_timeline_ends_with_how_long_each_scene_lasts(prediction: Prediction) -> None:
    file = io.StringIO()
    writer = WRITERS["table"](file, Layout("segment", widths=WIDTHS))
    writer.begin(Recording("a", b""))
    for number in range(12):
        scene, reason = ("coast", "") if number % 3 else ("unknown", "silent")
        writer.segment(Segment(number * 60, number * 60 + 60, scene, None, 0.9, reason))
    writer.end(dataclasses.replace(prediction, warnings=()))
    assert file.getvalue().splitlines()[-1] == "  in all: coast 8.0 min, unknown 4.0 min"
    assert "in all" not in written("table", [prediction], "segment")


def places(prediction: Prediction) -> Prediction:
    """The answer of a model that knows groups and sounds."""
    return dataclasses.replace(
        prediction,
        scene="transport",
        group="transport",
        within=("tram", "metro"),
        scenes={"tram": 0.4, "metro": 0.35, "park": 0.25},
        groups={"transport": 0.75, "outdoor": 0.25},
        sound="speech",
        sounds={"speech": 0.8, "traffic": 0.3, "dog": 0.1},
        shares={"transport": 0.7, "park": 0.3},
        has_words=True,
        certainty=0.75,
        warnings=(),
        path="x.wav",
    )


def of_places(format: str, prediction: Prediction, unit: Unit, num: int = 1) -> str:
    """What a writer makes of stretches in a tram or metro, each followed by one in a park, of a minute each."""
    file = io.StringIO()
    writer = WRITERS[format](file, Layout(unit, top=2, widths=(9, 30, 20)))
    writer.begin(Recording(prediction.path, b""))
    windows = [
        WindowPrediction(
            60.0 * number, 60.0 * number + 60, scene, "speech", 0.75, group=group, within=within, sounds=sounds
        )
        for number, (scene, group, within, sounds) in enumerate(
            [
                ("transport", "transport", ("tram", "metro"), {"speech": 0.8, "traffic": 0.6}),
                ("park", "outdoor", (), {"speech": 0.7, "birds": 0.5, "dog": 0.4}),
            ]
            * num
        )
    ]
    for window in windows:
        writer.window(window)
    for segment in segments(windows):
        writer.segment(segment)
    writer.end(prediction)
    writer.close()
    return file.getvalue()


def test_groups_and_sounds_stand_in_rows(prediction: Prediction) -> None:
    (row,) = rows_of(of_places("jsonl", places(prediction), "recording"))
    assert (row["scene"], row["group"], row["within"]) == ("transport", "transport", ["tram", "metro"])
    assert row["sounds"] == {"speech": 0.8, "traffic": 0.3}
    assert row["shares"] == {"transport": 0.7, "park": 0.3}
    assert row["probability"] == 0.75
    (cells,) = csv.DictReader(io.StringIO(of_places("csv", places(prediction), "recording")))
    assert (cells["group"], cells["within"]) == ("transport", "tram; metro")
    assert (cells["sounds"], cells["shares"]) == ("speech 0.8; traffic 0.3", "transport 0.7; park 0.3")
    for unit in ("segment", "window"):
        first, second = rows_of(of_places("jsonl", places(prediction), unit))  # type: ignore[arg-type]
        assert (first["scene"], first["within"]) == ("transport", ["tram", "metro"])
        assert second["group"] == "outdoor"
        assert second["sounds"] == {"speech": 0.7, "birds": 0.5, "dog": 0.4}


def test_table_names_the_group_and_what_is_heard(prediction: Prediction) -> None:
    _, line = of_places("table", places(prediction), "recording").splitlines()
    for part in ("transport: tram or metro", "75 %", "speech, traffic"):
        assert part in line
    assert "or " not in line.split("traffic")[1]  # guesses would be of other times
    lines = of_places("table", places(prediction), "segment").splitlines()
    assert lines[2].split("  ")[2:3] == [" transport: tram or metro"] or "or metro" in lines[2]
    assert lines[2].rstrip().endswith("speech, traffic")
    assert lines[3].rstrip().endswith("speech, birds")  # no more than the two asked for


def test_a_long_timeline_ends_with_how_long_each_sound_lasts(prediction: Prediction) -> None:
    lines = of_places("table", places(prediction), "segment", num=5).splitlines()
    assert lines[-2:] == [
        "  in all: park 5.0 min, transport 5.0 min",
        "  sounds: speech 10.0 min, birds 5.0 min, dog 5.0 min, traffic 5.0 min",
    ]


def test_labels_for_audacity_hold_both(prediction: Prediction) -> None:
    first, second = of_places("audacity", places(prediction), "segment").splitlines()
    assert first.split("\t")[2] == "transport (tram or metro): speech, traffic"
    assert second.split("\t")[2] == "park: speech, birds, dog"


def test_sounds_without_places_leave_the_scene_empty(prediction: Prediction) -> None:
    sounds = dataclasses.replace(prediction, scene="", sound="rain", scenes={}, sounds={"rain": 0.9, "wind": 0.1})
    text = written("table", [dataclasses.replace(sounds, warnings=())])
    assert text.splitlines()[1].split() == ["a", '"b",', "ü.wav", "rain", "90", "%", "or", "wind", "10", "%"]
    (row,) = rows_of(written("jsonl", [sounds]))
    assert (row["scene"], row["sound"]) == ("", "rain")
