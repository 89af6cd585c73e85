"""What a recording looked like: pictures of its segments, a strip along time, a film; and how they are labelled."""

from datetime import datetime, timedelta

from avgan.runtime.drawing import plain
from avgan.runtime.prediction import WindowPrediction
from avgan.runtime.timeline import Segment


def words(stretch: WindowPrediction | Segment) -> list[str]:
    """The sounds beside the answer."""
    return [plain(word) for word in stretch.sounds if word != stretch.answer]


def time_of_day(began: datetime | None, time_s: float) -> str:
    """ "13:05:59", where it is known when the recording began."""
    return f"{began + timedelta(seconds=time_s):%H:%M:%S}" if began else ""
