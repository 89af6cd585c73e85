"""The network of a bundle in three parts: hear, answer and, opened when it is first needed, draw.

Shapes: B batch, L samples, C numbers that were heard, N labels.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple

import numpy as np

# Before it is imported: it would keep a diary in the user's home, and send it to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from avgan.errors import BundleError
from avgan.runtime.arrays import noise_of
from avgan.runtime.bundle import MODEL_FILE, Bundle
from avgan.runtime.graph import check_graph, cut

WAVEFORM, LOG_MEL, STEPS, HEARD, FEATURES = (
    "waveform",
    "log_mel",
    "steps",
    "heard",
    "features",
)
NOISE = "noise"
PROBABILITIES, CODES, PICTURE, TAGS = "probabilities", "codes", "picture", "tags"
"""Names of the tensors between which the graph can be cut."""


class Answers(NamedTuple):
    """What a network answers: probabilities (B, N) float32, codes (B, 16, 16) int64, and tags (B, M) float32 in [0, 1],
    None for a bundle that has none."""

    probabilities: np.ndarray
    codes: np.ndarray
    tags: np.ndarray | None


class Network:
    """Runs a bundle's graph. May be used from several threads at once.

    `num_threads` batches of one recording are heard at a time (None: as many as there are cores), each on one core:
    how many cores add up a sum can change its last bits, and an answer must not depend on the machine's number of them.

    Raises BundleError where the file is not the one the card describes, or cannot be run.
    """

    def __init__(self, bundle: Bundle, num_threads: int | None = None) -> None:
        self._bundle = bundle
        self._num_threads = num_threads or num_cores()
        self._content = bundle.read(MODEL_FILE)
        try:
            check_graph(self._content, between=(LOG_MEL, STEPS, HEARD, CODES))
        except BundleError as error:
            raise BundleError(f"{bundle.path}: {error}") from None
        self._hearing = self.part((WAVEFORM,), (HEARD,))
        self._answered = (PROBABILITIES, CODES) + ((TAGS,) if bundle.card.tags else ())
        self._answering = self.part((HEARD,), self._answered)

    def __deepcopy__(self, memo: dict[int, object]) -> "Network":
        """Itself: nothing in it changes, and its sessions cannot be copied."""
        return self

    def hear(self, waveforms: np.ndarray) -> np.ndarray:
        """Waveforms (B, L) at the card's rate -> what the label and the picture are made from (B, C)."""
        heard: np.ndarray = self._hearing.run([HEARD], {WAVEFORM: _single(waveforms)})[0]
        return heard

    def steps(self, waveforms: np.ndarray) -> np.ndarray:
        """Waveforms (B, L) -> what is said of each step (B, K, S), for bundles with `Steps`."""
        said: np.ndarray = self._stepping.run([STEPS], {WAVEFORM: _single(waveforms)})[0]
        return said

    def summarize(self, steps: np.ndarray) -> np.ndarray:
        """Steps (B, K, S) of a window each -> what was heard in it (B, C)."""
        heard: np.ndarray = self._summarizing.run([HEARD], {STEPS: _single(steps)})[0]
        return heard

    def ahead(
        self,
        compute: Callable[[np.ndarray], np.ndarray],
        batches: Iterable[list[np.ndarray]],
    ) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        """Batches of waveforms (L,), each with what `compute` (`hear` or `steps`) makes of them stacked, in order.

        While one is computed the next are read: as many at a time as there are threads.
        """
        if self._num_threads == 1:
            for batch in batches:
                yield batch, compute(np.stack(batch))
            return
        waiting: deque[tuple[list[np.ndarray], Future[np.ndarray]]] = deque()
        with ThreadPoolExecutor(self._num_threads) as pool:
            for batch in batches:
                waiting.append((batch, pool.submit(compute, np.stack(batch))))
                if len(waiting) > self._num_threads:
                    first, made = waiting.popleft()
                    yield first, made.result()
            for first, made in waiting:
                yield first, made.result()

    def answer(self, heard: np.ndarray) -> Answers:
        """What was heard (B, C) -> what is said of it."""
        found = self._answering.run(list(self._answered), {HEARD: _single(heard)})
        return Answers(found[0], found[1], found[2] if len(found) > 2 else None)

    def draw(self, codes: np.ndarray, /, *, seed: int = 0) -> np.ndarray:
        """codes (B, 16, 16) -> pictures (B, 128, 128, 3) uint8, all with the noise of one seed.

        A model whose pictures take no noise draws the same for all seeds.
        """
        inputs = {CODES: np.ascontiguousarray(codes, np.int64)}
        size = self._bundle.card.noise_size
        if size is not None:
            inputs[NOISE] = np.repeat(noise_of(seed, size)[None], len(codes), 0)
        (pictures,) = self._drawing.run([PICTURE], inputs)
        rounded: np.ndarray = (pictures.clip(0, 1) * 255).round().astype(np.uint8)
        return rounded.transpose(0, 2, 3, 1)

    def cut(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> bytes:
        """The part of the graph between named tensors. Raises BundleError where it has none of that name."""
        return cut(self._content, inputs, outputs)

    def part(
        self, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> onnxruntime.InferenceSession:
        """A session of the part of the graph between named tensors."""
        try:
            return _open_session(self.cut(inputs, outputs))
        except BundleError as error:
            raise BundleError(f"{self._bundle.path}: {error}") from None

    @cached_property
    def _stepping(self) -> onnxruntime.InferenceSession:
        return self.part((WAVEFORM,), (STEPS,))

    @cached_property
    def _summarizing(self) -> onnxruntime.InferenceSession:
        return self.part((STEPS,), (HEARD,))

    @cached_property
    def _drawing(self) -> onnxruntime.InferenceSession:
        takes_noise = self._bundle.card.noise_size is not None
        return self.part((CODES, NOISE) if takes_noise else (CODES,), (PICTURE,))


def num_cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _single(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


def _open_session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors; the rest is not for a user
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no narrower base
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} cannot run the model ({reason}); "
            "pip install --upgrade onnxruntime"
        ) from None
