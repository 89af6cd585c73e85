"""A comparison: methods x folds, each answered by who learnt from the fold's other side; stopped and resumed anywhere.

    OUT/settings.json                     protocol, seed and budget, which all answers share
        answers/<method>/fold-<name>.json written whole when a fold is done; a second call does the rest
                                          (of further seeds: fold-<name>.seed-<n>.json)
        pictures/<method>/                what a rival imagines
        runs/                             of AVGAN itself, resumed within a fold
        compare.json  compare.md  compare.html  compare.png

The table holds every method that has answers in OUT, so that calls for different methods, also at the same time, add
up to one table.
"""

import os
import platform
import re
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
from avgan.errors import AvganError, ConfigError, DataError, LeakageError
from avgan.evaluation.comparison import ours
from avgan.evaluation.comparison.answers import (
    GIVEN,
    Answers,
    Settings,
    all_answers,
    read_answers,
    stored_methods,
    write_answers,
)
from avgan.evaluation.comparison.clips import Extra, Pictures, Sounds, clips_to_answer, clips_to_learn_from
from avgan.evaluation.comparison.identity import identity_of
from avgan.evaluation.comparison.table import HUMAN, build_report, write_table
from avgan.evaluation.pictures.exhibits import keep_pictures
from avgan.evaluation.protocols import Fold, Protocol, read_protocol, select_folds

ALL = "all"
ABLATIONS = "ablations"
"""The whole method, and it with one thing after the other taken away."""
SEEDS = (0, 1, 2)
"""Of our own methods: three are the fewest that tell a spread from an accident. Others have the first."""
OLDER = "answered by an older version of the method"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all methods of a comparison have in common."""

    protocol: Protocol
    settings: Settings
    data: Path
    out: Path
    sounds: Sounds
    pictures: Pictures | None = None
    extra: Extra | None = None
    say: Callable[[str], None] = field(default=lambda line: None, repr=False)
    """Takes what is worth keeping, a line a fit."""
    show: Callable[[str], None] = field(default=lambda line: None, repr=False)
    """Takes the progress of a fit; may overwrite it."""

    def answers_of(self, name: str) -> list[Answers]:
        """The stored answers of a method to the folds of this very data, of all seeds."""
        return [
            one.among(self.protocol.answered)
            for fold in self.protocol.folds
            for one in all_answers(self.out, name, fold.name)
            if one.data_sha256 == fold.sha256
        ]


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


def entry_of(name: str, task: Task, *, seeds: Sequence[int] = ()) -> Entry:
    """A method of others, or one of ours, trained with several seeds."""
    card, first = card_of(name), task.settings.seed
    if name in METHODS:
        identity = identity_of(card, METHODS[name].__module__, task.settings.extra if card.takes_extra else None)
        return Entry(card, lambda fold, seed: identity, lambda fold, seed: make(name), (first,))

    def identity_with(fold: Fold, seed: int) -> str:
        return f"{__version__} {ours.config_sha256(ours.recipe_of_method(name, task.protocol, seed))}"

    def new(fold: Fold, seed: int) -> Method:
        runs = task.out / "runs"
        run = runs / name / f"fold-{fold.name}{'' if seed == first else f'.seed-{seed}'}"
        recipe = ours.recipe_of_method(name, task.protocol, seed)
        return ours.Ours(card, run, recipe=recipe, shared=runs)

    return Entry(card, identity_with, new, tuple(seeds))


def card_of(name: str) -> Card:
    """What is known of a method; of answers from elsewhere only the name."""
    if name in METHODS:
        return make(name).card
    return ours.card_of(name) if ours.is_ours(name) else Card(name=name, title=name, source="answers from elsewhere")


def compare(
    *,
    protocol: str,
    methods: Sequence[str],
    data: Path,
    out: Path,
    folds: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    budget_s: float | None = None,
    extra: Path | None = None,
    against: str | None = None,
    given: Mapping[str, Path] | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Let methods learn and answer what is still to be done, and write the table into `out`. Returns its report.

    Ours are trained with all `seeds`, those of others with the first. `extra`: a folder of further labelled recordings,
    for methods that learn from some. `given`: name -> folder with answers of `avgan evaluate`, which are taken instead
    of training. A method that cannot be run here is named in the report's `failed`, the others are run.

    Raises ConfigError for names that are not known or other settings in `out`, DataError for missing data, LeakageError
    where a fold leaks.
    """
    given = given or {}
    wanted = choose(methods, given)
    read = read_protocol(protocol, data)
    chosen = select_folds(read, tuple(folds))
    if left_out := read.folds[0].train.left_out:
        say(left_out)
    if HUMAN in wanted and read.human is None:
        raise ConfigError(f"{protocol}: no figure for people was published; leave out {HUMAN!r}")
    further = None if extra is None else Extra(extra, read)
    settings = Settings(
        protocol=protocol, seed=seeds[0], budget_s=budget_s, extra=None if further is None else further.name
    )
    settings.keep(out)
    to_run = [name for name in wanted if name not in given and name != HUMAN]
    if against is not None and against not in {*to_run, *given, *stored_methods(out)}:
        raise ConfigError(f"--against {against}: it is not among the methods of this comparison")
    try:
        pictures = Pictures(read, data)
    except DataError:
        pictures = None  # most methods need none
    task = Task(
        protocol=read,
        settings=settings,
        data=data,
        out=out,
        sounds=Sounds.of(read),
        pictures=pictures,
        extra=further,
        say=say,
        show=show,
    )
    for name, folder in given.items():
        take_answers(name, folder, chosen, task)
    entries = [entry_of(name, task, seeds=seeds) for name in to_run]
    failed: dict[str, str] = {}
    try:
        run_all(entries, chosen, task, failed, after_fold=lambda: tabulate(task, failed, against=against))
    finally:
        report = tabulate(task, failed, against=against)
    return report


def choose(methods: Sequence[str], given: Mapping[str, Path]) -> list[str]:
    """The methods asked for, `all` spelt out. Raises ConfigError for one that is not known."""
    everything = [*ours.PRESETS, *METHODS]
    groups = {ALL: everything, ABLATIONS: ["avgan-transfer", "avgan-compact", *ours.ABLATED]}
    known = [*everything, HUMAN, *groups, *ours.ABLATED]
    if odd := [name for name in given if not re.fullmatch(r"\w[\w.-]*", name)]:
        raise ConfigError(f"--answers {odd[0]}=...: a name has letters, digits, dots and hyphens")
    if unknown := [name for name in methods if name not in known and name not in given]:
        raise ConfigError(f"no method is called {unknown[0]!r}: choose among {', '.join(known)}")
    if not methods and not given:
        raise ConfigError(f"no method to compare: choose among {', '.join(known)}")
    return list(dict.fromkeys(own for name in methods for own in groups.get(name, [name])))


def take_answers(name: str, folder: Path, folds: Sequence[Fold], task: Task) -> None:
    """Take the answers in a folder, of this method or of the only one as `avgan evaluate` leaves them.

    Raises DataError where a fold is missing, or other clips were answered.
    """
    there = stored_methods(folder)
    for fold in folds:
        answers = read_answers(folder, there[0] if len(there) == 1 else name, fold.name)
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


def described(name: str, fold: Fold, task: Task) -> dict[str, Any]:
    """What is known of answers before they are given."""
    return {
        "method": name,
        "fold": fold.name,
        "labels": list(task.protocol.labels),
        "clip_ids": [clip.id for clip in fold.test.clips],
        "sources": [clip.source_id for clip in fold.test.clips],
        "targets": task.protocol.numbers_of(fold.test).tolist(),
        "data_sha256": fold.sha256,
    }


def run_all(
    entries: Sequence[Entry],
    folds: Sequence[Fold],
    task: Task,
    failed: dict[str, str] | None = None,
    *,
    after_fold: Callable[[], object] = lambda: None,
) -> None:
    """Every method on every fold with every seed that has no answers yet, wide before it is long.

    Methods that cannot be run are put into `failed`; without it their error is raised.
    """
    fits = [(fold, entry, seed) for fold in folds for entry in entries for seed in entry.seeds]
    left = [fit for fit in fits if not is_answered(*fit, task)]
    if done := len(fits) - len(left):
        task.say(f"{done} of {len(fits)} fits are done already")
    if left:
        names = [entry.name for _, entry, _ in left]
        task.say(
            f"{len(left)} fits to do: {len(set(names))} methods, {len(folds)} folds{estimate(names, task)}; "
            "--methods and --folds choose fewer"
        )
    for number, (fold, entry, seed) in enumerate(left):
        name = entry.name
        if failed and name in failed:
            continue
        again = "" if len(entry.seeds) == 1 else f", seed {seed}"
        rest = [later.name for _, later, _ in left[number:] if later.name not in (failed or ())]
        task.say(f"fit {number + 1} of {len(left)}: {name}, fold {fold.name}{again}{estimate(rest, task)}")
        try:
            answers = answer(fold, entry, seed, task)
        except AvganError as error:
            if failed is None or isinstance(error, LeakageError):
                raise
            failed[name] = str(error)
            task.say(f"{name} is left out: {error}")
            continue
        write_answers(answers, task.out, seed=None if seed == task.settings.seed else seed)
        task.say(f"{name}, fold {fold.name}: {100 * answers.correct.mean():.1f} % in {answers.fitting_s or 0:.0f} s")
        if number + 1 == len(left) or left[number + 1][0] is not fold:
            after_fold()


def is_answered(fold: Fold, entry: Entry, seed: int, task: Task) -> bool:
    """Whether these very answers are stored already: of the same method to the same clips."""
    other_seed = None if seed == task.settings.seed else seed
    stored = read_answers(task.out, entry.name, fold.name, seed=other_seed)
    if stored is None:
        return False
    changed = ""
    if stored.data_sha256 != fold.sha256:
        changed = "the recordings have changed"
    elif not stored.is_given and stored.identity != entry.identity(fold, seed):
        changed = "the method has changed"
    if changed:
        task.say(f"{entry.name}, fold {fold.name}: {changed}; learns anew")
    return not changed


def estimate(rest: Sequence[str], task: Task) -> str:
    """How long the rest takes, from how long such fits took, or may take; nothing where nobody knows."""
    took = {name: [one.fitting_s for one in task.answers_of(name) if one.fitting_s] for name in set(rest)}
    known = {name: float(np.mean(seconds)) for name, seconds in took.items() if seconds}
    typical = task.settings.budget_s or (float(np.mean(list(known.values()))) if known else None)
    if typical is None:
        return ""
    seconds = sum(known.get(name, typical) for name in rest)
    left = f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{max(1, round(seconds / 60))} min"
    return f"; about {left} left"


def answer(fold: Fold, entry: Entry, seed: int, task: Task) -> Answers:
    """Let a method learn from one side of a fold and answer the other."""
    name, method = entry.name, entry.make(fold, seed)
    extra = task.extra if entry.card.takes_extra else None
    known = clips_to_learn_from(fold, task.protocol, task.sounds, data=task.data, pictures=task.pictures, extra=extra)
    asked = clips_to_answer(fold, task.protocol, task.sounds, data=task.data)
    rng = np.random.default_rng([seed, *f"{name} {fold.name}".encode()])
    budget = Budget(task.settings.budget_s, say=lambda line: task.show(f"{name}: {line}"))
    began = time.monotonic()
    method.fit(known, budget=budget, rng=rng)
    fitted, reading = time.monotonic(), task.sounds.seconds
    probabilities = method.predict(asked)
    answering_s = time.monotonic() - fitted - (task.sounds.seconds - reading)
    assert probabilities.shape == (len(asked), len(asked.labels))
    assert np.allclose(probabilities.sum(1), 1.0, atol=1e-4)
    keep_pictures(method, known, asked, task.out / "pictures" / name)
    cost, place = method.cost(), fitting.device()
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
        device=torch.cuda.get_device_name(place)
        if place.type == "cuda"
        else f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
    )


def tabulate(task: Task, failed: Mapping[str, str], *, against: str | None) -> dict[str, Any]:
    """Write the table of all answers there are, and return it."""
    answered = {name: task.answers_of(name) for name in stored_methods(task.out)}
    folds = {fold.name: fold for fold in task.protocol.folds}
    older = {}
    for name, stored in answered.items():
        mine = [one for one in stored if not one.is_given]
        entry = entry_of(name, task) if mine and (name in METHODS or ours.is_ours(name)) else None
        if any(entry is None or one.identity != entry.identity(folds[one.fold], one.seed or 0) for one in mine):
            older[name] = OLDER
    cards = {name: card_of(name) for name in answered}
    report = build_report(task.protocol, task.settings, answered, cards, against=against, older=older, failed=failed)
    write_table(report, task.out)
    return report
