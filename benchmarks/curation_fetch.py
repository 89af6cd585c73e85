"""What fetching costs a core, whatever the line: videos of a server on this machine, through yt-dlp.

    python benchmarks/curation_fetch.py [--videos 40]

Two kinds of address: a file, and a page that names one. Prints seconds of the wall and of this process for each video;
the server runs in another process. The first video of each kind, which opens yt-dlp, does not count.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "curation"))
from films import film
from video_site import Page, open_site

from avgan.curation.fetch import FetchSettings, fetch
from avgan.curation.record import Video

PAGE = '<html><head><title>A walk</title></head><body><video src="{}"></video></body></html>'
POLITE = FetchSettings(per_hour=0)


def serve(video: bytes, num_videos: int, told: Any) -> None:
    """In a process of its own, until it is ended."""
    with open_site() as site:
        files = [site.put(f"/{n}.mp4", Page(video)) for n in range(num_videos)]
        pages = [
            site.put(f"/{n}.html", Page(PAGE.format(file).encode(), type="text/html")) for n, file in enumerate(files)
        ]
        told.put((files, pages))
        time.sleep(3600)


def fetch_all(addresses: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of the wall and of the processor, for each but the first."""
    fetch(Video(id="first", address=addresses[0]), folder, settings=POLITE)
    wall, processor = time.perf_counter(), time.process_time()
    for number, address in enumerate(addresses[1:]):
        fetch(Video(id=f"v{number}", address=address), folder, settings=POLITE)
    count = len(addresses) - 1
    return (time.perf_counter() - wall) / count, (time.process_time() - processor) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=40)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        video = film(Path(folder) / "walk.mp4", seconds=60, size=(640, 360)).read_bytes()
        told: Any = context.SimpleQueue()
        server = context.Process(target=serve, args=(video, options.videos, told), daemon=True)
        server.start()
        files, pages = told.get()
        print(f"A video is {len(video) / 1e6:.1f} MB.\n")
        print("| address | wall, s a video | processor, s a video |\n|---|---|---|")
        for kind, addresses in (("a file", files), ("a page", pages)):
            wall, processor = fetch_all(addresses, Path(folder) / kind)
            print(f"| {kind} | {wall:.3f} | {processor:.3f} |", flush=True)
        server.terminate()


if __name__ == "__main__":
    main()
