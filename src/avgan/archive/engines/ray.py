"""Recordings heard by a Ray cluster, or by processes of this machine where RAY_ADDRESS names none.

Each machine needs avgan, the model and the recordings, under the same paths. Tasks rather than actors: what a machine
that is lost was hearing is heard again on those that are left, and no actor holds a core that a task waits for.
"""

import logging
import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import ray

from avgan.archive.engines import Answer, Hearing, Task
from avgan.archive.sources import Recording
from avgan.errors import AvganError, BundleError
from avgan.runtime.bundle import MODEL_FILE
from avgan.runtime.model import Model, load
from avgan.runtime.prediction import Prediction, WindowPrediction, drawn_elsewhere

MAX_GROUP = 16
"""Recordings in a task: handing one over costs about as much as hearing a second of sound."""
GROUPS_PER_CORE = 4
"""Tasks handed over and not yet answered."""


class Heard:
    """The answer for a recording that has been heard elsewhere: its windows and its conclusion, or what went wrong."""

    def __init__(
        self, windows: list[WindowPrediction], prediction: Prediction | None, wrong: tuple[str, str]
    ) -> None:
        self.windows = windows
        self.prediction = prediction
        self.wrong = wrong  # the kind of exception and its text: not all exceptions can travel

    def __iter__(self) -> Iterator[WindowPrediction]:
        yield from self.windows
        kind, text = self.wrong
        if kind:
            raise (
                AvganError(text)
                if kind == AvganError.__name__
                else type(kind, (Exception,), {})(text)
            )

    def conclude(self) -> Prediction:
        assert self.prediction is not None, "conclude what went wrong"
        return self.prediction


def hear_on_cluster(
    model: Model, task: Task, recordings: Sequence[Recording], *, num_jobs: int | None
) -> Generator[Answer, None, None]:
    """In groups, wherever there is a free core; `num_jobs` at a time, or as many as there are cores.

    Raises BundleError where a machine has not the same model.
    """
    started_here = not ray.is_initialized()
    if started_here:
        _start(num_jobs)
    try:
        num_cores = num_jobs or int(ray.cluster_resources().get("CPU", 1))
        cluster = _Cluster(model, task)
        size = max(1, min(MAX_GROUP, len(recordings) // (GROUPS_PER_CORE * num_cores)))
        groups = [recordings[i : i + size] for i in range(0, len(recordings), size)]
        begun: deque[tuple[ray.ObjectRef, Sequence[Recording]]] = deque()
        for group in groups:
            begun.append((cluster.submit(group), group))
            if len(begun) > GROUPS_PER_CORE * num_cores:
                yield from cluster.fetch(*begun.popleft())
        while begun:
            yield from cluster.fetch(*begun.popleft())
    finally:
        if started_here:
            ray.shutdown()


def _start(num_cores: int | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                "local",
                num_cpus=num_cores,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise AvganError(
            f"no Ray cluster at {address or 'this machine'} ({reason}); start one with `ray start`, "
            "or unset RAY_ADDRESS"
        ) from None


class _Cluster:
    """Hands groups of recordings over, and takes their answers."""

    def __init__(self, model: Model, task: Task) -> None:
        self._model = model
        self._task = task
        self._remote = ray.remote(num_cpus=1, max_retries=3)(_hear_group)

    def submit(self, group: Sequence[Recording]) -> ray.ObjectRef:
        bundle = self._model.bundle
        checksum = bundle.card.sha256.get(MODEL_FILE, "")
        sources = [
            source
            if isinstance(source := recording.source, bytes)
            else os.path.abspath(str(source))
            for recording in group
        ]
        moved = [
            replace(recording, source=source)
            for recording, source in zip(group, sources, strict=True)
        ]
        return self._remote.remote(str(bundle.path.absolute()), checksum, self._task, moved)

    def fetch(self, answers: ray.ObjectRef, group: Sequence[Recording]) -> Iterator[Heard]:
        """The answers for a group, as if they had been heard here."""
        try:
            heard: list[Heard] = ray.get(answers)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:  # the worker died, and those after it
            if len(group) > 1:
                for recording in group:  # one of them may have killed it
                    yield from self.fetch(self.submit([recording]), [recording])
                return
            text = f"{group[0].name}: its worker died ({type(error).__name__}); try it by itself"
            heard = [Heard([], None, (AvganError.__name__, text))]
        for one in heard:
            if one.prediction is not None:
                own, known = one.prediction.seed, self._model.seed
                seed = own if known is None else known
                draw = partial(self._model.network.draw, seed=seed)
                one.prediction = replace(one.prediction, draw=draw, seed=seed)
            yield one


def _hear_group(bundle: str, checksum: str, task: Task, recordings: list[Recording]) -> list[Heard]:
    """Runs on a worker."""
    model = _model(bundle)
    if model.card.sha256.get(MODEL_FILE, "") != checksum:
        raise BundleError(f"{bundle}: another model on {os.uname().nodename}; copy it there")
    return [_hear(model, task, recording) for recording in recordings]


def _hear(model: Model, task: Task, recording: Recording) -> Heard:
    hearing = Hearing(model, recording, task)
    windows: list[WindowPrediction] = []
    try:
        windows.extend(hearing)
        prediction = replace(hearing.conclude(), draw=drawn_elsewhere)
        return Heard(windows, prediction, ("", ""))
    except Exception as error:
        kind = AvganError if isinstance(error, AvganError) else type(error)
        text = str(error).replace(str(recording.source), recording.name, 1)
        return Heard(windows, None, (kind.__name__, text))


@lru_cache(maxsize=1)
def _model(bundle: str) -> Model:
    """The model of a worker, which hears many groups."""
    return load(Path(bundle), num_threads=1)
