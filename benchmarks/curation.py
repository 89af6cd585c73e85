"""A thousand videos made into a data set: clips a second, the stages beside decoding alone, and memory over time.

    python benchmarks/curation.py --data DATA -o OUT [--videos 1000] [--jobs 2] [--scenes squeezenet-places365]

The videos are made first, as photographs of MiniPlaces over which the view drifts, with the grain of a phone's
camera, and recordings of ESC-50: 640 x 360, 25 frames a second, 16 s, H.264 and AAC. They stay in OUT and are made
once. A sample of them is decoded, and nothing else, with one thread. Then `avgan curate` runs as a user would run it,
and once a second the memory of all its processes is added up (shared pages counted by their share). What the stages
took is what the units say of themselves.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from avgan.audio import read_audio

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "curation"))
from curation_cut import decode
from films import drifting, film

SIZE, SECONDS, FPS = (640, 360), 16.0, 25.0
RATE_HZ = 44_100
SAMPLE = 50
"""Videos that are decoded alone."""


def make(number: int, sound: Path, photograph: Path, folder: Path) -> None:
    """One video, in a folder named after its photograph's scene."""
    path = folder / photograph.parent.name / f"v{number:05}.mp4"
    if path.is_file():
        return
    rng = np.random.default_rng(number)
    with Image.open(photograph) as image:
        picture = np.asarray(image.convert("RGB").resize((854, 480)), np.int16)
    grain = rng.integers(-12, 13, (*picture.shape[:2], 1))
    heard = read_audio(sound, target_rate_hz=RATE_HZ)
    heard = 0.5 * heard / max(0.1, float(np.abs(heard).max()))
    half = path.with_suffix(".half.mp4")
    film(
        half,
        seconds=SECONDS,
        fps=FPS,
        size=SIZE,
        pictures=drifting((picture + grain).clip(0, 255).astype(np.uint8), pixels_per_s=30),
        sound=np.resize(heard, int(SECONDS * RATE_HZ)),
        rate_hz=RATE_HZ,
        stream_options={"preset": "ultrafast", "crf": "24"},
    )
    half.replace(path)


def make_all(data: Path, folder: Path, num_videos: int, jobs: int) -> list[Path]:
    """Photographs and sounds are drawn with seed 0; none is taken twice while there are others."""
    with (data / "esc50" / "esc50.csv").open(newline="") as file:
        sounds = [data / "esc50" / "audio" / row["filename"] for row in csv.DictReader(file)]
    photographs = sorted((data / "miniplaces" / "train").glob("*/*.jpg"))
    rng = np.random.default_rng(0)
    sounds = [sounds[place] for place in np.resize(rng.permutation(len(sounds)), num_videos)]
    photographs = [photographs[place] for place in rng.permutation(len(photographs))[:num_videos]]
    with ProcessPoolExecutor(jobs) as pool:
        made = pool.map(partial(make, folder=folder), range(num_videos), sounds, photographs)
        for number, _ in enumerate(made, 1):
            print(f"\r{number} of {num_videos} videos", end="", file=sys.stderr)
    print(file=sys.stderr)
    return sorted(folder.glob("*/*.mp4"))


def decoding_s(videos: list[Path]) -> float:
    """Seconds of one core for all videos, from a sample of them."""
    sample = videos[:: max(1, len(videos) // SAMPLE)]
    began = time.perf_counter()
    for path in sample:
        decode(path)
    return (time.perf_counter() - began) / len(sample) * len(videos)


def tree_of(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = [int(child) for child in children.read_text().split()] if children.exists() else []
    return [pid, *(one for child in below for one in tree_of(child))]


def memory_mib(pid: int) -> float:
    """Of a process and its descendants; of a page that two share, each has half."""
    total_kb = 0
    for one in tree_of(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total_kb += int(text.partition("\nPss:")[2].split(None, 1)[0])
    return total_kb / 1024


def watch(command: list[str]) -> tuple[float, list[float]]:
    """Seconds of a command, and its memory in MiB, second by second."""
    began = time.perf_counter()
    process = subprocess.Popen(command)
    memory = []
    while process.poll() is None:
        memory.append(memory_mib(process.pid))
        time.sleep(1)
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - began, memory


def stages_s(work: Path) -> dict[str, float]:
    """What the units say that each stage took, over all workers."""
    spent: dict[str, float] = defaultdict(float)
    for path in work.glob("[0-9]*/done.json"):
        for stage, seconds in json.loads(path.read_text())["seconds"].items():
            spent[stage] += seconds
    return dict(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--scenes", default="none")
    parser.add_argument("--only-make", action="store_true", help="the videos, and nothing more")
    options = parser.parse_args()
    videos = make_all(options.data, options.out / "videos", options.videos, options.jobs)
    if options.only_make:
        return
    alone_s = decoding_s(videos)
    target = options.out / "set"
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "avgan", "curate", str(options.out / "videos"), "-o", str(target)]
    command += ["--weights", str(options.data), "--scenes", options.scenes, "--jobs", str(options.jobs)]
    took_s, memory = watch(command)
    spent = stages_s(target / "work")
    num_clips = sum(json.loads(path.read_text())["clips"] for path in (target / "work").glob("[0-9]*/done.json"))
    print(f"\n{len(videos)} videos, {num_clips} clips, {options.jobs} jobs: {took_s:.0f} s, ", end="")
    print(f"{num_clips / took_s:.3g} clips a second\n")
    print("| stage | seconds of a core | clips a second and core | of decoding alone |\n|---|---|---|---|")
    for stage, seconds in [("decoding alone", alone_s), *spent.items(), ("all", sum(spent.values()))]:
        rate = num_clips / max(seconds, 1e-9)
        print(f"| {stage} | {seconds:.1f} | {rate:.3g} | {seconds / alone_s:.2f} |")
    tenth = max(1, len(memory) // 10)
    parts = [max(memory[i : i + tenth]) for i in range(0, len(memory), tenth)]
    print("\nPeak MiB in each tenth of the run:", " ".join(f"{part:.0f}" for part in parts))


if __name__ == "__main__":
    main()
