"""The bundles that come with avgan, from data to bundle.

    python recipes/bundle.py places --data DATA --run runs/places --out src/avgan/bundles/places
    python recipes/bundle.py esc50 --data DATA --run runs/esc50 --out src/avgan/bundles/esc50

DATA holds the recordings and folders of photographs (`avgan data list` says where to get them).

places   scenes of field recordings, from windows of 10 s. Nine tenths of the recordings are trained on; the calibration
         is fitted on the rest, and the figures on the card are of them. `--without tut2017` leaves a folder out.
esc50    ESC-50's fifty sounds, from windows of 5 s. Nine tenths of folds 1 to 4 are trained on, the calibration is
         fitted on the rest; fold 5 is held out, and the figures on the card are of it.

    RUN/model/              imagination, classifier
    RUN/flow/               what samples pictures of imagined features
        sheet.jpg           ten labels: pictures of held-out recordings, in order, and the control: others' pictures

Without a GPU the sampler is small and stage 1 is what comes with the package (recipes/photographs.py). With one both
are large and stage 1 is trained first, unless --parent names a run of it. Figures of protocols that RUN/model was
scored on before (`avgan evaluate RUN/model --protocol places`, `avgan evaluate RUN/flow --protocol pictures`) enter the
card too. Run again, it goes on where it was stopped.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from avgan import checkpoint
from avgan.calibration import calibrate
from avgan.config import SAMPLER, Recipe, override
from avgan.evaluation.evaluate import evaluate
from avgan.evaluation.pictures.protocol import contact_sheet, imagine_held_out
from avgan.export import export_bundle
from avgan.presets import preset, with_pictures, with_sampler
from avgan.training.progress import say
from avgan.training.recipe import train

PRESETS = {"places": "places", "esc50": "transfer"}
SETTINGS = {"places": {}, "esc50": {"data.held_out_folds": '["5"]', "data.validation_fraction": "0.1"}}
PROTOCOLS = ("places", "places_collections")
NUM_LABELS = 10
"""Rows of a sheet."""


def main() -> None:
    """Train, measure, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", choices=tuple(PRESETS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parent", type=Path, help="a run of pictures (stage vqvae) to begin from")
    parser.add_argument("--without", action="append", default=[], help="a folder to leave out")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="as for avgan train")
    arguments = parser.parse_args()
    data, small = arguments.data, not torch.cuda.is_available()
    changes = dict(SETTINGS[arguments.bundle])
    if arguments.without:
        changes["data.held_out_folds"] = json.dumps(arguments.without)
    changes |= dict(text.split("=", 1) for text in arguments.settings)
    recipe = preset(PRESETS[arguments.bundle])
    recipe = with_sampler(recipe) if small else with_pictures(recipe)
    model = train(without_sampler(recipe, changes), data=data, out=arguments.run / "model", parent=arguments.parent)
    run = train(override(recipe, changes), data=data, out=arguments.run / "flow", parent=model)
    save_sheet(run, data, run / "sheet.jpg")
    figures = card_figures(arguments.bundle, model, run, data)
    fitted = calibrate(run, data)
    export_bundle(run, arguments.out, measured=figures, data=data, fitted=fitted)
    say(f"{arguments.out}: written; its pictures: {run / 'sheet.jpg'}")


def without_sampler(recipe: Recipe, changes: dict[str, str]) -> Recipe:
    """The recipe up to the classifier: what the sampler is taught on."""
    own = {path: text for path, text in changes.items() if not path.startswith(f"{SAMPLER}.")}
    return override(recipe.model_copy(update={SAMPLER: None}), own)


def save_sheet(run: Path, data: Path, path: Path) -> None:
    """A row a label, the first ten in the order of the alphabet, and the control: the first samples, none is chosen."""
    networks, described = checkpoint.load_finished(run)
    gallery = imagine_held_out(networks, described, data)
    labels = sorted({clip.label for clip in gallery.clips.clips})
    contact_sheet(networks, gallery, path, labels=tuple(labels[:NUM_LABELS]))


Figures = dict[str, dict[str, Any]]
"""What a card says was measured, each with its interval and how it came about."""


def card_figures(bundle: str, model: Path, run: Path, data: Path) -> Figures:
    """What the card says of labels and pictures, and of protocols that the model was scored on before."""
    labels = evaluate(model, protocol="holdout", data=data)
    command = f"python recipes/bundle.py {bundle}"
    protocol = f"recordings never trained on; seed {labels['seed']}"
    if bundle == "places":
        protocol += "; the calibration was fitted on them"
    figures = {"label_accuracy": figure(labels["accuracy"], labels["interval_95"], protocol, command)}
    if (path := run / "pictures" / "report.json").is_file():
        figures |= figure_of_pictures(json.loads(path.read_text())["exhibits"], protocol)
    for name in PROTOCOLS:
        path = model / name / "report.json"
        if path.is_file():
            figures |= figures_of_folds(name, json.loads(path.read_text()))
    return figures


def figure_of_pictures(seen: dict[str, Any], protocol: str) -> Figures:
    """How often the place is found in the picture, where the classifier of photographs knows all scenes."""
    if seen["imagined"]["agreement"] is None:
        return {}
    found, control = (100 * seen[name]["agreement"] for name in ("photographs", "shuffled"))
    protocol += (
        f"; a classifier of photographs finds the scene in the picture; in photographs {found:.1f} %, in pictures "
        f"of other recordings {control:.1f} %"
    )
    value, interval = seen["imagined"]["agreement"], seen["imagined"]["agreement_interval_95"]
    return {"picture_shows_scene": figure(value, interval, protocol, "avgan evaluate RUN --protocol pictures")}


def figures_of_folds(name: str, report: dict[str, Any]) -> Figures:
    """What five folds say: the ten scenes of DCASE, and their groups."""
    protocol = f"ten scenes of field recordings, five folds ({name}); seed {report['seed']}"
    command = f"avgan evaluate RUN --protocol {name}"
    return {
        f"{name}: {what}": figure(share["accuracy"], share["interval_95"], protocol, command)
        for what, share in report["groups"]["ten scenes"].items()
    }


def figure(value: float, interval_95: list[float], protocol: str, command: str) -> dict[str, Any]:
    return {"value": value, "interval_95": interval_95, "protocol": protocol, "command": command}


if __name__ == "__main__":
    main()
