"""One track of a video, picture or sound: its frames one after the other, with their times on the video's own clock.

The picture and the sound are read by two readers of the same file (or of two), each at its own pace: neither has to
keep what the other is not yet ready for, however badly they are interleaved. What a file may be is held to known
containers and codecs, as everywhere (`avgan.media`).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av

from avgan.errors import AvganError
from avgan.images import MAX_FRAME_PIXELS, PICTURE_CODECS
from avgan.media import CONTAINERS, LENIENT, Calm, first_line, packets, sound_codecs

Kind = Literal["picture", "sound"]

BUFFER_BYTES = 1 << 18
PREROLL_S = 2.0  # decoders carry state: enter so much early
SEEK_FROM_S = 30.0  # a stretch that begins earlier is reached by decoding, which is as fast


class CutError(AvganError):
    """A video of which nothing more can be cut: `reason` is a word for statistics, `detail` a line (see `Loss`)."""

    def __init__(self, path: Path, reason: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}; leave it out or replace it")
        self.reason = reason
        self.detail = detail


@dataclass
class Track:
    """A track that is open."""

    path: Path
    container: Any
    stream: Any
    damaged: bool = False
    """Whether something in it could not be decoded, of what was read so far."""

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
        """All frames that are decoded, the first not later than `from_s` on the file's clock if possible."""
        if from_s > SEEK_FROM_S:
            frames = self._frames_near(from_s)
            first = next(frames, None)
            if first is not None and first.time is not None and first.time <= from_s:
                yield first
                yield from frames
                return
            with suppress(av.error.FFmpegError):
                self.container.seek(0)
        yield from self._frames()

    def _frames_near(self, from_s: float) -> Iterator[Any]:
        """From the key frame before a time on; none where the file cannot be entered there."""
        try:
            ticks = int((from_s - PREROLL_S) / self.stream.time_base)
            self.container.seek(ticks, stream=self.stream)
        except av.error.FFmpegError:
            return
        yield from self._frames()

    def _frames(self) -> Iterator[Any]:
        coming = packets(self.container, self.stream)
        while True:
            try:
                packet = next(coming, None)
            except (av.error.FFmpegError, ValueError):
                self.damaged, packet = True, None
            if packet is None:
                return
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self.damaged = True
                continue
            yield from frames


@contextmanager
def open_track(path: Path, kind: Kind) -> Iterator[Track]:
    """Open the first track of a kind; cover pictures are none.

    Raises CutError where the file cannot be opened or has no such track.
    """
    known = PICTURE_CODECS if kind == "picture" else sound_codecs()
    options = {
        "protocol_whitelist": "none",  # whatever a file names, no other file or address is opened
        "format_whitelist": CONTAINERS,
        "codec_whitelist": known,  # the other track is not looked at
    }
    with ExitStack() as stack:
        try:
            source: Any = Calm(stack.enter_context(path.open("rb")))
            container = stack.enter_context(
                av.open(source, "r", container_options=options, buffer_size=BUFFER_BYTES, **LENIENT)
            )
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise CutError(path, "damaged", f"cannot be opened ({first_line(error)})") from None
        try:
            yield Track(path, container, _stream(path, container, kind, known))
        except av.error.FFmpegError as error:
            raise CutError(path, "damaged", f"cannot be decoded ({first_line(error)})") from None


def _stream(path: Path, container: Any, kind: Kind, known: str) -> Any:
    """The first track of a kind, ready to be decoded; nothing is read of the others."""
    of_kind = container.streams.video if kind == "picture" else container.streams.audio
    tracks = [stream for stream in of_kind if not _is_cover(stream)]
    if not tracks:
        raise CutError(path, f"no {kind}", f"has no {kind}")
    stream = tracks[0]
    codec = stream.codec_context
    if codec is None or codec.name not in known.split(","):
        name = codec.name if codec is not None else "no name"
        raise CutError(path, "damaged", f"its {kind} is in a format that is not read ({name})")
    codec.thread_count = (
        1  # a process for each core is faster than threads that wait for each other
    )
    if kind == "picture":
        if codec.width * codec.height > MAX_FRAME_PIXELS:
            raise CutError(path, "damaged", f"claims {codec.width} x {codec.height} pixels")
        codec.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
    for other in container.streams:
        if other is not stream and hasattr(
            av.stream, "Discard"
        ):  # PyAV before 15 reads them in vain
            other.discard = av.stream.Discard.all
    return stream


def _is_cover(stream: Any) -> bool:
    """Whether a track is a picture attached to the sound, such as an album's cover."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
