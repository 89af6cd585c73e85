"""Predictions as one page: sounds to play, pictures to see, answers with their certainty."""

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from avgan.archive.batch import Sink
from avgan.archive.sources import Recording
from avgan.audio import SAMPLE_RATE_HZ, AudioSource, AudioStream
from avgan.errors import AudioError, AvganError
from avgan.files import whole
from avgan.pages import data_uri, jpeg_uri, mp3_uri, render, stream
from avgan.pictures.strip import paint_pictures
from avgan.pictures.thinning import Thinning, whole_segments
from avgan.runtime.bundle import Card
from avgan.runtime.drawing import colours, dimmed, enlarged, plain
from avgan.runtime.prediction import Prediction, WindowPrediction
from avgan.runtime.sounds import MOST_WORDS
from avgan.runtime.timeline import Minutes, Segment
from avgan.runtime.unknown import QUIET, SILENT
from avgan.runtime.wording import lasting

EXCERPT_S = 10
MAX_PLAYERS = 200  # each adds some 100 kB to the page
PICTURE_PX = 256
MAX_STRETCHES = 60  # more than one can look at
MOST_SUMMED = 12  # answers, and sounds, whose total length is given
STRIP_PX, MIN_STRIP_PX, MAX_STRIP_PX = 96, 480, 1_030  # the width of an article

SPECTROGRAM_PX = (640, 176)
FFT_SIZE = 1024  # 64 ms
RANGE_DB = 75.0  # of a quiet recording with 12 bits
LOWEST_HZ = 60.0  # a bin or two lie below

# Lightness rises evenly from one colour to the next, so that louder is lighter for every eye.
COLOURS = ("#0b0c1e", "#1d2153", "#3d2f86", "#743b94", "#ac4a88", "#dd646f", "#f58f5c", "#fbc573", "#fdf6c9")


class Report(Sink):
    """Writes the page when closed; until then what it shows lies on disk, so that an archive needs no memory.

    The first recordings can be played in it, the rest are shown in short. Raises AvganError where it cannot write.
    """

    def __init__(self, path: Path, card: Card) -> None:
        self._path = path
        self._card = card
        self._num_articles = 0
        self._articles: IO[bytes] | None = None
        self.begin(Recording("", b""))

    def begin(self, recording: Recording) -> None:
        self._recording = recording
        self._windows = Thinning()
        self._minutes = Minutes()
        self._num_stretches = 0

    def window(self, window: WindowPrediction) -> None:
        self._windows.add(window)
        self._minutes.add(window)

    def segment(self, segment: Segment) -> None:
        self._num_stretches += 1

    def end(self, prediction: Prediction) -> None:
        """Add a recording, which is read again for the sound that the page plays."""
        self._minutes.close()
        excerpt = excerpt_of(self._recording) if self._num_articles < MAX_PLAYERS else None
        picture = prediction.picture if prediction.known else dimmed(prediction.picture)
        text = render(
            "recording.html",
            prediction=prediction,
            picture=jpeg_uri(enlarged(picture, PICTURE_PX if excerpt else PICTURE_PX // 2)),
            beside=beside(prediction),
            has_guesses=prediction.reason not in (SILENT, QUIET),
            excerpt=excerpt,
            timeline=timeline(self._windows, self._num_stretches, prediction, self._minutes),
        )
        try:
            # Closed with the report; without a name, so that nothing stays where the work is killed.
            self._articles = self._articles or tempfile.TemporaryFile()  # noqa: SIM115
            self._articles.write(text.encode("utf-8", "replace"))
        except OSError as error:
            raise AvganError(
                f"{tempfile.gettempdir()}: the report's pictures cannot be kept there "
                f"({error.strerror or error}); make room, or set TMPDIR to another place"
            ) from None
        self._num_articles += 1

    def close(self) -> None:
        """Write the page, if it would show anything."""
        if self._articles is None:
            return
        num = self._num_articles
        with self._articles as articles, whole(self._path) as temporary:
            articles.seek(0)
            page = stream(
                "report.html",
                count="1 recording" if num == 1 else f"{num:,} recordings",
                card=self._card,
                articles=(line.decode() for line in articles),
            )
            with temporary.open("w", encoding="utf-8", errors="replace") as file:
                file.writelines(page)


def beside(prediction: Prediction) -> str:
    """The group of a scene, and the first sounds."""
    parts = []
    if prediction.group and not prediction.within:
        parts.append(plain(prediction.group))
    if prediction.has_words and prediction.sounds:
        parts.append(f"with {', '.join(list(prediction.sounds)[:MOST_WORDS])}")
    return "; ".join(parts)


def excerpt_of(recording: Recording) -> dict[str, str] | None:
    """The beginning of a recording to see and play; None where it cannot be read a second time."""
    try:
        waveform = read_excerpt(recording.source, recording.track)
    except AudioError:
        return None
    return {
        "length_s": f"{len(waveform) / SAMPLE_RATE_HZ:.3g}",
        "spectrogram": data_uri(spectrogram_png(waveform), "image/png"),
        "sound": mp3_uri(waveform),
    }


def read_excerpt(source: AudioSource, track: int | None = None) -> np.ndarray:
    """The first 10 s of a recording (L,), without reading the rest."""
    blocks: list[np.ndarray] = []
    for block in AudioStream(source, track=track):
        blocks.append(block)
        if sum(map(len, blocks)) >= EXCERPT_S * SAMPLE_RATE_HZ:
            break
    return np.concatenate(blocks)[: EXCERPT_S * SAMPLE_RATE_HZ]


def spectrogram(waveform: np.ndarray, *, num_bands: int = SPECTROGRAM_PX[1]) -> np.ndarray:
    """How loud each pitch is at each time: (num_bands, T) in [0, 1], high pitches on top.

    Bands are spaced as hearing spaces them; 0 is 75 dB below the loudest.
    """
    padded = np.pad(waveform, (FFT_SIZE // 2, FFT_SIZE))
    hop = max(1, len(waveform) // SPECTROGRAM_PX[0])
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SIZE)[: len(waveform) : hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(FFT_SIZE), axis=1)).T ** 2  # (bins, T)
    low_mel, high_mel = 2595 * np.log10(1 + np.array([LOWEST_HZ, SAMPLE_RATE_HZ / 2]) / 700)
    edges_hz = 700 * (10 ** (np.linspace(low_mel, high_mel, num_bands + 2) / 2595) - 1)
    bins_hz = np.fft.rfftfreq(FFT_SIZE, 1 / SAMPLE_RATE_HZ)
    # Triangles, at least as wide as two bins, or low bands would fall between bins.
    half_hz = np.maximum(np.gradient(edges_hz)[1:-1], SAMPLE_RATE_HZ / FFT_SIZE)
    weight = np.maximum(0, 1 - np.abs(bins_hz - edges_hz[1:-1, None]) / half_hz[:, None])
    bands_db = 10 * np.log10(weight @ power / weight.sum(1, keepdims=True) + 1e-12)
    top_db = max(bands_db.max(), -30.0)  # silence stays dark, it is not blown up to noise
    return np.clip(1 + (bands_db[::-1] - top_db) / RANGE_DB, 0, 1)


def spectrogram_png(waveform: np.ndarray) -> bytes:
    """The spectrogram in colours, as a small PNG."""
    levels = (spectrogram(waveform) * 255).round().astype(np.uint8)
    image = Image.fromarray(levels).resize(SPECTROGRAM_PX, Image.Resampling.BILINEAR)
    anchors = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS])
    positions = np.linspace(0, 255, len(anchors))
    channels = [np.interp(np.arange(256), positions, anchors[:, c]) for c in range(3)]
    image = Image.fromarray(np.asarray(image) // 4 * 4)  # 64 levels: a third of the bytes
    image.putpalette(np.stack(channels, 1).round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def timeline(windows: Thinning, num_changes: int, prediction: Prediction, minutes: Minutes) -> dict[str, Any] | None:
    """What the page shows over time: stretches with their pictures along it; None where nothing changes."""
    kept = windows.windows()
    while len(stretches := whole_segments(kept, prediction.duration_s)) > MAX_STRETCHES:
        kept = windows.windows(len(kept) // 2)
    if len(stretches) < 2:
        return None
    width_px = min(max(len(kept) * STRIP_PX, MIN_STRIP_PX), MAX_STRIP_PX)
    duration_s = max(prediction.duration_s, 1e-3)
    strip = paint_pictures(kept, duration_s, (width_px, STRIP_PX), decode=prediction.decode)
    totals = [("In all", minutes.answers_s)]
    if minutes.sounds_s.keys() - minutes.answers_s.keys():
        totals.append(("Sounds", minutes.sounds_s))
    return {
        "strip": jpeg_uri(strip),
        "width_px": width_px,
        "stretches": stretches,
        "num_changes": num_changes,
        "duration_s": duration_s,
        "colours": colours(kept),
        "totals": [(title, _longest(lengths_s)) for title, lengths_s in totals],
    }


def _longest(lengths_s: Mapping[str, float]) -> str:
    """How long each answer or sound lasts, the longest first."""
    order = sorted(lengths_s.items(), key=lambda item: -item[1])[:MOST_SUMMED]
    return ", ".join(f"{plain(name)} {lasting(length_s)}" for name, length_s in order)
