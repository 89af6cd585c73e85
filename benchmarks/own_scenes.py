"""How many clips of each scene a model of one's own needs: ESC-50's sounds, with few of them to learn from.

    python benchmarks/own_scenes.py --data DATA --out OUT [--clips 5 10 20 32] [--set KEY=VALUE ...]

DATA holds ESC-50 and photographs. For each number a folder with so many clips of each of the fifty sounds from folds
1 to 4, chosen by chance, and all of fold 5; then `avgan train` and `avgan evaluate` as a user would run them. Prints a
Markdown table of fold 5. Goes on where it was stopped.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

HELD_OUT = "5"


def main() -> None:
    """Lay out, train, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, nargs="+", default=[5, 10, 20, 32])
    parser.add_argument("--set", dest="settings", action="append", default=[], help="as for avgan train")
    arguments = parser.parse_args()
    print("| clips of each sound | named rightly, % | 95 % | minutes |")
    print("|---|---|---|---|")
    for num_clips in arguments.clips:
        out = arguments.out / str(num_clips)
        data, run = out / "data", out / "run"
        lay_out(arguments.data, data, num_clips)
        began = time.monotonic()
        held_out = ("--set", f'data.held_out_folds=["{HELD_OUT}"]')
        changes = [part for setting in arguments.settings for part in ("--set", setting)]
        avgan("train", "--preset", "transfer", "--data", data, "-o", run, *held_out, *changes)
        minutes = (time.monotonic() - began) / 60
        avgan("evaluate", run, "--protocol", "holdout", "--data", data)
        report = json.loads((run / "holdout" / "report.json").read_text())
        low, high = report["interval_95"]
        print(
            f"| {num_clips} | {100 * report['accuracy']:.1f} | {100 * low:.1f} to {100 * high:.1f} | {minutes:.1f} |",
            flush=True,
        )


def lay_out(data: Path, out: Path, num_clips: int) -> None:
    """A folder with a part of ESC-50 and links to everything else."""
    out.mkdir(parents=True, exist_ok=True)
    for path in data.iterdir():
        if path.is_dir() and path.name != "esc50" and not (out / path.name).exists():
            (out / path.name).symlink_to(path.resolve())
    sounds = out / "esc50"
    sounds.mkdir(exist_ok=True)
    if not (sounds / "audio").exists():
        (sounds / "audio").symlink_to((data / "esc50" / "audio").resolve())
    (table,) = (path for path in (data / "esc50" / "esc50.csv", data / "esc50" / "meta" / "esc50.csv") if path.exists())
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_label = defaultdict(list)
    for row in rows:
        if row["fold"] != HELD_OUT:
            by_label[row["category"]].append(row)
    rng = np.random.default_rng(0)
    chosen = [row for row in rows if row["fold"] == HELD_OUT]
    for _, known in sorted(by_label.items()):
        chosen += [known[index] for index in rng.permutation(len(known))[:num_clips]]
    with (sounds / "esc50.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)


def avgan(*arguments: object) -> None:
    """Run a command of avgan, and stop where it fails."""
    subprocess.run([sys.executable, "-m", "avgan", *map(str, arguments)], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
