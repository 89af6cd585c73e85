"""Shares and times as people read them."""


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
