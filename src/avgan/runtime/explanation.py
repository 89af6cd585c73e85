"""Why an answer was given: the part of the sound that made it, and the training clips that look like it.

The picture shows the spectrogram in grey and what made the answer over it in orange. Orange and blue stay apart for
every kind of colour blindness, and the strongest stretch is framed.

Shapes: F mel bands, T time steps, H W pixels.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from avgan.images import png_bytes
from avgan.runtime.drawing import INK, NIGHT, QUIET, enlarged, plain, write
from avgan.runtime.neighbours import Neighbour
from avgan.runtime.prediction import Decode, decoded_elsewhere, rounded, write_picture
from avgan.runtime.wording import percent

FOR, AGAINST = (255, 148, 20), (80, 172, 255)
PLOT_PX = (880, 320)
LEFT, TOP, RIGHT, LEGEND, STRIP, GAP = 92, 62, 24, 84, 176, 12
PICTURE_PX = 136
TEXT_PX, TITLE_PX = 15, 21
FREQUENCIES_HZ = (125, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000)
TIME_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
FAINTEST = 0.15
"""Saliency below this share leaves the spectrogram as it is."""


@dataclass(frozen=True)
class Stretch:
    """A rectangle of time and frequency; `probability_without` is what is left of the answer where it is silenced."""

    start_s: float
    end_s: float
    low_hz: float
    high_hz: float
    probability_without: float

    def __str__(self) -> str:
        return f"{self.start_s:.1f} to {self.end_s:.1f} s, {_pitches(self.low_hz, self.high_hz)}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Explanation:
    """Why one window of a recording was answered as it was.

    `scene` and `sound` are the window's answer, as in `WindowPrediction`. `label` is the name whose `probability` is
    explained: the sound, or the scene where the sound is none of that scene; of what is `unknown`, the best guess.
    """

    path: str
    start_s: float
    end_s: float
    scene: str
    sound: str | None
    reason: str
    label: str
    probability: float
    saliency: np.ndarray
    """(F, T) float32 in [-1, 1]: what made the answer, against what spoke against it; 0 where nothing did either."""
    log_mel: np.ndarray
    """(F, T) float32, the loudness that `saliency` stands for, from low bands to high."""
    times_s: np.ndarray
    """(T,) the middle of each time step in the recording."""
    bands_hz: np.ndarray
    """(F + 1,) where each band ends and the next begins."""
    stretch: Stretch | None = None
    """The strongest; None where nothing stands out, such as in silence."""
    neighbours: tuple[Neighbour, ...] = field(default_factory=tuple)
    """Training clips with the most similar code maps, from the nearest; none where the bundle holds none."""
    codes: np.ndarray
    """(16, 16) int64, the window's own code map."""
    decode: Decode
    warnings: tuple[str, ...] = ()
    """Reasons to distrust it, and what was chosen in the file, of as much as was read of it."""

    @property
    def words(self) -> str:
        """The strongest stretch in words: "1.2 to 2.0 s, 1 to 3 kHz"."""
        return str(self.stretch) if self.stretch else "nothing stands out"

    def to_dict(self) -> dict[str, Any]:
        """Everything but log-mel and code maps, as JSON can hold it."""
        stretch = None
        if self.stretch is not None:
            stretch = {name: rounded(value) for name, value in vars(self.stretch).items()}
        return {
            "path": self.path,
            "start_s": rounded(self.start_s),
            "end_s": rounded(self.end_s),
            "scene": self.scene,
            "sound": self.sound,
            "reason": self.reason,
            "label": self.label,
            "probability": rounded(self.probability),
            "words": self.words,
            "warnings": list(self.warnings),
            "stretch": stretch,
            "neighbours": [neighbour.to_dict() for neighbour in self.neighbours],
            "times_s": [round(time, 4) for time in self.times_s.tolist()],
            "bands_hz": [round(edge, 1) for edge in self.bands_hz.tolist()],
            "saliency": [[round(value, 2) for value in row] for row in self.saliency.tolist()],
        }

    def png(self) -> bytes:
        """The bytes of a PNG: the spectrogram with the saliency drawn over it, and what the neighbours look like."""
        return png_bytes(self._rendered)

    @cached_property
    def _rendered(self) -> np.ndarray:
        return render(self)

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: the picture itself in place of the network that decodes it."""
        return {"_rendered": self._rendered} | self.__dict__ | {"decode": decoded_elsewhere}

    def save_picture(self, path: str | Path) -> Path:
        """Write the picture of `png` to a file, in the format that its ending names. Raises ImageError for another."""
        return write_picture(self._rendered, path)

    def __repr__(self) -> str:
        return f"Explanation({self.label!r}, probability={self.probability:.3f}, {self.words!r})"

    def _repr_png_(self) -> bytes:
        """The picture, where a notebook shows the explanation."""
        return self.png()


def _pitches(low_hz: float, high_hz: float) -> str:
    """Two frequencies in words: "140 to 900 Hz", "900 Hz to 1.2 kHz", "1 to 3 kHz"."""
    low, high = _frequency(low_hz), _frequency(high_hz)
    if low.split()[1] == high.split()[1]:
        low = low.split()[0]
    return f"{low} to {high}"


def _frequency(frequency_hz: float) -> str:
    if frequency_hz >= 950:
        return f"{round(frequency_hz / 1000, 1):g} kHz"
    return f"{round(frequency_hz, -1):.0f} Hz"


@dataclass(frozen=True)
class _Plot:
    """Where the spectrogram stands, in pixels, and what its edges mean."""

    explanation: Explanation

    def x(self, time_s: float) -> float:
        start_s, end_s = self.explanation.start_s, self.explanation.end_s
        return LEFT + PLOT_PX[0] * (time_s - start_s) / (end_s - start_s)

    def y(self, frequency_hz: float) -> float:
        edges = self.explanation.bands_hz
        band = np.interp(frequency_hz, edges, np.arange(len(edges)))
        return TOP + PLOT_PX[1] * (1 - float(band) / (len(edges) - 1))


def render(explanation: Explanation) -> np.ndarray:
    """The picture of an explanation (H, W, 3) uint8."""
    width = LEFT + PLOT_PX[0] + RIGHT
    height = TOP + PLOT_PX[1] + LEGEND + (STRIP + GAP if explanation.neighbours else 0)
    sheet = Image.new("RGB", (width, height), NIGHT)
    pen = ImageDraw.Draw(sheet)
    _write_title(pen, explanation)
    sheet.paste(_plot(explanation), (LEFT, TOP))
    plot = _Plot(explanation)
    _draw_axes(pen, plot)
    _draw_stretch(pen, plot)
    _draw_legend(pen, TOP + PLOT_PX[1] + 58)
    if explanation.neighbours:
        _draw_neighbours(sheet, pen, explanation, TOP + PLOT_PX[1] + LEGEND)
    return np.asarray(sheet)


def coloured(log_mel: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """A spectrogram (H, W) in grey, light where it is loud, tinted by its saliency (H, W): (H, W, 3) uint8."""
    low, high = np.percentile(log_mel, [2, 99.8])
    loud = ((log_mel - low) / max(high - low, 1e-6)).clip(0, 1)
    grey = np.asarray(NIGHT) + loud[..., None] * (np.asarray(INK) - np.asarray(NIGHT)) * 0.8
    strength = ((np.abs(saliency) - FAINTEST) / (1 - FAINTEST)).clip(0, 1)[..., None] ** 0.75
    colour = np.where(saliency[..., None] > 0, np.asarray(FOR), np.asarray(AGAINST))
    # What is quiet keeps some of the colour: silence can matter, too.
    tint = colour * (0.3 + 0.7 * loud[..., None])
    mixed: np.ndarray = (grey + 0.85 * strength * (tint - grey)).round().astype(np.uint8)
    return mixed


def _plot(explanation: Explanation) -> Image.Image:
    resized = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(values[::-1], np.float32)).resize(PLOT_PX, Image.Resampling.BICUBIC)
        )
        for values in (explanation.log_mel, explanation.saliency)
    ]
    return Image.fromarray(coloured(*resized))


def _write_title(pen: ImageDraw.ImageDraw, explanation: Explanation) -> None:
    label = plain(explanation.label)
    title = f"Why {label}, {percent(explanation.probability)}"
    if explanation.reason:
        title = f"Unknown ({explanation.reason}); best guess {label}"
    elif plain(explanation.scene) != label:
        title += f", so {plain(explanation.scene)}"
    used = write(pen, (LEFT, 28), title, size_px=TITLE_PX, room_px=PLOT_PX[0])
    name = explanation.path.replace("\\", "/").split("/")[-1]
    room = PLOT_PX[0] - used - 20
    at = (LEFT + PLOT_PX[0], 28)
    write(pen, at, name, size_px=TEXT_PX, fill=QUIET, anchor="rs", room_px=room)
    stretch = explanation.stretch
    words = explanation.words
    if stretch is not None:
        words = f"strongest: {words}; without it {percent(stretch.probability_without)}"
    write(pen, (LEFT, 52), words, size_px=TEXT_PX, fill=FOR if stretch else QUIET)


def _draw_axes(pen: ImageDraw.ImageDraw, plot: _Plot) -> None:
    explanation = plot.explanation
    bottom = TOP + PLOT_PX[1]
    length_s = explanation.end_s - explanation.start_s
    step_s = next((step for step in TIME_STEPS_S if length_s / step <= 10), length_s)
    for index in range(int(np.ceil(explanation.start_s / step_s - 1e-6)), 10**9):
        time_s = index * step_s
        if time_s > explanation.end_s + 1e-6:
            break
        pen.line((plot.x(time_s), bottom, plot.x(time_s), bottom + 5), QUIET)
        write(pen, (plot.x(time_s), bottom + 21), f"{time_s:g}", size_px=TEXT_PX, fill=QUIET, anchor="ms")
    write(pen, (LEFT + PLOT_PX[0], bottom + 38), "time in s", size_px=TEXT_PX, fill=QUIET, anchor="rs")
    low, high = explanation.bands_hz[[0, -1]]
    for frequency_hz in FREQUENCIES_HZ:
        if low <= frequency_hz <= high:
            y = plot.y(frequency_hz)
            pen.line((LEFT - 5, y, LEFT, y), QUIET)
            name = f"{frequency_hz / 1000:g} kHz" if frequency_hz >= 1000 else f"{frequency_hz} Hz"
            write(pen, (LEFT - 10, y), name, size_px=TEXT_PX, fill=QUIET, anchor="rm")


def _draw_stretch(pen: ImageDraw.ImageDraw, plot: _Plot) -> None:
    stretch = plot.explanation.stretch
    if stretch is None:
        return
    left, right = round(plot.x(stretch.start_s)), round(plot.x(stretch.end_s)) - 1
    top, bottom = round(plot.y(stretch.high_hz)), round(plot.y(stretch.low_hz)) - 1
    for grow, colour in ((0, NIGHT), (1, INK)):
        pen.rectangle((left + grow, top + grow, right - grow, bottom - grow), outline=colour)


def _draw_legend(pen: ImageDraw.ImageDraw, y: float) -> None:
    x = float(LEFT)
    for colour, words in ((FOR, "spoke for the answer"), (AGAINST, "spoke against it"), (QUIET, "made no difference")):
        pen.rectangle((x, y - 11, x + 14, y + 3), colour)
        x += 22 + write(pen, (x + 22, y), words, size_px=TEXT_PX, fill=QUIET) + 24
    pen.rectangle((x, y - 11, x + 14, y + 3), outline=INK)
    write(pen, (x + 22, y), "strongest stretch", size_px=TEXT_PX, fill=QUIET)


def _draw_neighbours(sheet: Image.Image, pen: ImageDraw.ImageDraw, explanation: Explanation, top: int) -> None:
    """The imagined place, and those of the training clips that come nearest to it."""
    shown = [("imagined", explanation.codes)]
    shown += [(each.label, each.codes) for each in explanation.neighbours]
    step = (PLOT_PX[0] + GAP) // len(shown)
    pictures = explanation.decode(np.stack([codes for _, codes in shown]).astype(np.int64))
    for index, ((name, _), picture) in enumerate(zip(shown, pictures, strict=True)):
        left = LEFT + index * step
        size_px = min(PICTURE_PX, step - GAP)
        sheet.paste(enlarged(picture, size_px), (left, top))
        at = (left, top + size_px + 20)
        fill = INK if index == 0 else QUIET
        write(pen, at, plain(name), size_px=TEXT_PX, fill=fill, room_px=step - GAP)
    write(pen, (LEFT - 10, top + 20), "looks", size_px=TEXT_PX, fill=QUIET, anchor="rs")
    write(pen, (LEFT - 10, top + 38), "like", size_px=TEXT_PX, fill=QUIET, anchor="rs")
