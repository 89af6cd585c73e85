"""A bundle that has been loaded: recordings in, predictions out. numpy and onnxruntime, no torch.

Shapes: L samples, N labels, S scenes.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from avgan.audio import AudioSource, AudioStream, check_hop
from avgan.errors import ConfigError
from avgan.runtime.bundle import Bundle, find_bundle
from avgan.runtime.embedding import embed_windows
from avgan.runtime.explain import Explainer, surest
from avgan.runtime.explanation import Explanation
from avgan.runtime.neighbours import Neighbours
from avgan.runtime.network import Network
from avgan.runtime.prediction import Prediction, WindowPrediction
from avgan.runtime.sounds import TagWords
from avgan.runtime.tally import Tally, ranked
from avgan.runtime.tree import Tree
from avgan.runtime.trial import try_foreign
from avgan.runtime.unknown import Rejection

BATCH_PREDICTED = 32


def load(path: str | Path | None = None, *, num_threads: int | None = None, seed: int | None = None) -> "Model":
    """Load a bundle: a folder, a zip file, the name of an installed one, or None for the default one.

    `seed`: of the noise of pictures; None: each recording has one of its own. A bundle that is named by its path is
    tried first, in a process of its own (see `trial`). Raises BundleError where there is none, where it is damaged, or
    takes more than it may; ConfigError for a seed or a number of threads that is none.
    """
    for name, number, least in (("num_threads", num_threads, 1), ("seed", seed, 0)):
        is_number = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
        if number is not None and not (is_number and number >= least):
            raise ConfigError(f"{name} {number!r}: pass a whole number, {least} or more, or None")
    bundle = find_bundle(path)
    try_foreign(bundle)
    return Model(bundle, num_threads=num_threads, seed=seed)


class Model:
    """Names the scene of recordings and pictures them. May be used from several threads at once."""

    def __init__(self, bundle: Bundle, *, num_threads: int | None = None, seed: int | None = None) -> None:
        self.bundle = bundle
        self.seed = seed
        self.card = bundle.card
        self.tree = Tree(self.card)
        self.scenes = self.tree.scenes
        self.network = Network(bundle, num_threads)
        self.rejection = Rejection(bundle)
        self.tag_words = TagWords(self.card.tags) if self.card.tags else None

    def __repr__(self) -> str:
        return f"Model({self.card.name!r}, version={self.card.version!r})"

    def classify(
        self, source: AudioSource, rate_hz: float | None = None, *, hop_s: float | None = None, track: int | None = None
    ) -> Prediction:
        """Predict which scene a recording is, and what it looks like.

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
        if start_s is None:
            if isinstance(source, AudioStream):
                raise ValueError("a stream can be read once: pass start_s")
            if not isinstance(source, np.ndarray) and hasattr(source, "read"):
                source = source.read()  # a file object, too
            start_s = surest(self.classify(source, rate_hz, track=track))
        return self._explainer.explain(self._stream(source, rate_hz, track), start_s)

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """What its training clips look like; None where the bundle does not say. Raises BundleError when damaged."""
        return Neighbours.of(self.bundle)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.network, self.card, self.tree, self.rejection, self.neighbours)

    def _stream(self, source: AudioSource | AudioStream, rate_hz: float | None, track: int | None) -> AudioStream:
        if isinstance(source, AudioStream):
            return source
        target_hz = self.card.sample_rate_hz
        return AudioStream(source, rate_hz=rate_hz, target_rate_hz=target_hz, track=track)

    def listen(
        self,
        source: AudioSource | AudioStream,
        rate_hz: float | None = None,
        *,
        hop_s: float | None = None,
        live: bool = False,
        track: int | None = None,
        pictures: bool = True,
    ) -> "Listening":
        """Classify a recording window by window, in constant memory however long it is: iterate over what is returned.

        `live`: answer each window as soon as its last sample is there, rather than in batches. `pictures`: give each
        window the codes of its picture, a third of the work where windows overlap. Raises AudioError as `classify`
        does.
        """
        check_hop(hop_s)
        return Listening(self, self._stream(source, rate_hz, track), hop_s, live=live, pictures=pictures)


class Listening:
    """A recording that is classified while one iterates over it; `conclude` sums it up. Iterate once."""

    def __init__(self, model: Model, stream: AudioStream, hop_s: float | None, *, live: bool, pictures: bool) -> None:
        self.stream = stream
        self._model = model
        self._hop_s = hop_s
        self._live = live
        self._pictures = pictures
        self._tally = Tally(model.card, model.tree)

    def __iter__(self) -> Iterator[WindowPrediction]:
        model = self._model
        windows = embed_windows(model.network, model.card, self.stream, hop_s=self._hop_s, live=self._live)
        while group := list(islice(windows, 1 if self._live else BATCH_PREDICTED)):
            labels, features, tags = model.network.predict(np.stack([window.embedding for window in group]))
            codes: list[np.ndarray | None] = [None] * len(group)
            if self._pictures:
                codes = [*model.network.codes(features).astype(np.uint16)]
            reasons = model.rejection.reasons(group, labels, self.stream.level)
            words: list[dict[str, float] | None] = [None] * len(group)
            if model.tag_words is not None and tags is not None:
                words = [*model.tag_words.choose(tags)]
            for each in zip(group, labels, features, codes, reasons, words, strict=True):
                yield self._tally.add(*each)

    @property
    def scenes(self) -> dict[str, float]:
        """All scenes with their probabilities in the window given last, from the highest.

        For a model that knows no scenes, all sounds.
        """
        return ranked(self._model.scenes, self._tally.latest)

    def conclude(self, windows: tuple[WindowPrediction, ...] = ()) -> Prediction:
        """The answer for what was heard so far; `windows` are those to keep with it.

        Raises RuntimeError before the first window.
        """
        return self._tally.conclude(self.stream, windows, self._model.network, self._model.seed)
