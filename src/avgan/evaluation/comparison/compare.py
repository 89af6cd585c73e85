"""A comparison: methods x folds, each answered by who learnt from the fold's other side; stopped and resumed anywhere.

    OUT/settings.json                     protocol, seed and budget, which all answers share
        answers/<method>/fold-<name>.json written whole when a fold is done; a second call does the rest
        runs/                             of AVGAN itself, resumed within a fold
        compare.json  compare.md  compare.html  compare.png

The table holds every method that has answers in OUT, so that calls for different methods, also at the same time, add
up to one table.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avgan.baselines import METHODS
from avgan.errors import AvganError, ConfigError, DataError, LeakageError
from avgan.evaluation.comparison import ours
from avgan.evaluation.comparison.answers import (
    Answers,
    Settings,
    data_sha256,
    read_answers,
    settle,
    write_answers,
)
from avgan.evaluation.comparison.clips import Pictures, Sounds
from avgan.evaluation.comparison.contestants import (
    GIVEN,
    Task,
    answer,
    card_of,
    current_identity,
    take_answers,
)
from avgan.evaluation.comparison.folds import Fold, Protocol, read_protocol, select_folds
from avgan.evaluation.comparison.table import HUMAN, build_report, write_table
from avgan.evaluation.protocols import config_sha256
from avgan.training.run import finished_parent

ALL = "all"
ABLATIONS = "ablations"
"""The whole method, and it with one thing after the other taken away."""
OLDER = "answered by an older version of the method"


def compare(
    *,
    protocol: str,
    methods: Sequence[str],
    data: Path,
    out: Path,
    folds: Sequence[str] = (),
    seed: int = 0,
    budget_s: float | None = None,
    parent: Path | None = None,
    against: str | None = None,
    given: Mapping[str, Path] | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Let methods learn and answer what is still to be done, and write the table into `out`. Returns its report.

    `parent`: a run of pictures that ours begin from. `given`: name -> folder with answers of `avgan
    evaluate`, which are taken instead of training. A method that cannot be run here is named in the report's `failed`,
    the others are run.

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
    begins = None if parent is None else name_of_parent(parent)
    settings = Settings(protocol=protocol, seed=seed, budget_s=budget_s, parent=begins)
    settle(settings, out)
    to_run = [name for name in wanted if name not in given and name != HUMAN]
    if against is not None and against not in {*to_run, *given, *stored_methods(out)}:
        raise ConfigError(f"--against {against}: it is not among the methods of this comparison")
    task = Task(
        protocol=read,
        settings=settings,
        data=data,
        out=out,
        sounds=Sounds(read),
        pictures=find_pictures(read, data),
        data_sha256={fold.name: data_sha256(fold) for fold in read.folds},
        parent=parent,
        against=against,
        say=say,
        show=show,
    )
    for name, folder in given.items():
        take_answers(name, folder, chosen, task)
    failed: dict[str, str] = {}
    try:
        run_all(to_run, chosen, task, failed)
    finally:
        report = tabulate(task, failed)
    return report


def choose(methods: Sequence[str], given: Mapping[str, Path]) -> list[str]:
    """The methods asked for, `all` spelt out. Raises ConfigError for one that is not known."""
    known = [*ours.PRESETS, *METHODS, HUMAN]
    groups = {
        ALL: [name for name in known if name != HUMAN],
        ABLATIONS: ["avgan-transfer", *ours.ABLATED],
    }
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
    return f"{config.preset} {config_sha256(config)[:12]}"


def find_pictures(protocol: Protocol, data: Path) -> Pictures | None:
    """The pictures to learn with, or None where there are none: most methods need none."""
    try:
        return Pictures(protocol, data)
    except DataError:
        return None


def run_all(
    methods: Sequence[str], folds: Sequence[Fold], task: Task, failed: dict[str, str]
) -> None:
    """Every method on every fold that has no answers yet; a table after each fold, wide before it is long."""
    left = [(fold, name) for fold in folds for name in methods if not is_answered(name, fold, task)]
    if done := len(methods) * len(folds) - len(left):
        task.say(f"{done} of {len(methods) * len(folds)} fits are done already")
    if left:
        num_methods = len({name for _, name in left})
        task.say(
            f"{len(left)} fits to do: {num_methods} methods, {len(folds)} folds"
            f"{estimate([name for _, name in left], task)}; --methods and --folds choose fewer"
        )
    for number, (fold, name) in enumerate(left):
        if name in failed:
            continue
        rest = [later for _, later in left[number:] if later not in failed]
        task.say(f"fit {number + 1} of {len(left)}: {name}, fold {fold.name}{estimate(rest, task)}")
        try:
            answers = answer(name, fold, task)
        except LeakageError:
            raise
        except AvganError as error:
            failed[name] = str(error)
            task.say(f"{name} is left out: {error}")
            continue
        write_answers(answers, task.out)
        task.say(
            f"{name}, fold {fold.name}: {100 * answers.correct.mean():.1f} % in {answers.fitting_s or 0:.0f} s"
        )
        if number + 1 == len(left) or left[number + 1][0] is not fold:
            tabulate(task, failed)


def is_answered(name: str, fold: Fold, task: Task) -> bool:
    """Whether these very answers are stored already: of the same method to the same clips."""
    stored = read_answers(task.out, name, fold.name)
    if stored is None:
        return False
    given = stored.identity.startswith(GIVEN)
    if stored.data_sha256 != task.data_sha256[fold.name]:
        task.say(f"{name}, fold {fold.name}: the recordings have changed; learns anew")
        return False
    if not given and stored.identity != current_identity(name, task):
        task.say(f"{name}, fold {fold.name}: the method has changed; learns anew")
        return False
    return True


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


def stored_methods(out: Path) -> list[str]:
    """The methods that have answers."""
    return sorted(path.name for path in (out / "answers").glob("*") if path.is_dir())


def stored_answers(name: str, task: Task) -> list[Answers]:
    """The answers of a method to the folds of this very data."""
    found = (read_answers(task.out, name, fold.name) for fold in task.protocol.folds)
    return [one for one in found if one and one.data_sha256 == task.data_sha256[one.fold]]


def older_ones(answered: Mapping[str, Sequence[Answers]], task: Task) -> Iterator[tuple[str, str]]:
    """(method, remark) for those with answers that it would not give now."""
    for name, folds in answered.items():
        own = [one.identity for one in folds if not one.identity.startswith(GIVEN)]
        known = name in METHODS or ours.is_ours(name)
        if own and (not known or set(own) != {current_identity(name, task)}):
            yield name, OLDER


def tabulate(task: Task, failed: Mapping[str, str]) -> dict[str, Any]:
    """Write the table of all answers there are, and return it."""
    answered = {name: stored_answers(name, task) for name in stored_methods(task.out)}
    report = build_report(
        task.protocol,
        task.settings,
        answered,
        {name: card_of(name) for name in answered},
        against=task.against,
        older=dict(older_ones(answered, task)),
        failed=failed,
    )
    write_table(report, task.out)
    return report
