"""The network of a bundle in three parts: embed, predict and, opened when it is first needed, decode.

Shapes: B batch, L samples, C numbers of an embedding, N labels.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Lock
from typing import NamedTuple

import numpy as np

# Before it is imported: it would keep a diary in the user's home, and send it to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from avgan.errors import BundleError
from avgan.runtime.arrays import noise_of
from avgan.runtime.bundle import MODEL_FILE, Bundle
from avgan.runtime.graph import check_graph, cut

WAVEFORM, NOISE = "waveform", "noise"
LOG_MEL, STEPS, FEATURES = "log_mel", "steps", "features"
EMBEDDING = "heard"
"""As the graphs of all bundles call it."""
PROBABILITIES, CODES, PICTURE, TAGS = "probabilities", "codes", "picture", "tags"
"""Names of the tensors between which the graph can be cut."""
CODES_BATCH = 4
"""Maps whose distances to all codes are in memory at once: 1 MB each."""


class Outputs(NamedTuple):
    """What a network predicts: probabilities (B, N), imagined features (B, D, 16, 16) in [-1, 1], and tags (B, M) in
    [0, 1], None for a bundle that has none; all float32."""

    probabilities: np.ndarray
    features: np.ndarray
    tags: np.ndarray | None


class Network:
    """Runs a bundle's graph. May be used from several threads at once.

    `num_threads` batches of one recording are embedded at a time (None: as many as there are cores), each on one core:
    how many cores add up a sum can change its last bits, and an answer must not depend on the machine's number of them.

    Raises BundleError where the file is not the one the card describes, or cannot be run.
    """

    def __init__(self, bundle: Bundle, num_threads: int | None = None) -> None:
        self._bundle = bundle
        self._num_threads = num_threads or num_cores()
        self._content = bundle.read(MODEL_FILE)
        self._sessions: dict[tuple[tuple[str, ...], ...], onnxruntime.InferenceSession] = {}
        self._opening = Lock()
        try:
            check_graph(self._content, between=(LOG_MEL, STEPS, EMBEDDING, FEATURES, CODES))
        except BundleError as error:
            raise BundleError(f"{bundle.path}: {error}") from None
        self._predicted = (PROBABILITIES, FEATURES) + ((TAGS,) if bundle.card.tags else ())
        self.part((WAVEFORM,), (EMBEDDING,))
        self.part((EMBEDDING,), self._predicted)

    def __deepcopy__(self, memo: dict[int, object]) -> "Network":
        """Itself: nothing in it changes, and its sessions cannot be copied."""
        return self

    def embed(self, waveforms: np.ndarray) -> np.ndarray:
        """Waveforms (B, L) at the card's rate -> what the label and the picture are made from (B, C)."""
        return self.run((EMBEDDING,), {WAVEFORM: _single(waveforms)})[0]

    def steps(self, waveforms: np.ndarray) -> np.ndarray:
        """Waveforms (B, L) -> the embeddings of their steps (B, K, S), for bundles with `Steps`."""
        return self.run((STEPS,), {WAVEFORM: _single(waveforms)})[0]

    def summarize(self, steps: np.ndarray) -> np.ndarray:
        """Steps (B, K, S) of a window each -> its embedding (B, C)."""
        return self.run((EMBEDDING,), {STEPS: _single(steps)})[0]

    def predict(self, embeddings: np.ndarray) -> Outputs:
        """Embeddings (B, C) -> probabilities, features and tags."""
        found = self.run(self._predicted, {EMBEDDING: _single(embeddings)})
        return Outputs(found[0], found[1], found[2] if len(found) > 2 else None)

    def codes(self, features: np.ndarray) -> np.ndarray:
        """Imagined features (B, D, 16, 16) -> their nearest codes (B, 16, 16) int64.

        Five times as much work as predicting, where there are 1,024 codes: for those who want pictures.
        """
        found = [
            self.run((CODES,), {FEATURES: _single(features[start : start + CODES_BATCH])})[0]
            for start in range(0, len(features), CODES_BATCH)
        ]
        return np.concatenate(found)

    def decode(self, codes: np.ndarray, /, *, seed: int = 0) -> np.ndarray:
        """codes (B, 16, 16) -> pictures (B, 128, 128, 3) uint8, all with the noise of one seed.

        A model whose pictures take no noise gives the same for all seeds.
        """
        inputs = {CODES: np.ascontiguousarray(codes, np.int64)}
        size = self._bundle.card.noise_size
        if size is not None:
            inputs[NOISE] = np.repeat(noise_of(seed, size)[None], len(codes), 0)
        pictures = self.run((PICTURE,), inputs)[0]
        rounded: np.ndarray = (pictures.clip(0, 1) * 255).round().astype(np.uint8)
        return rounded.transpose(0, 2, 3, 1)

    def ahead(
        self, compute: Callable[[np.ndarray], np.ndarray], waveforms: Iterable[np.ndarray], size: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Waveforms (L,) with their rows of what `compute` (`embed` or `steps`) makes of batches of `size`; in order.

        While one batch is computed the next are read: as many at a time as there are threads. Batches of one wait for
        no other.
        """
        rest = iter(waveforms)
        batches = iter(lambda: list(islice(rest, size)), [])
        if size == 1 or self._num_threads == 1:
            for batch in batches:
                yield from zip(batch, compute(np.stack(batch)), strict=True)
            return
        waiting: deque[tuple[list[np.ndarray], Future[np.ndarray]]] = deque()
        with ThreadPoolExecutor(self._num_threads) as pool:
            for batch in batches:
                waiting.append((batch, pool.submit(compute, np.stack(batch))))
                if len(waiting) > self._num_threads:
                    first, made = waiting.popleft()
                    yield from zip(first, made.result(), strict=True)
            for first, made in waiting:
                yield from zip(first, made.result(), strict=True)

    def run(self, outputs: tuple[str, ...], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Tensors of the graph, from others by name."""
        found: list[np.ndarray] = self.part(tuple(inputs), outputs).run(list(outputs), inputs)
        return found

    def part(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> onnxruntime.InferenceSession:
        """A session of the graph between named tensors, opened once. Raises BundleError where there is no such part."""
        with self._opening:
            if (inputs, outputs) not in self._sessions:
                try:
                    self._sessions[inputs, outputs] = _open_session(cut(self._content, inputs, outputs))
                except BundleError as error:
                    raise BundleError(f"{self._bundle.path}: {error}") from None
            return self._sessions[inputs, outputs]


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
            f"onnxruntime {onnxruntime.__version__} cannot run the model ({reason}); pip install --upgrade onnxruntime"
        ) from None
