"""One training step of each stage at the paper's sizes: as the project runs it against plain single precision.

    python benchmarks/training_step.py

Prints a Markdown table of ratios. Both ways are measured in one run, in turns (A B A B ...), and compared by their
medians, so that whatever else the machine does touches both. Nothing is read from disk: sounds and pictures are noise,
because a step costs the same whatever it hears.
"""

import statistics
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from avgan.config import RunConfig, override, preset
from avgan.data.manifest import Clip
from avgan.data.pairing import Pairing
from avgan.model import build
from avgan.training.classifier import ClassifierStage
from avgan.training.data import Recordings, TrainingData
from avgan.training.imagination import ImaginationStage
from avgan.training.run import launch
from avgan.training.stage import Context, Stage
from avgan.training.vqvae import VQVAEStage

PRESET = "paper_esc50"
BATCH_SIZE = 16
NUM_ROUNDS = 5
NUM_ITEMS = 32
NUM_LABELS = 50
SETTINGS: dict[str, str] = {}
"""Further settings; smaller networks here make the script run in seconds."""

WAYS = {
    "plain": {"loop.precision": "32-true", "loop.channels_last": "false"},
    "project": {"loop.precision": "bf16-mixed", "loop.channels_last": "true"},
}
STAGES: dict[str, Callable[[Context], Stage]] = {
    "vqvae": VQVAEStage,
    "imagination": ImaginationStage,
    "classifier, frozen": ClassifierStage,
    "classifier, joint": ClassifierStage,
}


class Noise:
    """Stands for a store: the same rows of noise whatever is asked for."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return NUM_ITEMS

    def get(self, indices: Any) -> np.ndarray:
        return self.rows[np.asarray(indices) % len(self.rows)].copy()


def make_data(config: RunConfig) -> TrainingData:
    """Noise in the shape of a data set."""
    rng = np.random.default_rng(0)
    length = round(config.data.window_s * config.front_end.sample_rate_hz)
    waveforms: Any = Noise(0.1 * rng.standard_normal((BATCH_SIZE, length)).astype(np.float32))
    images: Any = Noise(rng.integers(0, 256, (BATCH_SIZE, 3, 128, 128), dtype=np.uint8))
    labels = tuple(f"{number:02d}" for number in range(NUM_LABELS))
    clips = tuple(
        Clip(id=str(number), source_id=str(number), label=labels[number % NUM_LABELS])
        for number in range(NUM_ITEMS)
    )
    targets = np.arange(NUM_ITEMS) % NUM_LABELS
    recordings = Recordings(clips, waveforms, targets)
    choices = tuple(np.arange(NUM_ITEMS) for _ in clips)
    return TrainingData(
        labels=labels,
        scene_of_label=None,
        train=recordings,
        validation=recordings,
        pairing=Pairing("by_label", clips, clips, choices),
        images=images,
        validation_images=images,
        validation_scenes=labels,
        provenance={},
    )


def make_stage(name: str, way: str) -> SimpleNamespace:
    """A stage ready for its steps, with the state that a timer needs."""
    settings = SETTINGS | WAYS[way]
    for section in ("vqvae", "imagination", "classifier"):
        settings[f"{section}.batch_size"] = str(BATCH_SIZE)
    if name.startswith("classifier"):
        settings["classifier.mode"] = name.split(", ")[1]
    config = override(preset(PRESET), settings)
    fabric = launch(config)
    networks = build(config, NUM_LABELS).to(fabric.device)
    if config.loop.channels_last:
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stage = STAGES[name](Context(config, networks, make_data(config), fabric))
    stage.prepare()
    return SimpleNamespace(stage=stage, fabric=fabric, step=0)


def time_step(state: SimpleNamespace) -> float:
    """Seconds of the next step."""
    began = time.perf_counter()
    with state.fabric.autocast():
        state.stage.step(state.step)
    if state.fabric.device.type == "cuda":
        torch.cuda.synchronize()
    state.step += 1
    return time.perf_counter() - began


def main() -> None:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    threads = torch.get_num_threads()
    print(
        f"torch {torch.__version__}, {device}, {threads} threads, preset {PRESET}, batch {BATCH_SIZE}\n"
    )
    print("| stage | plain, s | project, s | plain / project |")
    print("|---|---|---|---|")
    for name in STAGES:
        states = {way: make_stage(name, way) for way in WAYS}
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for state in states.values():
            time_step(state)  # the first step plans its kernels
        for number in range(NUM_ROUNDS):
            for way, state in states.items():
                seconds[way].append(time_step(state))
            sys.stderr.write(f"\r{name}: round {number + 1} of {NUM_ROUNDS} ")
        plain, project = (statistics.median(seconds[way]) for way in ("plain", "project"))
        sys.stderr.write("\r")
        print(f"| {name} | {plain:.3f} | {project:.3f} | {plain / project:.2f} |", flush=True)


if __name__ == "__main__":
    main()
