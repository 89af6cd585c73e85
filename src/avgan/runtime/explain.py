"""Why an answer was given: cells of a window's log-mel are made quiet, and the answer is asked for again.

No gradient is needed, so that any bundle can be asked.

Shapes: L samples, F mel bands, T time steps, C embedding, N labels, K changes.
"""

import math
from dataclasses import dataclass

import numpy as np

from avgan.audio import AudioStream, fit
from avgan.errors import AudioError
from avgan.runtime.axes import band_edges, step_times
from avgan.runtime.bundle import Card
from avgan.runtime.embedding import EmbeddedWindow
from avgan.runtime.explanation import Explanation, Stretch
from avgan.runtime.neighbours import Neighbours
from avgan.runtime.network import EMBEDDING, LOG_MEL, WAVEFORM, Network
from avgan.runtime.prediction import UNKNOWN, Prediction
from avgan.runtime.tree import Tree
from avgan.runtime.unknown import Rejection

STRONG = 0.5
"""Share of the largest saliency above which a point makes the strongest stretch larger."""
NOTHING = 0.02
"""A fall of the log-odds below it is not worth telling: a probability of 50 % becomes 49.5 %."""
SHORTEST_S = 0.1
"""No stretch is shorter: the cells that were tried do not tell more."""
NUM_NEIGHBOURS = 5
BATCH = 8
"""Changes that are embedded at once: more are no faster, and take memory."""
BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16
LEAST = 1e-12
"""A probability below it is noise of the arithmetic."""
CELLS = ((0.048, 0.25), (0.096, 0.5))
"""What is made quiet at a time, as shares of the window and of the bands: 0.24 and 0.48 s of 5. Shares, because each
change is embedded whole: smaller cells of longer windows take a minute."""
OVERLAP = 2
SPREAD = 0.35
"""Standard deviation, in sizes of a cell, with which what a cell did is spread around its middle."""
QUIET_PERCENT = 10
"""Of a window, a band is as quiet as this."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The log-mel of a window, and what its bands are when they are silenced."""

    log_mel: np.ndarray
    """(F, T)"""
    quiet: np.ndarray
    """(F,) what a silenced band is left with: the recording's own background, for silence sounds like something."""


class Occlusion:
    """Asks a network what it would have answered had a part of a window been quiet."""

    def __init__(self, network: Network, card: Card) -> None:
        self._network = network
        self._num_samples = round(card.window_s * card.sample_rate_hz)
        self._silence = self._log_mel(np.zeros(self._num_samples))[:, 0]

    def spectrum(self, waveform: np.ndarray) -> Spectrum:
        """Of a window (L,)."""
        log_mel = self._log_mel(waveform)
        quiet = np.maximum(np.percentile(log_mel, QUIET_PERCENT, axis=1), self._silence)
        return Spectrum(log_mel, quiet.astype(np.float32))

    def without(self, spectrum: Spectrum, bands: slice, steps: slice) -> np.ndarray:
        """The answer (N,) had some bands been quiet for some time steps."""
        return self._predict(_silenced(spectrum, bands, [steps]))[0]

    def saliency(self, spectrum: Spectrum, of: np.ndarray) -> np.ndarray:
        """How much each point of the log-mel speaks for the labels `of` (N,): (F, T), negative where it speaks against.

        It is the fall of their log-odds where the point's surroundings are quiet, more of it where the point rises out
        of the quiet. Log-odds, since of a sure answer the probability hardly moves.
        """
        before = _log_odds(self._predict(spectrum.log_mel[None]), of)
        rise = np.sqrt(_smooth(np.abs(spectrum.log_mel - spectrum.quiet[:, None])))
        falls = [self._falls(spectrum, of, before, *cell) for cell in CELLS]
        saliency: np.ndarray = np.mean(falls, axis=0) * rise / max(float(rise.max()), 1e-6)
        return saliency

    def _falls(
        self, spectrum: Spectrum, of: np.ndarray, before: np.ndarray, share_of_window: float, share_of_bands: float
    ) -> np.ndarray:
        """What cells of one size did to the log-odds `before`, spread over the log-mel (F, T)."""
        num_bands, num_steps = spectrum.log_mel.shape
        bands = _cells(num_bands, round(share_of_bands * num_bands))
        steps = _cells(num_steps, round(share_of_window * num_steps))
        after = [_log_odds(self._predict(_silenced(spectrum, band, steps)), of) for band in bands]
        found: np.ndarray = _nearness(num_bands, bands) @ (before - np.array(after)) @ _nearness(num_steps, steps).T
        return found

    def _log_mel(self, waveform: np.ndarray) -> np.ndarray:
        """(L,) -> (F, T)"""
        return self._network.run((LOG_MEL,), {WAVEFORM: waveform[None].astype(np.float32)})[0][0, 0]

    def _predict(self, log_mels: np.ndarray) -> np.ndarray:
        """Log-mels (K, F, T) -> the answers (K, N)."""
        found = []
        for start in range(0, len(log_mels), BATCH):
            changed = np.ascontiguousarray(log_mels[start : start + BATCH, None], np.float32)
            waveforms = np.zeros((len(changed), self._num_samples), np.float32)  # their shape is read
            embeddings = self._network.run((EMBEDDING,), {WAVEFORM: waveforms, LOG_MEL: changed})[0]
            found.append(self._network.predict(embeddings).probabilities)
        return np.concatenate(found)


def _silenced(spectrum: Spectrum, bands: slice, steps: list[slice]) -> np.ndarray:
    """(K, F, T) the log-mel with some bands quiet at each of K times."""
    changed = np.repeat(spectrum.log_mel[None], len(steps), 0)
    for row, step in zip(changed, steps, strict=True):
        row[bands, step] = spectrum.quiet[bands, None]
    return changed


def _cells(length: int, size: int) -> list[slice]:
    """Cells of one size that cover a length evenly, each beginning half a cell after the one before."""
    size = min(max(size, 1), length)
    count = 1 + math.ceil((length - size) * OVERLAP / size)
    starts = np.linspace(0, length - size, count).round().astype(int).tolist()
    return [slice(start, start + size) for start in starts]


def _nearness(length: int, cells: list[slice]) -> np.ndarray:
    """How near each point of a length is to the middle of each cell: (length, number of cells), rows sum to 1."""
    middles = np.array([(cell.start + cell.stop - 1) / 2 for cell in cells])
    deviation = SPREAD * (cells[0].stop - cells[0].start)
    squares = ((np.arange(length)[:, None] - middles) / deviation) ** 2
    weights = np.exp((squares.min(1, keepdims=True) - squares) / 2)  # some cell is always near
    near: np.ndarray = weights / weights.sum(1, keepdims=True)
    return near


def _smooth(values: np.ndarray) -> np.ndarray:
    """Values (F, T), each averaged with its neighbours."""
    for axis in (0, 1):
        padded = np.pad(values, [(2, 2) if axis == each else (0, 0) for each in (0, 1)], "edge")
        length = values.shape[axis]
        shifted = [np.take(padded, range(at, at + length), axis) for at in range(5)]
        values = np.tensordot(BINOMIAL, shifted, 1)
    return values


def _log_odds(probabilities: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Answers (K, N) -> (K,) the log-odds that it is one of the labels `of` (N,).

    From the sum of the others rather than from 1: of a sure answer, single precision keeps only that.
    """
    together = np.stack((probabilities @ of, probabilities @ (1 - of)), -1)
    logarithms = np.log(np.maximum(together.astype(np.float64), LEAST))
    odds: np.ndarray = logarithms[:, 0] - logarithms[:, 1]
    return odds


class Explainer:
    """Explains the answers of a network. May be used from several threads at once."""

    def __init__(
        self, network: Network, card: Card, tree: Tree, rejection: Rejection, neighbours: Neighbours | None
    ) -> None:
        self._network = network
        self._card = card
        self._tree = tree
        self._rejection = rejection
        self._neighbours = neighbours
        self._occlusion = Occlusion(network, card)

    def explain(self, stream: AudioStream, start_s: float) -> Explanation:
        """Explain the window that begins at `start_s`. Raises AudioError where the recording ends before."""
        card, known = self._card, self._neighbours
        sound = _excerpt(stream, start_s, card.window_s, card.sample_rate_hz)
        end_s = start_s + len(sound) / card.sample_rate_hz
        waveform = fit(sound, round(card.window_s * card.sample_rate_hz), fill=card.short_clip_fill)
        embeddings = self._network.embed(waveform[None])
        predicted = self._network.predict(embeddings)
        labels, codes = predicted.probabilities[0], self._network.codes(predicted.features)[0]
        window = EmbeddedWindow.of(start_s, end_s, sound, embeddings[0], card.sample_rate_hz)
        (reason,) = self._rejection.reasons([window], labels[None])
        label, sound_name, of = self._asked(labels)
        scene = self._tree.answer(labels).name if card.names_scenes else ""
        spectrum = self._occlusion.spectrum(waveform)
        times_s = start_s + step_times(card, spectrum.log_mel.shape[1])
        times_s = times_s[: max(1, int(np.searchsorted(times_s, end_s)))]  # what follows was filled up
        falls = self._occlusion.saliency(spectrum, of)[:, : len(times_s)]
        largest = np.abs(falls).max()
        saliency = (falls / largest if largest >= NOTHING else np.zeros_like(falls)).astype(np.float32)
        return Explanation(
            path=stream.name,
            start_s=start_s,
            end_s=end_s,
            scene=UNKNOWN if reason else scene,
            sound=None if reason else sound_name,
            reason=reason,
            label=label,
            probability=float(labels @ of),
            saliency=saliency,
            log_mel=spectrum.log_mel[:, : len(times_s)],
            times_s=times_s,
            bands_hz=band_edges(card, len(falls)),
            stretch=self._stretch(saliency, times_s, start_s, end_s, spectrum, of),
            neighbours=known.nearest(codes, NUM_NEIGHBOURS) if known else (),
            codes=codes,
            decode=self._network.decode,
            warnings=stream.notes,
        )

    def _asked(self, labels: np.ndarray) -> tuple[str, str | None, np.ndarray]:
        """What is explained of an answer (N,): the most probable sound, or the scene where that is none of the scene.

        Its name, the most probable sound of a model of sounds, and (N,) 1 for the labels that count.
        """
        card, tree = self._card, self._tree
        scene = int((labels @ tree.label_to_scene).argmax())
        best = int(labels.argmax())
        sound = card.labels[best] if card.label_kind == "sound" else None
        if sound is not None and card.scenes[best] == tree.scenes[scene]:
            return sound, sound, np.eye(len(labels))[best]
        return tree.scenes[scene], sound, tree.label_to_scene[:, scene]

    def _stretch(
        self,
        saliency: np.ndarray,
        times_s: np.ndarray,
        start_s: float,
        end_s: float,
        spectrum: Spectrum,
        of: np.ndarray,
    ) -> Stretch | None:
        """The strongest stretch, silenced to see what it did."""
        if saliency.max() <= 0:
            return None
        bands_hz = band_edges(self._card, len(saliency))
        bands, steps = strongest(saliency - STRONG * saliency.max())
        step_s = (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)
        steps = _widened(steps, math.ceil(SHORTEST_S / max(step_s, 1e-6)), len(times_s))
        return Stretch(
            start_s=max(float(times_s[steps.start] - step_s / 2), start_s),
            end_s=min(float(times_s[steps.stop - 1] + step_s / 2), end_s),
            low_hz=float(bands_hz[bands.start]),
            high_hz=float(bands_hz[bands.stop]),
            probability_without=float(self._occlusion.without(spectrum, bands, steps) @ of),
        )


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
