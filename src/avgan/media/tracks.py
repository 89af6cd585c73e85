"""The sound tracks of a file, through FFmpeg: which one is used, and its samples on the file's own clock.

Where time stamps leave a hole, silence is given; where they jump back, nothing is dropped and the clock goes on.

Shapes: L samples, C channels.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import soundfile

from avgan.errors import AudioError
from avgan.media import (
    BLOCK_SAMPLES,
    DAMAGED,
    QUIET_PEAK,
    SOUND_CODECS,
    Block,
    channel_names,
    first_line,
    frame_samples,
    note_once,
    open_container,
    packets,
    read_only,
    settle_layout,
    sound_codecs,
)

GAP_S = 0.05  # containers round time stamps to a millisecond or so; more is a gap, or an overlap
RESET_S = 1.0  # a jump back beyond what buffers of a recorder explain: another clock follows
MOST_SILENCE_S = 86_400.0  # a day: beyond it the time stamps are wrong, and filling would never end
LATEST_START_S = 600.0  # a file that begins later on its own clock is a piece of a longer stream
NOTED_S = 0.2  # of holes; less is a frame or two, which moves no answer
NOTED_LEAD_S = 1.0  # before the first sample, where cameras and encoders often leave something

PREROLL_S = 1.0  # codecs carry state from block to block: enter early, drop what precedes
JUMPS = "its time stamps jump: from there on times count on by the sound"

STATES_LENGTH = {"mov", "matroska", "flv", "avi", "asf", "mxf", "tta", "wv", "ape", "tak", "voc", "caf"}
CHECKED_CODECS = {"flac", "tak", "tta", "wavpack"}  # of no loss: a wrong checksum means noise
RAW = {"wav", "aiff", "au", "caf", "w64", "voc"}
"""Samples with a header. FFmpeg calls their last packet corrupt where it is shorter; `structure` knows what is cut."""
LEAST_LATE_S = 1.0  # recorders write sound up to about a second behind its pictures
MOST_PACKETS = 100_000  # before the sound of an AVI: half an hour of pictures and of empty packets
LOST_S, LOST_SHARE = 0.5, 0.01  # what a file may end earlier than it says: encoders round

# What the two decoders raise on data that is not theirs or is damaged. soundfile: TypeError too, for
# a headerless format that it would accept only with a rate. PyAV: ValueError too, for a codec unknown.
DECODE_ERRORS = (soundfile.SoundFileError, av.error.FFmpegError, TypeError, ValueError)


def open_sound(file: Any, *, ignore_length: bool = False) -> av.container.InputContainer:
    """Open a file with FFmpeg for its sound: the pictures of a video are not looked at."""
    return open_container(file, sound_codecs(), ignore_length=ignore_length)


def track_kinds(path: str | os.PathLike[str]) -> set[str]:
    """Of what a file has tracks by its header, "audio" or "video"; covers attached to sound are left aside.

    Raises AudioError where it cannot be opened.
    """
    try:
        with open(path, "rb") as file, open_sound(file) as container:
            cover = av.stream.Disposition.attached_pic
            return {track.type for track in container.streams if not track.disposition & cover}
    except (OSError, *DECODE_ERRORS) as error:
        raise AudioError(f"{path}: cannot be opened ({first_line(error)}); convert it") from None


def choose_track(file: Any, container: Any, name: str, notes: list[str], wanted: int | None) -> int:
    """Which of the sound tracks is used, counted from 0; where there are several, a note says which.

    Raises AudioError where there is none, or not the one that is wanted.
    """
    tracks = container.streams.audio
    if not tracks:
        raise AudioError(f"{name}: has no sound track; choose a recording with sound")
    if wanted is not None:
        if not 1 <= wanted <= len(tracks):
            raise AudioError(f"{name}: has no sound track {wanted}; choose one from 1 to {len(tracks)}")
        return wanted - 1
    if len(tracks) == 1:
        return 0
    order = sorted(range(len(tracks)), key=lambda number: _rank(tracks[number]))
    at = file.tell()  # of the container that is open, which does not know of the others
    best = next((number for number in order if _has_sound(file, number)), order[0])
    file.seek(at)
    why = "the first" if best == 0 else f"number {best + 1}, for number 1 is spoken over the sound"
    if best != order[0]:
        why = f"number {best + 1}, for number {order[0] + 1} is silent"
    elif tracks[best].disposition & av.stream.Disposition.default:
        why = f"number {best + 1}, which is the default one"
    others = ", ".join(str(number + 1) for number in range(len(tracks)) if number != best)
    note_once(notes, f"{len(tracks)} sound tracks: used {why}; --track takes another ({others})")
    return best


def _rank(track: Any) -> tuple[bool, bool]:
    """Sorts the default track before the others, and what is spoken over the sound behind them."""
    kinds = av.stream.Disposition
    spoken = kinds.comment | kinds.visual_impaired | kinds.karaoke
    return not track.disposition & kinds.default, bool(track.disposition & spoken)


def _has_sound(file: Any, number: int) -> bool:
    """Whether a track has a sample louder than dither; it is read as far as to the first."""
    file.seek(0)
    try:
        with open_sound(file) as container:
            blocks = track_blocks(container, number, [])
            return any(float(np.abs(block.samples).max(initial=0)) > QUIET_PEAK for block in blocks)
    except DECODE_ERRORS:
        return False


def track_blocks(
    container: Any, number: int, notes: list[str], *, start_s: float = 0.0, late_s: float = 0.0
) -> Iterator[Block]:
    """The samples of a track frame by frame, with silence where its time stamps leave a hole.

    From `start_s` on, where that can be reached without what precedes it, else none. `late_s`: by how much all of it is
    later than the time stamps say.
    """
    stream = container.streams.audio[number]
    codec = stream.codec_context
    if codec is None or codec.name not in SOUND_CODECS:  # PyAV ignores the list given to FFmpeg
        name = codec.name if codec is not None else "no name"
        raise ValueError(f"its sound is in a format that is not read: {name}")
    read_only(container, stream)
    settle_layout(codec)
    if codec.name in CHECKED_CODECS:
        codec.options = {"err_detect": "crccheck+explode"}
    clock = _Clock(notes, start_s)
    stated_s = _stated_end_s(container, stream)
    zero_s = zero_of(container, notes) - late_s
    if start_s > 0:
        early_s = max(start_s - PREROLL_S, late_s) + zero_s
        container.seek(int(early_s / stream.time_base), stream=stream)
    frames = timed(_sound_frames(container, stream, notes), zero_s)
    for index, (time_s, frame) in enumerate(frames):
        if index == 0 and time_s > start_s > 0:
            return
        samples, rate_hz = frame_samples(frame)
        layout = channel_names(frame)
        if early := max(0, round((start_s - time_s) * rate_hz)) if start_s else 0:
            samples, time_s = samples[early:], time_s + early / rate_hz
            if not len(samples):
                continue
        for num_silent in clock.place(time_s, len(samples), rate_hz):
            silence = np.zeros((num_silent, samples.shape[1]), np.float32)
            yield Block(silence, rate_hz, layout, is_hole=True)
        yield Block(samples, rate_hz, layout)
    clock.note_silence()
    lost_s = stated_s - (zero_s + late_s) - clock.at_s
    if lost_s > max(LOST_S, LOST_SHARE * stated_s) and JUMPS not in notes:
        note_once(notes, DAMAGED)


def avi_late_s(file: Any, number: int) -> float:
    """How long after the beginning of an AVI the first sound of a track (from 0) comes; 0 where it does not.

    An AVI has no time stamps: late is what stands behind pictures. The file stands afterwards where it stood before.
    """
    at = file.tell()
    file.seek(0)
    first = stop = -1  # bytes of the first chunk of sound
    lasts_s = before_s = Fraction(0)  # that chunk, and the pictures before it
    is_over = is_woven = False
    try:
        with open_sound(file) as container:
            sound = container.streams.audio[number]
            if not container.streams.video:
                return 0.0
            for packet in itertools.islice(container.demux(), MOST_PACKETS):
                place, length_s = packet.pos, (packet.duration or 0) * packet.time_base
                if place is None or packet.dts is None:
                    continue
                if packet.stream is sound:
                    first, stop = (place, place) if first < 0 else (first, stop)
                    is_over |= place != stop  # FFmpeg gives a long chunk in parts, which follow each other
                    lasts_s += 0 if is_over else length_s
                    stop = place + packet.size
                elif packet.stream.type == "video" and (first < 0 or place < first):
                    before_s = max(before_s, packet.dts * packet.time_base + length_s)
                elif packet.stream.type == "video":
                    is_woven = True  # where all pictures come before all sound, their places tell nothing
                if is_over and is_woven:
                    break
    except (IndexError, *DECODE_ERRORS):
        return 0.0
    finally:
        file.seek(at)
    late_s = float(before_s - lasts_s)  # a chunk may follow the pictures that it belongs to
    return late_s if is_woven and late_s >= LEAST_LATE_S else 0.0


def _stated_end_s(container: Any, stream: Any) -> float:
    """When a track ends by the file's own header; 0 where the header does not say, and what FFmpeg says is a guess."""
    if container.format.name.split(",")[0] not in STATES_LENGTH:
        return 0.0
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # That of the whole file: pictures may go on for longer than the sound.
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0


def _sound_frames(container: Any, stream: Any, notes: list[str]) -> Iterator[Any]:
    """The frames of a track; packets that are damaged are left out, and noted."""
    is_raw = container.format.name in RAW
    for packet in packets(container, stream):
        if packet.is_corrupt and not is_raw:
            note_once(notes, DAMAGED)
        try:
            for frame in packet.decode():
                if frame.is_corrupt and not is_raw:
                    note_once(notes, DAMAGED)
                yield frame
        except av.error.FFmpegError:
            note_once(notes, DAMAGED)


def zero_of(container: Any, notes: list[str]) -> float:
    """The time stamp, in seconds, at which a file's clock begins.

    MP4, MOV and Matroska count from 0, and a track that starts later starts later. Other containers, such as MPEG-TS,
    count from anywhere, and so does what was cut out of a stream that is long under way.
    """
    start_s = (container.start_time or 0) / av.time_base
    counts_from_0 = container.format.name.startswith(("mov,", "matroska,"))
    if counts_from_0 and 0 <= start_s <= LATEST_START_S:
        return 0.0
    if counts_from_0 and start_s > 0:
        note_once(notes, f"its time stamps begin at {start_s:.0f} s: times count from there")
    return start_s


def timed(frames: Iterable[Any], zero_s: float) -> Iterator[tuple[float, Any]]:
    """Frames with their times on the file's clock; they follow each other where stamps say so but for rounding."""
    due_s: float | None = None  # where the frame before ends
    for frame in frames:
        said_s = due_s or 0.0 if frame.time is None else frame.time - zero_s
        time_s = due_s if due_s is not None and abs(said_s - due_s) <= GAP_S else said_s
        due_s = time_s + frame.samples / max(frame.sample_rate, 1)
        yield time_s, frame


class _Clock:
    """Where sound stands in what is given, beside where its time stamps say; holes are silence, nothing is dropped."""

    def __init__(self, notes: list[str], at_s: float = 0.0) -> None:
        self._notes = notes
        self.at_s = at_s
        self._shift_s = 0.0
        self._silent_s = 0.0
        self._lead_s = 0.0  # of it, before the first sample
        self._first_s = 0.0

    def place(self, time_s: float, num_samples: int, rate_hz: float) -> Iterator[int]:
        """Take a frame into account; gives how many samples of silence come before it, in pieces."""
        missing_s = time_s + self._shift_s - self.at_s
        if missing_s < -RESET_S or self._silent_s + missing_s > MOST_SILENCE_S:
            self._shift_s -= missing_s
            note_once(self._notes, JUMPS)
        elif missing_s > GAP_S:
            if not self.at_s:
                self._lead_s = missing_s
            elif self._silent_s == self._lead_s:
                self._first_s = self.at_s
            self._silent_s += missing_s
            missing = round(missing_s * rate_hz)
            self.at_s += missing / rate_hz
            while missing > 0:
                yield min(missing, BLOCK_SAMPLES)
                missing -= BLOCK_SAMPLES
        self.at_s += num_samples / rate_hz

    def note_silence(self) -> None:
        """Note the silence, at the end."""
        if self._lead_s >= NOTED_LEAD_S:
            note_once(self._notes, f"its sound begins {self._lead_s:.1f} s after the file: silence stands before it")
        holes_s = self._silent_s - self._lead_s
        if holes_s >= NOTED_S:
            note_once(
                self._notes,
                f"its sound has holes of {holes_s:.1f} s in all, the first after {self._first_s:.1f} s: "
                "silence stands there",
            )
