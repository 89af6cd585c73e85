"""What a user waits for: a cold `avgan classify` of one 5 s recording, `avgan --help`, `import avgan`.

    python benchmarks/cold_start.py [BUNDLE]

Prints a Markdown table: median and worst seconds and the peak memory of a fresh process each, beside `python -c pass`,
in turns in one run. Without a bundle the installed one is used; where there is none, that row is left out.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

NUM_ROUNDS = 5

MEASURE = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(json.loads(sys.argv[1]), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.perf_counter() - began
peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
error = done.stderr.decode(errors="replace").strip()
print(json.dumps([seconds, peak_kib / 1024, done.returncode, error[-300:]]))
"""
"""Runs a command in a process of its own, whose only child it is: the peak is the command's and no one else's."""


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a command. Exits with its error when it fails."""
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(command)], check=True, capture_output=True, text=True
    )
    seconds, peak_mib, status, error = json.loads(found.stdout)
    if status:
        sys.exit(f"{' '.join(command)} failed ({status}): {error}")
    return seconds, peak_mib


def recording(folder: Path) -> Path:
    """5 s of noise and a tone, 44.1 kHz stereo, as a recorder would leave it."""
    times = np.arange(5 * 44_100) / 44_100
    noise = 0.05 * np.random.default_rng(0).standard_normal((len(times), 2))
    tone = 0.2 * np.sin(2 * np.pi * 440 * times)[:, None]
    path = folder / "recording.wav"
    soundfile.write(path, noise + tone, 44_100)
    return path


def has_bundle() -> bool:
    """Whether a model is installed with the package."""
    code = "import avgan.runtime, sys; sys.exit(not avgan.runtime.installed())"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def commands(folder: Path) -> dict[str, list[str]]:
    """What is measured, by name."""
    avgan = [sys.executable, "-m", "avgan"]
    chosen = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import avgan": [sys.executable, "-c", "import avgan"],
        "avgan --help": [*avgan, "--help"],
    }
    if len(sys.argv) > 1 or has_bundle():
        model = ["--model", sys.argv[1]] if len(sys.argv) > 1 else []
        chosen["avgan classify, 5 s"] = [*avgan, "classify", str(recording(folder)), *model]
    return chosen


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        chosen = commands(Path(folder))
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
        for _ in range(NUM_ROUNDS):
            for name, command in chosen.items():
                began = time.perf_counter()
                found[name].append(measure(command))
                sys.stderr.write(f"\r{name}: {time.perf_counter() - began:.1f} s   ")
        sys.stderr.write("\r")
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {NUM_ROUNDS} rounds\n")
    print("| command | median, s | worst, s | peak, MiB |")
    print("|---|---|---|---|")
    for name, values in found.items():
        seconds = [value[0] for value in values]
        peak = max(value[1] for value in values)
        print(f"| `{name}` | {statistics.median(seconds):.2f} | {max(seconds):.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
