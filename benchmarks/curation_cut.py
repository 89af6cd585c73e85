"""Cutting a video into clips beside decoding it alone: seconds of the processor, and memory at two lengths.

    python benchmarks/curation_cut.py [VIDEO ...] [--seconds 60] [--rounds 3]

Without videos two are made, of a grainy picture that drifts: 640 x 360 and 1280 x 720, 25 frames a second, H.264 and
AAC. Three things are done in turns, on one core, and timed in seconds of the
processor, so that a busy machine does not count: decoding every frame of picture and sound; cutting; cutting and
measuring. Prints a Markdown table with the ratio to decoding, then the peak memory of a fresh process for a video and
for one ten times as long.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from avgan.curation.cut import cut
from avgan.curation.measures import measure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "curation"))
from films import drifting, film, hiss, hues

SIZES = ((640, 360), (1280, 720))
PEAK = """
import sys
from avgan.curation.cut import cut
for _ in cut(sys.argv[1], clip_s=5):
    pass
status = open("/proc/self/status").read()
print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
"""
"""What Linux says; the operating system's usual answer counts the parent of a process in."""


def make(path: Path, size: tuple[int, int], seconds: float) -> Path:
    """A film that is as hard to decode as one from a phone: grain all over, and all of it moves."""
    picture = hues(0, size=(2 * size[0], 2 * size[1])).astype(np.int16)
    grain = np.random.default_rng(0).integers(-25, 26, (*picture.shape[:2], 1))
    textured = (picture + grain).clip(0, 255).astype(np.uint8)
    quality = {"preset": "veryfast", "crf": "26"}
    return film(
        path,
        seconds=seconds,
        pictures=drifting(textured, pixels_per_s=60),
        sound=np.stack([hiss(20, 44_100, seed=1), hiss(20, 44_100, seed=2)], 1),
        size=size,
        stream_options=quality,
    )


def decode(path: Path) -> None:
    """Every frame of picture and sound, and nothing else, with one thread."""
    with av.open(str(path)) as container:
        for stream in (container.streams.video[0], container.streams.audio[0]):
            stream.codec_context.thread_count = 1
        for packet in container.demux(video=0, audio=0):
            for _ in packet.decode():
                pass


def seconds_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def report(path: Path, rounds: int) -> None:
    """Rows of the table for one video."""
    works: dict[str, Callable[[], object]] = {"decode": lambda: decode(path)}
    for clip_s in (10.0, 5.0, 1.0):  # the lengths of the paper
        works[f"cut into {clip_s:g} s"] = lambda c=clip_s: [None for _ in cut(path, clip_s=c)]  # type: ignore[misc]
        works[f"cut into {clip_s:g} s and measure"] = lambda c=clip_s: [  # type: ignore[misc]
            measure(clip) for clip in cut(path, clip_s=c)
        ]
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(seconds_of(work))
    alone = min(taken["decode"])
    for name, times in taken.items():
        print(f"| {path.name} | {name} | {min(times):.2f} | {min(times) / alone:.2f} |", flush=True)


def peak_mib(path: Path) -> float:
    """Of a fresh process that cuts a video."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos = options.videos or [make(Path(folder) / f"{size[1]}p.mp4", size, options.seconds) for size in SIZES]
        print("| video | work | processor s | of decoding |\n|---|---|---|---|")
        for path in videos:
            report(path, options.rounds)
        print("\n| length s | peak MiB |\n|---|---|")
        for seconds in (options.seconds, 10 * options.seconds):
            path = make(Path(folder) / "long.mp4", (320, 180), seconds)
            print(f"| {seconds:g} | {peak_mib(path):.0f} |", flush=True)


if __name__ == "__main__":
    main()
