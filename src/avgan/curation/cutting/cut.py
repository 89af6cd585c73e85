"""A video -> its clips: non-overlapping, each with its sound and its pictures, in one pass from front to back (Sec. 4).

What a clip holds is decided by the video's clock alone, which begins with its first track. Its sound is every sample
from the clip's first to its last, at 32 kHz; its pictures are what a player would show at given times, be the frames
evenly spaced or not. One clip is in memory at a time, whatever the length of the video.

Shapes: L samples, H W pixels, h w pixels of a glimpse.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from avgan.curation.cutting.bars import Bars, find_bars
from avgan.curation.cutting.stereo import Sounds
from avgan.curation.cutting.tracks import CutError, Track, open_track
from avgan.curation.record import FRAME_WIDTH_PX, Cut
from avgan.images import LAST_SHOWN_S

CLIP_LENGTHS_S = (10.0, 5.0, 1.0)
"""Of the paper: 10 s for DCASE, 5 s for ESC-50, 1 s besides. Any other is cut as well."""
SKIP_S = 5.0
"""Of each video, which usually are an intro (Sec. 4)."""
SKIPPED = ", for nothing is cut from its first"
NUM_GLIMPSES = 8
GLIMPSE_WIDTH_PX = 160
MAX_MISSING_S = 0.1
"""Of a clip's sound that may be missing, and is silence then: tracks seldom end in the same moment."""
MAX_HOLE_S = 600.0
"""After so much without sound the time stamps are wrong, and nothing more is to be expected."""
MAX_LOST_S = 2.0
"""How much earlier than it says a video may end without being called damaged."""


def cut(
    path: str | Path,
    *,
    clip_s: float,
    skip_s: float = SKIP_S,
    num_frames: int = 1,
    start_s: float = 0.0,
    end_s: float | None = None,
    sound_path: str | Path | None = None,
    crop_bars: bool = False,
) -> Iterator[Cut]:
    """Cut a video into clips of `clip_s`, from `start_s` or `skip_s` on, whichever is later, to `end_s`.

    What is left at the end is shorter than a clip, and dropped. A clip of whose sound more than `MAX_MISSING_S` is
    missing is left out.

    Args:
        num_frames: pictures of each clip, spread evenly. The first of them is from the middle of the clip.
        sound_path: where the sound lies, if not in the same file.
        crop_bars: leave out black bars, of which the clip shows the same all the time.

    Raises:
        CutError: at once where there is no picture, no sound, or nothing that can be decoded; after the last clip
            where the video is too short for one, or where a part of it is damaged and lost.
    """
    path = Path(path)
    begin_s = max(start_s, skip_s, 0.0)
    num_clips, holes, hole_s = 0, 0, 0.0
    with ExitStack() as stack:
        picture = stack.enter_context(open_track(path, "picture"))
        heard = stack.enter_context(open_track(Path(sound_path or path), "sound"))
        zero_s = min(track.start_s or 0.0 for track in (picture, heard))
        shown = Pictures(picture, zero_s, begin_s)
        sounds = Sounds(heard, zero_s, begin_s)
        for number in count():
            first_s = begin_s + number * clip_s
            if end_s is not None and first_s + clip_s > end_s + 1e-6:
                break
            frames = shown.look(first_s, clip_s, num_frames)
            sound, missing_s = sounds.take(first_s, clip_s)
            if frames is None or (missing_s > MAX_MISSING_S and sounds.ended):
                break
            if missing_s > MAX_MISSING_S:
                holes, hole_s = holes + 1, hole_s + clip_s
                if hole_s > MAX_HOLE_S:
                    break
                continue
            num_clips, hole_s = num_clips + 1, 0.0
            yield frames.cut(sound, first_s, clip_s, crop_bars=crop_bars)
        said_s = min(picture.end_s, heard.end_s) - zero_s
        lost_s = (said_s if end_s is None else min(said_s, end_s)) - begin_s - number * clip_s
        if not shown.seen_any:
            raise CutError(path, "no picture", "has a picture track without a picture")
        if sounds.ended and not sounds.heard_any and heard.end_s - zero_s > begin_s:
            raise CutError(path, "no sound", "has a sound track without sound")
        skipped_s = begin_s - max(start_s, 0.0)
    _complain(path, num_clips, holes, lost_s - clip_s, clip_s, skipped_s)


def _complain(
    path: Path, num_clips: int, holes: int, lost_s: float, clip_s: float, skipped_s: float
) -> None:
    """Raise CutError where a video gave less than it promised."""
    if lost_s > MAX_LOST_S or holes:
        what = f"ends {lost_s:.0f} s early" if lost_s > MAX_LOST_S else "has gaps in its sound"
        raise CutError(path, "damaged", f"{what}; {num_clips} clips could be cut")
    if not num_clips:
        behind = f"{SKIPPED} {skipped_s:g} s" if skipped_s > 0 else ""
        raise CutError(path, "too short", f"is too short for a clip of {clip_s:g} s{behind}")


@dataclass(frozen=True, eq=False)
class Look:
    """What is seen in a clip: frames as they were decoded, with their times, and glimpses (h, w) uint8."""

    frames: tuple[tuple[Any, float], ...]
    glimpses: tuple[np.ndarray, ...]
    aspect: float
    """Width of a stored pixel to its height."""

    def cut(self, sound: np.ndarray, first_s: float, clip_s: float, *, crop_bars: bool) -> Cut:
        bars = find_bars(np.max(self.glimpses, 0)) if crop_bars else Bars()
        return Cut(
            start_s=first_s,
            end_s=first_s + clip_s,
            sound=sound,
            frames=tuple(self._picture(frame, bars) for frame, _ in self.frames),
            frame_times_s=tuple(time_s for _, time_s in self.frames),
            glimpses=tuple(bars.inside(glimpse) for glimpse in self.glimpses),
        )

    def _picture(self, frame: Any, bars: Bars) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright, without bars, at most FRAME_WIDTH_PX wide."""
        turns = quarter_turns(frame)
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
        aspect = 1 / self.aspect if turns % 2 else self.aspect
        if any(bars):
            pixels = _limited(bars, pixels, self.glimpses[0].shape).inside(pixels)
        height, width = pixels.shape[:2]
        shown = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
        scale = min(1.0, FRAME_WIDTH_PX / shown[0])
        size = (max(1, round(shown[0] * scale)), max(1, round(shown[1] * scale)))
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        return np.array(image)


class Pictures:
    """What a video shows at times that only grow."""

    def __init__(self, track: Track, zero_s: float, begin_s: float) -> None:
        self._track = track
        self._zero_s = zero_s
        self._frames = track.frames(begin_s + zero_s)
        self._shown: Any = None
        self._next: Any = None
        self._shown_s = self._next_s = 0.0
        self._reformatter = VideoReformatter()  # one keeps its tables; each frame has its own else
        rate = track.stream.average_rate
        self._step_s = 1 / float(rate) if rate else 0.04
        self._advance()
        self._advance()

    @property
    def seen_any(self) -> bool:
        return self._shown is not None

    def look(self, first_s: float, clip_s: float, num_frames: int) -> Look | None:
        """What is seen in a clip; None where the pictures end before it does."""
        wanted = picture_times(num_frames)
        glances = [(k + 0.5) / NUM_GLIMPSES for k in range(NUM_GLIMPSES)]
        frames: dict[float, tuple[Any, float]] = {}
        glimpses = []
        for share in sorted({*wanted, *glances}):
            if not self._go_to(first_s + share * clip_s):
                return None
            if share in wanted:
                frames[share] = (self._shown, self._shown_s)
            if share in glances:
                glimpses.append(self._glimpse())
        aspect = float(self._track.stream.sample_aspect_ratio or 1)
        return Look(tuple(frames[share] for share in wanted), tuple(glimpses), aspect)

    def _go_to(self, time_s: float) -> bool:
        """Make the frame that is shown at a time the shown one; false where the pictures have ended."""
        while self._next is not None and self._next_s <= time_s + 1e-6:
            self._advance()
        if self._shown is None:
            return False
        if self._next is not None:
            return True
        duration = getattr(self._shown, "duration", 0) or 0
        lasts_s = max(float(duration * (self._shown.time_base or 0)), LAST_SHOWN_S)
        return time_s < self._shown_s + lasts_s

    def _advance(self) -> None:
        """The next frame is shown, and the one after it read; frames that come too late are left out."""
        if self._next is not None:
            self._shown, self._shown_s = self._next, self._next_s
        for frame in self._frames:
            time_s = (
                self._next_s + self._step_s if frame.time is None else frame.time - self._zero_s
            )
            if self._next is None or time_s > self._shown_s:
                self._next, self._next_s = frame, time_s
                if self._shown is None:
                    self._shown, self._shown_s = frame, time_s
                return
        self._next = None

    def _glimpse(self) -> np.ndarray:
        """The shown frame as a small picture (h, w) uint8 of luminance, upright."""
        frame = self._shown
        width = min(GLIMPSE_WIDTH_PX, frame.width)
        height = max(1, round(frame.height * width / frame.width))
        small = self._reformatter.reformat(frame, width, height, "gray", interpolation="AREA")
        return np.ascontiguousarray(np.rot90(small.to_ndarray(), quarter_turns(frame)))


def picture_times(num_frames: int) -> list[float]:
    """When the pictures of a clip are taken, as shares of its length: the middle first, then the others in turn.

    >>> picture_times(3)
    [0.5, 0.16666666666666666, 0.8333333333333334]
    """
    times = [(k + 0.5) / num_frames for k in range(num_frames)]
    del times[(num_frames - 1) // 2]
    return [0.5, *times]


def quarter_turns(frame: Any) -> int:
    """By how many quarter turns, counterclockwise, a frame is to be turned to stand upright."""
    return round(frame.rotation / 90) % 4


def _limited(bars: Bars, pixels: np.ndarray, glimpse_shape: tuple[int, ...]) -> Bars:
    """The bars of a whole frame (H, W, 3), where a glimpse of the clip has them, to the pixel."""
    found = find_bars(pixels.max(2))
    rows, columns = pixels.shape[0] / glimpse_shape[0], pixels.shape[1] / glimpse_shape[1]
    wider = Bars(*(size + 1 if size else 0 for size in bars)).scaled(rows, columns)
    return Bars(*(min(exact, most) for exact, most in zip(found, wider, strict=True)))
