"""What few clips of each scene are worth, and whether pictures help: ESC-50's sounds, with few of them to learn from.

    python benchmarks/own_scenes.py --data DATA --out OUT [--clips 5 10 20 32] [--pictures right shuffled none]
        [--folds 5] [--set KEY=VALUE ...]

DATA holds ESC-50 and photographs. For each number so many clips of each of the fifty sounds are chosen by chance from
the folds that are not held out, the same ones whatever they are shown with: photographs of the places where they are
heard, those of another sound, or none (stage 2 is left out). The preset `transfer` is taught them as `avgan train` does
it, from one VQ-VAE. Prints a Markdown table over the held-out folds; p is of the paired test against the first way with
the same number. Goes on where it was stopped.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from avgan.config import Recipe, override
from avgan.data.datasets import find
from avgan.data.manifest import Clip, Manifest
from avgan.data.splits import hold_out
from avgan.evaluation.comparison.answers import Answers, Outcome, read_answers
from avgan.evaluation.comparison.ours import of_photographs
from avgan.evaluation.evaluate import RUN, evaluate
from avgan.metrics import paired_test
from avgan.presets import preset
from avgan.training.recipe import train

WAYS = {"right": {}, "shuffled": {"imagination.data.pairs": "shuffled"}, "none": {"imagination.num_steps": "0"}}
PROTOCOL = "holdout"


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, nargs="+", default=[5, 10, 20, 32])
    parser.add_argument("--pictures", choices=tuple(WAYS), nargs="+", default=["right"])
    parser.add_argument("--folds", nargs="+", default=["5"])
    parser.add_argument("--set", dest="settings", action="append", default=[], help="as for avgan train")
    arguments = parser.parse_args()
    changes = dict(text.split("=", 1) for text in arguments.settings)
    print("| clips of each sound | pictures | named rightly, % | 95 % | p | minutes |")
    print("|---|---|---|---|---|---|")
    for num_clips in arguments.clips:
        first: Outcome | None = None
        for way in arguments.pictures:
            began = time.monotonic()
            answers = [
                answers_of(override(preset("transfer"), WAYS[way] | changes), fold, num_clips, way, arguments)
                for fold in arguments.folds
            ]
            minutes = (time.monotonic() - began) / 60
            outcome = Outcome.of(answers)
            first = first or outcome
            same = outcome is first
            p = "" if same else f"{paired_test(first.right, outcome.right, outcome.sources, outcome.folds):.2f}"
            share = outcome.share()
            low, high = share["interval_95"]
            print(
                f"| {num_clips} | {way} | {100 * share['accuracy']:.1f} | {100 * low:.1f} to {100 * high:.1f} "
                f"| {p} | {minutes:.1f} |",
                flush=True,
            )


def answers_of(recipe: Recipe, fold: str, num_clips: int, way: str, arguments: argparse.Namespace) -> Answers:
    """What a recipe answers on a held-out fold, taught few clips of each sound."""
    data = arguments.data
    recipe = override(recipe, {"data.held_out_folds": f'["{fold}"]'})
    run = arguments.out / f"{num_clips}-{way}" / f"fold-{fold}"
    pictures = of_photographs(recipe, data=data, out=arguments.out)
    train(recipe, data=data, out=run, parent=pictures, sounds=few(find(data, "esc50"), fold, num_clips))
    if read_answers(run / PROTOCOL, RUN, fold) is None:
        evaluate(run, protocol=PROTOCOL, data=data)
    answers = read_answers(run / PROTOCOL, RUN, fold)
    assert answers is not None
    return answers


def few(sounds: Manifest, fold: str, num_clips: int) -> Manifest:
    """So many clips of each sound from the other folds, and all of a fold."""
    rest, test = hold_out(sounds, (fold,))
    by_label: dict[str, list[Clip]] = defaultdict(list)
    for clip in rest.clips:
        by_label[clip.label].append(clip)
    rng = np.random.default_rng(0)
    chosen = [
        known[index]
        for _, known in sorted(by_label.items())
        for index in rng.permutation(len(known))[:num_clips].tolist()
    ]
    return replace(sounds, clips=(*chosen, *test.clips))


if __name__ == "__main__":
    main()
