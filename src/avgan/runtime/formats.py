"""Predictions as text: a table to read, JSON, JSON lines, CSV. Each is written as answers come in."""

import csv
import json
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from avgan.runtime.batch import Sink
from avgan.runtime.prediction import Prediction, WindowPrediction

CSV_COLUMNS = (
    "path", "start_s", "end_s", "scene", "probability", "sound", "sound_probability", "warnings",
)  # fmt: skip
TABLE_COLUMNS = ("recording", "scene", "", "sound", "", "or")


class JSONWriter(Sink):
    """One array of objects, valid even where the work was cut short."""

    def __init__(self, file: TextIO, *, top: int, by_window: bool) -> None:
        self._file = file
        self._top = top
        self._before = "[\n"

    def end(self, prediction: Prediction) -> None:
        self._file.write(self._before + json.dumps(facts(prediction, self._top), indent=1))
        self._before = ",\n"

    def close(self) -> None:
        self._file.write("[]\n" if self._before == "[\n" else "\n]\n")


class JSONLinesWriter(Sink):
    """One object a line, at once."""

    def __init__(self, file: TextIO, *, top: int, by_window: bool) -> None:
        self._file = file
        self._top = top

    def end(self, prediction: Prediction) -> None:
        self._file.write(json.dumps(facts(prediction, self._top)) + "\n")
        self._file.flush()

    def close(self) -> None:
        pass


class CSVWriter(Sink):
    """One row a recording, or one a window."""

    def __init__(self, file: TextIO, *, top: int, by_window: bool) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(CSV_COLUMNS)
        self._flush = file.flush
        self._by_window = by_window

    def end(self, prediction: Prediction) -> None:
        warnings = "; ".join(prediction.warnings)
        if self._by_window:
            for window in prediction.windows:
                self._rows.writerow(
                    (
                        prediction.path,
                        round(window.start_s, 3),
                        round(window.end_s, 3),
                        window.scene,
                        round(window.probability, 6),
                        window.sound or "",
                        "",
                        warnings,
                    )
                )
        else:
            sound = prediction.sound
            self._rows.writerow(
                (
                    prediction.path,
                    0,
                    round(prediction.duration_s, 3),
                    prediction.scene,
                    round(prediction.probability, 6),
                    sound or "",
                    round(prediction.sounds[sound], 6) if sound else "",
                    warnings,
                )
            )
        self._flush()

    def close(self) -> None:
        pass


class TableWriter(Sink):
    """A table for people, written at the end: its columns are as wide as what stands in them."""

    def __init__(self, file: TextIO, *, top: int, by_window: bool) -> None:
        self._file = file
        self._top = top
        self._by_window = by_window
        self._rows: list[tuple[str, ...]] = []

    def end(self, prediction: Prediction) -> None:
        others = list(prediction.scenes.items())[1 : self._top]
        sound = prediction.sound
        self._rows.append(
            (
                prediction.path,
                prediction.scene,
                percent(prediction.probability),
                sound or "",
                percent(prediction.sounds[sound]) if sound else "",
                ", ".join(f"{name} {percent(value)}" for name, value in others),
            )
        )
        if self._by_window:
            self._rows.extend(_window_row(window) for window in prediction.windows)

    def close(self) -> None:
        if self._rows:
            write_table(self._file, TABLE_COLUMNS, self._rows)


WRITERS: dict[str, Callable[..., Sink]] = {
    "table": TableWriter,
    "json": JSONWriter,
    "jsonl": JSONLinesWriter,
    "csv": CSVWriter,
}


def write_table(file: TextIO, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table: with lines and colours on a terminal, as plain aligned text elsewhere."""
    if file.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in columns:
            table.add_column(name, justify="left" if name else "right", overflow="fold")
        for row in rows:
            styles = ["", "bold"] + [""] * len(row)
            table.add_row(*(Text(cell, style) for cell, style in zip(row, styles, strict=False)))
        Console(file=file).print(table)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        file.write("  ".join(cells).rstrip() + "\n")


def facts(prediction: Prediction, top: int) -> dict[str, Any]:
    """`Prediction.to_dict`, with the `top` most probable scenes and sounds only."""
    everything = prediction.to_dict()
    for key in ("scenes", "sounds"):
        everything[key] = dict(list(everything[key].items())[:top])
    return everything


def percent(probability: float) -> str:
    """ "81 %"; what rounds to nothing is "<1 %", for nothing is ever certain."""
    if 0 < probability < 0.005:
        return "<1 %"
    return f"{100 * probability:.0f} %"


def clock(time_s: float) -> str:
    """A time in a recording: "0:05", "1:02:03", with tenths where there are any."""
    tenths = round(time_s * 10)
    hours, minutes, seconds = tenths // 36_000, tenths // 600 % 60, tenths % 600 / 10
    text = f"{seconds:04.1f}".removesuffix(".0")
    return f"{hours}:{minutes:02}:{text}" if hours else f"{minutes}:{text}"


def _window_row(window: WindowPrediction) -> tuple[str, ...]:
    times = f"  {clock(window.start_s)}-{clock(window.end_s)}"
    return (times, window.scene, percent(window.probability), window.sound or "", "", "")
