"""The methods of a comparison as one picture: what each reached here, with its interval, beside what was published."""

import logging
from pathlib import Path
from typing import Any

from avgan.evaluation.comparison.outcome import CHOSEN

OURS, OTHERS, QUIET = "#b86a14", "#3f6b54", "#8a8f8a"
INCH_PER_METHOD = 0.3


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw the methods of a report (`table.build_report`), the best at the top, as a PNG.

    A dot is the mean over folds, its line the 95 % interval, a ring the authors' figure. Where folds are missing the
    method's name says how many were run.
    """
    # on first use it tells everyone that it looks for fonts
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    rows = report["methods"]
    figure = Figure(figsize=(8, 1.4 + INCH_PER_METHOD * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        if row["accuracy"] is not None:
            colour = OURS if row["name"].startswith("avgan") else OTHERS
            low, high = row["interval_95"]
            axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=2)
            axes.plot(100 * row["accuracy"], place, "o", color=colour, markersize=6)
        if row["published"] is not None:
            axes.plot(row["published"], place, "o", color=QUIET, markersize=7, fillstyle="none")
    axes.plot([], [], "o-", color=OTHERS, label=f"here, {limit(report)}, with 95 % interval")
    if any(row["published"] is not None for row in rows):
        axes.plot([], [], "o", color=QUIET, fillstyle="none", label="as published")
    axes.set_yticks(range(len(rows)), [named(row, len(report["folds"])) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("named rightly, %")
    axes.set_title(report["title"], fontsize=10)
    axes.grid(axis="x", color="#e4e1d8")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower right", ncols=2, frameon=False, fontsize=8)
    figure.savefig(path, format="png", dpi=110)


def limit(report: dict[str, Any]) -> str:
    """How long a fit might take."""
    budget_s = report["budget_s"]
    return "all epochs" if budget_s is None else f"{budget_s / 60:g} min a fit"


def named(row: dict[str, Any], num_folds: int) -> str:
    """A method's title, and of how many folds it is where they are not all."""
    done = len(row["by_fold"])
    title: str = row["title"] + (f" {CHOSEN}" if row["chosen_on"] else "")
    return title if done in (0, num_folds) else f"{title}, {done} of {num_folds} folds"
