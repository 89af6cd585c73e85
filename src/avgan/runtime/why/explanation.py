"""Why an answer was given: the part of the sound that made it, and the training clips that look like it.

Shapes: F mel bands, T time steps, L samples, N labels.
"""

import io
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from avgan.audio import AudioSource, AudioStream, fit
from avgan.errors import AudioError
from avgan.runtime.axes import band_edges, step_times
from avgan.runtime.bundle import Card
from avgan.runtime.hearing import HeardWindow
from avgan.runtime.neighbours import Neighbour
from avgan.runtime.prediction import UNKNOWN, Draw, Prediction, rounded, write_picture
from avgan.runtime.why.occlusion import Occlusion, Parts

if TYPE_CHECKING:
    from avgan.runtime.model import Model

STRONG = 0.5
"""Share of the largest saliency above which a point makes the strongest stretch larger."""
NOTHING = 0.02
"""A fall of the log-odds below it is not worth telling: a probability of 50 % becomes 49.5 %."""
SHORTEST_S = 0.1
"""No stretch is shorter: the cells that were tried do not tell more."""
NUM_NEIGHBOURS = 5


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
    draw: Draw
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
        from avgan.runtime.why.picture import draw

        return draw(self)

    def save_picture(self, path: str | Path) -> Path:
        """Write the picture of `png` to a file, in the format that its ending names. Raises ImageError for another."""
        with Image.open(io.BytesIO(self.png()), formats=("PNG",)) as image:
            return write_picture(np.asarray(image.convert("RGB")), path)

    def __repr__(self) -> str:
        return f"Explanation({self.label!r}, probability={self.probability:.3f}, {self.words!r})"

    def _repr_png_(self) -> bytes:
        """The picture, where a notebook shows the explanation."""
        return self.png()


class Explainer:
    """Explains a model's answers. May be used from several threads at once."""

    def __init__(self, model: "Model") -> None:
        self._model = model
        self._occlusion = Occlusion(model.network, model.card)

    def explain(
        self,
        source: AudioSource | AudioStream,
        rate_hz: float | None,
        start_s: float | None,
        track: int | None = None,
    ) -> Explanation:
        """See `Model.explain`."""
        card = self._model.card
        if start_s is None:
            if isinstance(source, AudioStream):
                raise ValueError("a stream can be read once: pass start_s")
            if not isinstance(source, np.ndarray) and hasattr(source, "read"):
                source = source.read()  # a file object, too
            start_s = surest(self._model.classify(source, rate_hz, track=track))
        if not isinstance(source, AudioStream):
            target_hz = card.sample_rate_hz
            source = AudioStream(source, rate_hz=rate_hz, target_rate_hz=target_hz, track=track)
        sound = _excerpt(source, start_s, card.window_s, card.sample_rate_hz)
        explained = self._explain(sound, start_s, source.name)
        return replace(explained, warnings=source.notes)

    def _explain(self, sound: np.ndarray, start_s: float, path: str) -> Explanation:
        """Explain a window (L,), which is filled up where it is too short."""
        model, card = self._model, self._model.card
        end_s = start_s + len(sound) / card.sample_rate_hz
        waveform = fit(sound, round(card.window_s * card.sample_rate_hz), fill=card.short_clip_fill)
        heard = model.network.hear(waveform[None])
        answered = model.network.answer(heard)
        labels, codes = answered.probabilities[0], answered.codes[0]
        window = HeardWindow.of(start_s, end_s, sound, heard[0], card.sample_rate_hz)
        reason = model.doubt.reason(window, labels)
        question = _Question.about(labels, card)
        scene = model.tree.say(labels).name if card.names_scenes else ""
        known = model.neighbours
        parts = self._occlusion.take_apart(waveform)
        times_s = start_s + step_times(card, parts.log_mel.shape[1])
        kept = max(1, int(np.searchsorted(times_s, end_s)))  # what follows was filled up
        falls = self._occlusion.saliency(parts, question.of)[:, :kept]
        largest = np.abs(falls).max()
        saliency = falls / largest if largest >= NOTHING else np.zeros_like(falls)
        explained = Explanation(
            path=path,
            start_s=start_s,
            end_s=end_s,
            scene=UNKNOWN if reason else scene,
            sound=None if reason else question.sound,
            reason=reason,
            label=question.label,
            probability=float(labels @ question.of),
            saliency=saliency.astype(np.float32),
            log_mel=parts.log_mel[:, :kept],
            times_s=times_s[:kept],
            bands_hz=band_edges(card, len(falls)),
            neighbours=known.nearest(codes, NUM_NEIGHBOURS) if known else (),
            codes=codes,
            draw=model.network.draw,
        )
        return replace(explained, stretch=self._stretch(explained, parts, question.of))

    def _stretch(self, explained: Explanation, parts: Parts, of: np.ndarray) -> Stretch | None:
        """The strongest stretch, silenced to see what it did."""
        saliency, times_s = explained.saliency, explained.times_s
        if saliency.max() <= 0:
            return None
        bands, steps = strongest(saliency - STRONG * saliency.max())
        step_s = (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)
        steps = _widened(steps, math.ceil(SHORTEST_S / max(step_s, 1e-6)), len(times_s))
        return Stretch(
            start_s=max(float(times_s[steps.start] - step_s / 2), explained.start_s),
            end_s=min(float(times_s[steps.stop - 1] + step_s / 2), explained.end_s),
            low_hz=float(explained.bands_hz[bands.start]),
            high_hz=float(explained.bands_hz[bands.stop]),
            probability_without=float(self._occlusion.without(parts, bands, steps) @ of),
        )


@dataclass(frozen=True, eq=False)
class _Question:
    """What is explained: the sound of an answer, or its scene where that sound is none of the scene."""

    scene: str
    sound: str | None
    label: str
    of: np.ndarray
    """(N,) 1 for the labels that count."""

    @classmethod
    def about(cls, probabilities: np.ndarray, card: Card) -> "_Question":
        """What is asked of an answer (N,)."""
        places = np.array(card.scenes)
        totals = {
            scene: float(probabilities[places == scene].sum()) for scene in sorted(set(card.scenes))
        }
        scene = max(totals, key=lambda name: totals[name])
        best = int(probabilities.argmax())
        sound = card.labels[best] if card.label_kind == "sound" else None
        if sound is None or card.scenes[best] != scene:
            return cls(scene, sound, scene, (places == scene).astype(np.float64))
        return cls(scene, sound, sound, (np.arange(len(places)) == best).astype(np.float64))


def surest(prediction: Prediction) -> float:
    """Where the window begins that is surest of a recording's answer, in seconds."""
    windows = prediction.windows
    best = max(windows, key=lambda window: (window.answer == prediction.answer, window.probability))
    return best.start_s


def strongest(values: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of the rectangle of an array with the largest sum; at least one value must be positive."""
    num_rows, num_columns = values.shape
    below = np.zeros((num_rows + 1, num_columns))
    below[1:] = values.cumsum(0)
    best = (-np.inf, 0, 0, 0, 0)
    for top in range(num_rows):
        # Sums over the rows from `top` to each row below, and over the columns from the first to each.
        sums = np.zeros((num_rows - top, num_columns + 1))
        sums[:, 1:] = (below[top + 1 :] - below[top]).cumsum(1)
        least = np.minimum.accumulate(sums, 1)
        gains = sums[:, 1:] - least[:, :-1]
        row, column = np.unravel_index(int(gains.argmax()), gains.shape)
        if gains[row, column] > best[0]:
            start = int(sums[row, : column + 1].argmin())
            best = (float(gains[row, column]), top, top + int(row) + 1, start, int(column) + 1)
    _, top, bottom, left, right = best
    return slice(top, bottom), slice(left, right)


def _widened(span: slice, size: int, length: int) -> slice:
    """A span of at least `size` around the same middle, as far as the length reaches."""
    missing = max(size - (span.stop - span.start), 0)
    start = max(min(span.start - missing // 2, length - size), 0)
    return slice(min(start, span.start), min(max(start + size, span.stop), length))


def _excerpt(stream: AudioStream, start_s: float, length_s: float, rate_hz: int) -> np.ndarray:
    """At most `length_s` of a recording from `start_s` on, (L,). Raises AudioError where it ends before."""
    if not 0 <= start_s < float("inf"):
        raise AudioError(f"{stream.name}: cannot start at {start_s} s; choose a start of 0 or more")
    first = round(start_s * rate_hz)
    last = first + round(length_s * rate_hz)
    kept: list[np.ndarray] = []
    at = 0
    for block in stream:
        kept.append(block[max(first - at, 0) : max(last - at, 0)])
        at += len(block)
        if at >= last:
            break
    if at <= first:
        raise AudioError(f"{stream.name}: ends at {at / rate_hz:.1f} s; choose a start before that")
    return np.concatenate(kept)


def _pitches(low_hz: float, high_hz: float) -> str:
    """Two frequencies as one says them: "140 to 900 Hz", "900 Hz to 1.2 kHz", "1 to 3 kHz"."""
    low, high = _frequency(low_hz), _frequency(high_hz)
    if low.split()[1] == high.split()[1]:
        low = low.split()[0]
    return f"{low} to {high}"


def _frequency(frequency_hz: float) -> str:
    if frequency_hz >= 950:
        return f"{round(frequency_hz / 1000, 1):g} kHz"
    return f"{round(frequency_hz, -1):.0f} Hz"
