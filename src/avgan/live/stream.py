"""Sound that is still being recorded: from its source to the model, in bounded memory.

    source = LiveSource(48_000, name="the microphone")
    # on any thread, as sound comes:     source.put(samples)  ...  source.close()
    for answer in listen_live(model, source, hop_s=1.0):
        print(answer.window.scene, answer.latency_s)

Where the network cannot keep up, a source that cannot be held up loses its oldest sound, and counts it; one that can is
made to wait. Times are those of the sound as it was made: what was lost leaves a gap.

Shapes: L samples, C channels.
"""

import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from avgan.audio import AudioStream
from avgan.errors import AudioError, AvganError
from avgan.runtime.prediction import WindowPrediction, rounded

if TYPE_CHECKING:
    from avgan.runtime.model import Model

MAX_WAITING_S = 4.0  # older sound is no longer live; a pause of the machine fits in
PIECE_S = 0.25  # the most that is put, and so lost, at once
METER_FALL_DB_PER_S = 20.0
READ_BYTES = 1 << 16  # what a pipe holds
MAGIC_BYTES = 4  # of the longest mark below
_MAGIC = {
    b"RIFF": "a WAV file",
    b"RF64": "a WAV file",
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"ID3": "an MP3 file",
    b"FORM": "an AIFF file",
    b"\x1aE\xdf\xa3": "a WebM file",
}
TICK_S = 0.5  # how often a wait is broken off: on Windows Ctrl-C cannot end a wait without end

SampleFormat = Literal["s16le", "f32le"]
_DTYPES: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}


@dataclass(frozen=True)
class LiveWindow:
    """The answer for a window of live sound, all scenes from the most probable, and how it came about.

    For a model that knows no scenes `scenes` are sounds, and `are_sounds` is true.
    `latency_s` is from the arrival of the window's last sample to the answer. `num_gaps` places in the window miss
    sound, `gap_s` in all as far as it is known.
    """

    window: WindowPrediction
    scenes: Mapping[str, float]
    latency_s: float
    num_gaps: int = 0
    gap_s: float = 0.0
    are_sounds: bool = False

    def rankings(self, most: int) -> dict[str, dict[str, float]]:
        """The most probable scenes or sounds, as JSON can hold them; no sounds where others are known better."""
        best = {name: rounded(value) for name, value in list(self.scenes.items())[:most]}
        return {"scenes": {}, "sounds": best} if self.are_sounds else {"scenes": best}


@dataclass(frozen=True, eq=False)
class _Piece:
    """Samples (L, C) that wait to be classified, when they arrived, and what was lost before them."""

    samples: np.ndarray
    arrived_s: float
    num_gaps: int = 0
    num_missing: int = 0  # samples


class LiveSource:
    """An iterator of blocks that another thread puts in, holding at most `max_waiting_s` of sound.

    When it is full, `put` drops the oldest sound, or with `waits` does not return before there is room. Where nothing
    arrives for `patience_s` the iteration raises AudioError: a device that is unplugged may say nothing.
    """

    def __init__(
        self,
        rate_hz: float,
        *,
        name: str = "the live sound",
        waits: bool = False,
        max_waiting_s: float = MAX_WAITING_S,
        patience_s: float | None = None,
    ) -> None:
        self.name = name
        self.rate_hz = rate_hz
        self.num_dropped = 0
        """Blocks that were dropped."""
        self.num_lost = 0
        """Times that sound was lost before it came here."""
        self.peak = 0.0
        """The level for a meter: the largest sample, falling back by 20 dB a second."""
        self._clock = _Clock(rate_hz)
        self._waits = waits
        self._max_waiting = round(max(max_waiting_s, PIECE_S) * rate_hz)
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._waiting: deque[_Piece] = deque()
        self._num_put = 0  # samples
        self._num_waiting = 0
        self._num_missing = 0
        self._closed = False
        self._error: AvganError | None = None
        self._stream: AudioStream | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each reason to distrust the answers, of what was processed so far."""
        return self._stream.warnings if self._stream else ()

    @property
    def duration_s(self) -> float:
        """How much sound has come, processed or not."""
        return self._num_put / self.rate_hz

    @property
    def waiting_s(self) -> float:
        """How much sound waits to be processed."""
        return self._num_waiting / self.rate_hz

    @property
    def dropped_s(self) -> float:
        """How much sound was dropped."""
        return self._num_missing / self.rate_hz

    def put(self, samples: np.ndarray, *, after_loss: bool = False) -> bool:
        """Add samples (L, C) float32, which are kept, not copied; returns whether anybody still listens.

        `after_loss`: samples before these are missing. From any one thread.
        """
        size = max(1, round(PIECE_S * self.rate_hz))
        for start in range(0, len(samples), size):
            self._put(samples[start : start + size], after_loss and start == 0)
        return not self._closed

    def _put(self, samples: np.ndarray, after_loss: bool) -> None:
        peak = float(np.abs(samples).max())
        fallen = self.peak * 10 ** (-METER_FALL_DB_PER_S / 20 * len(samples) / self.rate_hz)
        self.peak = max(peak if math.isfinite(peak) else 1.0, fallen)
        piece = _Piece(samples, time.monotonic(), num_gaps=int(after_loss))
        size = len(samples)
        with self._changed:
            self.num_lost += after_loss
            while self._waits and self._waiting and self._num_waiting + size > self._max_waiting and not self._closed:
                self._changed.wait(TICK_S)
            if self._closed:
                return
            self._num_put += size
            self._num_waiting += size
            self._waiting.append(piece)
            while self._num_waiting > self._max_waiting and len(self._waiting) > 1:
                self._drop_oldest()
            self._changed.notify_all()

    def _drop_oldest(self) -> None:
        """Drop the oldest piece and note the gap at the one after it."""
        dropped, following = self._waiting.popleft(), self._waiting[0]
        num_missing = len(dropped.samples)
        self._num_waiting -= num_missing
        self._num_missing += num_missing
        self.num_dropped += 1
        # What was dropped piece by piece in a row is one gap.
        num_missing += dropped.num_missing + following.num_missing
        self._waiting[0] = replace(following, num_gaps=1, num_missing=num_missing)

    def close(self, error: AvganError | None = None) -> None:
        """End the sound: the iteration gives what still waits, then stops, or raises `error`. From any thread."""
        with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
                self._changed.notify_all()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[np.ndarray, float]:
        with self._changed:
            started_s = time.monotonic()
            while not self._waiting:
                if self._error is not None:
                    raise self._error
                if self._closed:
                    raise StopIteration
                if self._patience_s and time.monotonic() - started_s > self._patience_s:
                    raise AudioError(
                        f"{self.name}: no sound has come for {self._patience_s:g} s; see that the "
                        "device is plugged in and that no other program keeps it"
                    )
                self._changed.wait(TICK_S)
            piece = self._waiting.popleft()
            self._num_waiting -= len(piece.samples)
            self._changed.notify_all()
        self._clock.add(piece)
        return piece.samples, self.rate_hz


class _Clock:
    """Turns times of processed sound into times of recorded sound, with the gaps; remembers arrivals."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._num_taken = 0
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=1024)  # taken until, arrived at
        self._gaps: deque[tuple[int, int, int]] = deque()  # taken before, number, missing samples
        self._num_missing = 0  # in gaps before those

    def add(self, piece: _Piece) -> None:
        if piece.num_gaps:
            self._gaps.append((self._num_taken, piece.num_gaps, piece.num_missing))
        self._num_taken += len(piece.samples)
        self._arrivals.append((self._num_taken, piece.arrived_s))

    def answer(self, window: WindowPrediction, scenes: Mapping[str, float]) -> LiveWindow:
        """A window's answer, given now. Windows must come in the order of their starts."""
        start, end = (round(time_s * self._rate_hz) for time_s in (window.start_s, window.end_s))
        # The last one stays: a network that leaves out the last few samples of a window is ahead of them.
        while len(self._arrivals) > 1 and self._arrivals[0][0] < end:
            self._arrivals.popleft()
        latency_s = time.monotonic() - self._arrivals[0][1]
        while self._gaps and self._gaps[0][0] <= start:
            self._num_missing += self._gaps.popleft()[2]
        inside = [gap for gap in self._gaps if gap[0] < end]
        before_s = self._num_missing / self._rate_hz
        gap_s = sum(num_missing for _, _, num_missing in inside) / self._rate_hz
        moved = replace(window, start_s=window.start_s + before_s, end_s=window.end_s + before_s + gap_s)
        return LiveWindow(moved, scenes, latency_s, sum(num for _, num, _ in inside), gap_s)


def listen_live(model: "Model", source: LiveSource, *, hop_s: float | None = 1.0) -> Iterator[LiveWindow]:
    """Answer a live source window by window, each as soon as its last sample is there.

    Raises AudioError where the source ends without any sound, and what the source was closed with.
    """
    source._stream = AudioStream(source, target_rate_hz=model.card.sample_rate_hz)
    listening = model.listen(source._stream, hop_s=hop_s, live=True)
    are_sounds = not model.card.names_scenes
    for window in listening:
        answer = source._clock.answer(window, listening.scenes)
        yield replace(answer, are_sounds=are_sounds)


def pump(descriptor: int, source: LiveSource, pcm: "PCM") -> None:
    """Read raw samples from an open file or pipe to its end, put them into `source` and close that.

    To be run on a thread of its own. What is no raw sound by its first bytes closes the source with AudioError.
    """
    try:
        # Not through sys.stdin: at the end of the program its lock would be held by this thread.
        content = os.read(descriptor, READ_BYTES)
        while content and len(content) < MAGIC_BYTES and (more := os.read(descriptor, READ_BYTES)):
            content += more
        kind = next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), "")
        if kind:
            raise AudioError(
                f"{source.name}: {kind}, not raw samples; send raw ones (arecord -t raw, ffmpeg -f "
                "s16le), or name a whole recording to `avgan classify`"
            )
        while content and source.put(pcm.decode(content)):
            content = os.read(descriptor, READ_BYTES)
    except AudioError as error:
        source.close(error)
    except OSError as error:
        source.close(AudioError(f"{source.name}: cannot be read ({error.strerror})"))
    finally:
        source.close()


class PCM:
    """Raw samples as they come, in parts of any length: `decode` keeps for later what is no whole frame yet."""

    def __init__(self, num_channels: int, sample_format: SampleFormat) -> None:
        self._dtype = _DTYPES[sample_format]
        self._num_channels = num_channels
        self._rest = b""

    def decode(self, content: bytes) -> np.ndarray:
        """Bytes -> samples (L, C) float32 at full scale 1; L may be 0."""
        content = self._rest + content
        size = self._num_channels * self._dtype.itemsize
        num_frames = len(content) // size
        self._rest = content[num_frames * size :]
        samples = np.frombuffer(content, self._dtype, num_frames * self._num_channels)
        samples = samples.reshape(num_frames, self._num_channels)
        if self._dtype.kind == "i":
            return samples.astype(np.float32) / np.float32(32_768)
        return samples.astype(np.float32)
