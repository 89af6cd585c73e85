"""The bundle that comes with avgan: it names the scenes of field recordings, from data to bundle.

    python recipes/places.py --data DATA --run runs/places --out src/avgan/bundles/places

DATA holds folders of field recordings with an index each (`avgan data list` says what that is) and photographs. Nine
tenths of the recordings are learnt from; the rest is kept aside, and what the model may be believed is fitted on it.
`--without tut2017` leaves a folder out. The figures on the card are those of recordings kept aside and, where they were
scored before (`avgan evaluate runs/places/model --protocol places`, and `places_collections`), of five folds. Run again,
it goes on where it was stopped. Nothing else enters the bundle.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from avgan.config import override
from avgan.evaluation.evaluate import evaluate
from avgan.evaluation.honesty.calibration import calibrate
from avgan.export import export_bundle
from avgan.presets import preset
from avgan.training.recipe import train

PROTOCOLS = ("places", "places_collections")


def main() -> None:
    """Train, measure, export."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parent", type=Path, help="a run of pictures (stage vqvae) to begin from")
    parser.add_argument("--without", action="append", default=[], help="a folder to leave out")
    arguments = parser.parse_args()
    settings = {"data.held_out_folds": json.dumps(arguments.without)}
    run = train(
        override(preset("places"), settings),
        data=arguments.data,
        out=arguments.run / "model",
        parent=arguments.parent,
    )
    fitted = calibrate(run, arguments.data)
    figures = {}
    for name in PROTOCOLS:
        path = run / name / "report.json"
        if path.is_file():
            figures |= card_figures(name, json.loads(path.read_text()))
    aside = evaluate(run, protocol="holdout", data=arguments.data)
    figures["scene_accuracy_kept_aside"] = {
        "value": aside["accuracy"],
        "interval_95": aside["interval_95"],
        "protocol": "clips of recordings kept aside from training, on which the calibration was fitted; all scenes",
        "command": "python recipes/places.py",
    }
    export_bundle(run, arguments.out, measured=figures, data=arguments.data, fitted=fitted)


def card_figures(name: str, report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the card says of five folds: the ten scenes of DCASE, and their groups."""
    ten = report["groups"]["ten scenes"]
    return {
        f"{name}: {what}": {
            "value": share["accuracy"],
            "interval_95": share["interval_95"],
            "protocol": f"ten scenes of field recordings, five folds ({name}); seed {report['seed']}",
            "command": f"avgan evaluate RUN --protocol {name}",
        }
        for what, share in ten.items()
    }


if __name__ == "__main__":
    main()
