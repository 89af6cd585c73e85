"""Compare: methods of others and our own, on the same folds."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from avgan.cli.app import UsageError, app, say, show_progress, terminable, two_sides
from avgan.cli.app import extra as needs
from avgan.cli.options import Output, Several
from avgan.errors import printable


@app.command
def compare(
    *,
    protocol: str,
    data: Path,
    output: Output,
    methods: str = "all",
    folds: str = "",
    budget: float | None = None,
    seed: str = "0,1,2",
    extra: Path | None = None,
    answers: Annotated[Several, Parameter(name="--answers")] = (),
    against: str | None = None,
) -> int:
    """Train methods fold by fold and write one table of them; the same command goes on where it was stopped.

    Args:
        protocol: esc50, esc10, tau2019, tau2019_cities, tau_av_2021, places, places_collections, places_worlds, test
            (of a curated set) or folder (folds by source).
        data: A folder for each label, or the folder that holds the data sets.
        output: Folder of the answers and of the table: compare.md, compare.html, compare.json, and a plot, compare.png.
        methods: Names with commas between them, all, or ablations: AVGAN with one thing after the other taken away.
        folds: Such as 1,5; all unless given.
        budget: Minutes that each fit of each method may take; as long as it takes unless given.
        seed: Of all that is random, one or several: AVGAN is trained with each, others with the first.
        extra: Further labelled recordings for sdcnn-av; those of sources or cities that are asked about are left out.
        answers: NAME=FOLDER: where `avgan evaluate` wrote answers, taken as those of a method; may be given several
            times.
        against: The method that all others are tested against, the best unless given.
    """
    if budget is not None and budget <= 0:
        raise UsageError(f"--budget {budget:g}: give minutes above 0")
    given = [two_sides("--answers", text, "NAME=FOLDER") for text in answers]
    with needs("train"):
        from avgan.evaluation.comparison.compare import compare
    with terminable():
        report = compare(
            protocol=protocol,
            methods=names(methods),
            data=data,
            out=output,
            folds=names(folds),
            seeds=numbers(seed),
            budget_s=None if budget is None else 60 * budget,
            extra=extra,
            against=against,
            given={name: Path(folder) for name, folder in given},
            say=say,
            show=show_progress,
        )
    return tell(report, output)


def tell(report: dict[str, Any], output: Path) -> int:
    """Print the table and where it lies; exit status 1 where a method could not be run."""
    from avgan.evaluation.comparison.table import plain

    show_progress("")
    print("\n".join(map(printable, plain(report).split("\n"))))
    say(f"the table: {output / 'compare.html'}, compare.md, compare.json, compare.png")
    return 1 if report["failed"] else 0


def numbers(text: str) -> tuple[int, ...]:
    """The seeds in "0, 1"."""
    found = names(text)
    if not found or not all(map(str.isdecimal, found)):
        raise UsageError(f"--seed {text}: write it as 0 or as 0,1,2")
    return tuple(dict.fromkeys(map(int, found)))


def names(text: str) -> tuple[str, ...]:
    """The names in "a, b"."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
