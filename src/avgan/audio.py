"""Any file, bytes or array -> mono float32 at one rate, and its windows.

Everything passes through in blocks (decode, mix to mono, resample), so that a recording of a day
needs no more memory than one of a minute where the caller takes it window by window.

Shapes: L samples, C channels, W samples in a window.
"""

import itertools
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Literal, cast

import numpy as np
import soxr

from avgan.errors import AudioError
from avgan.media import BLOCK_SAMPLES as BLOCK_SAMPLES
from avgan.media import DAMAGED, QUIET_PEAK, SILENT_PEAK, Block, note_once
from avgan.media.channels import Mixer
from avgan.media.decoding import Stretch as Stretch
from avgan.media.decoding import array_blocks, decode, open_source
from avgan.media.origin import made_at
from avgan.media.tracks import JUMPS

SAMPLE_RATE_HZ = 16_000
MIN_RATE_HZ, MAX_RATE_HZ = (1_000, 10_000_000)  # outside: kilohertz were given, or the header is damaged
CLIPPED_LEVEL = 0.99
CLIPPED_SHARE = 1e-3
SHORT_S = 1.0
MIN_HOP_S = 0.01  # of windows of seconds each; below it a minute takes hours
LEAST_OFFSET = 1e-3  # -60 dB of full scale: below, it is no louder than what quiet places hold
OFFSET_S, LEAST_OFFSET_S = 10.0, 0.1  # an offset is the mean of about so long a time, and of no less
LARGEST = 1e12  # beyond it sums and powers overflow in single precision, and the answer would be no number

AudioSource = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of a recording; `waveform` (W,) may be padded, `end_s` is where the sound ends."""

    start_s: float
    end_s: float
    waveform: np.ndarray


@dataclass
class Level:
    """What has been seen of a recording's samples so far; says what is wrong with them."""

    num_samples: int = 0
    num_not_finite: int = 0
    num_clipped: int = 0
    peak: float = 0.0
    duration_s: float = 0.0
    rate_hz: float = 0.0
    _clipped_s: dict[int, float] = field(default_factory=dict)
    """Second of the recording -> how much of it is clipped, in seconds; nothing for those that are not."""

    def add(self, samples: np.ndarray, rate_hz: float) -> np.ndarray:
        """Take a block (L, C) into account. Returns it, with zeros for what is not finite."""
        self.num_samples += samples.size
        self.rate_hz = rate_hz
        self.duration_s += len(samples) / rate_hz
        if not samples.size:
            return samples
        peak = max(float(samples.max()), -float(samples.min()))  # not finite if any sample is not
        if not peak <= LARGEST:
            finite = np.abs(samples) <= LARGEST
            self.num_not_finite += int(finite.size - finite.sum())
            samples = np.where(finite, samples, np.float32(0))
            peak = float(np.abs(samples).max())
        self.peak = max(self.peak, peak)
        if peak >= CLIPPED_LEVEL:
            # Three equal samples in a row near full scale: a plateau. Two happen in any loud sine.
            top = samples[1:-1]
            flat = (top == samples[:-2]) & (top == samples[2:]) & (np.abs(top) >= CLIPPED_LEVEL)
            self._note_clipped(flat.mean(1), rate_hz, self.duration_s - len(samples) / rate_hz)
            self.num_clipped += int(flat.sum())
        return samples

    def _note_clipped(self, shares: np.ndarray, rate_hz: float, start_s: float) -> None:
        """Take down when there was clipping, from the share of channels (L,) that are clipped in each sample."""
        (at,) = shares.nonzero()
        seconds = (start_s + at / rate_hz).astype(np.int64)
        first = int(seconds[0]) if len(seconds) else 0
        for index, amount in enumerate(np.bincount(seconds - first, weights=shares[at])):
            if amount:
                second = first + index
                self._clipped_s[second] = self._clipped_s.get(second, 0.0) + amount / rate_hz

    def clipped_share(self, start_s: float, end_s: float) -> float:
        """The share of samples on a plateau at full scale, over the whole seconds that a stretch touches."""
        seconds = range(int(start_s), max(int(np.ceil(end_s)), int(start_s) + 1))
        length_s = min(seconds.stop, self.duration_s) - seconds.start
        clipped_s = sum(self._clipped_s.get(second, 0.0) for second in seconds)
        return float(clipped_s / length_s) if length_s > 0 else 0.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each reason to distrust an answer about this recording."""
        found = []
        if self.num_not_finite:
            found.append(f"{self.num_not_finite} samples are not numbers and were set to zero")
        if self.peak < SILENT_PEAK:
            found.append("the recording is silent")
        elif self.peak <= QUIET_PEAK:
            found.append("the recording is too quiet")
        if self.num_clipped > CLIPPED_SHARE * self.num_samples:
            found.append("the recording is clipped: its loudest parts were cut off at full scale")
        if self.peak > 16:
            found.append("samples lie far outside [-1, 1]: scale the recording to full scale 1")
        if self.duration_s < SHORT_S:
            found.append(f"the recording is shorter than {SHORT_S:g} s")
        return tuple(found)


class AudioStream:
    """A recording that is read while one iterates over it: blocks (L,) float32, mono, one rate.

    `source` may also be an iterator of blocks, that is of samples (L, C) float32 with their rate in Hz. `track`: which
    sound track of a file is heard, from 1; None: the default one, or another where that is silent. `stretch`: what of
    a file is heard, in seconds on its own clock.
    After the iteration `level` knows the samples and `warnings` what to distrust. Iterate once.

    Raises AudioError, on construction where the source cannot be opened, later where it cannot be
    decoded or holds no sound.
    """

    _source: str | os.PathLike[str] | bytes | None = None

    def __init__(
        self,
        source: AudioSource | Iterator[tuple[np.ndarray, float]],
        *,
        rate_hz: float | None = None,
        target_rate_hz: int = SAMPLE_RATE_HZ,
        track: int | None = None,
        stretch: Stretch | None = None,
    ) -> None:
        self.name = source_name(source)
        self._source = source if isinstance(source, str | os.PathLike | bytes) else None
        self.level = Level()
        self._notes: list[str] = []
        is_live = isinstance(source, Iterator) and not hasattr(source, "read")
        self._mixer = Mixer(waits=not is_live)
        self._target_rate_hz = target_rate_hz
        self._stretch = stretch
        self._blocks: Iterator[Block]
        is_number = isinstance(track, (int, np.integer)) and not isinstance(track, bool)
        if track is not None and not (is_number and track >= 1):
            raise AudioError(f"track {track!r}: pass a whole number from 1 on, or None")
        if isinstance(source, np.ndarray):
            if rate_hz is None:
                raise AudioError("an array of samples needs its sample rate: pass rate_hz=...")
            self._blocks = array_blocks(source, rate_hz)
        elif isinstance(source, (list, tuple)) or hasattr(source, "__array__"):
            kind = type(source).__name__
            raise AudioError(f"a {kind}: pass it as an array, np.asarray(...), with its rate_hz")
        elif rate_hz is not None:
            raise AudioError(
                f"{self.name}: a file states its own sample rate; leave rate_hz out, or pass the samples as an array"
            )
        elif is_live:
            live = cast("Iterator[tuple[np.ndarray, float]]", source)
            self._blocks = (Block(*block) for block in live)
        else:
            file = cast("str | os.PathLike[str] | bytes | BinaryIO", source)
            opened = open_source(file, self.name)
            self._blocks = decode(opened, self.name, self._notes, track=track, stretch=stretch)

    def __iter__(self) -> Iterator[np.ndarray]:
        num_heard = 0
        mono = self._mixer.mix(self.own_blocks())
        for block in _resample(self._without_offset(mono), self._target_rate_hz):
            num_heard += len(block)
            yield block
        if not num_heard and self._stretch is not None:
            from_s = self._stretch.start_s
            raise AudioError(f"{self.name}: has no sound from {from_s:g} s on; correct or drop this clip")
        if not num_heard:  # none that lasts as long as one of ours, where the rate is high
            raise AudioError(f"{self.name}: holds no sound ({self.level.num_samples} samples); record it again")
        if self.level.num_not_finite == self.level.num_samples:
            raise AudioError(f"{self.name}: no sample is a finite number; export the file again")

    def _without_offset(self, blocks: Iterable[tuple[np.ndarray, float]]) -> Iterator[tuple[np.ndarray, float]]:
        """Mono blocks (L,) around zero, from the time on when their offset is louder than their sound.

        An offset is no sound, but counts where a window is brought to one level: the sound would be lost beside it.
        It is the mean of the last seconds, not of a block, which in live sound is shorter than a wave.
        """
        is_found, num, total, squares = False, 0.0, 0.0, 0.0
        for samples, rate_hz in blocks:
            if num > OFFSET_S * rate_hz:
                num, total, squares = num / 2, total / 2, squares / 2
            num += len(samples)
            total += float(samples.sum())
            squares += float(samples @ samples)
            if num >= LEAST_OFFSET_S * rate_hz and abs(offset := total / num) > LEAST_OFFSET:
                is_found = is_found or offset**2 > squares / num - offset**2
                if is_found:
                    note_once(self._notes, "has an offset: it was taken away")
                    samples = samples - np.float32(offset)
            yield samples, rate_hz

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self.notes, *self.level.warnings)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen, left out or filled, of what was read so far."""
        return (*self._notes, *self._mixer.notes)

    @property
    def is_damaged(self) -> bool:
        """Whether something could not be decoded, of what was read so far."""
        return DAMAGED in self._notes

    @property
    def recorded_at(self) -> datetime | None:
        """When the recording began, where its file or its name says so."""
        return made_at(self._source)

    def own_blocks(self) -> Iterator[Block]:
        """Instead of the iteration: the blocks as they were decoded, with their own rates and channels."""
        # Given away: a stream that held its own generator would be a cycle, and a file that is left
        # in the middle would stay open until the garbage collector finds it.
        blocks, self._blocks = self._blocks, iter(())
        for block in blocks:
            _check_rate(block.rate_hz, self.name)
            yield block._replace(samples=self.level.add(block.samples, block.rate_hz))


def read_audio(
    source: AudioSource, *, rate_hz: float | None = None, target_rate_hz: int = SAMPLE_RATE_HZ, track: int | None = None
) -> np.ndarray:
    """Read a whole recording: (L,) float32, mono, at `target_rate_hz`, in about [-1, 1].

    `source`: a path, the bytes of a file, a binary file object, or an array (L,), (L, C) or (C, L)
    of float or of integers at full scale, whose rate `rate_hz` must say. Warns (UserWarning) where
    samples are not finite or the file is damaged. Raises AudioError where there is no sound to be had.
    """
    stream = AudioStream(source, rate_hz=rate_hz, target_rate_hz=target_rate_hz, track=track)
    samples = bytearray()  # grows in place: a list of blocks would be held twice when joined
    for block in stream:
        samples += block.tobytes()
    if stream.level.num_not_finite or stream.is_damaged:
        reason = DAMAGED if stream.is_damaged else stream.level.warnings[0]
        warnings.warn(f"{stream.name}: {reason}", stacklevel=2)
    return np.frombuffer(samples, dtype=np.float32)


@dataclass(frozen=True)
class Extent:
    """Where a file holds sound."""

    stretches: tuple[tuple[float, float], ...]
    """From when to when, in s on the file's own clock, in their order; between them it has nothing."""
    is_steady: bool
    """Whether its time stamps tell the place of each sample, so that it may be entered in its middle: not where they
    jump, nor in files that were joined."""


def extent(source: AudioSource) -> Extent:
    """Hear a file through, and say where it holds sound. Raises AudioError as `AudioStream` does."""
    stream = AudioStream(source)
    ends: list[list[float]] = []
    at_s, num_parts = 0.0, 1
    for block in stream.own_blocks():
        num_parts = max(num_parts, block.part + 1)
        start_s, at_s = at_s, at_s + len(block.samples) / block.rate_hz
        if block.is_hole:
            continue
        if ends and ends[-1][1] == start_s:
            ends[-1][1] = at_s
        else:
            ends.append([start_s, at_s])
    if not ends:
        raise AudioError(f"{stream.name}: holds no sound; record it again")
    stretches = tuple((round(start_s, 6), round(end_s, 6)) for start_s, end_s in ends)
    return Extent(stretches, is_steady=num_parts == 1 and JUMPS not in stream.notes)


def check_hop(hop_s: float | None) -> None:
    """Raise AudioError for a hop that is no time, or so short that a minute has thousands of windows."""
    if hop_s is None:
        return
    if isinstance(hop_s, bool) or not isinstance(hop_s, (int, float, np.number)):
        raise AudioError(f"hop_s {hop_s!r}: pass a number of seconds, or None")
    if not MIN_HOP_S <= hop_s < float("inf"):
        raise AudioError(f"hop_s {hop_s:g}: pass {MIN_HOP_S:g} s or more, or None")


def windows(
    waveform: np.ndarray | Iterable[np.ndarray],
    *,
    rate_hz: int,
    window_s: float,
    hop_s: float | None = None,
    fill: Literal["silence", "repeat"] = "silence",
) -> Iterator[Window]:
    """Cut a waveform (L,), or the blocks of one, into windows of one length every `hop_s`.

    The rest at the end becomes a window of its own, padded (see `fit`), where it holds 1 s or more
    that no window has covered, or where it is all there is.
    """
    size = round(window_s * rate_hz)
    hop = size if hop_s is None else round(hop_s * rate_hz)
    if size < 1 or hop < 1:
        raise AudioError(f"window {window_s} s and hop {hop_s} s must be positive")
    blocks = [waveform] if isinstance(waveform, np.ndarray) else waveform
    rest = np.empty(0, np.float32)
    start = 0  # of `rest`, in samples; ahead of what was read where the hop skips sound
    num_read = 0
    for block in blocks:
        first = start + len(rest) - num_read  # of the block, to be kept; the hop may skip it all
        rest = np.concatenate([rest, block[max(first, 0) :]])
        num_read += len(block)
        while len(rest) >= size:
            yield Window(start / rate_hz, (start + size) / rate_hz, rest[:size])
            rest = rest[hop:]
            start += hop
    covered = 0 if start == 0 else max(size - hop, 0)
    if start == 0 or len(rest) - covered >= SHORT_S * rate_hz:
        yield Window(start / rate_hz, num_read / rate_hz, fit(rest, size, fill=fill))


def fit(waveform: np.ndarray, num_samples: int, *, fill: Literal["silence", "repeat"] = "silence") -> np.ndarray:
    """Bring a waveform (L,) to (num_samples,): cut the end, or fill it with silence or repetition."""
    missing = num_samples - len(waveform)
    if missing <= 0:
        return waveform[:num_samples]
    if fill == "repeat" and len(waveform):
        return np.resize(waveform, num_samples)
    return np.pad(waveform, (0, missing))


def source_name(source: AudioSource | Iterator[tuple[np.ndarray, float]]) -> str:
    """What to call a source in a message: its path, or what it is."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, np.ndarray):
        return "the array"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "the recording"


def _resample(blocks: Iterable[tuple[np.ndarray, float]], target_rate_hz: int) -> Iterator[np.ndarray]:
    """Bring mono blocks to one rate; a recording whose rate changes on the way is done in parts."""
    for rate_hz, group in itertools.groupby(blocks, lambda block: block[1]):
        if rate_hz == target_rate_hz:
            yield from (samples for samples, _ in group)
            continue
        resampler = soxr.ResampleStream(rate_hz, target_rate_hz, 1, dtype="float32", quality="HQ")
        for samples, _ in group:
            yield resampler.resample_chunk(samples)
        yield resampler.resample_chunk(np.empty(0, np.float32), last=True)


def _check_rate(rate_hz: float, name: str) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"{name}: a sample rate of {rate_hz} Hz; the rate must be in hertz, such as 44100")
