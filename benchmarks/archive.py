"""An archive of short recordings: files a second of `avgan classify`, beside a plain loop and beside decoding alone.

    python benchmarks/archive.py [--clips FOLDER] [--files 10000] [--excerpt 500] [--model BUNDLE]

Lays links to the recordings of a folder (or to the demo's) into one folder until it has so many files, and prints a
Markdown table of files a second, start-up included: `avgan classify FOLDER -o answers.jsonl`; on an excerpt, in turns,
a loop that reads, resamples and runs the same bundle's graph file by file; and decoding and resampling alone, with as
many threads as there are cores, which tells whether the decoder is what one waits for.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from avgan.demo import write_recordings
from avgan.media.kinds import SUFFIXES
from avgan.runtime.bundle import find_bundle

NUM_ROUNDS = 3

PLAIN_LOOP = """
import sys
from pathlib import Path
import numpy as np, onnxruntime, soundfile, soxr
session = onnxruntime.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
noise = {one.name: np.zeros((1, one.shape[1]), np.float32) for one in session.get_inputs()[1:]}
size = round(float(sys.argv[3]) * 16_000)
for path in sorted(Path(sys.argv[1]).iterdir()):
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    waveform = np.resize(soxr.resample(samples.mean(1), rate_hz, 16_000), size)
    print(session.run(["probabilities"], {"waveform": waveform[None], **noise})[0].argmax())
"""
"""What one would write without this project."""

DECODING = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from avgan.audio import read_audio
with ThreadPoolExecutor(os.cpu_count()) as pool:
    for _ in pool.map(read_audio, sorted(Path(sys.argv[1]).iterdir())):
        pass
"""


def measure(command: list[str]) -> float:
    """Seconds that a command takes. Exits with its error when it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} ... failed: {done.stderr.strip()[-300:]}")
    return seconds


def lay_out(folder: Path, clips: Path, num_files: int) -> Path:
    """A folder of so many links to the recordings of another."""
    paths = sorted(path for path in clips.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        sys.exit(f"{clips}: no recordings in this folder")
    folder.mkdir()
    for number in range(num_files):
        path = paths[number % len(paths)].resolve()
        (folder / f"{number:06d}{path.suffix}").symlink_to(path)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--excerpt", type=int, default=500)
    parser.add_argument("--model")
    options = parser.parse_args()
    bundle = find_bundle(options.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = options.clips or write_recordings(folder / "demo")[0].parent
        whole = lay_out(folder / "whole", clips, options.files)
        excerpt = lay_out(folder / "excerpt", clips, options.excerpt)
        graph = folder / "model.onnx"
        graph.write_bytes(bundle.read("model.onnx"))
        avgan = [sys.executable, "-m", "avgan", "classify"]
        avgan += ["--model", options.model] if options.model else []

        def classify(recordings: Path) -> list[str]:
            answers = folder / "answers.jsonl"
            answers.unlink(missing_ok=True)  # or there would be nothing left to do
            return [*avgan, str(recordings), "-o", str(answers)]

        python, window_s = [sys.executable, "-c"], str(bundle.card.window_s)
        ways = {
            "plain loop": lambda: [*python, PLAIN_LOOP, str(excerpt), str(graph), window_s],
            "decoding alone": lambda: [*python, DECODING, str(excerpt)],
            "`avgan classify`": lambda: classify(excerpt),
        }
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(NUM_ROUNDS):
            for way, command in ways.items():
                found[way].append(measure(command()))
        seconds = {way: statistics.median(values) for way, values in found.items()}
        print(f"{os.cpu_count()} cores, {bundle.card.name}\n")
        print("| | files | seconds | files a second | times the plain loop |")
        print("|---|---|---|---|---|")
        plain = options.excerpt / seconds["plain loop"]
        for way, value in seconds.items():
            speed = options.excerpt / value
            print(f"| {way} | {options.excerpt} | {value:.1f} | {speed:.0f} | {speed / plain:.1f} |")
        sys.stdout.flush()
        value = measure(classify(whole))
        speed = options.files / value
        num_answers = sum(1 for _ in (folder / "answers.jsonl").open())
        print(f"| `avgan classify` | {options.files} | {value:.1f} | {speed:.0f} | {speed / plain:.1f} |")
        print(f"\n{num_answers} answers")


if __name__ == "__main__":
    main()
