"""The shipped model, from data to bundle.

    python recipes/shipped.py --data DATA --run runs/shipped --out src/avgan/bundles/esc50-places

DATA holds ESC-50, MiniPlaces and YAMNet's weights (`avgan data list` says where to get them). Nine tenths of folds 1 to
4 are trained on; the rest of them is kept aside, and what the model may be believed is fitted on it; fold 5 is never
heard, and the figures on the card are measured on it. First a `transfer` run learns to hear, then `shipped` learns to
imagine on top of it. About 45 minutes on two cores; run again, it goes on where it was stopped. Nothing else enters
the bundle.
"""

import argparse
import json
from pathlib import Path

from avgan.config import override, preset
from avgan.evaluation.honesty.calibration import calibrate
from avgan.evaluation.honesty.refusals import IN_DOMAIN, measure
from avgan.evaluation.protocols import evaluate
from avgan.export import export_bundle
from avgan.files import write_whole
from avgan.training.run import train

HELD_OUT = "5"


def main() -> None:
    """Train, measure, export."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start-from", type=Path, help="a run whose VQ-VAE is taken over")
    arguments = parser.parse_args()
    settings = {"data.held_out_folds": f'["{HELD_OUT}"]', "data.validation_fraction": "0.1"}
    hearing = train(
        override(preset("transfer"), settings),
        data=arguments.data,
        out=arguments.run / "hearing",
        start_from=arguments.start_from,
    )
    run = train(
        override(preset("shipped"), settings),
        data=arguments.data,
        out=arguments.run / "model",
        start_from=hearing,
    )
    fitted = calibrate(run, arguments.data)
    trial = export_bundle(run, arguments.run / "trial", fitted=fitted)
    honesty = measure(trial, arguments.data)
    write_whole(arguments.run / "honesty.json", json.dumps(honesty, indent=1) + "\n")
    figures = card_figures(
        evaluate(run, protocol="holdout", data=arguments.data),
        evaluate(run, protocol="pictures", data=arguments.data),
        honesty,
    )
    export_bundle(run, arguments.out, measured=figures, data=arguments.data, fitted=fitted)


def card_figures(labels: dict, pictures: dict, honesty: dict) -> dict:
    """What the card says of the model, each figure with its interval and how it came about."""
    command = "python recipes/shipped.py"
    protocol = f"ESC-50 fold {HELD_OUT}, never trained on; seed {labels['seed']}"
    return {
        "sound_accuracy": {
            "value": labels["accuracy"],
            "interval_95": labels["interval_95"],
            "protocol": protocol,
            "command": command,
        },
        "place_accuracy": {
            "value": labels["scene_accuracy"],
            "protocol": f"{protocol}; the place of the sound by the pairing map",
            "command": command,
        },
        "picture_agreement": {
            "value": pictures["agreement"],
            "interval_95": pictures["agreement_interval_95"],
            "protocol": (
                f"{protocol}; a judge of {pictures['num_scenes']} scenes, right on "
                f"{100 * pictures['judge_accuracy_on_photographs']:.0f} % of photographs, finds the place in the "
                f"imagined picture; with shuffled sounds {100 * pictures['shuffled']:.1f} %"
            ),
            "command": command,
        },
        "calibration_error": {
            "value": honesty["sound_error_after"]["value"],
            "interval_95": honesty["sound_error_after"]["interval_95"],
            "protocol": (
                f"{protocol}; ECE of the sound in {honesty['sound_error_after']['num_bins']} bins, before scaling "
                f"{honesty['sound_error_before']['value']:.3f}"
            ),
            "command": command,
        },
        "refused": {
            "value": honesty["refusals"][IN_DOMAIN]["refused"],
            "interval_95": honesty["refusals"][IN_DOMAIN]["interval_95"],
            "protocol": f"{protocol}; recordings answered with `unknown`, though of a kind it was taught",
            "command": command,
        },
    }


if __name__ == "__main__":
    main()
