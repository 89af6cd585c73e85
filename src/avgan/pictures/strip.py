"""A long recording at a glance: its imagined pictures along a time axis, in one PNG.

Rows of equal time lie below each other. Pictures stand at their times; what lasted for a short while shows
the middle of its picture only, what lasted for long shows several of its windows.
"""

import io
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from avgan.files import write_whole
from avgan.pictures import time_of_day, words
from avgan.pictures.thinning import Thinning, whole_segments
from avgan.runtime.drawing import INK, NIGHT, QUIET, Colour, colours, enlarged, font, imagined, plain, write
from avgan.runtime.prediction import UNKNOWN, Decode, WindowPrediction
from avgan.runtime.timeline import Segment
from avgan.runtime.wording import answered, clock, percent

WIDTH_PX = 2_400
ONE_ROW_S = 60
MAX_ROWS = 8
MARGIN_PX = 32
GAP_PX = 2
AXIS_PX, RIBBON_PX, BETWEEN_PX, LEGEND_PX = 44, 40, 28, 44
WORDS_PX = 30  # a line of sounds
TEXT_PX = 22
TICK_PX = 150
MIN_LEGEND_PX = 640

STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200, 86_400)
"""Spaces between marks of a clock, as people count."""


@dataclass(frozen=True)
class Page:
    """How time is laid out: in rows of `row_s` seconds, `px_per_s` a second, with pictures of `picture_px`.

    `words_px` is the room below them for the sounds; `began`, where it is known, turns times into times of day.
    """

    duration_s: float
    row_s: float
    num_rows: int
    px_per_s: float
    picture_px: int
    left_px: int = MARGIN_PX
    top_px: int = MARGIN_PX + AXIS_PX
    words_px: int = 0
    began: datetime | None = None

    @classmethod
    def of(
        cls, duration_s: float, num_windows: int, *, has_words: bool = False, began: datetime | None = None
    ) -> "Page":
        """One row where a minute fills it, else a few rows of a round time each."""
        room_px, picture_px, num_rows = WIDTH_PX - 2 * MARGIN_PX, 256, 1
        if duration_s <= ONE_ROW_S:
            room_px = min(room_px, max(num_windows, 2) * 256)
            row_s = max(duration_s, 1e-3)
        else:
            row_s = _round_step_s(max(duration_s / MAX_ROWS, ONE_ROW_S))
            num_rows = ceil(duration_s / row_s - 1e-6)
            picture_px = 256 if num_rows == 1 else 192
        words_px = WORDS_PX if has_words else 0
        return cls(duration_s, row_s, num_rows, room_px / row_s, picture_px, words_px=words_px, began=began)

    @property
    def width_px(self) -> int:
        return max(2 * MARGIN_PX + round(self.row_s * self.px_per_s), MIN_LEGEND_PX)

    @property
    def row_px(self) -> int:
        return AXIS_PX + self.picture_px + RIBBON_PX + self.words_px + BETWEEN_PX

    def top(self, row: int) -> int:
        """Where the pictures of a row begin."""
        return self.top_px + row * self.row_px

    def time_s(self, row: int, column_px: int) -> float:
        """The time at a place."""
        return row * self.row_s + (column_px - self.left_px) / self.px_per_s

    def pieces(self, start_s: float, end_s: float) -> Iterator[tuple[int, int, int]]:
        """A stretch as (row, left, right) for each row it lies in."""
        for row in range(int(start_s / self.row_s), self.num_rows):
            from_s, to_s = max(start_s, row * self.row_s), min(end_s, (row + 1) * self.row_s)
            if from_s >= to_s:
                return
            left, right = ((time_s - row * self.row_s) * self.px_per_s for time_s in (from_s, to_s))
            yield row, self.left_px + round(left), self.left_px + round(right)


def _round_step_s(at_least_s: float) -> int:
    """The next longer space between marks of a clock; above a day, in whole days."""
    days_s = ceil(at_least_s / STEPS_S[-1]) * STEPS_S[-1]
    return next((step_s for step_s in STEPS_S if step_s >= at_least_s), days_s)


def write_strip(
    path: str | Path, windows: Thinning, duration_s: float, *, decode: Decode, began: datetime | None = None
) -> Path:
    """Write the strip of a recording as a PNG, whole or not at all. Raises AvganError where it cannot."""
    buffer = io.BytesIO()
    paint_strip(windows.windows(), duration_s, decode=decode, began=began).save(buffer, "PNG")
    return write_whole(path, buffer.getvalue())


def paint_strip(
    windows: Sequence[WindowPrediction], duration_s: float, *, decode: Decode, began: datetime | None = None
) -> Image.Image:
    """The strip of a recording, at most 2400 pixels wide. `windows`: in order of time, at least one.

    `began`: when it was recorded, for times of day on its axis.
    """
    stretches = whole_segments(windows, duration_s)
    has_words = any(map(words, stretches))
    page = Page.of(duration_s, len(windows), has_words=has_words, began=began)
    painted = colours(windows)
    legend = _Legend(stretches, page)
    height = MARGIN_PX + page.num_rows * page.row_px + legend.height_px
    sheet = Image.new("RGB", (page.width_px, height), NIGHT)
    pen = ImageDraw.Draw(sheet)
    _draw_axes(pen, page)
    _paste_pictures(sheet, page, stretches, windows, decode)
    for stretch in stretches:
        _draw_ribbon(pen, page, stretch, painted[stretch.answer])
    legend.draw(pen, page.top(page.num_rows) - AXIS_PX, painted)
    return sheet


def paint_pictures(
    windows: Sequence[WindowPrediction], duration_s: float, size_px: tuple[int, int], *, decode: Decode
) -> Image.Image:
    """The pictures of a recording alone, in one row that fills a sheet of `size_px`."""
    seconds = max(duration_s, 1e-3)
    page = Page(duration_s, seconds, 1, size_px[0] / seconds, size_px[1], left_px=0, top_px=0)
    sheet = Image.new("RGB", size_px, NIGHT)
    _paste_pictures(sheet, page, whole_segments(windows, duration_s), windows, decode)
    return sheet


def _draw_axes(pen: ImageDraw.ImageDraw, page: Page) -> None:
    """Marks of the clock above each row, each at its time."""
    step_s = _round_step_s(TICK_PX / page.px_per_s)
    # None so near to the end that its time would stand outside.
    for mark in range(ceil(page.duration_s / step_s - 0.5) or 1):
        row = int(mark * step_s / page.row_s)
        left = MARGIN_PX + round((mark * step_s - row * page.row_s) * page.px_per_s)
        top = page.top(row)
        pen.line((left, top - 30, left, top - 6), QUIET, 2)
        text = time_of_day(page.began, mark * step_s) or clock(mark * step_s)
        write(pen, (left + 9, top - 12), text, size_px=TEXT_PX, fill=QUIET)


def _paste_pictures(
    sheet: Image.Image, page: Page, stretches: Sequence[Segment], windows: Sequence[WindowPrediction], decode: Decode
) -> None:
    """The picture of each stretch in its time, or where there is room for several, those of its surest windows."""
    at = 0
    for stretch in stretches:
        own = windows[at : at + stretch.num_windows]
        at += stretch.num_windows
        middles_s = [(window.start_s + window.end_s) / 2 for window in own]
        for row, left, right in page.pieces(stretch.start_s, stretch.end_s):
            num_cells = max(1, ceil((right - left) / page.picture_px))
            edges = [left + (right - left) * cell // num_cells for cell in range(num_cells + 1)]
            for x0, x1 in pairwise(edges):
                first, last = (bisect_left(middles_s, page.time_s(row, x)) for x in (x0, x1))
                inside = own[first:last] or [own[min(first, len(own) - 1)]]
                inside = [each for each in inside if each.answer == stretch.answer] or inside
                surest = max(inside, key=lambda window: window.probability)
                gap_px = GAP_PX if x0 == left and x1 - x0 > 2 * GAP_PX else 0
                part = _middle(imagined(surest, decode), page.picture_px, x1 - x0 - gap_px)
                sheet.paste(part, (x0 + gap_px, page.top(row)))


def _middle(picture: np.ndarray, height_px: int, width_px: int) -> Image.Image:
    """The middle columns of a picture that is enlarged to a height."""
    left = (height_px - width_px) // 2
    return enlarged(picture, height_px).crop((left, 0, left + width_px, height_px))


def _draw_ribbon(pen: ImageDraw.ImageDraw, page: Page, stretch: Segment, paint: Colour) -> None:
    """The colour of a stretch below its pictures, with its name where there is room."""
    known = stretch.scene != UNKNOWN
    for row, left, right in page.pieces(stretch.start_s, stretch.end_s):
        top = page.top(row) + page.picture_px + GAP_PX
        box = (left + GAP_PX, top, max(right - 1, left + GAP_PX), top + RIBBON_PX - GAP_PX)
        pen.rectangle(box, paint)
        room_px = right - left - 24
        if room_px < 2 * TEXT_PX:
            continue
        if sounds := words(stretch):
            under = (left + 12, top + RIBBON_PX + 20)
            write(pen, under, ", ".join(sounds), size_px=TEXT_PX, fill=QUIET, room_px=room_px)
        fill = NIGHT if known else INK
        at = (left + 12, top + 27)
        used_px = write(pen, at, _name(stretch), size_px=TEXT_PX, fill=fill, room_px=room_px)
        sure = percent(stretch.probability)
        if known and used_px + font(TEXT_PX).getlength(sure) + 16 < room_px:
            write(pen, (right - 12, top + 27), sure, size_px=TEXT_PX, fill=fill, anchor="rs")


class _Legend:
    """How long each scene lasts, from the longest: the names of colours too narrow to be written on."""

    def __init__(self, stretches: Sequence[Segment], page: Page) -> None:
        """Likely scenes of a group are left out: they change while the group stays."""
        lengths_s: dict[tuple[str, str], float] = defaultdict(float)
        for stretch in stretches:
            name = _name(stretch) if stretch.reason else plain(stretch.answer)
            lengths_s[stretch.answer, name] += stretch.end_s - stretch.start_s
        self._entries: list[tuple[int, int, str, str]] = []  # line, left, scene, text
        self._right = page.width_px - MARGIN_PX
        line, left = 0, MARGIN_PX
        for (scene, name), length_s in sorted(lengths_s.items(), key=lambda item: -item[1]):
            text = f"{name}  {percent(length_s / max(page.duration_s, length_s))}"
            needed_px = 34 + round(font(TEXT_PX).getlength(text)) + 40
            if left > MARGIN_PX and left + needed_px > self._right:
                line, left = line + 1, MARGIN_PX
            self._entries.append((line, left, scene, text))
            left += needed_px
        self.height_px = LEGEND_PX * (line + 1) + MARGIN_PX // 2

    def draw(self, pen: ImageDraw.ImageDraw, top: int, painted: dict[str, Colour]) -> None:
        for line, left, scene, text in self._entries:
            y, room_px = top + line * LEGEND_PX, self._right - left - 34
            pen.rectangle((left, y + 2, left + 22, y + 24), painted[scene])
            write(pen, (left + 34, y + 21), text, size_px=TEXT_PX, fill=QUIET, room_px=room_px)


def _name(stretch: Segment) -> str:
    """The scene, or that it is unknown and why."""
    if stretch.scene == UNKNOWN and stretch.reason:
        return f"{UNKNOWN}: {stretch.reason}"
    return plain(answered(stretch.answer, stretch.within))
