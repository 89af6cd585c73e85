"""A bundle that has been loaded: recordings in, predictions out. numpy and onnxruntime, no torch.

Shapes: B windows in a batch, L samples, N labels, S scenes.
"""

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime

from avgan.audio import AudioSource, AudioStream, Window, windows
from avgan.errors import BundleError
from avgan.runtime.bundle import Bundle, Card, find_bundle
from avgan.runtime.prediction import Prediction, WindowPrediction

INPUT = "waveform"
OUTPUTS = ("probabilities", "codes", "picture")
BATCH_WINDOWS = 16


def load(path: str | Path | None = None, *, num_threads: int | None = None) -> "Model":
    """Load a bundle: a folder, a zip file, the name of an installed one, or None for the default one.

    Raises BundleError where there is none, or where it is damaged.
    """
    return Model(find_bundle(path), num_threads=num_threads)


class Model:
    """Names the scene of recordings and draws them. May be used from several threads at once."""

    def __init__(self, bundle: Bundle, *, num_threads: int | None = None) -> None:
        self.bundle = bundle
        self.card = bundle.card
        self.scenes = tuple(sorted(set(self.card.scenes)))
        self._session = _open_session(bundle, num_threads or _num_cores())

    def __repr__(self) -> str:
        return f"Model({self.card.name!r}, version={self.card.version!r})"

    def classify(
        self, source: AudioSource, rate_hz: float | None = None, *, hop_s: float | None = None
    ) -> Prediction:
        """Say which scene a recording is, and draw it.

        `source`: see `avgan.audio.read_audio`; an array needs `rate_hz`. A recording longer than the
        model's window is heard window by window, one every `hop_s` (None: side by side), and never
        held in memory as a whole. Raises AudioError where there is no sound to be had.
        """
        stream = AudioStream(source, rate_hz=rate_hz, target_rate_hz=self.card.sample_rate_hz)
        tally = _Tally(self.card, self.scenes)
        cut = windows(
            stream,
            rate_hz=self.card.sample_rate_hz,
            window_s=self.card.window_s,
            hop_s=hop_s,
            fill=self.card.short_clip_fill,
        )
        # Batches hold windows of this recording alone: with others beside them the arithmetic could
        # differ in its last bits, and an answer would depend on what else was asked.
        while batch := list(itertools.islice(cut, BATCH_WINDOWS)):
            outputs = self.infer(np.stack([window.waveform for window in batch]))
            for window, *answer in zip(batch, *outputs, strict=True):
                tally.add(window, *answer)
        return tally.conclude(stream)

    def classify_many(
        self,
        sources: Iterable[AudioSource],
        rate_hz: float | None = None,
        *,
        hop_s: float | None = None,
    ) -> list[Prediction]:
        """Classify several recordings. Stops at the first that cannot be read, with its AudioError."""
        return [self.classify(source, rate_hz, hop_s=hop_s) for source in sources]

    def infer(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the network on windows (B, L) at the card's rate.

        Returns probabilities (B, N) float32, codes (B, 16, 16) int64, pictures (B, 3, 128, 128)
        float32 in [0, 1].
        """
        feed = {INPUT: np.ascontiguousarray(waveforms, np.float32)}
        probabilities, codes, pictures = self._session.run(list(OUTPUTS), feed)
        return probabilities, codes, pictures


class _Tally:
    """The answers for a recording's windows, added up as they come."""

    def __init__(self, card: Card, scenes: tuple[str, ...]) -> None:
        self._card = card
        self._scenes = scenes
        # (N, S): which label counts for which scene.
        self._label_to_scene = np.array(
            [[scene == known for known in scenes] for scene in card.scenes], np.float64
        )
        self._labels_total = np.zeros(len(card.labels))
        self._windows: list[WindowPrediction] = []
        # Per scene: its highest probability so far, with that window's codes and picture. Which of
        # them will be the answer is known at the end only.
        self._surest: dict[int, tuple[float, np.ndarray, np.ndarray]] = {}

    def add(
        self, window: Window, probabilities: np.ndarray, codes: np.ndarray, picture: np.ndarray
    ) -> None:
        """Add a window's probabilities (N,), codes (16, 16) and picture (3, 128, 128)."""
        scenes = probabilities @ self._label_to_scene
        best = int(scenes.argmax())
        sound = self._card.labels[int(probabilities.argmax())]
        self._labels_total += probabilities
        self._windows.append(
            WindowPrediction(
                start_s=window.start_s,
                end_s=window.end_s,
                scene=self._scenes[best],
                sound=sound if self._card.label_kind == "sound" else None,
                probability=float(scenes[best]),
            )
        )
        kept = (codes.copy(), picture.copy())  # a slice would keep the whole batch in memory
        for index, probability in enumerate(scenes):
            if index not in self._surest or probability > self._surest[index][0]:
                self._surest[index] = (float(probability), *kept)

    def conclude(self, stream: AudioStream) -> Prediction:
        """The answer for the recording, of which every window has been added."""
        labels = self._labels_total / len(self._windows)
        scenes = labels @ self._label_to_scene
        best = int(scenes.argmax())
        _, codes, picture = self._surest[best]
        sounds = _ranked(self._card.labels, labels) if self._card.label_kind == "sound" else {}
        return Prediction(
            scene=self._scenes[best],
            sound=next(iter(sounds), None),
            scenes=_ranked(self._scenes, scenes),
            sounds=sounds,
            codes=codes,
            picture=(picture.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0),
            windows=tuple(self._windows),
            warnings=stream.warnings,
            duration_s=stream.level.duration_s,
            path=stream.name,
        )


def _ranked(names: tuple[str, ...], probabilities: np.ndarray) -> dict[str, float]:
    """Names with their probabilities, from the highest; equal ones in the order of the names."""
    order = np.argsort(-probabilities, kind="stable")
    return {names[i]: float(probabilities[i]) for i in order}


def _num_cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _open_session(bundle: Bundle, num_threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3  # errors; the rest is not for a user
    # Threads that spin while they wait make everything slow where other work is on the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    content = bundle.read_model()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no narrower base
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"{bundle.path}: onnxruntime {onnxruntime.__version__} cannot run the model ({reason}); "
            "pip install --upgrade onnxruntime"
        ) from None
    inputs = {value.name for value in session.get_inputs()}
    outputs = {value.name for value in session.get_outputs()}
    if inputs != {INPUT} or not outputs.issuperset(OUTPUTS):
        raise BundleError(f"{bundle.path}: the model has not the inputs and outputs of a bundle")
    return session
