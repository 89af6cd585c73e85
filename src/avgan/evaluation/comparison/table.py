"""The table of a comparison: a row a method, as JSON for programs, Markdown, one HTML page and a plot for people."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from avgan import __version__, metrics
from avgan.baselines.method import Card
from avgan.evaluation.comparison.answers import Answers, Outcome, Settings
from avgan.evaluation.protocols import Protocol
from avgan.evaluation.report import between, markdown_table, new_figure, points, write_json
from avgan.files import whole, write_whole
from avgan.pages import render

HUMAN = "human"
CHOSEN = "†"
"""Marks figures of folds that a choice was made on."""
OURS, OTHERS, QUIET = "#b86a14", "#3f6b54", "#8a8f8a"
INCH_PER_METHOD = 0.3

Row = dict[str, Any]
T = TypeVar("T")


def build_report(
    protocol: Protocol,
    settings: Settings,
    answered: Mapping[str, Sequence[Answers]],
    cards: Mapping[str, Card],
    *,
    against: str | None = None,
    older: Mapping[str, str] | None = None,
    failed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """All that is known of the methods that answered, the best first.

    `answered`: of each method the answers on the folds done so far; `against`: the method all others are tested
    against, the best unless named; `older`: remarks on methods whose answers are not from what they are now.
    """
    rows = [
        method_row(protocol, cards[name], folds) | {"remark": (older or {}).get(name, "")}
        for name, folds in answered.items()
        if folds
    ]
    rows.sort(key=lambda row: -row["accuracy"])
    reference = against if against in answered else (rows[0]["name"] if rows else None)
    if reference is not None:
        for row in rows:
            row["paired_test"] = test_against(answered[row["name"]], answered[reference])
    if protocol.human is not None:
        rows.append(human_row(protocol))
        rows.sort(key=lambda row: -(row["accuracy"] or row["published"] / 100))
    return {
        "protocol": protocol.name,
        "title": protocol.title,
        "avgan": __version__,
        "seed": settings.seed,
        "budget_s": settings.budget_s,
        "folds": [fold.name for fold in protocol.folds],
        "against": reference,
        "parts": list(protocol.parts),
        "methods": rows,
        "failed": dict(failed or {}),
    }


def method_row(protocol: Protocol, card: Card, answers: Sequence[Answers]) -> Row:
    """One method: how well it did, with its uncertainty, and at what cost."""
    outcome = Outcome.of(answers)
    by_fold = outcome.by_fold
    inside = {part: np.isin(outcome.clip_ids, list(members)) for part, members in protocol.parts.items()}
    figure = published(card, protocol.name, tuple(by_fold))

    def mean_of(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    return {
        "name": card.name,
        "title": card.title,
        "source": card.source,
        "published": figure,
        "published_on_these_folds": figure is not None and figure != published(card, protocol.name, ()),
        **outcome.share(),
        "deviation_over_folds": outcome.deviation_over_folds,
        "by_fold": by_fold,
        "seeds": sorted({one.seed for one in answers if one.seed is not None}),
        "by_seed": list(outcome.by_seed),
        "deviation_over_seeds": metrics.mean_and_deviation(outcome.by_seed or [0.0])[1],
        "chosen_on": [fold for fold in by_fold if fold in card.chosen_on.get(protocol.dataset, ())],
        "parts": {part: outcome.share(which) for part, which in inside.items() if which.any()},
        "num_parameters": mean_of(one.num_parameters for one in answers),
        "num_macs": mean_of(one.num_macs for one in answers),
        "fitting_s": mean_of(one.fitting_s for one in answers),
        "answering_ms": mean_of(one.answering_s and 1000 * one.answering_s / len(one.clip_ids) for one in answers),
        "num_epochs": mean_of(one.num_epochs or None for one in answers),
        "num_epochs_wanted": mean_of(one.num_epochs_wanted or None for one in answers),
        "device": ", ".join(sorted({one.device for one in answers if one.device})),
        "pretrained_on": card.pretrained_on,
        "follows": list(card.follows),
        "differs": list(card.differs),
    }


def human_row(protocol: Protocol) -> Row:
    """What people reach: published, not measured here."""
    return {
        "name": HUMAN,
        "title": "People",
        "source": protocol.human_source,
        "published": protocol.human,
        "accuracy": None,
        "by_fold": {},
        "chosen_on": [],
        "parts": {},
        "pretrained_on": "",
        "follows": [],
        "differs": ["the published figure; nobody was asked here"],
        "remark": "",
    }


def published(card: Card, protocol: str, folds: Sequence[str]) -> float | None:
    """The accuracy in percent that a method's authors reported by a protocol, if they did; where they reported it by
    fold, that of these folds."""
    if protocol != "esc50":
        return card.published_on.get(protocol)
    if folds and card.published_by_fold:
        return float(np.mean([card.published_by_fold[fold] for fold in folds]))
    return card.published


def test_against(ours: Sequence[Answers], theirs: Sequence[Answers]) -> Row | None:
    """The paired test on the clips that both answered; None for a method and itself, or where there is none."""
    if ours is theirs:
        return None
    mine, other = Outcome.of(ours), Outcome.of(theirs)
    places = {key: row for row, key in enumerate(zip(other.folds, other.clip_ids, strict=True))}
    pairs = [(row, places[key]) for row, key in enumerate(zip(mine.folds, mine.clip_ids, strict=True)) if key in places]
    if not pairs:
        return None
    here, there = np.array(pairs).T
    right, others = mine.right[here], other.right[there]
    sources, folds = mine.sources[here], mine.folds[here]
    return {
        "difference": metrics.mean_over_folds(right - others, folds),
        "only_this_right": int((right > others).sum()),
        "only_that_right": int((right < others).sum()),
        "num_clips": len(pairs),
        "num_sources": len(np.unique(sources)),
        "p": metrics.paired_test(right, others, sources, folds),
    }


def write_table(report: dict[str, Any], out: Path) -> None:
    """Write compare.json, compare.md, compare.html and the plot compare.png into `out`."""
    write_json(report, out / "compare.json")
    write_whole(out / "compare.md", markdown(report))
    write_whole(out / "compare.html", page(report))
    with whole(out / "compare.png") as unfinished:
        plot(report, unfinished)


def columns(report: dict[str, Any]) -> dict[str, Callable[[Row], str]]:
    """The headings, and what stands below them for a method."""
    parts = {
        f"{part}, %": lambda row, part=part: _shown(row["parts"].get(part), lambda found: points(found["accuracy"]))
        for part in report["parts"]
    }
    against = f"p against {report['against']}" if report["against"] else "p"
    return {
        "method": lambda row: row["title"] + ("*" if row["remark"] else ""),
        "published, %": published_cell,
        "here, %": lambda row: accuracy_cell(row, len(report["folds"])),
        "95 %": lambda row: _shown(row.get("interval_95"), between),
        **parts,
        against: lambda row: _shown(row.get("paired_test"), lambda test: p_cell(test["p"])),
        "parameters": lambda row: counted(row.get("num_parameters")),
        "multiply-adds": lambda row: counted(row.get("num_macs")),
        "training, s": lambda row: _shown(row.get("fitting_s"), "{:,.0f}".format),
        "ms a clip": lambda row: _shown(row.get("answering_ms"), "{:.1f}".format),
        "epochs": lambda row: _shown(
            row.get("num_epochs_wanted"), lambda wanted: f"{row['num_epochs'] or 0:.0f} of {wanted:.0f}"
        ),
        "pretrained on": lambda row: row["pretrained_on"],
    }


def rows_of(report: dict[str, Any]) -> list[list[str]]:
    """A cell for each heading, of each method."""
    return [[cell(row) for cell in columns(report).values()] for row in report["methods"]]


def _shown(value: T | None, form: Callable[[T], str]) -> str:
    return "" if value is None else form(value)


def accuracy_cell(row: Row, num_folds: int) -> str:
    """Such as "64.5 +- 3.6", and of how many folds where they are not all."""
    if row["accuracy"] is None:
        return ""
    mark = CHOSEN if row["chosen_on"] else ""
    spread = _shown(row["deviation_over_folds"], lambda deviation: f" ± {points(deviation)}")
    done = len(row["by_fold"])
    missing = "" if done == num_folds else f" ({done} of {num_folds} folds)"
    return f"{points(row['accuracy'])}{mark}{spread}{missing}"


def published_cell(row: Row) -> str:
    """Such as "64.5", or of the folds that were run here where they are known."""
    folds = f" (fold {', '.join(row['by_fold'])})" if row.get("published_on_these_folds") else ""
    return _shown(row["published"], lambda published: f"{published:.1f}{folds}")


def p_cell(p: float) -> str:
    """A probability to the digits that matter."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def counted(number: float | None) -> str:
    """Such as "4.69 M"."""
    if number is None:
        return ""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"


def explanation(report: dict[str, Any]) -> list[str]:
    """What the columns mean, a sentence each."""
    budget_s = report["budget_s"]
    limit = "each fit took its time" if budget_s is None else f"each fit had {budget_s / 60:g} min"
    return [
        f"{report['title']}; seed {report['seed']}; {limit}; made with avgan {report['avgan']}.",
        "Here: mean over folds and sample standard deviation over them; 95 %: bootstrap over the sources of the clips, "
        "whose clips are right or wrong together.",
        "p: sign-flip permutation test on the clips both answered, all clips of a source flipped together, two-sided.",
        f"{CHOSEN}: a choice about the method was made with such a test fold in sight, so that the figure may be too "
        "high; of the others no such choice is known.",
        "Training in seconds a fold; ms a clip without reading it; epochs that there was time for, of those of the "
        "original.",
    ]


def notes(row: Row) -> list[str]:
    """What is to be said of a method beside its numbers."""
    lines = [row["source"]]
    if len(row.get("seeds", ())) > 1:
        each = ", ".join(map(points, row["by_seed"]))
        spread = _shown(row["deviation_over_seeds"], lambda deviation: f"; standard deviation {points(deviation)}")
        lines.append(f"mean over {len(row['seeds'])} seeds: {each} %{spread}")
    if row["chosen_on"]:
        lines.append(f"{CHOSEN} choices were made with fold {', '.join(row['chosen_on'])} in sight")
    lines += [f"as there: {line}" for line in row["follows"]]
    lines += [f"not as there: {line}" for line in row["differs"]]
    return [*lines, *([f"* {row['remark']}"] if row["remark"] else [])]


def markdown(report: dict[str, Any]) -> str:
    """The table and what differs from the originals, in Markdown."""
    lines = [f"# {report['title']}: methods compared", "", *markdown_table(list(columns(report)), rows_of(report))]
    lines += ["", *explanation(report), "", "## What is as in the originals, and what is not", ""]
    for row in report["methods"]:
        lines += [f"**{row['title']}** (`{row['name']}`)", "", *(f"- {line}" for line in notes(row)), ""]
    if report["failed"]:
        lines += ["## Not in the table", "", *(f"- `{name}`: {why}" for name, why in report["failed"].items()), ""]
    return "\n".join(lines)


def plain(report: dict[str, Any]) -> str:
    """The first columns for a terminal: method, published, here, interval."""
    lines = [line[:4] for line in (list(columns(report)), *rows_of(report))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def page(report: dict[str, Any]) -> str:
    """The same as one page."""
    return render(
        "comparison.html",
        report=report,
        heads=list(columns(report)),
        methods=[(row, cells, notes(row)) for row, cells in zip(report["methods"], rows_of(report), strict=True)],
        explanation=explanation(report),
    )


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw what each method reached, the best at the top, as a PNG.

    A dot is the mean over folds, its line the 95 % interval, a ring the authors' figure. Where folds are missing the
    method's name says how many were run.
    """
    rows, budget_s = report["methods"], report["budget_s"]
    figure, axes = new_figure(8, 1.4 + INCH_PER_METHOD * len(rows))
    for place, row in enumerate(rows):
        if row["accuracy"] is not None:
            colour = OURS if row["name"].startswith("avgan") else OTHERS
            low, high = row["interval_95"]
            axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=2)
            axes.plot(100 * row["accuracy"], place, "o", color=colour, markersize=6)
        if row["published"] is not None:
            axes.plot(row["published"], place, "o", color=QUIET, markersize=7, fillstyle="none")
    limit = "all epochs" if budget_s is None else f"{budget_s / 60:g} min a fit"
    axes.plot([], [], "o-", color=OTHERS, label=f"here, {limit}, with 95 % interval")
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


def named(row: Row, num_folds: int) -> str:
    """A method's title, and of how many folds it is where they are not all."""
    done = len(row["by_fold"])
    title: str = row["title"] + (f" {CHOSEN}" if row["chosen_on"] else "")
    return title if done in (0, num_folds) else f"{title}, {done} of {num_folds} folds"
