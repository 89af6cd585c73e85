"""How far the work is and how long it will take, in one line."""

import time
from collections.abc import Callable

from avgan.runtime.wording import clock


class Progress:
    """Says where the work is whenever a unit is done; an empty line at the end takes that away."""

    def __init__(self, num_videos: int, say: Callable[[str], None]) -> None:
        self._num_videos = num_videos
        self._say = say
        self._started_s = time.monotonic()
        self._num_done = 0
        self._num_clips = 0
        if num_videos:
            say(f"0/{num_videos:,} videos")

    def done(self, num_videos: int, num_clips: int) -> None:
        """So many more videos are done, with so many clips."""
        self._num_done += num_videos
        self._num_clips += num_clips
        spent_s = max(time.monotonic() - self._started_s, 1e-9)
        left_s = spent_s / self._num_done * (self._num_videos - self._num_done)
        self._say(
            f"{self._num_done:,}/{self._num_videos:,} videos  {self._num_clips:,} clips, "
            f"{self._num_clips / spent_s:.3g} a second  {clock(round(left_s))} left"
        )

    def close(self) -> None:
        self._say("")
