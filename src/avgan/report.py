"""Predictions as one HTML page: sounds to hear, pictures to see, answers with their certainty.

The page holds everything itself and asks no server for anything; it may be mailed or archived.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
import soundfile
from PIL import Image

from avgan.audio import SAMPLE_RATE_HZ, AudioSource, AudioStream
from avgan.files import write_whole
from avgan.images import png_bytes
from avgan.runtime.batch import Recording, Sink
from avgan.runtime.bundle import Card
from avgan.runtime.formats import clock, percent
from avgan.runtime.prediction import UNKNOWN, Prediction
from avgan.runtime.timeline import Segment

EXCERPT_S = 10
MAX_PLAYERS = 200  # each adds some 100 kB to the page
NUM_BARS = 5
PICTURE_SCALE = 2
MAX_STRETCHES = 40

SPECTROGRAM_PX = (640, 176)
FFT_SIZE = 1024
RANGE_DB = 75.0
LOWEST_HZ = 60.0

# Lightness rises evenly from one colour to the next, so that louder is lighter for every eye.
COLOURS = (
    "#0b0c1e",
    "#1d2153",
    "#3d2f86",
    "#743b94",
    "#ac4a88",
    "#dd646f",
    "#f58f5c",
    "#fbc573",
    "#fdf6c9",
)


class Report(Sink):
    """Collects predictions and writes the page when closed. Raises AvganError where it cannot."""

    def __init__(self, path: Path, card: Card) -> None:
        self._path = path
        self._card = card
        self._articles: list[str] = []
        self._source: AudioSource = b""
        self._stretches: list[Segment] = []
        self._num_stretches = 0

    def begin(self, recording: Recording) -> None:
        self._source = recording.source
        self._stretches = []
        self._num_stretches = 0

    def segment(self, segment: Segment) -> None:
        self._num_stretches += 1
        if self._num_stretches <= MAX_STRETCHES:
            self._stretches.append(segment)

    def end(self, prediction: Prediction) -> None:
        """Add a recording, which is read again for the sound that the page plays."""
        waveform = read_excerpt(self._source)
        player = "" if len(self._articles) >= MAX_PLAYERS else _player(waveform, prediction)
        over_time = _timeline(prediction, self._stretches, self._num_stretches)
        self._articles.append(_article(prediction, waveform, player, over_time))

    def close(self) -> None:
        """Write the page, if it would show anything."""
        if self._articles:
            write_whole(self._path, page(self._articles, self._card).encode("utf-8", "replace"))


def page(articles: Sequence[str], card: Card) -> str:
    """The whole page around its articles."""
    folder = resources.files("avgan") / "page"
    count = "1 recording" if len(articles) == 1 else f"{len(articles)} recordings"
    return Template((folder / "report.html").read_text(encoding="utf-8")).substitute(
        style=(folder / "report.css").read_text(encoding="utf-8"),
        count=count,
        model=html.escape(f"{card.name} {card.version}"),
        description=html.escape(card.description),
        articles="\n".join(articles),
    )


def read_excerpt(source: AudioSource) -> np.ndarray:
    """The first 10 s of a recording (L,), without reading the rest."""
    blocks: list[np.ndarray] = []
    for block in AudioStream(source):
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
    edges_hz = _mel_to_hz(
        np.linspace(_hz_to_mel(LOWEST_HZ), _hz_to_mel(SAMPLE_RATE_HZ / 2), num_bands + 2)
    )
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


def _article(prediction: Prediction, waveform: np.ndarray, player: str, over_time: str) -> str:
    scene = html.escape(prediction.scene.replace("_", " "))
    excerpt_s = len(waveform) / SAMPLE_RATE_HZ
    picture = _data_uri(png_bytes(prediction.picture, scale=PICTURE_SCALE), "image/png")
    sound_picture = _data_uri(spectrogram_png(waveform), "image/png")
    notes = "".join(f"<li>{html.escape(warning)}</li>" for warning in prediction.warnings)
    return f"""<article>
<figure class="imagined">
<img src="{picture}" width="256" height="256" alt="The place as the model imagines it: {scene}">
<figcaption>imagined</figcaption>
</figure>
<div class="answer">
<h2>{scene} <span>{percent(prediction.probability)}</span></h2>
<p class="file">{html.escape(prediction.path)} <span>{clock(prediction.duration_s)}</span></p>
{f'<ul class="notes" aria-label="Warnings">{notes}</ul>' if notes else ""}
<div class="bars">
{_bars("Scenes", prediction.scenes)}
{_bars("Sounds", prediction.sounds)}
</div>
</div>
<figure class="heard">
<img src="{sound_picture}" width="{SPECTROGRAM_PX[0]}" height="{SPECTROGRAM_PX[1]}"
 alt="Spectrogram of the first {excerpt_s:.3g} s: time to the right, pitch upwards, louder is lighter">
<figcaption><span>0 s</span><span>heard, up to 8 kHz</span><span>{excerpt_s:.3g} s</span></figcaption>
{player}
</figure>
{over_time}
</article>"""


def _bars(title: str, ranking: Mapping[str, float]) -> str:
    """The most probable names as a table whose cells are bars."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name.replace("_", " "))}</th>'
        f'<td><span class="bar" style="--share:{100 * value:.1f}%"></span></td>'
        f"<td>{percent(value)}</td></tr>"
        for name, value in list(ranking.items())[:NUM_BARS]
    )
    return f"<table><caption>{title}</caption>{rows}</table>" if rows else ""


def _timeline(prediction: Prediction, stretches: Sequence[Segment], num_stretches: int) -> str:
    """What was heard when, where that changes: the first `stretches` of so many."""
    if num_stretches < 2:
        return ""
    scenes = [*prediction.scenes, UNKNOWN]
    items = "".join(
        f'<li style="flex-grow:{stretch.end_s - stretch.start_s:.1f};'
        f'--hue:{47 * scenes.index(stretch.scene) % 360}">'
        f"<b>{html.escape(stretch.scene.replace('_', ' '))}</b>"
        f" {clock(stretch.start_s)}–{clock(stretch.end_s)}</li>"
        for stretch in stretches
    )
    more = num_stretches - len(stretches)
    rest = f"<p>and {more} more changes</p>" if more > 0 else ""
    return f'<section class="timeline"><h3>Over time</h3><ol>{items}</ol>{rest}</section>'


def _player(waveform: np.ndarray, prediction: Prediction) -> str:
    sound = _data_uri(_mp3(waveform), "audio/mpeg")
    label = html.escape(f"First {EXCERPT_S} s of {prediction.path}")
    return f'<audio controls preload="metadata" src="{sound}" aria-label="{label}"></audio>'


def _mp3(waveform: np.ndarray) -> bytes:
    """A waveform (L,) as MP3, which every browser plays, at a fifth of the size of FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.clip(-1, 1), SAMPLE_RATE_HZ, format="MP3")
    return buffer.getvalue()


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _hz_to_mel(frequency_hz: float) -> float:
    return 2595 * np.log10(1 + frequency_hz / 700)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)
