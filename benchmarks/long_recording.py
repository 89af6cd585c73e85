"""A recording of a day: how much faster than real time, in how much memory, beside a plain loop over its windows.

    python benchmarks/long_recording.py [--clips FOLDER] [--hours 1 24] [--excerpt 5] [--folder FOLDER] [--model BUNDLE]

Makes a 48 kHz stereo WAV file (RF64 beyond 4 GB) of each length by repeating the recordings of a folder, or the demo's,
and prints a Markdown table: seconds, times real time and peak memory of `avgan classify --hop 1` in a process of its
own, and of a loop that reads all, resamples, and runs the same bundle's graph window by window, on an excerpt. A day
takes 16 GB of disk in `--folder` (the system's temporary folder unless given).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from avgan.demo import write_recordings
from avgan.media.kinds import SUFFIXES
from avgan.runtime.bundle import find_bundle

RATE_HZ = 48_000
HOP_S = 1.0
NUM_ROUNDS = 3
"""Of the excerpt and the shortest recording, in turns; the others are heard once."""
MAX_CLIPS = 100

MEASURE = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(json.loads(sys.argv[1]), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.perf_counter() - began
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
error = done.stderr.decode(errors="replace").strip()
cpu_s = usage.ru_utime + usage.ru_stime
print(json.dumps([seconds, cpu_s, usage.ru_maxrss / 1024, done.returncode, error[-300:]]))
"""
"""Runs a command in a process of its own, whose only child it is: the peak is the command's and no one else's."""

PLAIN_LOOP = """
import sys
import numpy as np, onnxruntime, soundfile, soxr
samples, rate_hz = soundfile.read(sys.argv[1], dtype="float32", always_2d=True)
waveform = soxr.resample(samples.mean(1), rate_hz, 16_000)
session = onnxruntime.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
noise = {one.name: np.zeros((1, one.shape[1]), np.float32) for one in session.get_inputs()[1:]}
window, hop = round(float(sys.argv[3]) * 16_000), round(float(sys.argv[4]) * 16_000)
for start in range(0, len(waveform) - window + 1, hop):
    feed = {"waveform": waveform[None, start : start + window], **noise}
    print(session.run(["probabilities"], feed)[0].argmax())
"""
"""What one would write without this project."""


def measure(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of the processor, and peak memory in MiB of a command. Exits with its error when it fails."""
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(command)], check=True, capture_output=True, text=True
    )
    seconds, cpu_s, peak_mib, status, error = json.loads(found.stdout)
    if status:
        sys.exit(f"{' '.join(command[:4])} ... failed ({status}): {error}")
    return seconds, cpu_s, peak_mib


def sounds(clips: Path) -> Iterator[np.ndarray]:
    """The recordings of a folder at 48 kHz, (L, 2) int16, over and over; the right side a little late."""
    paths = sorted(path for path in clips.rglob("*") if path.suffix.lower() in SUFFIXES)
    chosen = paths[:: max(1, len(paths) // MAX_CLIPS)]
    heard = []
    for path in chosen:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(samples.mean(1), rate_hz, RATE_HZ)
        stereo = np.stack((mono, np.roll(mono, 24)), 1)
        heard.append((32_767 * stereo.clip(-1, 1)).astype(np.int16))
    while heard:
        yield from heard
    sys.exit(f"{clips}: no recordings in this folder")


def make_recording(path: Path, clips: Path, duration_s: float) -> None:
    """Write a recording of this length."""
    left = round(duration_s * RATE_HZ)
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, "PCM_16", format="RF64") as file:
        for samples in sounds(clips):
            file.write(samples[:left])
            left -= len(samples)
            if left <= 0:
                return


def row(name: str, duration_s: float, runs: list[tuple[float, float, float]]) -> str:
    seconds, cpu_s = (statistics.median(run[i] for run in runs) for i in (0, 1))
    peak_mib = max(run[2] for run in runs)
    speed, speed_cpu = duration_s / seconds, duration_s / cpu_s
    times = f"{seconds:.1f} | {speed:.0f} | {speed_cpu:.0f} | {peak_mib:.0f}"
    return f"| {name} | {duration_s / 3600:.2f} | {times} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--hours", type=float, nargs="+", default=[1, 24])
    parser.add_argument("--excerpt", type=float, default=5, help="minutes")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--model")
    options = parser.parse_args()
    card = find_bundle(options.model).card
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        clips = options.clips or write_recordings(folder / "demo")[0].parent
        wanted = {hours: folder / f"{hours:g}.wav" for hours in sorted(options.hours)}
        needed = max(wanted) * 3600 * RATE_HZ * 4
        if shutil.disk_usage(folder).free < 1.1 * needed:
            sys.exit(f"{folder}: {needed / 1e9:.0f} GB are needed; name another --folder")
        excerpt = folder / "excerpt.wav"
        make_recording(excerpt, clips, options.excerpt * 60)
        graph = folder / "model.onnx"
        graph.write_bytes(find_bundle(options.model).read("model.onnx"))

        avgan = [sys.executable, "-m", "avgan", "classify", "--hop", str(HOP_S), "--format", "csv"]
        avgan += ["--model", options.model] if options.model else []
        loop = [sys.executable, "-c", PLAIN_LOOP, str(excerpt), str(graph), str(card.window_s), str(HOP_S)]
        runs: dict[str, list[tuple[float, float, float]]] = {"loop": [], "excerpt": []}
        for _ in range(NUM_ROUNDS):
            runs["loop"].append(measure(loop))
            runs["excerpt"].append(measure([*avgan, str(excerpt)]))
        windows = f"windows of {card.window_s:g} s every {HOP_S:g} s"
        print(f"{os.cpu_count()} cores, {card.name}, {windows}, 48 kHz stereo\n")
        print("| | hours | seconds | times real time | the same per core in use | peak MiB |")
        print("|---|---|---|---|---|---|")
        print(row("plain loop", options.excerpt * 60, runs["loop"]))
        print(row("`avgan classify --hop 1`", options.excerpt * 60, runs["excerpt"]), flush=True)
        for hours, path in wanted.items():
            make_recording(path, clips, hours * 3600)
            rounds = NUM_ROUNDS if hours == min(wanted) else 1
            found = [measure([*avgan, str(path)]) for _ in range(rounds)]
            print(row("`avgan classify --hop 1`", hours * 3600, found), flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
