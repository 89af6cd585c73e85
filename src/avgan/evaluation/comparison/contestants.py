"""The methods of a comparison: rivals, AVGAN itself, and answers from elsewhere, asked in one way."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avgan import __version__, checkpoint
from avgan.baselines import METHODS, make
from avgan.baselines.rival import Budget, Card
from avgan.errors import CheckpointError, DataError
from avgan.evaluation.comparison import ours
from avgan.evaluation.comparison.answers import (
    Answers,
    Settings,
    file_sha256,
    identity_of,
    read_object,
    targets_of,
    write_answers,
)
from avgan.evaluation.comparison.clips import Pictures, Sounds, clips_to_answer, clips_to_learn_from
from avgan.evaluation.comparison.folds import Fold, Protocol
from avgan.evaluation.pictures.exhibits import keep_pictures
from avgan.evaluation.protocols import config_sha256
from avgan.training.recipe import recipe_of

GIVEN = "given: "
"""How the identity of answers from elsewhere begins."""


@dataclass(frozen=True)
class Task:
    """What all methods of a comparison have in common."""

    protocol: Protocol
    settings: Settings
    data: Path
    out: Path
    sounds: Sounds
    pictures: Pictures | None
    data_sha256: Mapping[str, str]
    """Of each fold."""
    parent: Path | None
    """A run of pictures that ours begin from."""
    against: str | None
    """The method that all others are tested against, where it is not the best."""
    say: Callable[[str], None] = field(repr=False)
    """Is told what is worth keeping, a line a fit."""
    show: Callable[[str], None] = field(repr=False)
    """Is told about the progress of a fit; may overwrite it."""


def answer(name: str, fold: Fold, task: Task) -> Answers:
    """Let a method learn from one side of a fold and answer the other."""
    if ours.is_ours(name):
        return answer_with_ours(name, fold, task)
    identity = current_identity(name, task)
    rival = make(name)
    known = clips_to_learn_from(
        fold, task.protocol, task.sounds, data=task.data, pictures=task.pictures
    )
    asked = clips_to_answer(fold, task.protocol, task.sounds, data=task.data)
    rng = np.random.default_rng([task.settings.seed, *f"{name} {fold.name}".encode()])
    budget = Budget(task.settings.budget_s, say=lambda line: task.show(f"{name}: {line}"))
    began = time.monotonic()
    rival.fit(known, budget=budget, rng=rng)
    fitted, reading = time.monotonic(), task.sounds.seconds
    probabilities = rival.predict(asked)
    answering_s = time.monotonic() - fitted - (task.sounds.seconds - reading)
    assert probabilities.shape == (len(asked), asked.num_labels)
    assert np.allclose(probabilities.sum(1), 1.0, atol=1e-4)
    keep_pictures(rival, known, asked, task.out / "pictures" / name)
    cost = rival.cost()
    return Answers(
        **described(name, fold, task),
        probabilities=probabilities.tolist(),
        identity=identity,
        fitting_s=fitted - began,
        answering_s=max(0.0, answering_s),
        num_epochs=budget.num_planned,
        num_epochs_wanted=budget.num_wanted,
        num_parameters=cost.num_parameters,
        num_macs=cost.num_macs,
        device=device(),
    )


def answer_with_ours(name: str, fold: Fold, task: Task) -> Answers:
    """The same for AVGAN itself, which trains as `avgan train` does."""
    fitted = ours.fit_and_answer(
        name,
        fold,
        task.protocol,
        ours.recipe_of_method(name, task.protocol, task.settings.seed),
        sounds=task.sounds,
        data=task.data,
        out=task.out,
        budget_s=task.settings.budget_s,
        parent=task.parent,
        say=task.say,
    )
    return Answers(
        **described(name, fold, task),
        probabilities=fitted.probabilities,
        identity=current_identity(name, task),
        fitting_s=fitted.fitting_s,
        answering_s=fitted.answering_s,
        num_epochs=fitted.num_epochs,
        num_epochs_wanted=fitted.num_epochs_wanted,
        num_parameters=fitted.cost.num_parameters,
        num_macs=fitted.cost.num_macs,
        device=device(),
    )


def described(name: str, fold: Fold, task: Task) -> dict[str, Any]:
    """What is known of answers before they are given."""
    return {
        "method": name,
        "fold": fold.name,
        "labels": list(task.protocol.labels),
        "clip_ids": [clip.id for clip in fold.test.clips],
        "sources": [clip.source_id for clip in fold.test.clips],
        "targets": targets_of(fold, task.protocol),
        "seed": task.settings.seed,
        "budget_s": task.settings.budget_s,
        "data_sha256": task.data_sha256[fold.name],
    }


def current_identity(name: str, task: Task) -> str:
    """Hash of what a method is now."""
    if ours.is_ours(name):
        recipe = ours.recipe_of_method(name, task.protocol, task.settings.seed)
        return f"{__version__} {config_sha256(recipe)}"
    module = f"avgan.baselines.{METHODS[name].partition(':')[0]}"
    return identity_of(make(name).card, module)


def take_answers(name: str, folder: Path, folds: Sequence[Fold], task: Task) -> None:
    """Store the answers that `avgan evaluate` wrote into a folder as those of a method.

    Raises DataError where a fold is missing, or other clips were answered.
    """
    for fold in folds:
        path = folder / f"fold-{fold.name}.json"
        if not path.is_file():
            raise DataError(
                f"{folder}: no answers for fold {fold.name}; finish them with avgan evaluate, or choose --folds"
            )
        scored = read_object(path)
        row = {clip_id: index for index, clip_id in enumerate(scored.get("clip_ids", []))}
        ours_here = described(name, fold, task)
        if sorted(row) != sorted(ours_here["clip_ids"]):
            raise DataError(f"{path}: answers other clips than fold {fold.name} of {task.data}")
        order = [row[clip_id] for clip_id in ours_here["clip_ids"]]
        if [scored["targets"][index] for index in order] != ours_here["targets"]:
            raise DataError(f"{path}: its labels are not those of {task.protocol.name}")
        write_answers(
            Answers(
                **ours_here | {"seed": None, "budget_s": None},
                **costs_of_run(folder / f"fold-{fold.name}", fold, task),
                probabilities=[scored["probabilities"][index] for index in order],
                identity=GIVEN + file_sha256(path),
            ),
            task.out,
        )


def costs_of_run(run: Path, fold: Fold, task: Task) -> dict[str, Any]:
    """What is still to be learnt of a run whose answers are there: nothing where the run itself is gone."""
    try:
        networks, trained = checkpoint.load_networks(run)
    except CheckpointError:
        return {}
    recipe = recipe_of(trained)
    cost, answering_s = ours.measure(networks, recipe, fold, task.sounds)
    num_epochs = ours.epochs(recipe, recipe.classifier.num_steps, fold)
    return {
        "num_parameters": cost.num_parameters,
        "num_macs": cost.num_macs,
        "answering_s": answering_s,
        "num_epochs": num_epochs,
        "num_epochs_wanted": num_epochs,
        "device": device(),
    }


def card_of(name: str) -> Card:
    """What is known of a method; of answers from elsewhere only the name."""
    if name in METHODS:
        return make(name).card
    if ours.is_ours(name):
        return ours.card_of(name)
    return Card(name=name, title=name, source="answers from elsewhere")


def device() -> str:
    """What computes here."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
