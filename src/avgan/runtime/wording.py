"""Shares, times and answers as people read them."""

from collections.abc import Sequence


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


def lasting(time_s: float) -> str:
    """How long something lasts: "4 s", "1.5 min", "2.0 h"."""
    if time_s < 60:
        return f"{time_s:.0f} s"
    return f"{time_s / 60:.1f} min" if time_s < 3600 else f"{time_s / 3600:.1f} h"


def either(names: Sequence[str], word: str = "or") -> str:
    """ "a", "a or b", "a, b or c"."""
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last


def answered(answer: str, within: Sequence[str] = ()) -> str:
    """An answer in words: "tram", or of a group with its likely scenes "transport: tram or metro"."""
    if not within:
        return answer
    return f"{answer}: {'likely ' * (len(within) == 1)}{either(within)}"
