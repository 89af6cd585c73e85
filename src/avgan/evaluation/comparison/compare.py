"""A comparison: methods x folds, each answered by who learnt from the fold's other side; stopped and resumed anywhere.

    OUT/settings.json                     protocol, seed and budget, which all answers share
        answers/<method>/fold-<name>.json written whole when a fold is done; a second call does the rest
                                          (of further seeds: fold-<name>.seed-<n>.json)
        runs/                             of AVGAN itself, resumed within a fold
        compare.json  compare.md  compare.html  compare.png

The table holds every method that has answers in OUT, so that calls for different methods, also at the same time, add
up to one table.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avgan.baselines import METHODS
from avgan.errors import AvganError, ConfigError, DataError, LeakageError
from avgan.evaluation.comparison import ours
from avgan.evaluation.comparison.answers import Answers, Settings, data_sha256, settle, stored_methods, write_answers
from avgan.evaluation.comparison.clips import Extra, Pictures, Sounds
from avgan.evaluation.comparison.methods import (
    Entry,
    Task,
    answer,
    card_of,
    is_answered,
    own,
    rival,
    stored_answers,
    take_answers,
)
from avgan.evaluation.comparison.table import HUMAN, build_report, write_table
from avgan.evaluation.protocols import Fold, Protocol, read_protocol, select_folds
from avgan.training.run import finished_parent

ALL = "all"
ABLATIONS = "ablations"
"""The whole method, and it with one thing after the other taken away."""
SEEDS = (0, 1, 2)
"""Of our own methods: three are the fewest that tell a spread from an accident. Others have the first."""
OLDER = "answered by an older version of the method"


def compare(
    *,
    protocol: str,
    methods: Sequence[str],
    data: Path,
    out: Path,
    folds: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    budget_s: float | None = None,
    parent: Path | None = None,
    extra: Path | None = None,
    against: str | None = None,
    given: Mapping[str, Path] | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Let methods learn and answer what is still to be done, and write the table into `out`. Returns its report.

    Ours are trained with all `seeds`, those of others with the first. `parent`: a run of pictures
    that ours begin from. `extra`: a folder of further labelled recordings, for methods that learn from some. `given`:
    name -> folder with answers of `avgan evaluate`, which are taken instead of training. A method that cannot be run
    here is named in the report's `failed`, the others are run.

    Raises ConfigError for names that are not known or other settings in `out`, DataError for missing data, LeakageError
    where a fold leaks.
    """
    given = given or {}
    wanted = choose(methods, given)
    read = read_protocol(protocol, data)
    chosen = select_folds(read, tuple(folds))
    say_left_out(read, say)
    if HUMAN in wanted and read.human is None:
        raise ConfigError(f"{protocol}: no figure for people was published; leave out {HUMAN!r}")
    further = None if extra is None else Extra(extra, read)
    settings = Settings(
        protocol=protocol,
        seed=seeds[0],
        budget_s=budget_s,
        parent=None if parent is None else name_of_parent(parent),
        extra=None if further is None else further.name,
    )
    settle(settings, out)
    to_run = [name for name in wanted if name not in given and name != HUMAN]
    if against is not None and against not in {*to_run, *given, *stored_methods(out)}:
        raise ConfigError(f"--against {against}: it is not among the methods of this comparison")
    pictures = find_pictures(read, data)
    task = task_of(read, settings, data=data, out=out, pictures=pictures, extra=further)
    task = replace(task, say=say, show=show)
    for name, folder in given.items():
        take_answers(name, folder, chosen, task)
    entries = entries_of(to_run, task, parent=parent, seeds=seeds)
    failed: dict[str, str] = {}

    table = partial(tabulate, task, failed, against=against)
    try:
        run_all(entries, chosen, task, failed, after_fold=table)
    finally:
        report = table()
    return report


def say_left_out(protocol: Protocol, say: Callable[[str], None]) -> None:
    """What a folder holds that is not heard, where anything is."""
    if left_out := protocol.folds[0].train.left_out:
        say(left_out)


def entries_of(
    names: Sequence[str], task: Task, *, parent: Path | None = None, seeds: Sequence[int] = ()
) -> list[Entry]:
    """The methods of these names, rivals and ours."""
    return [own(name, task, parent=parent, seeds=seeds) if ours.is_ours(name) else rival(name, task) for name in names]


def task_of(
    protocol: Protocol,
    settings: Settings,
    *,
    data: Path,
    out: Path,
    pictures: Pictures | None = None,
    extra: Extra | None = None,
) -> Task:
    """What methods are asked on the recordings below `data`."""
    return Task(
        protocol=protocol,
        settings=settings,
        data=data,
        out=out,
        sounds=Sounds.of(protocol),
        pictures=pictures,
        data_sha256={fold.name: data_sha256(fold) for fold in protocol.folds},
        extra=extra,
    )


def choose(methods: Sequence[str], given: Mapping[str, Path]) -> list[str]:
    """The methods asked for, `all` spelt out. Raises ConfigError for one that is not known."""
    known = [*ours.PRESETS, *METHODS, HUMAN]
    groups = {ALL: [name for name in known if name != HUMAN], ABLATIONS: ["avgan-transfer", *ours.ABLATED]}
    known += [*groups, *ours.ABLATED]
    if odd := [name for name in given if not re.fullmatch(r"\w[\w.-]*", name)]:
        raise ConfigError(f"--answers {odd[0]}=...: a name has letters, digits, dots and hyphens")
    wanted: list[str] = []
    for name in methods:
        if name not in known and name not in given:
            raise ConfigError(f"no method is called {name!r}: choose among {', '.join(known)}")
        wanted += groups.get(name, [name])
    if not wanted and not given:
        raise ConfigError(f"no method to compare: choose among {', '.join(known)}")
    return list(dict.fromkeys(wanted))


def name_of_parent(run: Path) -> str:
    """What to call a run of pictures: its preset and a hash of its settings. Raises ConfigError for another stage."""
    config = finished_parent(run).config
    if config.stage.kind != "vqvae":
        raise ConfigError(
            f"--parent {run}: is a run of {config.stage.kind}, which has heard sounds; name one of pictures (vqvae)"
        )
    return f"{config.preset} {ours.config_sha256(config)[:12]}"


def find_pictures(protocol: Protocol, data: Path) -> Pictures | None:
    """The pictures to learn with, or None where there are none: most methods need none."""
    try:
        return Pictures(protocol, data)
    except DataError:
        return None


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
    left = [fit for fit in fits if not is_answered(fit[1], fit[0], fit[2], task)]
    if done := len(fits) - len(left):
        task.say(f"{done} of {len(fits)} fits are done already")
    if left:
        num_methods = len({entry.name for _, entry, _ in left})
        task.say(
            f"{len(left)} fits to do: {num_methods} methods, {len(folds)} folds"
            f"{estimate([entry.name for _, entry, _ in left], task)}; --methods and --folds choose fewer"
        )
    for number, (fold, entry, seed) in enumerate(left):
        name = entry.name
        if failed and name in failed:
            continue
        again = "" if len(entry.seeds) == 1 else f", seed {seed}"
        rest = [later.name for _, later, _ in left[number:] if later.name not in (failed or ())]
        task.say(f"fit {number + 1} of {len(left)}: {name}, fold {fold.name}{again}{estimate(rest, task)}")
        try:
            answers = answer(entry, fold, seed, task)
        except AvganError as error:
            if failed is None or isinstance(error, LeakageError):
                raise
            failed[name] = str(error)
            task.say(f"{name} is left out: {error}")
            continue
        write_answers(answers, task.out, seed=task.seed_of_file(seed))
        task.say(f"{name}, fold {fold.name}: {100 * answers.correct.mean():.1f} % in {answers.fitting_s or 0:.0f} s")
        if number + 1 == len(left) or left[number + 1][0] is not fold:
            after_fold()


def estimate(rest: Sequence[str], task: Task) -> str:
    """How long the rest takes, from how long such fits took, or may take; nothing where nobody knows."""
    known: dict[str, float] = {}
    for name in set(rest):
        took = [fold.fitting_s for fold in stored_answers(name, task) if fold.fitting_s]
        if took:
            known[name] = float(np.mean(took))
    typical = task.settings.budget_s or (float(np.mean(list(known.values()))) if known else None)
    if typical is None:
        return ""
    seconds = sum(known.get(name, typical) for name in rest)
    return (
        f"; about {seconds / 3600:.1f} h left"
        if seconds > 5400
        else (f"; about {max(1, round(seconds / 60))} min left")
    )


def older_ones(answered: Mapping[str, Sequence[Answers]], task: Task) -> Iterator[tuple[str, str]]:
    """(method, remark) for those with answers that it would not give now."""
    folds = {fold.name: fold for fold in task.protocol.folds}
    for name, stored in answered.items():
        mine = [one for one in stored if not one.is_given]
        if not mine:
            continue
        known = name in METHODS or ours.is_ours(name)
        (entry,) = entries_of([name] if known else [], task) or (None,)
        if entry is None or any(one.identity != entry.identity(folds[one.fold], one.seed or 0) for one in mine):
            yield name, OLDER


def tabulate(task: Task, failed: Mapping[str, str], *, against: str | None) -> dict[str, Any]:
    """Write the table of all answers there are, and return it."""
    answered = {name: stored_answers(name, task) for name in stored_methods(task.out)}
    report = build_report(
        task.protocol,
        task.settings,
        answered,
        {name: card_of(name) for name in answered},
        against=against,
        older=dict(older_ones(answered, task)),
        failed=failed,
    )
    write_table(report, task.out)
    return report
