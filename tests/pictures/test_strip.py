"""A strip shows at each time what was imagined for it, names what it shows, and fits a screen."""

from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avgan.errors import AvganError
from avgan.images import png_bytes
from avgan.pictures.strip import RIBBON_PX, WIDTH_PX, WORDS_PX, Page, paint_strip, write_strip
from avgan.pictures.thinning import Thinning
from avgan.runtime.drawing import NIGHT, colours, dimmed, font, imagined, write
from avgan.runtime.prediction import UNKNOWN, WindowPrediction


def decode(codes: np.ndarray) -> np.ndarray:
    """Pictures (B, 128, 128, 3) whose columns and rows are told apart, and whose red says their code."""
    pictures = np.empty((len(codes), 128, 128, 3), np.uint8)
    pictures[..., 0] = codes[:, :1, :1]
    pictures[..., 1] = 2 * np.arange(128)
    pictures[..., 2] = 2 * np.arange(128)[:, None]
    return pictures


def window(start_s: float, end_s: float, code: int, scene: str = "", probability: float = 0.5) -> WindowPrediction:
    codes = np.full((16, 16), code, np.uint16)
    scene = scene or f"scene {code}"
    reason = "silent" if scene == UNKNOWN else ""
    return WindowPrediction(start_s, end_s, scene, "tone", probability, reason, codes=codes)


def pixels(windows: list[WindowPrediction], duration_s: float) -> np.ndarray:
    return np.asarray(paint_strip(windows, duration_s, decode=decode))


@pytest.mark.parametrize(("duration_s", "num_windows"), [(12.0, 3), (50.0, 5), (240.0, 60)])
def test_at_the_time_of_a_segment_stands_its_picture(duration_s: float, num_windows: int) -> None:
    step_s = duration_s / num_windows
    windows = [window(i * step_s, (i + 1) * step_s, 4 * i) for i in range(num_windows)]
    page, found = Page.of(duration_s, num_windows, has_words=True), pixels(windows, duration_s)
    for each in windows:
        ((row, left, right),) = page.pieces(each.start_s, each.end_s)
        top, middle = page.top(row), (left + right) // 2
        shown = found[top : top + page.picture_px, middle - 4 : middle + 4]
        size = (page.picture_px, page.picture_px)
        picture = Image.fromarray(imagined(each, decode)).resize(size, Image.Resampling.BICUBIC)
        centre = page.picture_px // 2
        expected = np.asarray(picture)[:, centre - 4 : centre + 4]
        np.testing.assert_allclose(shown.astype(int), expected, atol=3)
        np.testing.assert_array_equal(shown[..., 0], expected[..., 0])


def test_a_long_segment_shows_several_of_its_windows_each_in_its_time() -> None:
    windows = [window(2.0 * i, 2.0 * i + 2, 8 * i, "coast") for i in range(30)]
    found = pixels(windows, 60.0)
    page = Page.of(60.0, 30, has_words=True)
    reds = found[page.top(0) + 100, :, 0].astype(int)
    shown = {round(page.time_s(0, x)): red for x, red in enumerate(reds) if 40 < x < WIDTH_PX - 40}
    assert len(set(shown.values())) >= 8
    for time_s, red in shown.items():
        assert abs(red / 8 * 2 - time_s) < 8  # a picture is 256 of some 39 pixels a second wide


def test_the_surest_of_a_segments_windows_is_shown() -> None:
    unsure, sure = window(0, 4, 10, "a", 0.4), window(4, 6, 20, "a", 0.9)
    found = pixels([unsure, sure, window(6, 60, 30, "b")], 60.0)
    page = Page.of(60.0, 3, has_words=True)
    assert found[page.top(0) + 9, page.pieces(0, 6).__next__()[1] + 20, 0] == 20


def test_what_is_unknown_is_dimmed_and_hatched() -> None:
    picture = decode(np.full((1, 16, 16), 250))[0]
    dim = dimmed(picture)
    assert dim.max() < 0.5 * picture.max()
    spread = np.ptp(dim.astype(int), axis=2).max()
    assert spread < 0.2 * np.ptp(picture.astype(int), axis=2).max()  # nearly grey
    assert np.abs(np.diff(dim.astype(int), axis=1)).max() > 20  # lines across
    found = pixels([window(0, 5, 250, UNKNOWN, 0.99), window(5, 10, 250, "a")], 10.0)
    page = Page.of(10.0, 2, has_words=True)
    top = page.top(0)
    halves = [
        found[top : top + 256, left + 4 : right]
        for _, left, right in (next(page.pieces(0, 5)), next(page.pieces(5, 10)))
    ]
    assert halves[0].mean() < 0.5 * halves[1].mean()


@pytest.mark.parametrize("duration_s", [0.01, 1.0, 59.9, 60.0, 61.0, 601.0, 86_400.0, 4e6])
def test_any_duration_fits(duration_s: float) -> None:
    num = 40
    windows = [window(duration_s * i / num, duration_s * (i + 1) / num, i) for i in range(num)]
    sheet = paint_strip(windows, duration_s, decode=decode)
    assert sheet.width <= WIDTH_PX
    assert sheet.height < 3_000
    page = Page.of(duration_s, num, has_words=True)
    pieces = [piece for each in windows for piece in page.pieces(each.start_s, each.end_s)]
    assert {row for row, *_ in pieces} == set(range(page.num_rows))
    for (row, _, right), (next_row, left, _) in pairwise(pieces):
        assert (right == left) if row == next_row else (next_row == row + 1)
    assert max(right for *_, right in pieces) <= sheet.width


def test_names_are_written_in_the_ribbon_and_below() -> None:
    named = pixels([window(0, 30, 1, "coast"), window(30, 60, 1, "x")], 60.0)
    other = pixels([window(0, 30, 1, "coach"), window(30, 60, 1, "x")], 60.0)
    rows = np.flatnonzero((named != other).any((1, 2)))
    page = Page.of(60.0, 2, has_words=True)
    ribbon = page.top(0) + page.picture_px
    assert rows.min() >= ribbon
    assert ((rows > ribbon) & (rows < ribbon + 40)).any()
    assert (rows > ribbon + 60).any()


def test_what_was_heard_stands_below_its_stretch() -> None:
    def strip(words: str) -> np.ndarray:
        heard = replace(window(0, 30, 1, "tram"), sounds={words: 0.9, "rain": 0.3})
        return pixels([heard, window(30, 60, 1, "x")], 60.0)

    found, other = strip("speech"), strip("birds")
    rows, columns = np.nonzero((found != other).any(2))
    page = Page.of(60.0, 2, has_words=True)
    ribbon = page.top(0) + page.picture_px + RIBBON_PX
    assert ribbon <= rows.min() <= rows.max() < ribbon + WORDS_PX
    assert columns.max() < page.left_px + 30 * page.px_per_s
    assert strip("speech").shape[0] == bare_height() + WORDS_PX


def bare_height() -> int:
    """Of a strip of a minute without a word."""
    bare = [replace(window(0, 30, 1, "tram"), sound=None), replace(window(30, 60, 1), sound=None)]
    return len(pixels(bare, 60.0))


def test_a_known_time_of_day_stands_on_the_axis() -> None:
    windows = [window(0, 30, 1, "tram"), window(30, 60, 1, "x")]
    known, later = (
        np.asarray(paint_strip(windows, 60.0, decode=decode, began=datetime(2024, 5, 1, 4, minute)))
        for minute in (30, 31)
    )
    rows = np.flatnonzero((known != later).any((1, 2)))
    page = Page.of(60.0, 2, has_words=True)
    assert len(rows) > 0
    assert rows.max() < page.top(0)
    assert (known != pixels(windows, 60.0)).any()


@pytest.mark.parametrize("name", ["x" * 300, "Größe über alles", "海辺", "a\nb\tc", "", "💥", "%d"])
def test_any_name_can_be_written(name: str) -> None:
    windows = [window(0, 5, 1, name), window(5, 10, 2, "b")]
    assert paint_strip(windows, 10.0, decode=decode).width <= WIDTH_PX


def test_a_line_keeps_to_its_room() -> None:
    sheet = Image.new("RGB", (400, 40))
    from PIL import ImageDraw

    pen = ImageDraw.Draw(sheet)
    used_px = write(pen, (5, 30), "a very long name of a scene" * 4, size_px=20, room_px=200)
    right = np.asarray(sheet).any((0, 2)).nonzero()[0].max()
    assert 150 < used_px <= 200
    assert right <= 5 + 200
    assert write(pen, (5, 30), "short", size_px=20, room_px=200) == font(20).getlength("short")


def luminance(colour: tuple[int, int, int]) -> float:
    share = np.array(colour) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_letters_can_be_read_on_every_colour_and_colours_differ() -> None:
    painted = colours([window(i, i + 1, i) for i in range(36)])
    known = [colour for scene, colour in painted.items() if scene != UNKNOWN]
    assert len(set(known)) == 36
    contrasts = [(luminance(c) + 0.05) / (luminance(NIGHT) + 0.05) for c in known]
    assert min(contrasts) > 4.5  # what WCAG asks for
    apart = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(known[:6]) for b in known[:i]]
    assert min(apart) > 50


def test_the_strip_is_written_whole_or_not_at_all(tmp_path: Path, tone_wav: Path) -> None:
    thinning = Thinning()
    thinning.add(window(0, 5, 1))
    path = write_strip(tmp_path / "new" / "strip ü.png", thinning, 5.0, decode=decode)
    with Image.open(path) as image:
        assert image.format == "PNG"
    with pytest.raises(AvganError, match="is no folder"):
        write_strip(tone_wav / "strip.png", thinning, 5.0, decode=decode)
    assert png_bytes(np.asarray(paint_strip(thinning.windows(), 5.0, decode=decode)))
