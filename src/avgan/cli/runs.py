"""Runs: train, evaluate, export; and the data sets they learn from: data list, get, check."""

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from avgan.cli.app import UsageError, app, data, extra, say, two_sides
from avgan.cli.options import Flag, Output, Root, Several
from avgan.errors import printable

DataName = Annotated[str, Parameter(help="Its name in `avgan data list`.")]


@app.command
def train(
    *,
    preset: str = "transfer",
    data: Path,
    output: Output,
    videos: Path | None = None,
    stage: Literal["vqvae", "imagination", "classifier", "sampler"] | None = None,
    parent: Path | None = None,
    setting: Annotated[Several, Parameter(name="--set")] = (),
) -> int:
    """Train a recipe, or go on with it where it was left: pictures, imagination, classifier.

    Args:
        preset: A complete recipe: transfer (from a pretrained trunk, needs few recordings), places (the same for field
            recordings of 10 s), pictures or pictures_small (sharp pictures, on a GPU or on two cores), compact (from
            nothing), paper_esc50 or paper_dcase (the paper's sizes and schedule).
        data: A folder for each label, or the folder that holds the data sets.
        output: Folder of the recipe's runs, or of the one run of --stage.
        videos: Another folder that pictures and imagination are learnt from; its labels are not needed. The classifier
            learns from --data.
        stage: Train this one stage alone.
        parent: A finished run to begin from: what it has learnt is not learnt again.
        setting: A change to the preset, such as --set imagination.gamma=0; may be given several times. --set
            data.window_s=10 is that of all stages.
    """
    changes = dict(two_sides("--set", text) for text in setting)
    with extra("train"):
        from avgan.config import override
        from avgan.presets import preset as recipe_of_preset
        from avgan.training import recipe
        from avgan.training.distributed import is_first
        from avgan.training.run import train_run

    chosen = override(recipe_of_preset(preset), changes)
    try:
        if stage is None:
            recipe.train(chosen, data=data, videos=videos, out=output, parent=parent)
        else:
            source = data if videos is None or stage == "classifier" else videos
            train_run(chosen.run(stage), data=source, out=output, parent=parent)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from where it was left")
        return 130
    if is_first():
        print(output)
        say(f"next: {next_command(output, stage, data)}")
    return 0


def next_command(run: Path, stage: str | None, data: Path) -> str:
    """What to do with a run that is trained."""
    if stage in ("vqvae", "imagination"):
        return f"avgan train --parent {run} --preset ... --data {data} -o ..."
    score = f"avgan evaluate {run} --protocol holdout --data {data}"
    return f"{score}; avgan export {run} --data {data} -o {run.name}.bundle"


@app.command
def evaluate(
    run: Path,
    /,
    *,
    protocol: str,
    data: Path,
    output: Output | None = None,
    rival: Path | None = None,
    format: Literal["table", "json"] = "table",
) -> None:
    """Score a run by a protocol, and print how well it did.

    Args:
        run: Folder of a run made by `avgan train`.
        protocol: What is scored: holdout (what the run kept away), test (what its data set leaves for a test), esc50 or
            esc10 (trains and scores the five official folds), folder (folds by source), places or places_collections
            (field recordings, five folds by recording or by collection), places_worlds (each folder of them by a
            model trained on the others), tau2019 or tau_av_2021 (the publisher's test part, by city),
            tau2019_cities (trains ten runs, each without a city) or pictures (what it imagines).
        data: The folder that it was trained on.
        output: Folder for report.html, report.json, tables and plots, if not in the run.
        rival: For pictures: a folder with another method's pictures, each named after its recording, such as
            OUTPUT/pictures/cmcgan-style of avgan compare.
        format: A few lines, or the whole report.
    """
    with extra("train"):
        from avgan.evaluation.evaluate import evaluate
        from avgan.evaluation.report import summary

    report = evaluate(run, protocol=protocol, data=data, out=output, rival=rival, say=say)
    if format == "json":
        print(json.dumps(report, indent=2))
    else:
        told = summary(report, output or run / protocol)
        print("\n".join(map(printable, told.split("\n"))))


@app.command
def export(run: Path, /, *, output: Output, data: Path | None = None, int8: Flag = False) -> None:
    """Turn a run into one bundle that needs no torch.

    Args:
        run: Folder of a run made by `avgan train`.
        output: Folder of the bundle.
        data: The folder that it was trained on: the bundle then says `unknown`, scales its probabilities, and names the
            training clips nearest to an answer.
        int8: With --data: write a second bundle beside it, OUTPUT-int8, smaller and faster, and what that costs.
    """
    if int8 and data is None:
        raise UsageError("--int8 needs the recordings that the run was trained on: --data FOLDER")
    with extra("export"):
        from avgan.export import export_bundle
        from avgan.quantize import quantize_bundle

    print(export_bundle(run, output, data=data, say=say))
    if int8 and data is not None:
        small = output.with_name(f"{output.name}-int8")
        print(quantize_bundle(output, small, run=run, data=data))
    say(f"next: avgan classify RECORDING --model {output}")


@data.command(name="list")
def list_data() -> None:
    """List the data sets that avgan knows, with their licences."""
    with extra("train"):
        from avgan.data.datasets import DATASETS

    for declared in DATASETS.values():
        print(f"{declared.name}\n  {declared.title}\n  licence: {declared.licence}")
        if declared.address:
            print(f"  {declared.address}")


@data.command
def get(name: DataName, /, *, root: Root = Path("data")) -> None:
    """Download a data set, unless it is there, and compare it with its checksums."""
    with extra("train"):
        from avgan.data import acquire

    print(acquire.get(name, root))


@data.command
def check(name: DataName, /, *, root: Root = Path("data")) -> int:
    """Verify a data set: every file there, whole and readable."""
    with extra("train"):
        from avgan.data import acquire

    problems = acquire.check(name, root)
    for problem in problems:
        say(problem)
    if not problems:
        print(f"{name}: complete")
    return 1 if problems else 0
