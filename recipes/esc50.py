"""A bundle that names ESC-50's sounds, from data to bundle.

    python recipes/esc50.py --data DATA --run runs/esc50 --out src/avgan/bundles/esc50

DATA holds ESC-50 and MiniPlaces (`avgan data list` says where to get them). Nine tenths of folds 1 to 4 are trained on;
the rest of them is kept aside, and what the model may be believed is fitted on it; fold 5 is never heard, and the
figures on the card are measured on it. The pictures are those of the preset `transfer` and the three settings below:
typical photographs only, like sounds with like pictures, a critic that hears (docs/decisions.md shows what each does).
Run again, it goes on where it was stopped. Nothing else enters the bundle.
"""

import argparse
import json
from pathlib import Path

from avgan.config import override
from avgan.evaluation.evaluate import evaluate
from avgan.evaluation.honesty.calibration import calibrate
from avgan.evaluation.honesty.refusals import IN_DOMAIN, measure
from avgan.export import export_bundle
from avgan.files import write_whole
from avgan.presets import preset
from avgan.training.recipe import train

HELD_OUT = "5"
SETTINGS = {
    "data.held_out_folds": f'["{HELD_OUT}"]',
    "data.validation_fraction": "0.1",
    "imagination.critic.hears": "true",
    "imagination.mismatch_weight": "0.5",
    "imagination.num_steps": "800",
    "imagination.learning_rate": "1e-3",
    "imagination.schedule": "cosine",
    "imagination.critic_steps": "1",
    "imagination.penalty_every": "2",
    "imagination.gamma": "100",
    "imagination.typical": "0.25",
    "imagination.num_looks": "2",
    "imagination.num_views": "4",
    "classifier.anchor": "30",
}


def main() -> None:
    """Train, measure, export."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parent", type=Path, help="a run of pictures (stage vqvae) to begin from")
    arguments = parser.parse_args()
    run = train(
        override(preset("transfer"), SETTINGS),
        data=arguments.data,
        out=arguments.run / "model",
        parent=arguments.parent,
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
    command = "python recipes/esc50.py"
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
