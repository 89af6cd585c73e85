"""What sounds right now, on a terminal: the scene in large letters, its picture, the last minute.

Shapes: H W pixels, of which a line of text shows two rows.
"""

import math
from bisect import bisect_left
from collections import deque
from zlib import crc32

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.color import Color
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from avgan.errors import printable
from avgan.live.stream import LiveSource, LiveWindow
from avgan.runtime.prediction import WindowPrediction
from avgan.runtime.wording import clock, either, percent

HISTORY_S = 60.0
NUM_SCENES = 5
FLOOR_DB = -60.0
METER_COLUMNS = 20
PICTURE_PX = (64, 48, 32)  # sizes to choose from
LINES_BESIDE = 7  # what stands above and below the picture, and the cursor
LETTERS_PX = (12, 10)
HEIGHTS = "▁▂▃▄▅▆▇█"
QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
COLOURS = (
    "green yellow blue magenta cyan red bright_green bright_yellow bright_blue bright_magenta bright_cyan bright_red"
).split()


class Screen:
    """Draws the state of a live source; give it to `rich.live.Live`, and each answer to `add`."""

    def __init__(self, source: LiveSource, *, window_s: float) -> None:
        self._source = source
        self._window_s = window_s
        self._last: LiveWindow | None = None
        self._picture: Image.Image | None = None
        self._history: deque[LiveWindow] = deque()

    def add(self, answer: LiveWindow, picture: np.ndarray) -> None:
        """Show an answer from now on; its picture (H, W, 3) uint8 only where the model stands by it."""
        self._picture = None if answer.window.reason else Image.fromarray(picture)
        # Another thread draws: it sees the old minute or the new one.
        history = deque(self._history)
        history.append(answer)
        while history[0].window.end_s <= answer.window.end_s - HISTORY_S:
            history.popleft()
        self._history, self._last = history, answer

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        plain = options.ascii_only
        width = options.max_width
        side = next((px for px in PICTURE_PX if px // 2 + LINES_BESIDE <= console.height), 0)
        yield self._head()
        yield ""
        grid = Table.grid(padding=(0, 2))
        if side and shows_colours(console) and not plain and width >= side + 30:
            grid.add_column(width=side)
            grid.add_column()
            grid.add_row(self._shown(side), self._said(width - side - 2, plain))
        else:
            grid.add_row(self._said(width, plain))
        yield grid
        yield ""
        yield from self._minute(width, plain)
        yield self._state(plain)

    def _head(self) -> Text:
        source = self._source
        facts = f"   {source.rate_hz / 1000:g} kHz   {clock(math.floor(source.duration_s))}"
        return _line((printable(source.name), "bold"), (facts, "dim"))

    def _shown(self, side: int) -> RenderableType:
        if self._picture is None:
            return Text("\n" * (side // 2 - 1))
        return HalfBlocks(np.asarray(self._picture.resize((side, side), Image.Resampling.BOX)))

    def _said(self, width: int, plain: bool) -> RenderableType:
        """The scene and how certain it is, and the scenes that come next."""
        if self._last is None:
            left_s = max(0.0, self._window_s - self._source.duration_s)
            return Text(f"listening; the first answer comes in {math.ceil(left_s)} s", "dim")
        window = self._last.window
        if window.reason:
            lines = [window.reason, *filter(None, [_beside(window)])]
            return Text.assemble(("unknown", "bold"), "\n", "\n".join(lines), style="dim")
        words = f"{_spaced(window.answer)}  {percent(window.probability)}"
        said: list[RenderableType] = [Text((not plain and large(words, width)) or words, _style(window.answer))]
        if window.within:
            said.append(Text(f"perhaps {_spaced(either(window.within))}"))
        if sounds := _beside(window):
            said.append(Text(sounds, "dim"))
        return Group(*said, "", *_bars(self._last, width, plain))

    def _minute(self, width: int, plain: bool) -> RenderResult:
        """The last minute as a strip, older to the left, and the names of its colours."""
        history = self._history
        strip = _line(("last minute  ", "dim"))
        num_columns = max(10, width - len(strip) - 1)
        ends = [answer.window.end_s for answer in history]
        for column in range(num_columns):
            age_s = (num_columns - 1 - column) / num_columns * HISTORY_S
            time_s = ends[-1] - age_s if ends else -1.0
            answer = history[bisect_left(ends, time_s)] if ends else None
            if answer is None or time_s < answer.window.start_s:
                strip.append(" ")
            else:
                strip.append(*_mark(answer, plain))
        yield strip
        scenes = dict.fromkeys(answer.window.answer for answer in history if not answer.window.reason)
        yield _line("             ", *((f"{_spaced(scene)}  ", _style(scene)) for scene in scenes))

    def _state(self, plain: bool) -> Text:
        """Level, latency, and what was lost."""
        source = self._source
        level_db = max(FLOOR_DB, 20 * math.log10(max(source.peak, 1e-9)))
        filled = round(min(1.0, 1 - level_db / FLOOR_DB) * METER_COLUMNS)
        bar = ("#" if plain else "█") * filled
        state = _line(
            ("level        ", "dim"),
            (bar.ljust(METER_COLUMNS), "red" if source.peak >= 0.99 else "green"),
            f" {level_db:4.0f} dB",
        )
        if self._last is not None:
            state.append(f"   latency {1000 * self._last.latency_s:.0f} ms")
        lost = f"   dropped {source.num_dropped}"
        if source.num_dropped or source.num_lost:
            lost += f" ({source.dropped_s:.1f} s)"
        if source.num_lost:
            lost += f", lost by the device {source.num_lost} times"
        return state.append(lost, "yellow" if source.num_dropped or source.num_lost else "dim")


class HalfBlocks:
    """A picture (H, W, 3) uint8 as characters of two pixels, H even."""

    def __init__(self, picture: np.ndarray) -> None:
        self._picture = picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for upper, lower in zip(self._picture[::2], self._picture[1::2], strict=True):
            for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
                style = Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom))
                yield Segment("▀", style)
            yield Segment.line()


def shows_colours(console: Console) -> bool:
    """Whether a picture can be recognised: 256 colours or more, and nobody has asked for none."""
    return console.color_system in ("256", "truecolor") and not console.no_color


def large(words: str, width: int) -> str:
    """Words in letters of several lines, four pixels in a character; nothing where they are too wide."""
    for size_px in LETTERS_PX:
        font = ImageFont.load_default(size_px)
        left, _, right, bottom = font.getbbox(words)
        image = Image.new("1", (math.ceil(right), math.ceil(bottom)))
        ImageDraw.Draw(image).text((-left, 0), words, fill=1, font=font)
        dots = np.asarray(image)
        rows, columns = np.flatnonzero(dots.any(1)), np.flatnonzero(dots.any(0))
        dots = dots[rows[0] : rows[-1] + 1, : columns[-1] + 1]
        dots = np.pad(dots, ((0, len(dots) % 2), (0, dots.shape[1] % 2))).astype(int)
        if dots.shape[1] // 2 <= width:
            marks = dots[::2, ::2] + 2 * dots[::2, 1::2] + 4 * dots[1::2, ::2] + 8 * dots[1::2, 1::2]
            return "\n".join("".join(QUADRANTS[mark] for mark in row) for row in marks)
    return ""


def _bars(answer: LiveWindow, width: int, plain: bool) -> list[Text]:
    best = list(answer.scenes.items())[:NUM_SCENES]
    names = max(len(name) for name, _ in best)
    room = max(1, min(30, width - names - 8))
    return [
        _line(
            f"{_spaced(name):{names}} ",
            (("#" if plain else "█") * round(value * room), _style(name)),
            f" {percent(value)}",
        )
        for name, value in best
    ]


def _beside(window: WindowPrediction) -> str:
    """The sounds beside the answer."""
    words = list(window.sounds) or [window.sound or ""]
    told = [_spaced(word) for word in words if word and word != window.answer]
    return f"with {', '.join(told)}" if told else ""


def _mark(answer: LiveWindow, plain: bool) -> tuple[str, str]:
    """A window in the strip: how certain and, by its colour, which scene; gaps and what is unknown by other signs."""
    if answer.num_gaps:
        return "x", "yellow"
    if answer.window.reason:
        return "." if plain else "·", "dim"
    height = min(len(HEIGHTS) - 1, int(answer.window.probability * len(HEIGHTS)))
    return "#" if plain else HEIGHTS[height], _style(answer.window.answer)


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="crop")


def _style(scene: str) -> str:
    """The colour of a scene, the same in every run."""
    return COLOURS[crc32(scene.encode()) % len(COLOURS)]


def _spaced(name: str) -> str:
    return printable(name.replace("_", " "))
