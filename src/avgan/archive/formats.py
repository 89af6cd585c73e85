"""Answers as text: a table to read, rows as JSON or CSV, labels for Audacity. Each is written as answers come in.

There is a row for each recording, or, over time, for each segment or window. What is known of a recording at its end
only (its duration, checksum, warnings) stands in its last row, which so says that the recording is complete.
"""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO

from avgan.archive.batch import Sink
from avgan.archive.sources import Recording
from avgan.errors import printable
from avgan.runtime.bundle import Card
from avgan.runtime.prediction import UNKNOWN, Prediction, WindowPrediction, rounded
from avgan.runtime.timeline import Segment
from avgan.runtime.wording import clock, percent

CSV_COLUMNS = (
    "path", "start_s", "end_s", "scene", "probability", "sound", "sound_probability", "reason",
    "warnings", "duration_s", "rate_hz", "sha256", "error", "made_with",
)  # fmt: skip

PERCENT_WIDTH = len("100 %")
TIMES_WIDTH = len("  23:59:59.5-23:59:59.5")
MAX_NAME_WIDTH = 60

Unit = Literal["recording", "segment", "window"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """What is written: a row for each `unit`, the `top` most probable names where there is room for several.

    `made_with` says in each recording's last row which version, model and settings it came from. `widths` are those
    of a table's columns of recordings, scenes and sounds; what is longer sticks out.
    """

    unit: Unit = "recording"
    top: int = 3
    made_with: str = ""
    widths: tuple[int, int, int] = (0, 0, 0)


class RowWriter(Sink):
    """Makes rows; what is done with them is left to `write`."""

    def __init__(self, file: TextIO, layout: Layout) -> None:
        self._file = file
        self._layout = layout
        self._name = ""
        self._held: Row | None = None  # the latest row of a timeline: it may be the last

    def write(self, row: Row) -> None:
        raise NotImplementedError

    def begin(self, recording: Recording) -> None:
        self._name = recording.name
        self._held = None

    def window(self, window: WindowPrediction) -> None:
        if self._layout.unit == "window":
            self._hold(window)

    def segment(self, segment: Segment) -> None:
        if self._layout.unit == "segment":
            self._hold(segment)

    def end(self, prediction: Prediction) -> None:
        made_with = {"made_with": self._layout.made_with} if self._layout.made_with else {}
        facts = prediction.to_dict()
        del facts["windows"]
        if self._layout.unit == "recording":
            for key in ("scenes", "sounds"):
                facts[key] = dict(list(facts[key].items())[: self._layout.top])
            self.write(facts | made_with)
        else:
            assert self._held is not None, "a recording that ended has a window"
            known = ("duration_s", "rate_hz", "sha256", "warnings")
            self.write(self._held | {key: facts[key] for key in known} | made_with)
        self._file.flush()

    def fail(self, reason: str) -> None:
        if self._held is not None:
            self.write(self._held)
        made_with = {"made_with": self._layout.made_with} if self._layout.made_with else {}
        self.write({"path": self._name, "error": reason} | made_with)
        self._file.flush()

    def _hold(self, span: WindowPrediction | Segment) -> None:
        if self._held is not None:
            self.write(self._held)
        self._held = {
            "path": self._name,
            "start_s": rounded(span.start_s),
            "end_s": rounded(span.end_s),
            "scene": span.scene,
            "sound": span.sound,
            "probability": rounded(span.probability),
            "reason": span.reason,
        }


class JSONWriter(RowWriter):
    """One array of objects, valid even where the work was cut short."""

    def __init__(self, file: TextIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._before = "[\n"

    def write(self, row: Row) -> None:
        self._file.write(self._before + json.dumps(row, indent=1))
        self._before = ",\n"

    def close(self) -> None:
        self._file.write("[]\n" if self._before == "[\n" else "\n]\n")


class JSONLinesWriter(RowWriter):
    """One object a line, at once."""

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row) + "\n")


class CSVWriter(RowWriter):
    """Rows of the same columns, whatever they are about; `header=False` where a file is gone on with."""

    def __init__(self, file: TextIO, layout: Layout, *, header: bool = True) -> None:
        super().__init__(file, layout)
        self._rows = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n", extrasaction="ignore")
        if header:
            self._rows.writeheader()

    def write(self, row: Row) -> None:
        flat = {"start_s": 0, "end_s": row["duration_s"]} if "scenes" in row else {}
        if row.get("sound") and "sounds" in row:
            flat["sound_probability"] = row["sounds"][row["sound"]]
        warnings = {"warnings": "; ".join(row["warnings"])} if "warnings" in row else {}
        cells = {key: to_cell(cell) if isinstance(cell, str) else cell
                 for key, cell in (flat | row | warnings).items()}  # fmt: skip
        if self._file.isatty():
            cells = {
                key: printable(cell) if isinstance(cell, str) else cell
                for key, cell in cells.items()
            }
        self._rows.writerow(cells)


class TableWriter(Sink):
    """A table for people, line by line; over time, each recording's name stands above its lines."""

    def __init__(self, file: TextIO, layout: Layout) -> None:
        self._file = file
        self._layout = layout
        self._has_colours = file.isatty()
        self._heading: tuple[str, ...] = ("recording", "scene", "", "sound", "", "remarks")
        if layout.unit != "recording":
            self._heading = ("time", "scene", "", "sound", "remarks")

    def begin(self, recording: Recording) -> None:
        if self._layout.unit != "recording":
            self._file.write(printable(recording.name) + "\n")

    def window(self, window: WindowPrediction) -> None:
        if self._layout.unit == "window":
            self._write_span(window)

    def segment(self, segment: Segment) -> None:
        if self._layout.unit == "segment":
            self._write_span(segment)

    def end(self, prediction: Prediction) -> None:
        if self._layout.unit != "recording":
            return
        scene, certainty = _answer(prediction)
        sound = prediction.sound
        others = list(prediction.scenes.items())[1 : self._layout.top]
        guesses = ", ".join(f"{name} {percent(value)}" for name, value in others)
        self._write_line(
            prediction.path,
            scene,
            certainty,
            sound or "",
            percent(prediction.sounds[sound]) if sound else "",
            prediction.reason or (f"or {guesses}" if guesses else ""),
        )

    def _write_span(self, span: WindowPrediction | Segment) -> None:
        scene, certainty = _answer(span)
        times = f"{clock(span.start_s)}-{clock(span.end_s)}"
        self._write_line(f"  {times}", scene, certainty, span.sound or "", span.reason)

    def _write_line(self, *cells: str) -> None:
        if self._heading:
            self._file.write(self._aligned(self._heading, "2") + "\n")
            self._heading = ()
        self._file.write(self._aligned(cells, "1") + "\n")
        self._file.flush()

    def _aligned(self, cells: Sequence[str], style: str) -> str:
        """The cells side by side; on a terminal the scene is bold, and the heading dim."""
        name, scene, sound = self._layout.widths
        widths: tuple[int, ...] = (name, scene, PERCENT_WIDTH, sound, PERCENT_WIDTH, 0)
        if self._layout.unit != "recording":
            widths = (TIMES_WIDTH, scene, PERCENT_WIDTH, sound, 0)
        padded = [printable(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)]
        if self._has_colours:
            padded[1] = f"\x1b[{style}m{padded[1]}\x1b[0m"
        return "  ".join(padded).rstrip()


class LabelWriter(Sink):
    """A label track for Audacity (File > Import > Labels): start, end, label. Of one recording."""

    def __init__(self, file: TextIO, layout: Layout) -> None:
        self._file = file
        self._layout = layout

    def window(self, window: WindowPrediction) -> None:
        if self._layout.unit == "window":
            self._write(window)

    def segment(self, segment: Segment) -> None:
        if self._layout.unit != "window":
            self._write(segment)

    def _write(self, span: WindowPrediction | Segment) -> None:
        label = f"{span.scene} ({span.reason})" if span.reason else span.scene
        self._file.write(f"{span.start_s:.6f}\t{span.end_s:.6f}\t{printable(label)}\n")


WRITERS: dict[str, Callable[[TextIO, Layout], Sink]] = {
    "table": TableWriter,
    "json": JSONWriter,
    "jsonl": JSONLinesWriter,
    "ndjson": JSONLinesWriter,
    "csv": CSVWriter,
    "audacity": LabelWriter,
}


def table_widths(names: Iterable[str], card: Card) -> tuple[int, int, int]:
    """Widths of a table's columns, known before the first answer."""
    name_width = min(max(map(len, names), default=0), MAX_NAME_WIDTH)
    scene_width = max(map(len, (UNKNOWN, *card.scenes)))
    sound_width = max(map(len, card.labels)) if card.label_kind == "sound" else len("sound")
    return max(name_width, len("recording")), scene_width, sound_width


def _answer(span: Prediction | WindowPrediction | Segment) -> tuple[str, str]:
    """The scene and how certain it is; of what is unknown nothing is certain."""
    return span.scene, "" if span.reason else percent(span.probability)


_FORMULA = tuple("=+-@\t\r")
"""What a spreadsheet takes for the beginning of a formula."""


def to_cell(text: str) -> str:
    """A text as a cell of CSV, which no spreadsheet computes: with an apostrophe before what begins like a formula."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def from_cell(cell: str) -> str:
    """The text of a cell (see `to_cell`)."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell
