"""A recording as a short film: its imagined pictures one after another, with scene, certainty and time.

What lasts a minute at most plays as it sounded; what is longer goes by in a minute, silently.
An MP4 (H.264, AAC) that starts to play before it has been loaded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import cast

import av
import numpy as np
from PIL import Image, ImageDraw

from avgan.audio import AudioSource, AudioStream
from avgan.files import whole
from avgan.pictures.thinning import Thinning, spans
from avgan.runtime.drawing import INK, NIGHT, QUIET, colours, enlarged, font, imagined, plain, write
from avgan.runtime.network import num_cores
from avgan.runtime.prediction import UNKNOWN, Decode, WindowPrediction
from avgan.runtime.wording import answered, clock, percent

LONGEST_S = 60.0
PADDING_S = 0.1
"""What lossy formats add to a recording of a minute."""
FRAMES_PER_S = 20
SHOT_S = 0.5
"""The shortest time for which eyes are given a picture."""
FADE_S = 0.35
PICTURE_PX, PANEL_PX = 512, 112
SIZE_PX = (PICTURE_PX, PICTURE_PX + PANEL_PX)
LEFT_PX, RIGHT_PX = 20, PICTURE_PX - 20
SCENE_PX, SOUND_PX, CLOCK_PX = 38, 66, 98  # base lines in the panel
RIBBON_PX = 10

SOUND_RATE_HZ = 48_000
SOUND_BITS_PER_S = 96_000
CODECS = ("libx264", "libopenh264", "libvpx-vp9", "mpeg4")
"""What browsers play, best first: not every FFmpeg was built with each. The last is for players only."""
OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "20", "tune": "stillimage"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"},
}
BT709, LIMITED_RANGE = 1, 1  # as FFmpeg numbers them


@dataclass(frozen=True)
class Cut:
    """The windows that a film shows, and the stretch of the recording for which each is shown."""

    windows: Sequence[WindowPrediction]
    spans_s: Sequence[tuple[float, float]]
    duration_s: float
    film_s: float

    @classmethod
    def of(cls, windows: Thinning, duration_s: float) -> "Cut":
        film_s = duration_s if duration_s <= LONGEST_S + PADDING_S else LONGEST_S
        shown = windows.windows(max(1, int(film_s / SHOT_S)))
        return cls(shown, spans(shown, duration_s), duration_s, film_s)

    @property
    def num_frames(self) -> int:
        return max(1, ceil(self.film_s * FRAMES_PER_S - 1e-6))

    @property
    def speed(self) -> float:
        """How much faster than the recording the film goes by; 1 where it plays as it sounded."""
        return self.duration_s / self.film_s if self.film_s else 1.0


def write_film(
    path: str | Path,
    windows: Thinning,
    duration_s: float,
    *,
    decode: Decode,
    source: AudioSource | None = None,
    track: int | None = None,
) -> Path:
    """Write the film of a recording, whole or not at all.

    `source`, of which `track` is used, is read again for the sound if the film is as long as the recording. Raises
    AvganError where the film cannot be written, AudioError where the source cannot be read again.
    """
    path = Path(path)
    cut = Cut.of(windows, duration_s)
    with whole(path) as temporary:
        try:
            sound = None
            if source is not None and cut.speed == 1:
                sound = AudioStream(source, target_rate_hz=SOUND_RATE_HZ, track=track)
            _encode(temporary, cut, decode, sound)
        except av.error.FFmpegError as error:  # of which some are OSError, and some are not
            raise OSError(error.errno, error.strerror) from None
    return path


def frames(cut: Cut, decode: Decode) -> Iterator[Image.Image]:
    """The frames of a film. Holds two pictures at a time, however many there are."""
    ribbon = _ribbon(cut)
    picture = before = Image.new("RGB", (PICTURE_PX, PICTURE_PX), NIGHT)
    panel = Image.new("RGB", (PICTURE_PX, PANEL_PX), NIGHT)
    at = -1
    for frame in range(cut.num_frames):
        time_s = frame / FRAMES_PER_S * cut.speed
        while at < 0 or (at + 1 < len(cut.windows) and time_s >= cut.spans_s[at][1]):
            at += 1
            before, picture = picture, enlarged(imagined(cut.windows[at], decode), PICTURE_PX)
            panel = _panel(cut.windows[at])
        shown_s = (time_s - cut.spans_s[at][0]) / cut.speed
        fading = at > 0 and shown_s < FADE_S
        sheet = Image.new("RGB", SIZE_PX)
        sheet.paste(Image.blend(before, picture, shown_s / FADE_S) if fading else picture)
        sheet.paste(panel, (0, PICTURE_PX))
        _draw_time(sheet, ribbon, time_s, cut.duration_s)
        yield sheet


def _panel(window: WindowPrediction) -> Image.Image:
    """What is written below a picture: scene and certainty, or why there is no answer."""
    panel = Image.new("RGB", (PICTURE_PX, PANEL_PX), NIGHT)
    pen = ImageDraw.Draw(panel)
    known = window.scene != UNKNOWN
    sure = percent(window.probability) if known else ""
    sure_px = write(pen, (RIGHT_PX, SCENE_PX), sure, size_px=28, fill=QUIET, anchor="rs")
    room_px = RIGHT_PX - LEFT_PX
    at, fill = (LEFT_PX, SCENE_PX), INK if known else QUIET
    said = plain(answered(window.answer, window.within))
    write(pen, at, said, size_px=32, fill=fill, room_px=room_px - sure_px - 16)
    words = [] if window.sound == window.answer else [plain(word) for word in window.sounds]
    below = ", ".join(words or filter(None, [window.sound])) if known else window.reason
    write(pen, (LEFT_PX, SOUND_PX), below, size_px=20, fill=QUIET, room_px=room_px)
    return panel


def _ribbon(cut: Cut) -> Image.Image:
    """The whole recording as a line of the colours of its scenes, as long as the clock leaves room."""
    end = clock(round(cut.duration_s))
    width = RIGHT_PX - LEFT_PX - 16 - round(font(20).getlength(f"{end} / {end}"))
    ribbon = Image.new("RGB", (width, RIBBON_PX), NIGHT)
    pen = ImageDraw.Draw(ribbon)
    painted = colours(cut.windows)
    scale = width / max(cut.spans_s[-1][1], 1e-9)
    for window, (start_s, end_s) in zip(cut.windows, cut.spans_s, strict=True):
        pen.rectangle((start_s * scale, 0, end_s * scale, RIBBON_PX), painted[window.answer])
    return ribbon


def _draw_time(sheet: Image.Image, ribbon: Image.Image, time_s: float, duration_s: float) -> None:
    """How far the film has come along its ribbon, and the clock."""
    pen = ImageDraw.Draw(sheet)
    # Whole seconds: tenths that run are read by nobody.
    clocks = f"{clock(int(time_s))} / {clock(round(duration_s))}"
    base = PICTURE_PX + CLOCK_PX
    write(pen, (RIGHT_PX, base), clocks, size_px=20, fill=QUIET, anchor="rs")
    top = base - RIBBON_PX - 2
    reached = round(ribbon.width * time_s / max(duration_s, 1e-9))
    sheet.paste(Image.blend(ribbon, Image.new("RGB", ribbon.size, NIGHT), 0.6), (LEFT_PX, top))
    sheet.paste(ribbon.crop((0, 0, reached, RIBBON_PX)), (LEFT_PX, top))
    left = LEFT_PX + reached
    pen.rectangle((left - 1, top - 3, left + 1, top + RIBBON_PX + 2), INK)


def _encode(path: Path, cut: Cut, decode: Decode, source: AudioStream | None) -> None:
    # An absolute path, for FFmpeg takes what stands before a colon for a protocol.
    with av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "faststart"}) as container:
        container.metadata["comment"] = "Imagined from its sound, not filmed."
        shown = _add_video(container)
        # Both streams before the first packet: with it the header is written.
        packets: Iterator[av.Packet] = iter(())
        if source is not None:
            sound = container.add_stream("aac", SOUND_RATE_HZ, layout="mono")
            sound.bit_rate = SOUND_BITS_PER_S
            packets = _sound_packets(sound, source)
        sounded_s = 0.0
        for number, sheet in enumerate(frames(cut, decode)):
            # Sound goes ahead of what is seen with it, or one of the two would be held in memory.
            while sounded_s * FRAMES_PER_S <= number and (packet := next(packets, None)):
                sounded_s = float((packet.pts or 0) * packet.time_base)
                container.mux(packet)
            container.mux(shown.encode(_video_frame(sheet, number)))
        container.mux(shown.encode(None))
        for packet in packets:
            container.mux(packet)


def _add_video(container: av.container.OutputContainer) -> av.VideoStream:
    name = next(name for name in CODECS if _is_there(name))
    added = container.add_stream(name, rate=FRAMES_PER_S, options=OPTIONS.get(name, {}))
    stream = cast("av.VideoStream", added)
    stream.width, stream.height = SIZE_PX
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_count = min(num_cores(), 4)
    # Said, for players guess differently.
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED_RANGE
    return stream


def _is_there(codec: str) -> bool:
    try:
        av.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _video_frame(sheet: Image.Image, number: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.asarray(sheet), format="rgb24").reformat(
        format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
    )
    frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_S)
    return frame


def _sound_packets(stream: av.AudioStream, source: AudioStream) -> Iterator[av.Packet]:
    """The sound of a recording, mono."""
    at = 0
    for samples in source:
        if len(samples):
            block = av.AudioFrame.from_ndarray(samples.clip(-1, 1)[None], format="fltp", layout="mono")
            block.sample_rate, block.time_base = SOUND_RATE_HZ, Fraction(1, SOUND_RATE_HZ)
            block.pts = at
            at += len(samples)
            yield from stream.encode(block)
    yield from stream.encode(None)
