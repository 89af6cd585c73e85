"""Pictures one wants to look at, from data to runs and sheets.

    python recipes/pictures.py --data DATA --out runs/pictures

DATA holds ESC-50 and folders of photographs beside each other (MiniPlaces, and what else has an index.csv like it).
Nine tenths of folds 1 to 4 are trained on, the rest is kept aside, fold 5 is never heard: what is drawn of it is on the
sheets and in the scores. With a GPU the preset is `pictures`, without one `pictures_small`; --preset chooses.

    OUT/base/               stage 1, imagination, classifier
        flow/  gan/         a sampler each, both taught on the same base
        <kind>/sheet.jpg    the first ten labels, every recording of fold 5 in order, first draws: none is chosen
        <kind>/pictures/    scores (avgan evaluate --protocol pictures)

Every run writes sheets of its own as it learns, below samples/. Run again, it goes on where it was stopped.
"""

import argparse
from pathlib import Path

import torch

from avgan import checkpoint
from avgan.config import SAMPLER, Recipe, override
from avgan.evaluation.pictures.protocol import imagine_held_out
from avgan.evaluation.protocols import evaluate
from avgan.images import grid
from avgan.presets import preset
from avgan.training.log import tell, to_uint8
from avgan.training.recipe import train

HELD_OUT = "5"
NUM_LABELS = 10
"""Rows of a sheet."""
GAN = {
    "sampler.network.kind": "gan",
    # The rates at which generator and critic of a convolutional GAN keep step (Adam's first moment at rest).
    "sampler.learning_rate": "3e-4",
    "sampler.betas": "[0.0, 0.99]",
    "sampler.weight_decay": "0",
    "sampler.schedule": "linear",
    "sampler.clip_norm": "0",
}
"""What a generator with noise is taught with, beside the preset of the flow."""
SMALL_GAN = {"sampler.network.widths": "[128, 96, 64]"}


def main() -> None:
    """Train, draw, score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--preset", default="pictures" if torch.cuda.is_available() else "pictures_small"
    )
    parser.add_argument("--sampler", choices=("flow", "gan", "both"), default="flow")
    parser.add_argument("--parent", type=Path, help="a run of pictures (stage vqvae) to begin from")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], help="a change, as for avgan train"
    )
    arguments = parser.parse_args()
    changes = {"data.held_out_folds": f'["{HELD_OUT}"]', "data.validation_fraction": "0.1"}
    changes |= dict(text.split("=", 1) for text in arguments.settings)
    base = train(
        without_sampler(arguments.preset, changes),
        data=arguments.data,
        out=arguments.out / "base",
        parent=arguments.parent,
    )
    kinds = ("flow", "gan") if arguments.sampler == "both" else (arguments.sampler,)
    for kind in kinds:
        recipe = with_sampler(arguments.preset, kind, changes)
        run = train(recipe, data=arguments.data, out=arguments.out / kind, parent=base)
        draw_sheet(run, arguments.data, run / "sheet.jpg")
        evaluate(run, protocol="pictures", data=arguments.data)
        tell(f"{run}: sheet.jpg, pictures/report.json")


def without_sampler(name: str, changes: dict[str, str]) -> Recipe:
    """The preset up to the classifier: what the samplers are taught on."""
    own = {path: text for path, text in changes.items() if not path.startswith(f"{SAMPLER}.")}
    return override(preset(name).model_copy(update={"sampler": None}), own)


def with_sampler(name: str, kind: str, changes: dict[str, str]) -> Recipe:
    """The preset with a sampler of this kind; changes to one that belong to another kind are left out."""
    recipe = preset(name)
    if kind == "gan":
        recipe = override(recipe, GAN | (SMALL_GAN if name == "pictures_small" else {}))
        changes = {
            path: text
            for path, text in changes.items()
            if not path.startswith(f"{SAMPLER}.network.")
        }
    return override(recipe, changes)


def draw_sheet(run: Path, data: Path, path: Path) -> None:
    """A row a label, the first ten in the order of the alphabet: all its held-out recordings, first draws."""
    networks, described = checkpoint.load_finished(run)
    gallery = imagine_held_out(networks, described, data)
    heard = [clip.label for clip in gallery.clips.clips]
    labels = sorted(set(heard))[:NUM_LABELS]
    rows = []
    for label in labels:
        chosen = [index for index, name in enumerate(heard) if name == label]
        with torch.inference_mode():
            rows.append(to_uint8(networks.vqvae.draw(gallery.features[chosen])))
    names = [label.replace("_", " ") for label in labels]
    grid(rows, labels=names).convert("RGB").save(path, quality=90)


if __name__ == "__main__":
    main()
