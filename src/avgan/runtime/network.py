"""The network of a bundle in three parts: hear, answer and, opened when it is first needed, draw.

Shapes: B batch, L samples, C numbers that were heard, N labels.
"""

import os
from functools import cached_property

import numpy as np

# Before it is imported: it would keep a diary in the user's home, and send it to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from avgan.errors import BundleError
from avgan.runtime.bundle import MODEL_FILE, Bundle
from avgan.runtime.graph import cut

WAVEFORM, LOG_MEL, HEARD, FEATURES = "waveform", "log_mel", "heard", "features"
PROBABILITIES, CODES, PICTURE = "probabilities", "codes", "picture"
"""Names of the tensors between which the graph can be cut."""


class Network:
    """Runs a bundle's graph. May be used from several threads at once.

    Raises BundleError where the file is not the one the card describes, or cannot be run.
    """

    def __init__(self, bundle: Bundle, num_threads: int | None = None) -> None:
        self._bundle = bundle
        self._num_threads = num_threads or num_cores()
        self._content = bundle.read(MODEL_FILE)
        self._hearing = self.part((WAVEFORM,), (HEARD,))
        self._answering = self.part((HEARD,), (PROBABILITIES, CODES))

    def hear(self, waveforms: np.ndarray) -> np.ndarray:
        """Waveforms (B, L) at the card's rate -> what the label and the picture are made from (B, C)."""
        heard: np.ndarray = self._hearing.run([HEARD], {WAVEFORM: _single(waveforms)})[0]
        return heard

    def answer(self, heard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """heard (B, C) -> probabilities (B, N) float32 and codes (B, 16, 16) int64."""
        probabilities, codes = self._answering.run([PROBABILITIES, CODES], {HEARD: _single(heard)})
        return probabilities, codes

    def draw(self, codes: np.ndarray) -> np.ndarray:
        """codes (B, 16, 16) -> pictures (B, 128, 128, 3) uint8."""
        (pictures,) = self._drawing.run([PICTURE], {CODES: np.ascontiguousarray(codes, np.int64)})
        rounded: np.ndarray = (pictures.clip(0, 1) * 255).round().astype(np.uint8)
        return rounded.transpose(0, 2, 3, 1)

    def part(
        self, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> onnxruntime.InferenceSession:
        """A session of the part of the graph between named tensors."""
        try:
            content = cut(self._content, inputs, outputs)
            return _open_session(content, self._num_threads)
        except BundleError as error:
            raise BundleError(f"{self._bundle.path}: {error}") from None

    @cached_property
    def _drawing(self) -> onnxruntime.InferenceSession:
        return self.part((CODES,), (PICTURE,))


def num_cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _single(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


def _open_session(content: bytes, num_threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3  # errors; the rest is not for a user
    # Threads that spin while they wait make everything slow where other work is on the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no narrower base
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} cannot run the model ({reason}); "
            "pip install --upgrade onnxruntime"
        ) from None
