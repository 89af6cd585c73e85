"""The shipped model, from data to bundle.

    python recipes/shipped.py --data DATA --run runs/shipped --out src/avgan/bundles/esc50-places

DATA holds ESC-50, MiniPlaces and YAMNet's weights (`avgan data list` says where to get them). Folds 1 to 4 are trained
on; fold 5 is never heard, and the figures on the card are measured on it. First a `transfer` run learns to hear, then
`shipped` learns to imagine on top of it. About 45 minutes on two cores; run again, it goes on where it was stopped.
Nothing else enters the bundle.
"""

import argparse
from pathlib import Path

from avgan.config import override, preset
from avgan.evaluation.protocols import evaluate
from avgan.export import export_bundle
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
    settings = {"data.held_out_folds": f'["{HELD_OUT}"]', "data.validation_fraction": "0"}
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
    labels = evaluate(run, protocol="holdout", data=arguments.data)
    pictures = evaluate(run, protocol="pictures", data=arguments.data)
    export_bundle(run, arguments.out, measured=card_figures(labels, pictures), data=arguments.data)


def card_figures(labels: dict, pictures: dict) -> dict:
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
    }


if __name__ == "__main__":
    main()
