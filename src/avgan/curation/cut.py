"""A video -> its clips: non-overlapping, each with its sound and its pictures, in one pass from front to back (Sec. 4).

What a clip holds is decided by the video's clock alone, which begins with its first track. Its sound is every sample
from the clip's first to its last, in two channels at 32 kHz; only where time stamps disagree by more than any container
rounds them is there a gap, which stays one. Its pictures are what a player would show at given times, be the frames
evenly spaced or not. Picture and sound are read by two readers of the same file (or of two), each at its own pace, held
to known containers and codecs (`avgan.media`). One clip is in memory at a time, whatever the length of the video.

Shapes: L samples, C channels, H W pixels, h w pixels of a thumbnail.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count, groupby
from math import gcd
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import soxr
from av.video.reformatter import VideoReformatter
from PIL import Image

from avgan.audio import LARGEST, MAX_RATE_HZ, MIN_RATE_HZ
from avgan.curation.measures import Bars, find_bars
from avgan.curation.record import FRAME_WIDTH_PX, SOUND_RATE_HZ, Cut
from avgan.errors import AvganError
from avgan.images import LAST_SHOWN_S, MAX_FRAME_PIXELS, PICTURE_CODECS
from avgan.media import (
    BLOCK_SAMPLES,
    SeekSafeFile,
    channel_names,
    first_line,
    frame_samples,
    open_container,
    packets,
    read_only,
    settle_layout,
    sound_codecs,
)
from avgan.media.tracks import timed

Kind = Literal["picture", "sound"]

BUFFER_BYTES = 1 << 18  # a second of 720p: FFmpeg's 32 kB would call Python eight times as often
PREROLL_S = 2.0  # decoders carry state: enter so much early
SEEK_FROM_S = 30.0  # a stretch that begins earlier is reached by decoding, which is as fast
LEAD_S = 0.25  # resampled before the first clip, for the filter to settle
Timed = tuple[float, int, np.ndarray]
"""When, at which rate, samples (L, 2)."""
Shown = tuple[Any, float]
"""A frame as it was decoded, and when it is shown."""
Placed = tuple[int, np.ndarray]
"""Place of the first sample, counted from the beginning of the video, and samples (L, 2), at SOUND_RATE_HZ."""
# What goes to the left and to the right (ITU-R BS.775); what FFmpeg calls otherwise goes to both.
_MIX = {"FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (0.7071, 0.7071), "LFE": (0.0, 0.0)}
_MIX |= dict.fromkeys(("BL", "SL"), (0.7071, 0.0)) | dict.fromkeys(("BR", "SR"), (0.0, 0.7071))
SKIP_S = 5.0
"""Of each video, which usually are an intro (Sec. 4)."""
SKIPPED = ", for nothing is cut from its first"
NUM_THUMBNAILS = 8  # one a second or so of 10 s: slow pans still move from one to the next
THUMBNAIL_WIDTH_PX = 160  # 20 patches of 8 px, which motion is measured on
MAX_MISSING_S = 0.1
"""Of a clip's sound that may be missing, and is silence then: tracks seldom end in the same moment."""
MAX_HOLE_S = 600.0
"""After so much without sound the time stamps are wrong, and nothing more is to be expected."""
MAX_LOST_S = 2.0
"""How much earlier than it says a video may end without being called damaged."""


class CutError(AvganError):
    """A video that gives no further clip: `reason` is a word for statistics, `detail` a line (see `Loss`)."""

    def __init__(self, path: Path, reason: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}; leave it out or replace it")
        self.reason = reason
        self.detail = detail


@dataclass
class Track:
    """A track that is open."""

    container: Any
    stream: Any

    @property
    def start_s(self) -> float | None:
        """When it begins on the file's clock, where the file says."""
        if self.stream.start_time is None:
            return None
        return float(self.stream.start_time * self.stream.time_base)

    @property
    def end_s(self) -> float:
        """When it says it ends, on the file's clock; 0 where it does not."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base) + (self.start_s or 0.0)
        return (self.container.duration or 0) / av.time_base

    def frames(self, from_s: float) -> Iterator[Any]:
        """All frames that are decoded, the first not later than `from_s` on the file's clock if possible.

        What cannot be decoded is left out.
        """
        if from_s > SEEK_FROM_S:
            with suppress(av.error.FFmpegError):  # else the file cannot be entered there
                ticks = int((from_s - PREROLL_S) / self.stream.time_base)
                self.container.seek(ticks, stream=self.stream)
                frames = self._frames()
                first = next(frames, None)
                if first is not None and first.time is not None and first.time <= from_s:
                    yield first
                    yield from frames
                    return
            with suppress(av.error.FFmpegError):
                self.container.seek(0)
        yield from self._frames()

    def _frames(self) -> Iterator[Any]:
        with suppress(av.error.FFmpegError, ValueError):  # from there on nothing can be read
            for packet in packets(self.container, self.stream):
                try:
                    frames = packet.decode()
                except (av.error.FFmpegError, ValueError):
                    continue
                yield from frames


@contextmanager
def open_track(path: Path, kind: Kind) -> Iterator[Track]:
    """Open the first track of a kind; cover pictures are none.

    Raises CutError where the file cannot be opened or has no such track.
    """
    known = PICTURE_CODECS if kind == "picture" else sound_codecs()
    with ExitStack() as stack:
        try:
            source: Any = SeekSafeFile(stack.enter_context(path.open("rb")))
            container = stack.enter_context(open_container(source, known, buffer_bytes=BUFFER_BYTES))
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise CutError(path, "damaged", f"cannot be opened ({first_line(error)})") from None
        try:
            yield Track(container, _stream(path, container, kind, known))
        except av.error.FFmpegError as error:
            raise CutError(path, "damaged", f"cannot be decoded ({first_line(error)})") from None


def _stream(path: Path, container: Any, kind: Kind, known: str) -> Any:
    """The first track of a kind, ready to be decoded; nothing is read of the others."""
    of_kind = container.streams.video if kind == "picture" else container.streams.audio
    cover = av.stream.Disposition.attached_pic  # a picture attached to the sound
    tracks = [stream for stream in of_kind if not stream.disposition & cover]
    if not tracks:
        raise CutError(path, f"no {kind}", f"has no {kind}")
    stream = tracks[0]
    codec = stream.codec_context
    if codec is None or codec.name not in known.split(","):
        name = codec.name if codec is not None else "no name"
        raise CutError(path, "damaged", f"its {kind} is in a format that is not read ({name})")
    codec.thread_count = 1  # a process for each core is faster than threads that wait for each other
    if kind == "picture":
        if codec.width * codec.height > MAX_FRAME_PIXELS:
            raise CutError(path, "damaged", f"claims {codec.width} x {codec.height} pixels")
        codec.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
    else:
        settle_layout(codec)
    read_only(container, stream)
    return stream


class Sounds:
    """Stretches of a sound track, each later than the one before."""

    def __init__(self, track: Track, zero_s: float, begin_s: float) -> None:
        self._blocks = _forward(_resampled(_stereo(track, zero_s, begin_s)))
        self._held: deque[Placed] = deque()
        self.ended = False
        """Whether the track was read to its end."""
        self.has_sound = False

    def take(self, start_s: float, length_s: float) -> tuple[np.ndarray, float]:
        """The stretch (L, 2) float32 at SOUND_RATE_HZ, and how many seconds of it are missing (silence there)."""
        start, size = round(start_s * SOUND_RATE_HZ), round(length_s * SOUND_RATE_HZ)
        self._read_up_to(start + size)
        sound = np.zeros((size, 2), np.float32)
        num_found = 0
        for position, samples in self._held:
            first, last = max(start, position), min(start + size, position + len(samples))
            if first < last:
                sound[first - start : last - start] = samples[first - position : last - position]
                num_found += last - first
        while self._held and _stop(self._held[0]) <= start + size:
            self._held.popleft()
        return sound, (size - num_found) / SOUND_RATE_HZ

    def _read_up_to(self, place: int) -> None:
        while not self.ended and not (self._held and _stop(self._held[-1]) >= place):
            block = next(self._blocks, None)
            self.ended = block is None
            if block is not None:
                self.has_sound = True
                self._held.append(block)


def _stop(block: Placed) -> int:
    return block[0] + len(block[1])


def to_stereo(samples: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
    """(L, C) with the names of the channels -> (L, 2); mono goes to both, more than two are mixed, never louder."""
    if samples.shape[1] == 2:
        return samples
    if samples.shape[1] == 1:
        return np.repeat(samples, 2, axis=1)
    weights = np.array([_MIX.get(name, (0.5, 0.5)) for name in channels], np.float32)
    weights /= np.maximum(weights.sum(0), 1.0)
    return samples @ weights


def _stereo(track: Track, zero_s: float, begin_s: float) -> Iterator[Timed]:
    """What is needed of a track, as it was decoded, with times counted in samples."""
    begun = False
    for time_s, frame in timed(track.frames(begin_s + zero_s), zero_s):
        rate_hz = frame.sample_rate
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or not frame.samples:
            continue
        due_s = time_s + frame.samples / rate_hz
        if due_s < begin_s - LEAD_S:
            continue
        early = 0 if begun else _samples_before_grid(time_s, rate_hz, begin_s)
        if early >= frame.samples:
            continue
        begun = True
        samples, _ = frame_samples(frame)
        if not np.abs(samples).max() <= LARGEST:
            samples = np.where(np.abs(samples) <= LARGEST, samples, np.float32(0))
        stereo = to_stereo(samples[early:], channel_names(frame))
        yield time_s + early / rate_hz, rate_hz, stereo


def _samples_before_grid(time_s: float, rate_hz: int, begin_s: float) -> int:
    """How many samples to leave out for the first one to stand where one of ours does, if that costs no clip any.

    So a clip has the same samples wherever the reading began. Rates with too long a period stay within half a sample.
    """
    period = rate_hz // gcd(rate_hz, SOUND_RATE_HZ)
    early = -round(time_s * rate_hz) % period
    return early if time_s + early / rate_hz <= begin_s - LEAD_S / 2 else 0


def _resampled(frames: Iterator[Timed]) -> Iterator[Placed]:
    """Blocks at SOUND_RATE_HZ, run by run; they may overlap where time stamps do."""
    for _, run in groupby(_in_runs(frames), key=itemgetter(0)):
        yield from _resampled_run(frame for _, frame in run)


def _in_runs(frames: Iterator[Timed]) -> Iterator[tuple[int, Timed]]:
    """Each frame with the number of its run: samples of one rate without a gap."""
    number, run_rate_hz, due_s = 0, 0, 0.0
    for frame in frames:
        time_s, rate_hz, samples = frame
        if rate_hz != run_rate_hz or abs(time_s - due_s) >= 0.5 / rate_hz:
            number, run_rate_hz, begins_s, num_samples = number + 1, rate_hz, time_s, 0
        num_samples += len(samples)
        due_s = begins_s + num_samples / rate_hz
        yield number, frame


def _resampled_run(run: Iterator[Timed]) -> Iterator[Placed]:
    """In blocks; the last is what the filter holds at the end."""
    begins_s, rate_hz, samples = next(run)
    place, waiting, num_waiting, is_over = round(begins_s * SOUND_RATE_HZ), [samples], len(samples), False
    stream = None
    if rate_hz != SOUND_RATE_HZ:
        stream = soxr.ResampleStream(rate_hz, SOUND_RATE_HZ, 2, dtype="float32", quality="HQ")
    while not is_over:
        while num_waiting < BLOCK_SAMPLES and not is_over:
            frame = next(run, None)
            is_over = frame is None
            if frame is not None:
                waiting.append(frame[2])
                num_waiting += len(frame[2])
        block = np.concatenate([*waiting, np.empty((0, 2), np.float32)])
        waiting, num_waiting = [], 0
        if stream is not None:
            block = stream.resample_chunk(block, last=is_over)
        if len(block):
            yield place, block
            place += len(block)


def _forward(blocks: Iterator[Placed]) -> Iterator[Placed]:
    """The same blocks without what lies before the end of the one before."""
    done = None
    for place, samples in blocks:
        skipped = 0 if done is None else max(0, done - place)
        if skipped < len(samples):
            done = place + len(samples)
            yield place + skipped, samples[skipped:]


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
        crop_bars: leave out black bars that stay the same for all of the clip.

    Raises:
        CutError: at once where there is no picture, no sound, or nothing that can be decoded; after the last clip
            where the video is too short for one, or where a part of it is damaged and lost.
    """
    path = Path(path)
    begin_s = max(start_s, skip_s, 0.0)
    num_clips, holes, hole_s = 0, 0, 0.0
    with ExitStack() as stack:
        picture = stack.enter_context(open_track(path, "picture"))
        sound_track = stack.enter_context(open_track(Path(sound_path or path), "sound"))
        zero_s = min(track.start_s or 0.0 for track in (picture, sound_track))
        shown = Pictures(picture, zero_s, begin_s)
        sounds = Sounds(sound_track, zero_s, begin_s)
        for number in count():
            first_s = begin_s + number * clip_s
            if end_s is not None and first_s + clip_s > end_s + 1e-6:
                break
            taken = shown.take(first_s, clip_s, num_frames)
            sound, missing_s = sounds.take(first_s, clip_s)
            if taken is None or (missing_s > MAX_MISSING_S and sounds.ended):
                break
            if missing_s > MAX_MISSING_S:
                holes, hole_s = holes + 1, hole_s + clip_s
                if hole_s > MAX_HOLE_S:
                    break
                continue
            num_clips, hole_s = num_clips + 1, 0.0
            frames, thumbnails = taken
            bars = find_bars(np.max(thumbnails, 0)) if crop_bars else Bars()
            yield Cut(
                start_s=first_s,
                end_s=first_s + clip_s,
                sound=sound,
                frames=tuple(shown.pixels(frame, bars, thumbnails[0].shape) for frame, _ in frames),
                frame_times_s=tuple(time_s for _, time_s in frames),
                thumbnails=tuple(bars.inside(thumbnail) for thumbnail in thumbnails),
            )
        stated_s = min(picture.end_s, sound_track.end_s) - zero_s
        lost_s = (stated_s if end_s is None else min(stated_s, end_s)) - begin_s - (number + 1) * clip_s
        if not shown.has_picture:
            raise CutError(path, "no picture", "has a picture track without a picture")
        if sounds.ended and not sounds.has_sound and sound_track.end_s - zero_s > begin_s:
            raise CutError(path, "no sound", "has a sound track without sound")
        skipped_s = begin_s - max(start_s, 0.0)
    if lost_s > MAX_LOST_S or holes:
        what = f"ends {lost_s:.0f} s early" if lost_s > MAX_LOST_S else "has gaps in its sound"
        raise CutError(path, "damaged", f"{what}; {num_clips} clips could be cut")
    if not num_clips:
        behind = f"{SKIPPED} {skipped_s:g} s" if skipped_s > 0 else ""
        raise CutError(path, "too short", f"is too short for a clip of {clip_s:g} s{behind}")


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
    def has_picture(self) -> bool:
        return self._shown is not None

    def take(self, first_s: float, clip_s: float, num_frames: int) -> tuple[list[Shown], list[np.ndarray]] | None:
        """The frames and the thumbnails (h, w) uint8 of a clip; None where the pictures end before it does."""
        wanted = picture_times(num_frames)
        spread = [(k + 0.5) / NUM_THUMBNAILS for k in range(NUM_THUMBNAILS)]
        frames: dict[float, Shown] = {}
        thumbnails = []
        for share in sorted({*wanted, *spread}):
            if not self._go_to(first_s + share * clip_s):
                return None
            if share in wanted:
                frames[share] = (self._shown, self._shown_s)
            if share in spread:
                thumbnails.append(self._thumbnail())
        return [frames[share] for share in wanted], thumbnails

    def pixels(self, frame: Any, bars: Bars, thumbnail_shape: tuple[int, ...]) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright, without bars, at most FRAME_WIDTH_PX wide."""
        turns = quarter_turns(frame)
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
        aspect = float(self._track.stream.sample_aspect_ratio or 1)  # width of a stored pixel to its height
        aspect = 1 / aspect if turns % 2 else aspect
        if any(bars):
            pixels = _limited(bars, pixels, thumbnail_shape).inside(pixels)
        height, width = pixels.shape[:2]
        shown = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
        scale = min(1.0, FRAME_WIDTH_PX / shown[0])
        size = (max(1, round(shown[0] * scale)), max(1, round(shown[1] * scale)))
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        return np.array(image)

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
            time_s = self._next_s + self._step_s if frame.time is None else frame.time - self._zero_s
            if self._next is None or time_s > self._shown_s:
                self._next, self._next_s = frame, time_s
                if self._shown is None:
                    self._shown, self._shown_s = frame, time_s
                return
        self._next = None

    def _thumbnail(self) -> np.ndarray:
        """The shown frame as a small picture (h, w) uint8 of luminance, upright."""
        frame = self._shown
        width = min(THUMBNAIL_WIDTH_PX, frame.width)
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


def _limited(bars: Bars, pixels: np.ndarray, thumbnail_shape: tuple[int, ...]) -> Bars:
    """The bars of a whole frame (H, W, 3), where a thumbnail of the clip has them, to the pixel."""
    found = find_bars(pixels.max(2))
    rows, columns = pixels.shape[0] / thumbnail_shape[0], pixels.shape[1] / thumbnail_shape[1]
    wider = Bars(*(size + 1 if size else 0 for size in bars)).scaled(rows, columns)
    return Bars(*(min(exact, most) for exact, most in zip(found, wider, strict=True)))
