"""Training speed of each stage at the paper's sizes: samples a second, milliseconds a step, memory.

    python benchmarks/training_step.py [--batch 16 256 1024] [--seconds 1.5]

Each row is measured twice in one run: plain (single precision, contiguous) and as the project trains (bf16 and
channels-last). Nothing is read from disk: sounds and pictures are noise, because a step costs the same whatever it
hears. On a GPU the data lie on the device, as in training, and memory is the most that was reserved; on a CPU it is the
peak of the whole process. Needs numpy, torch and the package's `train` extra, nothing else; on a GPU under two minutes.
"""

import argparse
import gc
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from avgan.config import Recipe, override
from avgan.data.manifest import Clip
from avgan.data.pairing import Pairing
from avgan.model import AVGAN
from avgan.presets import preset
from avgan.training.data import Recordings, TrainingData
from avgan.training.run import STAGE_TYPES, launch
from avgan.training.stage import Stage

PRESET = "paper_esc50"
NUM_LABELS = 50
ROWS = (
    ("vqvae", {}),
    ("imagination", {"imagination.critic_steps": "1"}),
    ("classifier", {"classifier.mode": "frozen"}),
    ("classifier", {"classifier.mode": "joint"}),
)
"""Stage and settings. One critic step beside each generator step, as in the paper's text: two batches a step."""
WAYS = {
    "plain": {"loop.precision": "32-true", "loop.channels_last": "false"},
    "ours": {"loop.precision": "bf16-mixed", "loop.channels_last": "true"},
}
SETTINGS: dict[str, str] = {}
"""Further settings; smaller networks here make the script run in seconds."""


class Noise:
    """Stands for a store: as many rows of noise as a batch has."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, indices: Any) -> np.ndarray:
        return self.rows[np.asarray(indices)]

    raw = get

    def prefetch(self, indices: Any) -> None:
        """Nothing has to be read."""


@dataclass(frozen=True)
class Speed:
    """What a stage does."""

    samples_per_s: float
    step_ms: float
    memory_mib: float


def make_data(recipe: Recipe, num_items: int) -> TrainingData:
    """Noise in the shape of a data set."""
    rng = np.random.default_rng(0)
    rate_hz = recipe.imagination.trunk.front_end.sample_rate_hz
    length = round(recipe.classifier.data.window_s * rate_hz)
    waveforms: Any = Noise(rng.integers(-3000, 3000, (num_items, length), dtype=np.int16))
    images: Any = Noise(rng.integers(0, 256, (num_items, 3, 128, 128), dtype=np.uint8))
    labels = tuple(f"{number:02d}" for number in range(NUM_LABELS))
    clips = tuple(
        Clip(id=str(number), source_id=str(number), label=labels[number % NUM_LABELS]) for number in range(num_items)
    )
    recordings = Recordings(clips, waveforms, np.arange(num_items) % NUM_LABELS)
    choices = tuple(np.arange(num_items) for _ in clips)
    return TrainingData(
        labels=labels,
        scene_of_label=None,
        scene_of_clip={clip.id: clip.label for clip in clips},
        train=recordings,
        validation=recordings,
        pairing=Pairing("by_label", clips, clips, choices),
        images=images,
        image_scenes=(),
        validation_images=images,
        validation_scenes=labels,
    )


def make_stage(kind: str, settings: dict[str, str], batch_size: int) -> Stage[Any]:
    """A stage ready for its steps."""
    chosen = preset(PRESET)
    sizes = {f"{each}.batch_size": str(batch_size) for each in chosen.kinds}
    recipe = override(chosen, SETTINGS | settings | sizes)
    fabric = launch(recipe.run(kind))
    networks = AVGAN([recipe.run(each) for each in recipe.kinds], NUM_LABELS).to(fabric.device)
    if recipe.loop.channels_last:
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = make_data(recipe, max(batch_size, 32))
    stage = STAGE_TYPES[kind](recipe.run(kind), networks, data, fabric)
    stage.prepare()
    stage.before_first_step()
    return stage


def measure(kind: str, settings: dict[str, str], batch_size: int, seconds: float) -> Speed:
    """Time steps for about so many seconds, after one in which libraries choose their kernels."""
    stage = make_stage(kind, settings, batch_size)
    device = stage.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    run_step(stage, 0)
    began, step = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step += 1
        run_step(stage, step)
    each = (time.perf_counter() - began) / step
    if device.type == "cuda":
        memory = torch.cuda.max_memory_reserved() / 2**20
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    per_step = batch_size * (2 if kind == "imagination" else 1)
    return Speed(per_step / each, 1e3 * each, memory)


def run_step(stage: Stage[Any], step: int) -> None:
    """One step, waited for."""
    with stage.fabric.autocast():
        stage.step(step)
    if stage.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 256, 1024])
    parser.add_argument("--seconds", type=float, default=1.5, help="for each measurement")
    arguments = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, {PRESET}\n")
    print("| stage | batch | plain, samples/s | ours, samples/s | ours, ms | ratio | ours, MiB |")
    print("|---|---|---|---|---|---|---|")
    for kind, settings in ROWS:
        name = f"{kind}, {settings['classifier.mode']}" if kind == "classifier" else kind
        for batch_size in arguments.batch:
            found = {}
            for way, how in WAYS.items():
                sys.stderr.write(f"\r\x1b[K{name}, batch {batch_size}, {way}")
                try:
                    found[way] = measure(kind, settings | how, batch_size, arguments.seconds)
                except torch.OutOfMemoryError:
                    found[way] = Speed(float("nan"), float("nan"), float("nan"))
                gc.collect()
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
            plain, ours = found["plain"], found["ours"]
            sys.stderr.write("\r\x1b[K")
            print(
                f"| {name} | {batch_size} | {plain.samples_per_s:,.0f} | {ours.samples_per_s:,.0f} "
                f"| {ours.step_ms:.1f} | {ours.samples_per_s / plain.samples_per_s:.2f} | {ours.memory_mib:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
