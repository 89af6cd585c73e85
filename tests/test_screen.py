"""What the terminal shows, read back from what is sent to it."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from avgan.cli.screen import HalfBlocks, Screen, large, shows_colours
from avgan.live.stream import LiveSource, LiveWindow
from avgan.runtime.prediction import WindowPrediction


def console(
    system: str | None = "truecolor", *, width: int = 100, height: int = 40, encoding: str = "utf-8"
) -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    return Console(
        file=file,
        force_terminal=system is not None,
        color_system=system,  # type: ignore[arg-type]
        width=width,
        height=height,
        legacy_windows=False,
    )


def shown(target: Console, thing: object) -> str:
    """What is sent to the terminal."""
    target.print(thing, end="")
    file = target.file
    assert isinstance(file, io.TextIOWrapper)
    file.flush()
    buffer = file.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(file.encoding)


def plain(sent: str) -> list[str]:
    return re.sub(r"\x1b\[[\d;]*m", "", sent).splitlines()


def pixels(sent: str, pattern: str) -> np.ndarray:
    """The groups of `pattern` for each character of each line."""
    lines = [re.findall(pattern, line) for line in sent.splitlines()]
    return np.array([line for line in lines if line], int)


def answer(end_s: float, scene: str = "sea_coast", *, reason: str = "", num_gaps: int = 0) -> LiveWindow:
    window = WindowPrediction(end_s - 5, end_s, scene, "sea_waves", 0.81, reason)
    scenes = {"sea_coast": 0.81, "street": 0.11, "forest_path": 0.08}
    return LiveWindow(window, scenes, 0.046, num_gaps)


def screen(*answers: LiveWindow) -> tuple[Screen, np.ndarray]:
    source = LiveSource(48_000, name="the desk microphone")
    source.put(np.full((4_800, 1), 0.5, np.float32))
    drawn = Screen(source, window_s=5.0)
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    for each in answers:
        drawn.add(each, picture)
    return drawn, picture


def test_a_picture_in_true_colour_comes_back_pixel_by_pixel(rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, (32, 20, 3), dtype=np.uint8)
    sent = shown(console(), HalfBlocks(picture))
    colour = r"(\d+);(\d+);(\d+)"
    found = pixels(sent, rf"\x1b\[38;2;{colour};48;2;{colour}m▀")
    assert found.shape == (16, 20, 6)
    np.testing.assert_array_equal(found[..., :3], picture[::2])
    np.testing.assert_array_equal(found[..., 3:], picture[1::2])


def test_a_picture_in_256_colours_is_near(rng: np.random.Generator) -> None:
    picture = np.repeat(rng.integers(0, 256, (8, 8, 1), dtype=np.uint8), 3, 2)
    sent = shown(console("256"), HalfBlocks(picture))
    found = pixels(sent, r"\x1b\[38;5;(\d+);48;5;(\d+)m▀")
    assert found.shape == (4, 8, 2)
    # Greys: black, white, and a ramp of 24 steps between them.
    greys = np.select([found == 16, found == 231], [0, 255], 8 + 10 * (found - 232))
    assert np.abs(greys[..., 0] - picture[::2, :, 0]).max() <= 12


@pytest.mark.parametrize("system", [None, "standard", "no colour"])
def test_without_colours_there_is_no_picture(monkeypatch: pytest.MonkeyPatch, system: str | None) -> None:
    if system == "no colour":
        monkeypatch.setenv("NO_COLOR", "1")
        system = "truecolor"
    target = console(system)
    assert not shows_colours(target)
    sent = shown(target, screen(answer(5.0))[0])
    assert "street" in sent
    assert "8;2;" not in sent
    assert "8;5;" not in sent
    assert len(plain(sent)) < 20


def test_groups_and_sounds_are_said_and_what_is_unknown_is_heard_all_the_same() -> None:
    known = answer(5.0, "transport")
    window = replace(known.window, within=("tram", "metro"), sounds={"speech": 0.8, "bells": 0.4})
    text = "\n".join(plain(shown(console(), screen(replace(known, window=window))[0])))
    for fact in ("perhaps tram or metro", "with speech, bells"):
        assert fact in text
    window = replace(window, scene="unknown", within=(), reason="nothing stands out")
    text = "\n".join(plain(shown(console(), screen(replace(known, window=window))[0])))
    for fact in ("unknown", "nothing stands out", "with speech, bells"):
        assert fact in text


def test_the_screen(rng: np.random.Generator) -> None:
    drawn, picture = screen(answer(5.0), answer(6.0, num_gaps=1))
    sent = shown(console(), drawn)
    text = "\n".join(plain(sent))
    for fact in ("the desk microphone", "48 kHz", "with sea waves", "street", "11 %"):
        assert fact in text
    for fact in ("-6 dB", "latency 46 ms", "dropped 0"):
        assert fact in text
    assert large("sea coast  81 %", 34).splitlines()[2] in text
    colour = r"(\d+);(\d+);(\d+)"
    found = pixels(sent, rf"38;2;{colour};48;2;{colour}m▀")
    assert found.shape == (32, 64, 6)
    small = picture.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(found[..., :3] - small[::2]).max() <= 1
    assert np.abs(found[..., 3:] - small[1::2]).max() <= 1


def test_what_is_unknown_is_said_calmly() -> None:
    drawn, _ = screen(answer(5.0), answer(6.0, "unknown", reason="silent"))
    sent = shown(console(), drawn)
    text = "\n".join(plain(sent))
    assert "unknown" in text
    assert "silent" in text
    assert "81 %" not in text
    assert "▀" not in text  # no picture either
    assert "\x1b[2munknown" in sent or "\x1b[1;2munknown" in sent


def test_the_last_minute_is_a_strip() -> None:
    answers = [answer(5.0 + second, "street") for second in range(60)]
    answers += [answer(65.0 + second, "unknown", reason="silent") for second in range(30)]
    drawn, _ = screen(*answers, answer(95.0, num_gaps=1))
    (strip,) = [line for line in plain(shown(console(), drawn)) if "last minute" in line]
    strip = strip.removeprefix("last minute  ").rstrip()
    assert re.fullmatch(r"▇+·+x+", strip)
    assert strip.count("▇") == pytest.approx(len(strip) / 2, abs=3)
    early, _ = screen(answer(5.0))
    (strip,) = [line for line in plain(shown(console(), early)) if "last minute" in line]
    assert strip.removeprefix("last minute  ").startswith(" " * 50)  # nothing before the beginning


def test_before_the_first_answer() -> None:
    words = "\n".join(plain(shown(console(), screen()[0]))).split()
    assert "the first answer comes in 5 s" in " ".join(words)


def test_what_is_lost_is_shown() -> None:
    source = LiveSource(16_000, max_waiting_s=0.25)
    for number in range(4):
        source.put(np.ones((4_000, 1), np.float32), after_loss=number == 2)
    sent = shown(console(), Screen(source, window_s=5.0))
    assert "dropped 3 (0.8 s), lost by the device 1 times" in "".join(plain(sent))


@pytest.mark.parametrize("width", [20, 50, 80, 200])
@pytest.mark.parametrize("height", [10, 24, 60])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_fits_every_terminal(width: int, height: int, encoding: str) -> None:
    target = console("256", width=width, height=height, encoding=encoding)
    drawn, _ = screen(answer(5.0), answer(6.0))
    lines = plain(shown(target, drawn))
    assert max(map(cell_len, lines)) <= width
    assert not any("\\u" in line for line in lines)
    if width >= 80:
        assert len(lines) < max(height, 20)


def test_large_letters() -> None:
    lines = large("street 99 %", 80).splitlines()
    assert 4 <= len(lines) <= 8
    assert len({len(line) for line in lines}) == 1
    assert set("".join(lines)) <= set(" ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█")
    assert large("street 99 %", 80) != large("street 98 %", 80)
    assert large("a very long name of a scene indeed", 40) == ""
