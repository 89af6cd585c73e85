"""Who classifies recordings: this process, its threads, or a Ray cluster. The predictions are the same, and in order.

Threads: onnxruntime and decoders release Python's lock, so threads fill all cores. Each takes a recording of its own
and the network uses one core for it: how many cores add up a sum can change its last bits, and a prediction must not
depend on how many recordings are classified at a time.

Cluster: each machine needs avgan, the model and the recordings, under the same paths. Tasks rather than actors: what a
machine that is lost was at is done again on those that are left, and no actor holds a core that a task waits for.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from avgan.archive.sources import Recording
from avgan.audio import AudioStream
from avgan.errors import AudioError, AvganError, BundleError
from avgan.media.origin import in_name
from avgan.runtime.bundle import MODEL_FILE
from avgan.runtime.model import Model, load
from avgan.runtime.prediction import Prediction, WindowPrediction, decoded_elsewhere
from avgan.workers import OrderedThreads, ray_cluster

if TYPE_CHECKING:
    import ray

MAX_GROUP = 16
"""Recordings in a task of a cluster: handing one over costs about as much as classifying a second of sound."""
GROUPS_PER_CORE = 4
"""Tasks handed over and not yet answered: enough for a core never to wait for its next."""


class Classification(Protocol):
    """A recording that is classified while one iterates over its windows, once; the iteration returns the prediction.

    It raises what goes wrong: AvganError where the recording is at fault.
    """

    def __iter__(self) -> Generator[WindowPrediction, None, Prediction]: ...


Engine = Callable[[Sequence[Recording]], Generator[Classification, None, None]]
"""Classifies each recording, in their order; each must be taken whole before the next. Closing ends all."""


@dataclass(frozen=True)
class Options:
    """How recordings are classified: every `hop_s` (None: side by side), with checksums of their files or without."""

    hop_s: float | None = None
    checksum: bool = False


def classify(model: Model, options: Options, recording: Recording) -> Generator[WindowPrediction, None, Prediction]:
    """Classify one recording by a model in this process; see `Classification`."""
    stream = AudioStream(recording.source, target_rate_hz=model.card.sample_rate_hz, track=recording.track)
    listening = model.listen(stream, hop_s=options.hop_s)
    yield from listening
    prediction = listening.conclude()
    checksum = sha256(recording) if options.checksum else ""
    began = prediction.recorded_at or in_name(recording.name)
    return replace(prediction, path=recording.name, sha256=checksum, recorded_at=began)


def sha256(recording: Recording) -> str:
    """The SHA-256 of a recording's file, in hexadecimal; of a pipe, which cannot be read again, nothing.

    Raises AudioError where the file is gone.
    """
    source = recording.source
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    if not isinstance(source, str | Path) or not os.path.isfile(source):
        return ""
    try:
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"{recording.name}: cannot be read again ({error.strerror})") from None


def classify_in_turn(
    model: Model, options: Options, recordings: Sequence[Recording]
) -> Generator[Classification, None, None]:
    """One after another; parts of each side by side where the model has several threads."""
    for recording in recordings:
        yield classify(model, options, recording)


def classify_in_threads(
    model: Model, options: Options, recordings: Sequence[Recording], *, num_threads: int
) -> Generator[Classification, None, None]:
    """`num_threads` side by side; windows ahead of their turn wait, in bounded memory."""
    yield from OrderedThreads(partial(classify, model, options), recordings).run(num_threads)


@dataclass
class RemoteClassification:
    """What a cluster made of a recording: its windows and the prediction, or what went wrong."""

    windows: list[WindowPrediction] = field(default_factory=list)
    prediction: Prediction | None = None
    error: tuple[str, str] = ("", "")
    """The kind of exception and its text: not all exceptions can travel."""

    def __iter__(self) -> Generator[WindowPrediction, None, Prediction]:
        yield from self.windows
        if self.prediction is not None:
            return self.prediction
        kind, text = self.error
        raise AvganError(text) if kind == AvganError.__name__ else type(kind, (Exception,), {})(text)


def classify_on_cluster(
    model: Model, options: Options, recordings: Sequence[Recording], *, num_jobs: int | None
) -> Generator[Classification, None, None]:
    """In groups, wherever there is a free core; `num_jobs` at a time, or as many as there are cores.

    Raises BundleError where a machine has not the same model.
    """
    with ray_cluster(num_jobs) as num_cores:
        cluster = _Cluster(model, options)
        size = max(1, min(MAX_GROUP, len(recordings) // (GROUPS_PER_CORE * num_cores)))
        groups = [recordings[i : i + size] for i in range(0, len(recordings), size)]
        begun: deque[tuple[ray.ObjectRef, Sequence[Recording]]] = deque()
        for group in groups:
            begun.append((cluster.submit(group), group))
            if len(begun) > GROUPS_PER_CORE * num_cores:
                yield from cluster.fetch(*begun.popleft())
        while begun:
            yield from cluster.fetch(*begun.popleft())


class _Cluster:
    """Hands groups of recordings over, and takes what comes back."""

    def __init__(self, model: Model, options: Options) -> None:
        import ray

        self._model = model
        self._options = options
        self._remote = ray.remote(num_cpus=1, max_retries=3)(_classify_group)

    def submit(self, group: Sequence[Recording]) -> "ray.ObjectRef":
        bundle = self._model.bundle
        checksum = bundle.card.sha256.get(MODEL_FILE, "")
        moved = [
            recording
            if isinstance(recording.source, bytes)
            else replace(recording, source=os.path.abspath(str(recording.source)))
            for recording in group
        ]
        return self._remote.remote(str(bundle.path.absolute()), checksum, self._options, moved)

    def fetch(self, answer: "ray.ObjectRef", group: Sequence[Recording]) -> Iterator[RemoteClassification]:
        """What became of a group, as if it had been classified here."""
        import ray

        try:
            found: list[RemoteClassification] = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:  # the worker died, and those after it
            if len(group) > 1:
                for recording in group:  # one of them may have killed it
                    yield from self.fetch(self.submit([recording]), [recording])
                return
            text = f"{group[0].name}: its worker died ({type(error).__name__}); try it by itself"
            found = [RemoteClassification(error=(AvganError.__name__, text))]
        for one in found:
            if one.prediction is not None:
                own, known = one.prediction.seed, self._model.seed
                seed = own if known is None else known
                decode = partial(self._model.network.decode, seed=seed)
                one.prediction = replace(one.prediction, decode=decode, seed=seed)
            yield one


def _classify_group(
    bundle: str, checksum: str, options: Options, recordings: list[Recording]
) -> list[RemoteClassification]:
    """Runs on a worker."""
    model = _model(bundle)
    if model.card.sha256.get(MODEL_FILE, "") != checksum:
        raise BundleError(f"{bundle}: another model on {os.uname().nodename}; copy it there")
    return [_classify(model, options, recording) for recording in recordings]


def _classify(model: Model, options: Options, recording: Recording) -> RemoteClassification:
    windows: list[WindowPrediction] = []
    classification = classify(model, options, recording)
    try:
        while True:
            windows.append(next(classification))
    except StopIteration as end:
        return RemoteClassification(windows, replace(end.value, decode=decoded_elsewhere))
    except Exception as error:
        kind = AvganError if isinstance(error, AvganError) else type(error)
        text = str(error).replace(str(recording.source), recording.name, 1)
        return RemoteClassification(windows, error=(kind.__name__, text))


@lru_cache(maxsize=1)
def _model(bundle: str) -> Model:
    """The model of a worker, which classifies many groups."""
    return load(Path(bundle), num_threads=1)
