"""A bundle that has been loaded: recordings in, predictions out. numpy and onnxruntime, no torch.

Shapes: L samples, C numbers that were heard, N labels, S scenes.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np

from avgan.audio import AudioSource, AudioStream, check_hop
from avgan.runtime.bundle import Bundle, Card, find_bundle
from avgan.runtime.hearing import HeardWindow, hear_windows
from avgan.runtime.neighbours import Neighbours
from avgan.runtime.network import Network
from avgan.runtime.prediction import UNKNOWN, Prediction, WindowPrediction
from avgan.runtime.trial import try_foreign
from avgan.runtime.unknown import Doubt
from avgan.runtime.why.explanation import Explainer, Explanation

BATCH_ANSWERS = 32


def load(
    path: str | Path | None = None, *, num_threads: int | None = None, seed: int | None = None
) -> "Model":
    """Load a bundle: a folder, a zip file, the name of an installed one, or None for the default one.

    `seed`: what pictures are drawn with; None: each recording has one of its own. A bundle that is named by its path is
    tried first, in a process of its own (see `trial`). Raises BundleError where there is none, where it is damaged, or
    takes more than it may.
    """
    bundle = find_bundle(path)
    try_foreign(bundle)
    return Model(bundle, num_threads=num_threads, seed=seed)


class Model:
    """Names the scene of recordings and draws them. May be used from several threads at once."""

    def __init__(
        self, bundle: Bundle, *, num_threads: int | None = None, seed: int | None = None
    ) -> None:
        self.bundle = bundle
        self.seed = seed
        self.card = bundle.card
        self.scenes = tuple(sorted(set(self.card.scenes)))
        self.network = Network(bundle, num_threads)
        self.doubt = Doubt(bundle)

    def __repr__(self) -> str:
        return f"Model({self.card.name!r}, version={self.card.version!r})"

    def classify(
        self,
        source: AudioSource,
        rate_hz: float | None = None,
        *,
        hop_s: float | None = None,
        track: int | None = None,
    ) -> Prediction:
        """Say which scene a recording is, and draw it.

        `source`: see `avgan.audio.read_audio`; an array needs `rate_hz`. A recording longer than the
        model's window is heard window by window, one every `hop_s` (None: side by side), and never
        held in memory as a whole. `track`: which sound track of a video, from 1; None: the default one. Raises
        AudioError where there is no sound to be had.
        """
        listening = self.listen(source, rate_hz, hop_s=hop_s, track=track)
        windows = tuple(listening)
        return listening.conclude(windows)

    def classify_many(
        self,
        sources: Iterable[AudioSource],
        rate_hz: float | None = None,
        *,
        hop_s: float | None = None,
        track: int | None = None,
    ) -> list[Prediction]:
        """Classify several recordings. Stops at the first that cannot be read, with its AudioError."""
        return [self.classify(source, rate_hz, hop_s=hop_s, track=track) for source in sources]

    def explain(
        self,
        source: AudioSource | AudioStream,
        rate_hz: float | None = None,
        *,
        start_s: float | None = None,
        track: int | None = None,
    ) -> Explanation:
        """Say why a recording was answered as it was: which part of the sound made the answer, what it looks like.

        One window is explained, the one that begins at `start_s`; None: the one surest of the recording's answer.
        Raises AudioError as `classify` does, and where the recording ends before `start_s`.
        """
        return self._explainer.explain(source, rate_hz, start_s, track)

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """What its training clips look like; None where the bundle does not say. Raises BundleError when damaged."""
        return Neighbours.of(self.bundle)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self)

    def listen(
        self,
        source: AudioSource | AudioStream,
        rate_hz: float | None = None,
        *,
        hop_s: float | None = None,
        live: bool = False,
        track: int | None = None,
    ) -> "Listening":
        """Classify a recording window by window, in constant memory however long it is: iterate over what is returned.

        `live`: answer each window as soon as it has been heard, rather than in batches. Raises AudioError as
        `classify` does.
        """
        check_hop(hop_s)
        if not isinstance(source, AudioStream):
            target_hz = self.card.sample_rate_hz
            source = AudioStream(source, rate_hz=rate_hz, target_rate_hz=target_hz, track=track)
        return Listening(self, source, hop_s, live)


class Listening:
    """A recording that is classified while one iterates over it; `conclude` sums it up. Iterate once."""

    def __init__(self, model: Model, stream: AudioStream, hop_s: float | None, live: bool) -> None:
        self.stream = stream
        self._model = model
        self._hop_s = hop_s
        self._live = live
        self._tally = _Tally(model.card, model.scenes)

    def __iter__(self) -> Iterator[WindowPrediction]:
        network = self._model.network
        heard = hear_windows(
            network, self._model.card, self.stream, hop_s=self._hop_s, live=self._live
        )
        while group := list(islice(heard, 1 if self._live else BATCH_ANSWERS)):
            probabilities, codes = network.answer(np.stack([window.heard for window in group]))
            reasons = self._model.doubt.reasons(group, probabilities, self.stream.level)
            for window, labels, drawn, reason in zip(
                group, probabilities, codes, reasons, strict=True
            ):
                yield self._tally.add(window, labels, drawn, reason)

    @property
    def scenes(self) -> dict[str, float]:
        """All scenes with their probabilities in the window given last, from the highest."""
        return _ranked(self._model.scenes, self._tally.latest)

    def conclude(self, windows: tuple[WindowPrediction, ...] = ()) -> Prediction:
        """The answer for what was heard so far; `windows` are those to keep with it.

        Raises RuntimeError before the first window.
        """
        return self._tally.conclude(self._model, self.stream, windows)


class _Tally:
    """The answers for a recording's windows, added up as they come."""

    def __init__(self, card: Card, scenes: tuple[str, ...]) -> None:
        self._card = card
        self._scenes = scenes
        # (N, S): which label counts for which scene.
        self._label_to_scene = np.array(
            [[scene == known for known in scenes] for scene in card.scenes], np.float64
        )
        self._num_windows = 0
        self.latest = np.zeros(len(scenes))  # (S,) of the last window
        self._reasons: Counter[str] = Counter()
        # Sums of probabilities (N,) over the windows that were answered, and over all.
        self._labels_answered = np.zeros(len(card.labels))
        self._labels_total = np.zeros(len(card.labels))
        # Per scene: its highest probability so far, with that window's codes. Which of them will
        # be the answer is known at the end only.
        self._surest: dict[int, tuple[float, np.ndarray]] = {}
        # What a recording begins with is its own, and known before its first picture is drawn.
        self._own_seed = 0

    def add(
        self, window: HeardWindow, probabilities: np.ndarray, codes: np.ndarray, reason: str
    ) -> WindowPrediction:
        """Add a window's probabilities (N,), codes (16, 16) and the reason not to answer it, if any."""
        scenes = probabilities @ self._label_to_scene
        best = int(scenes.argmax())
        self.latest = scenes
        self._num_windows += 1
        self._labels_total += probabilities
        if reason:
            self._reasons[reason] += 1
        else:
            self._labels_answered += probabilities
        codes = codes.astype(np.uint16)  # also frees the batch that it is a slice of
        if self._num_windows == 1:
            self._own_seed = zlib.crc32(codes.astype("<u2").tobytes())
        for index, probability in enumerate(scenes):
            if index not in self._surest or probability > self._surest[index][0]:
                self._surest[index] = (float(probability), codes)
        loudest = int(probabilities.argmax())
        named = self._card.label_kind == "sound" and not reason
        return WindowPrediction(
            start_s=window.start_s,
            end_s=window.end_s,
            scene=UNKNOWN if reason else self._scenes[best],
            sound=self._card.labels[loudest] if named else None,
            probability=float(scenes[best]),
            reason=reason,
            codes=codes,
            sound_probability=float(probabilities[loudest]) if named else None,
        )

    def conclude(
        self, model: Model, stream: AudioStream, windows: tuple[WindowPrediction, ...]
    ) -> Prediction:
        """The answer for the recording: unknown where more than half of its windows are."""
        if not self._num_windows:
            raise RuntimeError("no window has been heard yet: iterate first")
        num_unknown = self._reasons.total()
        reason = self._reasons.most_common(1)[0][0] if 2 * num_unknown > self._num_windows else ""
        if reason:
            labels = self._labels_total / self._num_windows
        else:
            labels = self._labels_answered / (self._num_windows - num_unknown)
        scenes = labels @ self._label_to_scene
        best = int(scenes.argmax())
        sounds = _ranked(self._card.labels, labels) if self._card.label_kind == "sound" else {}
        seed = self._own_seed if model.seed is None else model.seed
        return Prediction(
            scene=UNKNOWN if reason else self._scenes[best],
            sound=None if reason else next(iter(sounds), None),
            scenes=_ranked(self._scenes, scenes),
            sounds=sounds,
            codes=self._surest[best][1].astype(np.int64),
            windows=windows,
            reason=reason,
            warnings=stream.warnings,
            duration_s=stream.level.duration_s,
            rate_hz=stream.level.rate_hz,
            path=stream.name,
            draw=partial(model.network.draw, seed=seed),
            seed=seed,
            calibration=model.card.calibration,
            recorded_at=stream.recorded_at,
        )


def _ranked(names: tuple[str, ...], probabilities: np.ndarray) -> dict[str, float]:
    """Names with their probabilities, from the highest; equal ones in the order of the names."""
    order = np.argsort(-probabilities, kind="stable")
    return {names[i]: float(probabilities[i]) for i in order}
