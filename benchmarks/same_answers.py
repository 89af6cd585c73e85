"""Do the command line, Python and the service give the same answers?

    python benchmarks/same_answers.py --clips FOLDER [--pattern '5-*']

Hears the recordings of a folder in all three, each in a process of its own, and counts differing labels and the largest
difference of a probability. (The browser, which decodes and resamples by itself, is compared by
tests/web/test_onnxruntime_web.py.)
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import avgan


def main() -> None:
    """Compare, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--pattern", default="*")
    options = parser.parse_args()
    paths = sorted(path for path in options.clips.glob(options.pattern) if path.is_file())
    model = avgan.load()
    python = [labels(model.classify(path).to_dict()) for path in paths]
    print(f"{len(paths)} recordings\n\n| beside Python | labels that differ | largest difference |")
    print("|---|---|---|")
    for name, answers in (("command line", on_command_line(paths)), ("HTTP", over_http(paths))):
        pairs = list(zip(python, answers, strict=True))
        differing = sum(one[0] != other[0] for one, other in pairs)
        largest = max(abs(one[1] - other[1]) for one, other in pairs)
        print(f"| {name} | {differing} | {largest:.1g} |")


def labels(answer: dict) -> tuple[tuple[str, str | None], float]:
    """Scene and sound of an answer, and how probable the scene is."""
    return (answer["scene"], answer["sound"]), answer["probability"]


def on_command_line(paths: list[Path]) -> list[tuple]:
    """What `avgan classify --format jsonl` says of each, in order."""
    command = [sys.executable, "-m", "avgan", "classify", "--list", "-", "--format", "jsonl"]
    listed = "".join(f"{path}\n" for path in paths)
    said = subprocess.run(command, input=listed, capture_output=True, text=True, check=True).stdout
    return [labels(json.loads(line)) for line in said.splitlines()]


def over_http(paths: list[Path]) -> list[tuple]:
    """What `avgan serve` says of each, in order."""
    command = [sys.executable, "-m", "avgan", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            address = service.stdout.readline().strip()
            return [labels(ask(f"{address.rstrip('/')}/api/classify", path)) for path in paths]
        finally:
            service.terminate()


def ask(address: str, path: Path) -> dict:
    """The answer to one recording."""
    for _ in range(20):
        try:
            with urllib.request.urlopen(urllib.request.Request(address, path.read_bytes())) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 429:
                raise
            time.sleep(1)
    raise TimeoutError(address)


if __name__ == "__main__":
    main()
