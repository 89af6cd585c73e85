"""What a run writes for people: metrics.jsonl, TensorBoard, sample sheets."""

import io
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from avgan.files import resumable, write_whole
from avgan.images import grid
from avgan.training.progress import Line, duration
from avgan.training.stage import Validation


class RunLog:
    """Writes below a run folder. Lines of metrics that a resumed run will write again are dropped on opening."""

    def __init__(self, run: Path, *, step: int) -> None:
        self.run = run
        self.path = run / "metrics.jsonl"
        self._drop_after(step)
        self.line = Line()
        with resumable(run):
            self.file = self.path.open("a")
            self.curves = Curves(run / "tensorboard")

    def _drop_after(self, step: int) -> None:
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line a killed process was writing
            if row["step"] <= step:
                kept.append(line)
        write_whole(self.path, "".join(f"{line}\n" for line in kept))

    def metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """One row: the state after `step` steps."""
        row = {"stage": stage, "step": step} | {k: round(v, 6) for k, v in values.items()}
        with resumable(self.path):
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
        with resumable(self.curves.path):
            self.curves.add({f"{stage}/{name}": value for name, value in values.items()}, step)

    def validation(self, stage: str, step: int, validation: Validation) -> None:
        """Metrics under `validation_...` and the sample sheet as samples/<stage>-<step>.png."""
        self.metrics(stage, step, {f"validation_{k}": v for k, v in validation.metrics.items()})
        if validation.grid is not None:
            sheet = grid(to_uint8(validation.grid), labels=validation.row_names or None)
            buffer = io.BytesIO()
            sheet.save(buffer, "PNG")
            write_whole(self.run / "samples" / f"{stage}-{step:06d}.png", buffer.getvalue())

    def progress(
        self, stage: str, step: int, num_steps: int, seconds_a_step: float, values: Mapping[str, float]
    ) -> None:
        """Say how far a stage is."""
        few = "  ".join(f"{name} {value:.3g}" for name, value in list(values.items())[:4])
        left = duration((num_steps - step) * seconds_a_step)
        text = f"{stage} {step}/{num_steps}  {seconds_a_step:.2f} s a step, {left} left  {few}"
        self.line.show(text, last=step == num_steps)

    def close(self) -> None:
        with resumable(self.path):
            self.file.close()
            self.curves.close()


class Curves:
    """A file of events for TensorBoard.

    Written at once and here: its own writer has a thread, which on a full disk dies with a traceback of its own.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        self._file = self.path.open("wb")
        self._writer = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")

    def add(self, values: Mapping[str, float], step: int) -> None:
        """A point of each curve, by its name."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=Summary(value=points))

    def close(self) -> None:
        self._file.close()

    def _write(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._writer.flush()


def to_uint8(images: Tensor) -> np.ndarray:
    """(..., 3, H, W) in [0, 1] -> uint8, on the CPU."""
    pixels: np.ndarray = (images.float().clamp(0, 1) * 255.0).round().byte().cpu().numpy()
    return pixels
