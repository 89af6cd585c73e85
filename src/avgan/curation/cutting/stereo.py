"""The sound track of a video -> two channels at 32 kHz, any stretch of it, on the video's clock.

A sample's place is counted from the first one of the track; only where time stamps disagree by more than any container
rounds them is there a gap, which stays one.

Shapes: L samples, C channels.
"""

from collections import deque
from collections.abc import Iterator
from math import gcd

import numpy as np
import soxr

from avgan.audio import LARGEST, MAX_RATE_HZ, MIN_RATE_HZ
from avgan.curation.cutting.tracks import Track
from avgan.curation.record import SOUND_RATE_HZ
from avgan.media import BLOCK_SAMPLES, channel_names, frame_samples
from avgan.media.tracks import timed

LEAD_S = 0.25  # resampled before the first clip, for the filter to settle

Timed = tuple[float, int, np.ndarray]
"""When, at which rate, samples (L, 2)."""
Placed = tuple[int, np.ndarray]
"""Place of the first sample, counted from the beginning of the video, and samples (L, 2), at SOUND_RATE_HZ."""

# What goes to the left and to the right (ITU-R BS.775); what FFmpeg calls otherwise goes to both.
_MIX = {
    "FL": (1.0, 0.0), "FR": (0.0, 1.0), "FC": (0.7071, 0.7071), "LFE": (0.0, 0.0),
    "BL": (0.7071, 0.0), "BR": (0.0, 0.7071), "SL": (0.7071, 0.0), "SR": (0.0, 0.7071),
}  # fmt: skip


class Sounds:
    """Stretches of a sound track, each later than the one before."""

    def __init__(self, track: Track, zero_s: float, begin_s: float) -> None:
        self._blocks = _forward(_resampled(_stereo(track, zero_s, begin_s)))
        self._held: deque[Placed] = deque()
        self.ended = False
        """Whether the track was read to its end."""
        self.heard_any = False

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
                self.heard_any = True
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
            track.damaged = True
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
    run: Run | None = None
    for time_s, rate_hz, samples in frames:
        if run is None or not run.goes_on(time_s, rate_hz):
            if run is not None:
                yield from run.finish()
            run = Run(rate_hz, time_s)
        yield from run.add(samples)
    if run is not None:
        yield from run.finish()


def _forward(blocks: Iterator[Placed]) -> Iterator[Placed]:
    """The same blocks without what lies before the end of the one before."""
    done = None
    for place, samples in blocks:
        skipped = 0 if done is None else max(0, done - place)
        if skipped < len(samples):
            done = place + len(samples)
            yield place + skipped, samples[skipped:]


class Run:
    """Samples of one rate without a gap, resampled in blocks."""

    def __init__(self, rate_hz: int, begins_s: float) -> None:
        self._rate_hz = rate_hz
        self._begins_s = begins_s
        self._num_in = 0
        self._place = round(begins_s * SOUND_RATE_HZ)
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0
        same = rate_hz == SOUND_RATE_HZ
        self._stream = (
            None
            if same
            else soxr.ResampleStream(rate_hz, SOUND_RATE_HZ, 2, dtype="float32", quality="HQ")
        )

    def goes_on(self, time_s: float, rate_hz: int) -> bool:
        """Whether a frame belongs to the run."""
        due_s = self._begins_s + self._num_in / self._rate_hz
        return rate_hz == self._rate_hz and abs(time_s - due_s) < 0.5 / rate_hz

    def add(self, samples: np.ndarray) -> Iterator[Placed]:
        """Take samples (L, 2) of a frame; gives blocks with their places when there is enough for one."""
        self._num_in += len(samples)
        self._num_waiting += len(samples)
        self._waiting.append(samples)
        if self._num_waiting >= BLOCK_SAMPLES:
            yield from self._give(last=False)

    def finish(self) -> Iterator[Placed]:
        """What is left."""
        yield from self._give(last=True)

    def _give(self, *, last: bool) -> Iterator[Placed]:
        samples = np.concatenate([*self._waiting, np.empty((0, 2), np.float32)])
        self._waiting, self._num_waiting = [], 0
        if self._stream is not None:
            samples = self._stream.resample_chunk(samples, last=last)
        if len(samples):
            place, self._place = self._place, self._place + len(samples)
            yield place, samples
