"""Videos of known truth: each frame shows its number, the sound ticks at times that tell which second it is.

    path = film(folder / "walk.mp4", seconds=20)                                      # counted frames, ticks
    film(path, seconds=12, pictures=[photo], sound=bark, rate_hz=16_000)              # a still with a sound
    film(path, seconds=12, pictures=drifting(photo), sound=None)                      # it moves; no sound track
    film(path, seconds=9, rotation=90, bars=(0.2, 0.2, 0, 0), variable=True, fps=30)  # as phones leave them

Shapes: L samples, C channels, H W pixels. Sizes are (width, height), as cameras state them.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

BITS = 16
DARK, LIGHT = 60, 220
"""Of a block: dark enough to be told from light, light enough to be no black bar."""
TICK_S = 0.001
TIME_BASE = Fraction(1, 60_000)  # whole for 24, 25, 30 and 30000/1001 frames a second; MPEG-4 allows no finer

Pictures = Callable[[int, float], np.ndarray] | Sequence[np.ndarray]
"""(number of the frame, its time in s) -> (H, W, 3) uint8; or pictures that follow each other, equally long."""


def film(
    path: Path,
    *,
    seconds: float = 20.0,
    pictures: Pictures | None = None,
    sound: np.ndarray | str | None = "ticks",
    rate_hz: int = 44_100,
    fps: float = 25.0,
    size: tuple[int, int] = (160, 120),
    rotation: int = 0,
    bars: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
    variable: bool = False,
    starts_s: float = 0.0,
    sound_starts_s: float = 0.0,
    codec: str = "libx264",
    sound_codec: str = "aac",
    stream_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video; the container follows the suffix of the path.

    Args:
        seconds: how long it lasts.
        pictures: what it shows (`Pictures`), brought to size; counted frames unless given; `()` for no picture track.
        sound: (L,) or (L, C) in [-1, 1] at `rate_hz`, repeated or cut to last as long; "ticks"; None: no sound track.
        size: of the frames as they are stored, bars included.
        rotation: degrees that a player turns them by, counterclockwise: the track header's display matrix.
        bars: black bars at top, bottom, left and right, as shares of height and width.
        variable: frames last 1 to 5 times as long as 1 / fps (see `frame_times`).
        starts_s: the first time stamp of the whole film.
        sound_starts_s: how much later than the picture the sound begins.
        sound_codec: "aac" for mp4; "flac" keeps every sample, in mp4 too; "libopus" for webm.
    """
    times = frame_times(seconds, fps=fps, variable=variable)
    samples = _samples(sound, seconds - sound_starts_s, rate_hz)
    shown = _shown(counted if pictures is None else pictures, seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container_options or {}) as container:
        streams = []
        if shown is not None:
            stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = stream.time_base = TIME_BASE
            stream.codec_context.thread_count = 1
            fast = {"preset": "ultrafast", "crf": "18", "bf": "2"} if codec == "libx264" else {}
            stream.options = fast | (stream_options or {})
            if rotation:
                stream.set_display_rotation(rotation)
            frames = ((time_s, shown(n, time_s)) for n, time_s in enumerate(times))
            streams.append((stream, _video_frames(frames, size, bars, starts_s)))
        if samples is not None:
            layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[1]]
            stream = container.add_stream(sound_codec, rate=rate_hz, layout=layout)
            streams.append((stream, _audio_frames(samples, rate_hz, layout, starts_s + sound_starts_s)))
        _mux_in_turns(container, streams)
    return path


def frame_times(seconds: float, *, fps: float = 25.0, variable: bool = False) -> list[float]:
    """When each frame of a film is shown first, in s from its beginning."""
    steps = (1, 3, 2, 1, 5) if variable else (1,)
    times, ticks, number = [], 0, 0
    while ticks / fps < seconds - 1e-9:
        times.append(ticks / fps)
        ticks += steps[number % len(steps)]
        number += 1
    return times


def counted(number: int, time_s: float = 0.0) -> np.ndarray:
    """A frame that shows its number as 4 x 4 dark and light blocks: (120, 160, 3)."""
    bits = (number >> np.arange(BITS)) & 1
    blocks = np.where(bits.reshape(4, 4, 1), LIGHT, DARK).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(blocks.repeat(30, 0).repeat(40, 1), (120, 160, 3)))


def read_count(frame: np.ndarray) -> int:
    """The number that a counted frame (H, W, 3) shows, whatever its size."""
    height, width = frame.shape[:2]
    rows = [slice(height * (4 * r + 1) // 16, height * (4 * r + 3) // 16) for r in range(4)]
    columns = [slice(width * (4 * c + 1) // 16, width * (4 * c + 3) // 16) for c in range(4)]
    bits = [frame[row, column].mean() > (DARK + LIGHT) / 2 for row in rows for column in columns]
    return sum(int(bit) << place for place, bit in enumerate(bits))


def drifting(picture: np.ndarray, *, pixels_per_s: float = 12.0) -> Callable[[int, float], np.ndarray]:
    """Three quarters of a picture (H, W, 3), over which the view moves to and fro: pictures for `film`."""
    height, width = (3 * side // 4 for side in picture.shape[:2])
    room = picture.shape[1] - width

    def view(number: int, time_s: float) -> np.ndarray:
        left = round(abs((time_s * pixels_per_s + room) % (2 * room) - room)) if room else 0
        return picture[picture.shape[0] - height :, left : left + width]

    return view


def tick_times(seconds: float) -> np.ndarray:
    """When the sound ticks: in second n at n + (n % 90) / 100 + 0.02 s, so that each tick tells its second."""
    numbers = np.arange(int(np.ceil(seconds)))
    times = numbers + (numbers % 90) / 100 + 0.02
    return times[times < seconds]


def ticks(seconds: float, rate_hz: int) -> np.ndarray:
    """Short pulses at `tick_times` in silence: (L,) float32."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    sound = np.zeros(len(times), np.float32)
    for tick_s in tick_times(seconds):
        first, last = np.searchsorted(times, (tick_s - 8 * TICK_S, tick_s + 8 * TICK_S))
        sound[first:last] += 0.7 * np.exp(-0.5 * ((times[first:last] - tick_s) / TICK_S) ** 2)
    return sound


def read_ticks(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    """When a sound (L,) ticks, in s, far finer than a sample: centres of the pulses."""
    loud = np.flatnonzero(sound > 0.2)
    found = []
    for group in np.split(loud, np.flatnonzero(np.diff(loud) > 10 * TICK_S * rate_hz) + 1):
        if len(group):
            near = np.arange(group[0], group[-1] + 1)
            found.append(float(np.average(near, weights=np.abs(sound[near]))) / rate_hz)
    return np.array(found)


def hiss(seconds: float, rate_hz: int, *, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """Noise of no structure, another for each seed: (L,) float32."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * rate_hz))
    return (level * noise).clip(-1, 1).astype(np.float32)


def hues(seed: int, *, size: tuple[int, int] = (192, 144)) -> np.ndarray:
    """A picture of soft patches of colour, another for each seed: (H, W, 3), where no photographs are at hand."""
    coarse = np.random.default_rng(seed).integers(20, 236, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def _samples(sound: np.ndarray | str | None, seconds: float, rate_hz: int) -> np.ndarray | None:
    """(L, C) float32 of the whole length."""
    if sound is None:
        return None
    samples = ticks(seconds, rate_hz) if isinstance(sound, str) else np.asarray(sound, np.float32)
    samples = samples[:, None] if samples.ndim == 1 else samples
    return np.resize(samples, (round(seconds * rate_hz), samples.shape[1]))


def _shown(pictures: Pictures, seconds: float) -> Callable[[int, float], np.ndarray] | None:
    if callable(pictures):
        return pictures
    if len(pictures) == 0:
        return None
    return lambda number, time_s: pictures[min(int(time_s / seconds * len(pictures)), len(pictures) - 1)]


def _video_frames(
    frames: Iterator[tuple[float, np.ndarray]],
    size: tuple[int, int],
    bars: tuple[float, float, float, float],
    starts_s: float,
) -> Iterator[tuple[float, av.VideoFrame]]:
    """(time, frame) of pictures brought to size between the bars."""
    last: np.ndarray | None = None
    for time_s, picture in frames:
        if last is None or picture is not last:
            canvas, last = _between_bars(picture, size, bars), picture
        frame = av.VideoFrame.from_ndarray(canvas, format="rgb24")
        frame.time_base = TIME_BASE
        frame.pts = round((starts_s + time_s) / TIME_BASE)
        yield time_s, frame


def _between_bars(picture: np.ndarray, size: tuple[int, int], bars: tuple[float, float, float, float]) -> np.ndarray:
    width, height = size
    top, bottom = round(bars[0] * height), height - round(bars[1] * height)
    left, right = round(bars[2] * width), width - round(bars[3] * width)
    canvas = np.zeros((height, width, 3), np.uint8)
    inner = (right - left, bottom - top)
    if inner == picture.shape[1::-1]:
        canvas[top:bottom, left:right] = picture
    else:
        canvas[top:bottom, left:right] = Image.fromarray(picture).resize(inner, Image.Resampling.BILINEAR)
    return canvas


def _audio_frames(
    samples: np.ndarray, rate_hz: int, layout: str, starts_s: float
) -> Iterator[tuple[float, av.AudioFrame]]:
    first = round(starts_s * rate_hz)
    for start in range(0, len(samples), 1024):
        part = np.ascontiguousarray(samples[start : start + 1024].T)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = first + start
        yield start / rate_hz, frame


def _mux_in_turns(container: av.container.OutputContainer, streams: list) -> None:
    """Encode whichever stream is behind, so that picture and sound lie side by side in the file."""
    waiting = [(stream, frames, next(frames, None)) for stream, frames in streams]
    while any(entry[2] is not None for entry in waiting):
        behind = min((n for n, entry in enumerate(waiting) if entry[2] is not None), key=lambda n: waiting[n][2][0])
        stream, frames, (_, frame) = waiting[behind]
        container.mux(stream.encode(frame))
        waiting[behind] = (stream, frames, next(frames, None))
    for stream, _, _ in waiting:
        container.mux(stream.encode(None))
