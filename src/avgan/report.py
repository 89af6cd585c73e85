"""Predictions as one HTML page: sounds to hear, pictures to see, answers with their certainty.

The page holds everything itself and asks no server for anything; it may be mailed or archived.
"""

import base64
import html
import io
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from string import Template
from typing import IO

import numpy as np
import soundfile
from PIL import Image

from avgan.archive.batch import Sink
from avgan.archive.sources import Recording
from avgan.audio import SAMPLE_RATE_HZ, AudioSource, AudioStream
from avgan.errors import AudioError, AvganError
from avgan.files import whole
from avgan.pictures.strip import paint_pictures
from avgan.pictures.thinning import Thinning, whole_segments
from avgan.runtime.bundle import Card
from avgan.runtime.drawing import Colour, colours, dimmed, enlarged, plain
from avgan.runtime.prediction import Prediction, WindowPrediction
from avgan.runtime.sounds import MOST_WORDS
from avgan.runtime.timeline import Minutes, Segment
from avgan.runtime.unknown import QUIET, SILENT
from avgan.runtime.wording import answered, clock, lasting, percent

EXCERPT_S = 10
MAX_PLAYERS = 200  # each adds some 100 kB to the page
NUM_BARS = 5
PICTURE_PX = 256
MAX_STRETCHES = 60
MOST_SUMMED = 12  # answers, and sounds, of which it says how long they last
STRIP_PX, MIN_STRIP_PX, MAX_STRIP_PX = 96, 480, 1_030  # the width of an article

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
    """Writes the page when closed; until then what it shows lies on disk, so that an archive needs no memory.

    The first recordings can be heard in it, the rest are shown in short. Raises AvganError where it cannot write.
    """

    def __init__(self, path: Path, card: Card) -> None:
        self._path = path
        self._card = card
        self._num_articles = 0
        self._articles: IO[bytes] | None = None
        self._recording = Recording("", b"")
        self._windows = Thinning()
        self._minutes = Minutes()
        self._num_stretches = 0

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
        over_time = timeline(self._windows, self._num_stretches, prediction, self._minutes)
        heard = _heard(self._recording, prediction) if self._num_articles < MAX_PLAYERS else ""
        text = _article(prediction, heard, over_time)
        with _spooling():
            # Closed with the report; without a name, so that nothing stays where the work is killed.
            self._articles = self._articles or tempfile.TemporaryFile()  # noqa: SIM115
            self._articles.write(text.encode("utf-8", "replace"))
        self._num_articles += 1

    def close(self) -> None:
        """Write the page, if it would show anything."""
        if self._articles is None:
            return
        before, after = page(self._num_articles, self._card)
        with self._articles as articles, whole(self._path) as temporary:
            articles.seek(0)
            with temporary.open("wb") as file:
                file.write(before.encode("utf-8", "replace"))
                shutil.copyfileobj(articles, file)
                file.write(after.encode("utf-8", "replace"))


@contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = tempfile.gettempdir()
        raise AvganError(
            f"{place}: the report's pictures cannot be kept there ({error.strerror or error}); "
            "make room, or set TMPDIR to another place"
        ) from None


def page(num_articles: int, card: Card) -> tuple[str, str]:
    """What stands before and after the articles of the page."""
    before, after = page_file("report.html").split("$articles")
    count = "1 recording" if num_articles == 1 else f"{num_articles:,} recordings"
    return Template(before).substitute(
        style=page_file("report.css"),
        count=count,
        model=html.escape(f"{card.name} {card.version}"),
        description=html.escape(card.description),
    ), after


def page_file(name: str) -> str:
    """A part of a page that comes with the package: its HTML, style or script."""
    return (resources.files("avgan") / "page" / name).read_text(encoding="utf-8")


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


def _article(prediction: Prediction, heard: str, over_time: str) -> str:
    known = prediction.known
    scene = html.escape(plain(answered(prediction.answer, prediction.within)))
    picture = prediction.picture if known else dimmed(prediction.picture)
    shown = jpeg_uri(enlarged(picture, PICTURE_PX if heard else PICTURE_PX // 2))
    alt = f"The place as the model imagines it: {scene}" if known else "Dimmed: not an answer"
    sure = f"<span>{percent(prediction.probability)}</span>" if known else ""
    reason = html.escape(prediction.reason)
    notes = "".join(f"<li>{html.escape(warning)}</li>" for warning in prediction.warnings)
    guess = "" if known else "best guesses, not an answer"
    # Where nothing was heard a guess is not even that: it is what the model makes of zeros.
    heard_any = prediction.reason not in (SILENT, QUIET)
    words = prediction.has_words
    bars = _bars("Scenes", prediction.scenes, guess)
    bars += _bars("Heard" if words else "Sounds", prediction.sounds, "" if words else guess)
    return f"""<article{"" if known else ' class="unknown"'}>
<figure class="imagined">
<img src="{shown}" width="256" height="256" alt="{alt}">
<figcaption>{"imagined" if known else "what it would imagine, if it had to"}</figcaption>
</figure>
<div class="answer">
<h2>{scene} {sure}</h2>
{"" if known else f'<p class="reason">Not answered: {reason}.</p>'}
{_beside(prediction)}<p class="file">{html.escape(prediction.path)} <span>{clock(prediction.duration_s)}</span></p>
{f'<ul class="notes" aria-label="Warnings">{notes}</ul>' if notes else ""}
{f'<div class="bars">{bars}</div>' if heard_any else ""}
</div>
{heard}
{over_time}
</article>
"""


def _beside(prediction: Prediction) -> str:
    """The group of a scene, and the words for what was heard."""
    said = []
    if prediction.group and not prediction.within:
        said.append(plain(prediction.group))
    if prediction.has_words and prediction.sounds:
        said.append(f"hears {', '.join(list(prediction.sounds)[:MOST_WORDS])}")
    return f'<p class="beside">{html.escape("; ".join(said))}</p>\n' if said else ""


def _heard(recording: Recording, prediction: Prediction) -> str:
    """The beginning of a recording to be seen and played; nothing where it cannot be read a second time."""
    try:
        waveform = read_excerpt(recording.source, recording.track)
    except AudioError:
        return ""
    excerpt_s = len(waveform) / SAMPLE_RATE_HZ
    picture = data_uri(spectrogram_png(waveform), "image/png")
    sound = data_uri(mp3(waveform), "audio/mpeg")
    label = html.escape(f"First {excerpt_s:.3g} s of {prediction.path}")
    return f"""<figure class="heard">
<img src="{picture}" width="{SPECTROGRAM_PX[0]}" height="{SPECTROGRAM_PX[1]}"
 alt="Spectrogram of the first {excerpt_s:.3g} s: time to the right, pitch upwards, louder is lighter">
<figcaption><span>0 s</span><span>heard, up to 8 kHz</span><span>{excerpt_s:.3g} s</span></figcaption>
<audio controls preload="metadata" src="{sound}" aria-label="{label}"></audio>
</figure>"""


def _bars(title: str, ranking: Mapping[str, float], guess: str) -> str:
    """The most probable names as a table whose cells are bars."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(plain(name))}</th>'
        f'<td><span class="bar" style="--share:{100 * value:.1f}%"></span></td>'
        f"<td>{percent(value)}</td></tr>"
        for name, value in list(ranking.items())[:NUM_BARS]
    )
    caption = f"{title}: {guess}" if guess else title
    return f"<table><caption>{caption}</caption>{rows}</table>" if rows else ""


def timeline(
    windows: Thinning, num_stretches: int, prediction: Prediction, minutes: Minutes | None = None
) -> str:
    """What was heard when, where that changes: pictures along the time, each with its text, and the same as a table;
    with `minutes` also how long each answer and each sound was heard."""
    kept, stretches = _overview(windows, prediction.duration_s)
    if len(stretches) < 2:
        return ""
    duration_s = max(prediction.duration_s, 1e-3)
    width_px = min(max(len(kept) * STRIP_PX, MIN_STRIP_PX), MAX_STRIP_PX)
    strip = paint_pictures(kept, duration_s, (width_px, STRIP_PX), draw=prediction.draw)
    painted = colours(kept)
    began = prediction.recorded_at
    items = "".join(
        _stretch_item(each, duration_s, painted[each.answer], began) for each in stretches
    )
    merged = (
        f" <span>{num_stretches:,} changes, shown as {len(stretches)} stretches</span>"
        if num_stretches > len(stretches)
        else ""
    )
    rows = "".join(_stretch_row(each, began) for each in stretches)
    clocked = '<th scope="col">clock</th>' if began else ""
    ends = [_moment(began, time_s) or clock(round(time_s)) for time_s in (0.0, duration_s)]
    return f"""<section class="timeline"><h3>Over time{merged}</h3>
<div class="track"><div class="strip" style="--width:{width_px}px">
<img src="{jpeg_uri(strip)}" width="{width_px}" height="{STRIP_PX}"
 alt="The places as the model imagines them, one after another">
<ol aria-label="Scenes over time">{items}</ol>
<p class="ends"><span>{ends[0]}</span><span>{ends[1]}</span></p>
</div></div>
{_summary(minutes) if minutes else ""}
<details><summary>As a table</summary>
<table class="stretches"><tr><th scope="col">from</th><th scope="col">to</th>{clocked}<th scope="col">scene</th>
<th scope="col">certainty</th><th scope="col">heard</th></tr>{rows}</table></details></section>"""


def _summary(minutes: Minutes) -> str:
    """How long each answer and each sound lasts, the longest first."""
    lines = [("In all", minutes.answers_s)]
    if minutes.sounds_s.keys() - minutes.answers_s.keys():
        lines.append(("Heard", minutes.sounds_s))
    said = []
    for title, lengths_s in lines:
        order = sorted(lengths_s.items(), key=lambda item: -item[1])[:MOST_SUMMED]
        named = ", ".join(f"{plain(name)} {lasting(lasted_s)}" for name, lasted_s in order)
        said.append(f'<p class="summary">{title}: {html.escape(named)}</p>')
    return "".join(said)


def _moment(began: datetime | None, time_s: float) -> str:
    """The time of day, where it is known."""
    return f"{began + timedelta(seconds=time_s):%H:%M:%S}" if began else ""


def _overview(windows: Thinning, duration_s: float) -> tuple[list[WindowPrediction], list[Segment]]:
    """As many windows as make no more stretches than one can look at."""
    kept = windows.windows()
    while len(stretches := whole_segments(kept, duration_s)) > MAX_STRETCHES:
        kept = windows.windows(len(kept) // 2)
    return kept, stretches


def _stretch_item(
    stretch: Segment, duration_s: float, colour: Colour, began: datetime | None
) -> str:
    start, width = (
        100 * time_s / duration_s for time_s in (stretch.start_s, stretch.end_s - stretch.start_s)
    )
    scene = html.escape(plain(answered(stretch.answer, stretch.within)))
    kinds = ["late"] * (start > 50) + ["unknown"] * bool(stretch.reason)
    late = f' class="{" ".join(kinds)}"' if kinds else ""
    said = percent(stretch.probability) if not stretch.reason else html.escape(stretch.reason)
    at = f"{_moment(began, stretch.start_s)} · " if began else ""
    words = _words(stretch)
    said += f" · {words}" if words else ""
    return (
        f'<li{late} tabindex="0" style="--from:{start:.2f}%;--long:{width:.2f}%;'
        f'--colour:rgb{colour}"><i aria-hidden="true"><u>{scene}</u></i><span><b>{scene}</b> '
        f"{at}{clock(round(stretch.start_s))}–{clock(round(stretch.end_s))} · {said}</span></li>"
    )


def _words(stretch: Segment) -> str:
    """What was heard beside the answer."""
    return html.escape(", ".join(word for word in stretch.sounds if word != stretch.answer))


def _stretch_row(stretch: Segment, began: datetime | None) -> str:
    said = percent(stretch.probability) if not stretch.reason else html.escape(stretch.reason)
    at = f"<td>{_moment(began, stretch.start_s)}</td>" if began else ""
    scene = html.escape(plain(answered(stretch.answer, stretch.within)))
    return (
        f"<tr><td>{clock(round(stretch.start_s))}</td><td>{clock(round(stretch.end_s))}</td>{at}"
        f"<td>{scene}</td><td>{said}</td><td>{_words(stretch)}</td></tr>"
    )


def jpeg_uri(picture: Image.Image) -> str:
    """As an address that holds the picture itself: a tenth of the size of a PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=86)
    return data_uri(buffer.getvalue(), "image/jpeg")


def mp3(waveform: np.ndarray) -> bytes:
    """A waveform (L,) as MP3, which every browser plays, at a fifth of the size of FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.clip(-1, 1), SAMPLE_RATE_HZ, format="MP3")
    return buffer.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _hz_to_mel(frequency_hz: float) -> float:
    return 2595 * np.log10(1 + frequency_hz / 700)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)
