"""Why an answer was given: the part of the sound that made it, and the training clips that look like it.

Shapes: F mel bands, T time steps, L samples, N labels.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avgan.audio import AudioSource, AudioStream, fit
from avgan.errors import AudioError, AvganError
from avgan.files import write_whole
from avgan.runtime.axes import band_edges, step_times
from avgan.runtime.hearing import HeardWindow
from avgan.runtime.neighbours import Neighbour, Neighbours
from avgan.runtime.occlusion import Occlusion
from avgan.runtime.prediction import UNKNOWN, rounded

if TYPE_CHECKING:
    from avgan.runtime.model import Model

STRONG = 0.5
"""Share of the largest saliency from which on a point belongs to the strongest stretch."""


@dataclass(frozen=True)
class Stretch:
    """A rectangle of time and frequency; `probability_without` is what is left of the answer where it is silenced."""

    start_s: float
    end_s: float
    low_hz: float
    high_hz: float
    probability_without: float

    def __str__(self) -> str:
        return (
            f"{self.start_s:.1f} to {self.end_s:.1f} s, {_frequency(self.low_hz)} to "
            f"{_frequency(self.high_hz)}"
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Explanation:
    """Why one window of a recording was answered as it was.

    `scene` and `sound` are the window's answer, as in `WindowPrediction`. `label` is the name whose `probability` is
    explained: the sound, or the scene where the model names scenes only; for what is `unknown`, the best guess.
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
    stretch: Stretch | None
    """The strongest; None where nothing stands out, such as in silence."""
    neighbours: tuple[Neighbour, ...] = field(default_factory=tuple)
    """Training clips with the most similar code maps, from the nearest; none where the bundle holds none."""

    @property
    def words(self) -> str:
        """The strongest stretch in words: "1.2 to 2.0 s, 1 to 3 kHz"."""
        return str(self.stretch) if self.stretch else "nothing stands out"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the log-mel, as JSON can hold it."""
        stretch = self.stretch
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
            "stretch": {name: rounded(value) for name, value in vars(stretch).items()}
            if stretch
            else None,
            "neighbours": [
                vars(neighbour) | {"distance": rounded(neighbour.distance)}
                for neighbour in self.neighbours
            ],
            "times_s": [round(float(time), 4) for time in self.times_s],
            "bands_hz": [round(float(edge), 1) for edge in self.bands_hz],
            "saliency": [[round(float(value), 2) for value in row] for row in self.saliency],
        }

    def png(self, scale: int = 1) -> bytes:
        """The bytes of a PNG: the spectrogram with the saliency drawn over it."""
        from avgan.runtime.why_picture import draw

        return draw(self, scale)

    def save_picture(self, path: str | Path, scale: int = 1) -> Path:
        """Write `png` to a file, whole or not at all."""
        return write_whole(path, self.png(scale))

    def __repr__(self) -> str:
        return f"Explanation({self.label!r}, probability={self.probability:.3f}, {self.words})"

    def _repr_png_(self) -> bytes:
        """The picture, where a notebook shows the explanation."""
        return self.png()


class Explainer:
    """Explains a model's answers. May be used from several threads at once."""

    def __init__(self, model: "Model") -> None:
        self._model = model
        self._occlusion = Occlusion(model.network, model.card)

    def explain(
        self, source: AudioSource, rate_hz: float | None = None, *, start_s: float | None = None
    ) -> Explanation:
        """See `Model.explain`."""
        model, card = self._model, self._model.card
        if not isinstance(source, np.ndarray) and hasattr(source, "read"):
            source = source.read()  # it is read twice
        if start_s is None:
            start_s = self._surest(source, rate_hz)
        stream = AudioStream(source, rate_hz=rate_hz, target_rate_hz=card.sample_rate_hz)
        waveform = _excerpt(stream, start_s, card.window_s, card.sample_rate_hz)
        end_s = start_s + len(waveform) / card.sample_rate_hz
        size = round(card.window_s * card.sample_rate_hz)
        waveform = fit(waveform, size, fill=card.short_clip_fill)
        heard = model.network.hear(waveform[None])
        probabilities, codes = model.network.answer(heard)
        peak = float(np.abs(waveform).max(initial=0.0))
        window = HeardWindow(start_s, end_s, heard[0], peak)
        reason = model.doubt.reason(window, probabilities[0])
        scenes = np.array(card.scenes)
        totals = {name: float(probabilities[0][scenes == name].sum()) for name in model.scenes}
        scene = max(totals, key=lambda name: totals[name])
        named = card.label_kind == "sound"
        label = card.labels[int(probabilities[0].argmax())] if named else scene
        of = np.array([name == label for name in (card.labels if named else card.scenes)], float)
        apart = self._occlusion.take_apart(waveform)
        falls = self._occlusion.saliency(apart, of)
        largest = np.abs(falls).max()
        saliency = (falls / largest if largest > 1e-6 else np.zeros_like(falls)).astype(np.float32)
        times_s = start_s + step_times(card, saliency.shape[1])
        kept = times_s < end_s
        return Explanation(
            path=stream.name,
            start_s=start_s,
            end_s=end_s,
            scene=UNKNOWN if reason else scene,
            sound=label if named and not reason else None,
            reason=reason,
            label=label,
            probability=float(probabilities[0] @ of),
            saliency=saliency[:, kept],
            log_mel=apart.log_mel[:, kept],
            times_s=times_s[kept],
            bands_hz=band_edges(card, saliency.shape[0]),
            stretch=None,
            neighbours=self._nearest(codes[0]),
        )

    def _surest(self, source: AudioSource, rate_hz: float | None) -> float:
        """Where the window begins that is surest of the recording's answer."""
        prediction = self._model.classify(source, rate_hz)
        best = max(prediction.windows, key=lambda w: (w.scene == prediction.scene, w.probability))
        return best.start_s

    def _nearest(self, codes: np.ndarray) -> tuple[Neighbour, ...]:
        known = self._neighbours
        if known is None:
            return ()
        places = dict(zip(self._model.card.labels, self._model.card.scenes, strict=True))
        return tuple(
            Neighbour(known.ids[i], known.labels[i], places[known.labels[i]], distance)
            for i, distance in known.nearest(codes)
        )

    @cached_property
    def _neighbours(self) -> Neighbours | None:
        return Neighbours.of(self._model.bundle)


def _excerpt(stream: AudioStream, start_s: float, length_s: float, rate_hz: int) -> np.ndarray:
    """At most `length_s` of a recording from `start_s` on, (L,). Raises AudioError where it ends before."""
    if not 0 <= start_s < float("inf"):
        raise AvganError(f"a start of {start_s} s; it must be zero or more")
    first = round(start_s * rate_hz)
    last = first + round(length_s * rate_hz)
    at = 0
    kept = []
    for block in stream:
        kept.append(block[max(first - at, 0) : max(last - at, 0)])
        at += len(block)
        if at >= last:
            break
    if at <= first:
        raise AudioError(f"{stream.name}: ends at {at / rate_hz:.1f} s; choose a start before that")
    return np.concatenate(kept)


def _frequency(hz: float) -> str:
    return f"{hz / 1000:.1f} kHz".replace(".0 ", " ") if hz >= 1000 else f"{round(hz, -1):.0f} Hz"
