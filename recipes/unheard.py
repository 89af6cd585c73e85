"""What a model makes of sounds it was never taught: some labels of ESC-50 are taken away, then it is asked about them.

    python recipes/unheard.py --data DATA --out runs/unheard

For each round a data folder is made in which ten of the fifty labels do not occur, a `transfer` run is trained on it
(folds 1 to 4; a tenth held out to calibrate with), and its bundle is asked about fold 5 of the other forty, which it
should answer, and about all recordings of the ten, which it should not. Five rounds take each label away once. About
five minutes a round on two cores; run again, it goes on where it was stopped.
"""

import argparse
import csv
import io
import json
from pathlib import Path

import numpy as np

from avgan.calibration import calibrate
from avgan.config import override
from avgan.data.datasets import locate
from avgan.evaluation.rejections import measure
from avgan.export import export_bundle
from avgan.files import write_whole
from avgan.presets import preset
from avgan.scenes import ESC50_CLASSES
from avgan.training.recipe import train

HELD_OUT = "5"
NUM_AWAY = 10


def main() -> None:
    """Train, calibrate and measure, round by round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=len(ESC50_CLASSES) // NUM_AWAY)
    arguments = parser.parse_args()
    order = np.random.default_rng(0).permutation(sorted(ESC50_CLASSES))
    settings = {"data.held_out_folds": f'["{HELD_OUT}"]', "data.validation_fraction": "0.1"}
    for number in range(arguments.rounds):
        away = set(order[number * NUM_AWAY : (number + 1) * NUM_AWAY].tolist())
        folder = arguments.out / f"round-{number + 1}"
        data = without(arguments.data, away, folder / "data")
        run = train(override(preset("transfer"), settings), data=data, out=folder / "run")
        bundle = export_bundle(run, folder / "bundle", fitted=calibrate(run, data))
        measured = measure(bundle, arguments.data) | {"away": sorted(away)}
        write_whole(folder / "measured.json", json.dumps(measured, indent=1) + "\n")
        print(json.dumps(measured["refusals"], indent=1), flush=True)


def without(data: Path, away: set[str], folder: Path) -> Path:
    """A data folder like `data` but for ESC-50, whose table leaves out the rows of some labels."""
    sounds = locate(data, "esc50").resolve()
    (folder / "esc50").mkdir(parents=True, exist_ok=True)
    for path in data.resolve().iterdir():
        if path != sounds:
            link(folder / path.name, path)
    link(folder / "esc50" / "audio", sounds / "audio")
    table = next(path for path in (sounds / "esc50.csv", sounds / "meta" / "esc50.csv") if path.is_file())
    with table.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if row["category"] not in away]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / "esc50" / "esc50.csv", text.getvalue())
    return folder


def link(path: Path, target: Path) -> None:
    """A symbolic link, unless something is there."""
    if not path.exists():
        path.symlink_to(target)


if __name__ == "__main__":
    main()
