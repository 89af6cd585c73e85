"""The methods of a comparison, rivals and AVGAN itself: each is made anew for a fold, learns from it, and answers."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avgan import __version__
from avgan.baselines import METHODS, fitting, make
from avgan.baselines.method import Budget, Card, Method
from avgan.errors import DataError
from avgan.evaluation.comparison import ours
from avgan.evaluation.comparison.answers import (
    GIVEN,
    Answers,
    Settings,
    all_answers,
    identity_of,
    read_answers,
    stored_methods,
    write_answers,
)
from avgan.evaluation.comparison.clips import Extra, Pictures, Sounds, clips_to_answer, clips_to_learn_from
from avgan.evaluation.pictures.exhibits import keep_pictures
from avgan.evaluation.protocols import Fold, Protocol


@dataclass(frozen=True)
class Entry:
    """A method that takes part."""

    card: Card
    identity: Callable[[Fold, int], str]
    """Of what answers a fold with a seed: a hash of all that decides about the answers but the data."""
    make: Callable[[Fold, int], Method]
    """A new one, for a fold and a seed."""
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.card.name


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
    extra: Extra | None = None
    say: Callable[[str], None] = field(default=lambda line: None, repr=False)
    """Is told what is worth keeping, a line a fit."""
    show: Callable[[str], None] = field(default=lambda line: None, repr=False)
    """Is told about the progress of a fit; may overwrite it."""

    def seed_of_file(self, seed: int) -> int | None:
        """How the file of answers tells the seed: not at all where it is that of the comparison."""
        return None if seed == self.settings.seed else seed


def rival(name: str, task: Task) -> Entry:
    """A method of others."""
    card = make(name).card
    extra = task.settings.extra if card.takes_extra else None
    module = f"avgan.baselines.{METHODS[name].partition(':')[0]}"
    identity = identity_of(card, module, extra)
    return Entry(card, lambda fold, seed: identity, lambda *_: make(name), (task.settings.seed,))


def own(name: str, task: Task, *, parent: Path | None = None, seeds: Sequence[int] = ()) -> Entry:
    """One of ours, trained with several seeds; `parent` is a run of pictures to begin from."""
    card, runs, first = ours.card_of(name), task.out / "runs", task.settings.seed

    def recipe(seed: int) -> ours.Recipe:
        return ours.recipe_of_method(name, task.protocol, seed)

    def new(fold: Fold, seed: int) -> Method:
        again = "" if seed == first else f".seed-{seed}"
        run = runs / name / f"fold-{fold.name}{again}"
        return ours.Ours(card, run, recipe=recipe(seed), shared=runs, parent=parent)

    def identity(fold: Fold, seed: int) -> str:
        return f"{__version__} {ours.config_sha256(recipe(seed))}"

    return Entry(card, identity, new, tuple(seeds))


def answer(entry: Entry, fold: Fold, seed: int, task: Task) -> Answers:
    """Let a method learn from one side of a fold and answer the other."""
    name, method = entry.name, entry.make(fold, seed)
    known = clips_to_learn_from(
        fold,
        task.protocol,
        task.sounds,
        data=task.data,
        pictures=task.pictures,
        extra=task.extra if entry.card.takes_extra else None,
    )
    asked = clips_to_answer(fold, task.protocol, task.sounds, data=task.data)
    rng = np.random.default_rng([seed, *f"{name} {fold.name}".encode()])
    budget = Budget(task.settings.budget_s, say=lambda line: task.show(f"{name}: {line}"))
    began = time.monotonic()
    method.fit(known, budget=budget, rng=rng)
    fitted, reading = time.monotonic(), task.sounds.seconds
    probabilities = method.predict(asked)
    answering_s = time.monotonic() - fitted - (task.sounds.seconds - reading)
    assert probabilities.shape == (len(asked), asked.num_labels)
    assert np.allclose(probabilities.sum(1), 1.0, atol=1e-4)
    keep_pictures(method, known, asked, task.out / "pictures" / name)
    cost = method.cost()
    return Answers(
        **described(name, fold, task),
        probabilities=probabilities.tolist(),
        identity=entry.identity(fold, seed),
        seed=seed,
        budget_s=task.settings.budget_s,
        fitting_s=None if budget.resumed else fitted - began,
        answering_s=max(0.0, answering_s),
        num_epochs=budget.num_planned,
        num_epochs_wanted=budget.num_wanted,
        num_parameters=cost.num_parameters,
        num_macs=cost.num_macs,
        device=device(),
    )


def described(name: str, fold: Fold, task: Task) -> dict[str, Any]:
    """What is known of answers before they are given."""
    number = {label: index for index, label in enumerate(task.protocol.labels)}
    return {
        "method": name,
        "fold": fold.name,
        "labels": list(task.protocol.labels),
        "clip_ids": [clip.id for clip in fold.test.clips],
        "sources": [clip.source_id for clip in fold.test.clips],
        "targets": [number[clip.label] for clip in fold.test.clips],
        "data_sha256": task.data_sha256[fold.name],
    }


def is_answered(entry: Entry, fold: Fold, seed: int, task: Task) -> bool:
    """Whether these very answers are stored already: of the same method to the same clips."""
    stored = read_answers(task.out, entry.name, fold.name, seed=task.seed_of_file(seed))
    if stored is None:
        return False
    if stored.data_sha256 != task.data_sha256[fold.name]:
        task.say(f"{entry.name}, fold {fold.name}: the recordings have changed; learns anew")
        return False
    if not stored.is_given and stored.identity != entry.identity(fold, seed):
        task.say(f"{entry.name}, fold {fold.name}: the method has changed; learns anew")
        return False
    return True


def stored_answers(name: str, task: Task) -> list[Answers]:
    """The answers of a method to the folds of this very data, of all seeds."""
    return [
        one
        for fold in task.protocol.folds
        for one in all_answers(task.out, name, fold.name)
        if one.data_sha256 == task.data_sha256[one.fold]
    ]


def take_answers(name: str, folder: Path, folds: Sequence[Fold], task: Task) -> None:
    """Take the answers in a folder, of this method or of the only one as `avgan evaluate` leaves them.

    Raises DataError where a fold is missing, or other clips were answered.
    """
    there = stored_methods(folder)
    theirs = there[0] if len(there) == 1 else name
    for fold in folds:
        answers = read_answers(folder, theirs, fold.name)
        if answers is None:
            raise DataError(
                f"{folder}: no answers for fold {fold.name}; finish them with avgan evaluate, or choose --folds"
            )
        wanted = described(name, fold, task)
        where = f"{folder}, fold {fold.name}"
        if answers.labels != wanted["labels"]:
            raise DataError(f"{where}: its labels are not those of {task.protocol.name}")
        if (answers.clip_ids, answers.targets) != (wanted["clip_ids"], wanted["targets"]):
            raise DataError(f"{where}: answers other clips than this fold of {task.data}")
        identity = answers.identity if answers.is_given else GIVEN + answers.identity
        write_answers(replace(answers, **wanted, identity=identity), task.out)


def card_of(name: str) -> Card:
    """What is known of a method; of answers from elsewhere only the name."""
    if name in METHODS:
        return make(name).card
    if ours.is_ours(name):
        return ours.card_of(name)
    return Card(name=name, title=name, source="answers from elsewhere")


def device() -> str:
    """What computes here."""
    place = fitting.device()
    if place.type == "cuda":
        return str(torch.cuda.get_device_name(place))
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
