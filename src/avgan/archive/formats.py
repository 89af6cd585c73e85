"""Answers as text: a table to read, rows as JSON or CSV, labels for Audacity. Each is written as answers come in.

There is a row for each recording, or, over time, for each segment or window. What is known of a recording at its end
only (its duration, checksum, warnings) stands in its last row, which so says that the recording is complete.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, TextIO

from avgan.archive.batch import Sink
from avgan.archive.sources import Recording
from avgan.errors import printable
from avgan.runtime.bundle import Card
from avgan.runtime.prediction import UNKNOWN, Prediction, WindowPrediction, all_rounded, rounded, rounded_or_none
from avgan.runtime.timeline import Minutes, Segment
from avgan.runtime.wording import answered, clock, either, lasting, percent

CSV_COLUMNS = tuple(
    "path start_s end_s recorded_at scene group within probability sound sound_probability sounds shares reason "
    "warnings duration_s rate_hz sha256 error made_with".split()
)

PERCENT_WIDTH = len("100 %")
TIMES_WIDTH = len("  23:59:59.5-23:59:59.5")
CLOCK_WIDTH = len("  04:30:00")
LONG_LINES = 8  # of a timeline, beyond which one no longer sees how long each scene lasts in all
MAX_NAME_WIDTH = 60
GROUP_WIDTH = len("outdoor: street_traffic or park")
WORDS_WIDTH = len("church bells, birds, traffic")
MOST_SUMMED = 10  # sounds under a long timeline; a day has dozens

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


class Writer(Sink):
    """Writes to a file; over time `span` is given each segment or window, as the layout says."""

    def __init__(self, file: TextIO, layout: Layout) -> None:
        self._file = file
        self._layout = layout
        self._recording = Recording("", b"")

    def begin(self, recording: Recording) -> None:
        self._recording = recording

    def window(self, window: WindowPrediction) -> None:
        if self._layout.unit == "window":
            self.span(window)

    def segment(self, segment: Segment) -> None:
        if self._layout.unit == "segment":
            self.span(segment)

    def span(self, span: WindowPrediction | Segment) -> None:
        raise NotImplementedError


class RowWriter(Writer):
    """Makes rows; what is done with them is left to `write`."""

    def __init__(self, file: TextIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._made_with = {"made_with": layout.made_with} if layout.made_with else {}
        self._held: Row | None = None  # the latest row of a timeline: it may be the last

    def write(self, row: Row) -> None:
        raise NotImplementedError

    def begin(self, recording: Recording) -> None:
        super().begin(recording)
        self._held = None

    def end(self, prediction: Prediction) -> None:
        facts = prediction.to_dict()
        del facts["windows"]
        if self._layout.unit == "recording":
            for key in ("scenes", "sounds"):
                facts[key] = dict(list(facts[key].items())[: self._layout.top])
            if prediction.reason:  # of no answer nothing is sure; the guesses are in `scenes`
                facts["probability"] = None
            self.write(facts | self._made_with)
        else:
            assert self._held is not None, "a recording that ended has a window"
            known = ("duration_s", "rate_hz", "sha256", "warnings")
            self.write(self._held | {key: facts[key] for key in known} | self._made_with)
        self._file.flush()

    def fail(self, reason: str) -> None:
        if self._held is not None:
            self.write(self._held)
        self.write({"path": self._recording.name, "error": reason} | self._made_with)
        self._file.flush()

    def span(self, span: WindowPrediction | Segment) -> None:
        if self._held is not None:
            self.write(self._held)
        self._held = {
            "path": self._recording.name,
            "start_s": rounded(span.start_s),
            "end_s": rounded(span.end_s),
            "recorded_at": _moment(self._recording, span.start_s),
            "scene": span.scene,
            "group": span.group,
            "within": list(span.within),
            "sound": span.sound,
            "probability": None if span.reason else rounded(span.probability),
            "sound_probability": rounded_or_none(span.sound_probability),
            "sounds": all_rounded(span.sounds),
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
    """Rows of the same columns, whatever they are about; `header=False` where a file is resumed."""

    def __init__(self, file: TextIO, layout: Layout, *, header: bool = True) -> None:
        super().__init__(file, layout)
        # With this end of a line, names with a return in them are quoted as well.
        self._line = io.StringIO(newline="")
        self._rows = csv.DictWriter(self._line, CSV_COLUMNS, lineterminator="\r\n", extrasaction="ignore")
        if header:
            self._rows.writeheader()
            self._end_line()

    def write(self, row: Row) -> None:
        flat = {"start_s": 0, "end_s": row["duration_s"]} if "scenes" in row else {}
        if row.get("sound") in row.get("sounds", ()):
            flat["sound_probability"] = row["sounds"][row["sound"]]
        lists: Row = {key: "; ".join(row[key]) for key in ("warnings", "within") if key in row}
        for key in ("sounds", "shares"):
            lists[key] = "; ".join(f"{name} {value:.3g}" for name, value in row.get(key, {}).items())
        shown = printable if self._file.isatty() else str
        cells = {
            key: shown(to_cell(cell)) if isinstance(cell, str) else cell for key, cell in (flat | row | lists).items()
        }
        self._rows.writerow(cells)
        self._end_line()

    def _end_line(self) -> None:
        self._file.write(self._line.getvalue().removesuffix("\r\n") + "\n")
        self._line.seek(0)
        self._line.truncate()


class TableWriter(Writer):
    """A table for people, line by line; over time, each recording's name stands above its lines."""

    def __init__(self, file: TextIO, layout: Layout) -> None:
        super().__init__(file, layout)
        self._has_colours = file.isatty()
        self._heading: tuple[str, ...] = ("recording", "scene", "", "sound", "", "remarks")
        if layout.unit != "recording":
            self._heading = ("time", "scene", "", "sound", "remarks")
        self._totals_s: defaultdict[str, float] = defaultdict(float)
        self._minutes = Minutes()
        self._num_lines = 0

    def begin(self, recording: Recording) -> None:
        super().begin(recording)
        self._totals_s.clear()
        self._minutes = Minutes()
        self._num_lines = 0
        if self._layout.unit != "recording":
            began = recording.recorded_at
            when = f"  recorded {began.isoformat(' ')}" if began else ""
            self._file.write(printable(recording.name) + when + "\n")

    def window(self, window: WindowPrediction) -> None:
        self._minutes.add(window)
        super().window(window)

    def segment(self, segment: Segment) -> None:
        self._totals_s[segment.answer] += segment.end_s - segment.start_s
        super().segment(segment)

    def end(self, prediction: Prediction) -> None:
        notes = [note for note in prediction.warnings if not _says(note, prediction.reason)]
        if self._layout.unit != "recording":
            if self._num_lines > LONG_LINES:
                self._file.writelines(f"  {line}\n" for line in self._summary())
            self._file.writelines(f"  note: {printable(note)}\n" for note in notes)
            return
        scene, certainty = _answer(prediction)
        others: list[tuple[str, float]] = []
        if not prediction.within and len(prediction.shares) < 2:  # else a guess is of another time
            names = prediction.scenes or prediction.sounds
            others = list(names.items())[1 : self._layout.top]
        guesses = ", ".join(f"{name} {percent(value)}" for name, value in others)
        remarks = [prediction.reason or (f"or {guesses}" if guesses else "")]
        if prediction.recorded_at:
            remarks.append(f"recorded {prediction.recorded_at.isoformat(' ')}")
        remarks += [f"note: {note}" for note in notes]
        sound, certainty_of_sound = self._sounds(prediction)
        self._write_line(
            prediction.path,
            scene,
            certainty,
            sound,
            certainty_of_sound,
            "; ".join(remark for remark in remarks if remark),
        )

    def _sounds(self, prediction: Prediction) -> tuple[str, str]:
        """The sounds and how probable they are; several words have a probability each, which is left out."""
        if not prediction.sound:
            return "", ""
        if prediction.has_words:
            return ", ".join(list(prediction.sounds)[: self._layout.top]), ""
        return prediction.sound, percent(prediction.sounds[prediction.sound])

    def _summary(self) -> list[str]:
        """How long each scene and each sound lasts, the longest first."""
        self._minutes.close()
        found = [f"in all: {_lengths(self._totals_s)}"]
        sounds_s = self._minutes.sounds_s
        if sounds_s and sounds_s.keys() - self._totals_s.keys():  # else it has been said
            found.append(f"sounds: {_lengths(sounds_s, MOST_SUMMED)}")
        return found

    def span(self, span: WindowPrediction | Segment) -> None:
        self._num_lines += 1
        scene, certainty = _answer(span)
        times = f"  {clock(span.start_s)}-{clock(span.end_s)}"
        began = self._recording.recorded_at
        if began:
            at = began + timedelta(seconds=span.start_s)
            times = f"{times.ljust(TIMES_WIDTH)}  {at:%H:%M:%S}"
        self._write_line(times, scene, certainty, _words(span, self._layout.top), span.reason)

    def _write_line(self, *cells: str) -> None:
        if self._heading:
            if self._layout.unit != "recording" and self._recording.recorded_at:
                time = "time".ljust(TIMES_WIDTH) + "  clock"
                self._heading = (time, *self._heading[1:])
            self._file.write(self._aligned(self._heading, "2") + "\n")
            self._heading = ()
        self._file.write(self._aligned(cells, "1") + "\n")
        self._file.flush()

    def _aligned(self, cells: Sequence[str], style: str) -> str:
        """The cells side by side; on a terminal the scene is bold, and the heading dim."""
        name, scene, sound = self._layout.widths
        widths: tuple[int, ...] = (name, scene, PERCENT_WIDTH, sound, PERCENT_WIDTH, 0)
        if self._layout.unit != "recording":
            times = TIMES_WIDTH + (CLOCK_WIDTH if self._recording.recorded_at else 0)
            widths = (times, scene, PERCENT_WIDTH, sound, 0)
        padded = [printable(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)]
        if self._has_colours:
            padded[1] = f"\x1b[{style}m{padded[1]}\x1b[0m"
        return "  ".join(padded).rstrip()


class LabelWriter(Writer):
    """A label track for Audacity (File > Import > Labels): start, end, label. Of one recording."""

    def __init__(self, file: TextIO, layout: Layout) -> None:
        super().__init__(file, replace(layout, unit="segment" if layout.unit == "recording" else layout.unit))

    def span(self, span: WindowPrediction | Segment) -> None:
        words = _words(span)
        beside = f": {words}" if words and words != span.answer else ""
        aside = span.reason or (either(span.within) if span.within else "")
        label = f"{span.answer} ({aside}){beside}" if aside else span.answer + beside
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
    scene_width = max(map(len, (UNKNOWN, *card.places)))
    if card.group_of_scene:
        scene_width = max(scene_width, GROUP_WIDTH)
    sound_width = max(map(len, card.labels)) if card.label_kind == "sound" else len("sound")
    if card.tags:
        sound_width = WORDS_WIDTH
    return max(name_width, len("recording")), scene_width, sound_width


def _moment(recording: Recording, time_s: float) -> str | None:
    """The time of day at a time in a recording, where it is known."""
    began = recording.recorded_at
    return (began + timedelta(seconds=rounded(time_s))).isoformat() if began else None


def _says(note: str, reason: str) -> bool:
    """Whether a note says no more than the reason beside it: "the recording is silent"."""
    return bool(reason) and note.endswith(f" is {reason}")


def _answer(span: Prediction | WindowPrediction | Segment) -> tuple[str, str]:
    """The scene and how certain it is; of what is unknown nothing is certain."""
    text = answered(span.scene, span.within)
    return text, "" if span.reason or not text else percent(span.probability)


def _words(span: WindowPrediction | Segment, most: int | None = None) -> str:
    """The sounds in it."""
    return ", ".join(list(span.sounds)[:most]) or span.sound or ""


def _lengths(lasting_s: dict[str, float], most: int | None = None) -> str:
    """Names and how long each lasts, the longest first."""
    ranked = sorted(lasting_s.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{name} {lasting(seconds)}" for name, seconds in ranked[:most]]
    return ", ".join(named) + (f" and {len(ranked) - len(named)} more" * (len(named) < len(ranked)))


_FORMULA = tuple("=+-@\t\r")
"""What a spreadsheet takes for the beginning of a formula."""


def to_cell(text: str) -> str:
    """A text as a cell of CSV, which no spreadsheet computes: with an apostrophe before what begins like a formula."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def from_cell(cell: str) -> str:
    """The text of a cell (see `to_cell`)."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell
