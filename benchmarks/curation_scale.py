"""What grows with a data set: processor time and memory of planning, of collecting what units found, of deciding.

    python benchmarks/curation_scale.py [--clips 20000 80000 320000]

Units of 8 videos of 20 clips are written as workers would write them, without media, with random measures, hashes and
tags. Then a fresh process plans them again, as a run that goes on does, collects and decides. Prints a Markdown table.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avgan.curation.pipeline import Choice, collect, decide, plan
from avgan.curation.record import Candidate, Video, save_clips
from avgan.curation.unit import CLIPS, DONE, LOSSES, Settings, folder_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "curation"))
from clips import clip

CLIPS_PER_VIDEO = 20
"""As in a video of 205 s, the mean of YouTube-8M, without its first 5 s, in clips of 10 s."""
NUM_SCENES = 10


def videos_of(num_clips: int) -> list[Video]:
    """So many videos that there are so many clips."""
    return [
        Video(id=f"v{number:08}", path=f"/films/v{number:08}.mp4", label=f"scene {number % NUM_SCENES}")
        for number in range(num_clips // CLIPS_PER_VIDEO)
    ]


def found_in(video: Video, rng: np.random.Generator) -> list[Candidate]:
    """The clips of one video, none like another."""
    tags = tuple((f"some sound {place}", 0.5 / (1 + place)) for place in range(5))
    looks, voices, sums = (rng.bytes(8 * 20).hex(), rng.bytes(32 * 20).hex(), rng.bytes(32 * 20).hex())
    return [
        clip(
            f"{video.id}-{10_000 * n}",
            label=video.label,
            look=looks[16 * n : 16 * n + 16],
            voice=voices[64 * n : 64 * n + 64],
            audio_sha256=sums[64 * n : 64 * n + 64],
            image_sha256=sums[::-1][64 * n : 64 * n + 64],
            motion=float(rng.uniform(0, 0.1)),
            scenes=tags,
            sounds=tags,
        )
        for n in range(CLIPS_PER_VIDEO)
    ]


def write_units(work: Path, videos: list[Video]) -> int:
    """As workers leave them; how many they are."""
    rng = np.random.default_rng(0)
    units = plan(videos, work, Settings())
    for number, unit in enumerate(units):
        folder = folder_of(work, number)
        folder.mkdir(parents=True)
        clips = [one for video in unit for one in found_in(video, rng)]
        save_clips(folder / CLIPS, clips)
        (folder / LOSSES).write_text("[]")
        done = {"clips": len(clips), "losses": 0, "seconds": {}}
        (folder / DONE).write_text(json.dumps(done))
    return len(units)


def peak_mib() -> float:
    """What Linux says of this process; the operating system's usual answer counts its parent in."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def go_on(work: Path, num_clips: int, told: Any) -> None:
    """In a process of its own: (step, seconds of the processor, peak MiB) of each step."""
    steps: list[tuple[str, float, float]] = []

    def timed(name: str, step: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = step()
        steps.append((name, time.process_time() - began, peak_mib()))
        return result

    videos = timed("begin", lambda: videos_of(num_clips))
    units = timed("plan", lambda: plan(videos, work, Settings()))
    found = timed("collect", lambda: collect(work, units))
    verdicts = timed("decide", lambda: decide(found.clips, Choice()))
    assert len(verdicts) == num_clips
    told.put(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[20_000, 80_000, 320_000])
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print("| clips | units | step | processor s | µs a clip | peak MiB so far |\n|---|---|---|---|---|---|")
    for num_clips in options.clips:
        with tempfile.TemporaryDirectory() as folder:
            num_units = write_units(Path(folder), videos_of(num_clips))
            told: Any = context.SimpleQueue()
            process = context.Process(target=go_on, args=(Path(folder), num_clips, told))
            process.start()
            steps = told.get()
            process.join()
        for name, seconds, peak in steps:
            each = 1e6 * seconds / num_clips
            print(f"| {num_clips:,} | {num_units:,} | {name} | {seconds:.2f} | {each:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
