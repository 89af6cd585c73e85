"""The table of a comparison: a row a method, as JSON for programs, Markdown and one HTML page for people."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avgan import __version__, metrics
from avgan.baselines.method import Card
from avgan.evaluation.comparison.answers import Answers, Settings
from avgan.evaluation.comparison.outcome import CHOSEN, Outcome
from avgan.evaluation.comparison.plot import plot
from avgan.evaluation.protocols import Protocol
from avgan.files import whole, write_whole
from avgan.pages import render

HUMAN = "human"

Row = dict[str, Any]


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
        "parent": settings.parent,
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
        "num_parameters": mean_of(answers, lambda fold: fold.num_parameters),
        "num_macs": mean_of(answers, lambda fold: fold.num_macs),
        "fitting_s": mean_of(answers, lambda fold: fold.fitting_s),
        "answering_ms": mean_of(answers, milliseconds_a_clip),
        "num_epochs": mean_of(answers, lambda fold: fold.num_epochs or None),
        "num_epochs_wanted": mean_of(answers, lambda fold: fold.num_epochs_wanted or None),
        "device": ", ".join(sorted({fold.device for fold in answers if fold.device})),
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


def milliseconds_a_clip(answers: Answers) -> float | None:
    """What one answer took, the recording read already."""
    if answers.answering_s is None:
        return None
    return 1000 * answers.answering_s / len(answers.clip_ids)


def mean_of(folds: Sequence[Answers], value: Callable[[Answers], float | None]) -> float | None:
    """The mean over the folds that know the value."""
    values = [number for number in map(value, folds) if number is not None]
    return float(np.mean(values)) if values else None


def write_table(report: dict[str, Any], out: Path) -> None:
    """Write compare.json, compare.md, compare.html and the plot compare.png into `out`."""
    write_whole(out / "compare.json", json.dumps(report, indent=1) + "\n")
    write_whole(out / "compare.md", markdown(report))
    write_whole(out / "compare.html", page(report))
    with whole(out / "compare.png") as unfinished:
        plot(report, unfinished)


def headings(report: dict[str, Any]) -> list[str]:
    """What the columns hold."""
    return [
        "method",
        "published, %",
        "here, %",
        "95 %",
        *(f"{part}, %" for part in report["parts"]),
        f"p against {report['against']}" if report["against"] else "p",
        "parameters",
        "multiply-adds",
        "training, s",
        "ms a clip",
        "epochs",
        "pretrained on",
    ]


def cells(row: Row, report: dict[str, Any]) -> list[str]:
    """One method as words, one cell for each heading."""
    test = row.get("paired_test")
    parts = [row["parts"].get(part) for part in report["parts"]]
    return [
        row["title"] + ("*" if row["remark"] else ""),
        published_cell(row),
        accuracy_cell(row, len(report["folds"])),
        _interval(row.get("interval_95")),
        *("" if part is None else f"{100 * part['accuracy']:.1f}" for part in parts),
        "" if test is None else p_cell(test["p"]),
        counted(row.get("num_parameters")),
        counted(row.get("num_macs")),
        _number(row.get("fitting_s"), "{:,.0f}"),
        _number(row.get("answering_ms"), "{:.1f}"),
        epochs_cell(row),
        row["pretrained_on"],
    ]


def accuracy_cell(row: Row, num_folds: int) -> str:
    """Such as "64.5 +- 3.6", and of how many folds where they are not all."""
    if row["accuracy"] is None:
        return ""
    deviation = row["deviation_over_folds"]
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    done = len(row["by_fold"])
    missing = "" if done == num_folds else f" ({done} of {num_folds} folds)"
    mark = CHOSEN if row["chosen_on"] else ""
    return f"{100 * row['accuracy']:.1f}{mark}{spread}{missing}"


def published_cell(row: Row) -> str:
    """Such as "64.5", or of the folds that were run here where they are known."""
    if row["published"] is None:
        return ""
    folds = ", ".join(row["by_fold"]) if row.get("published_on_these_folds") else ""
    return f"{row['published']:.1f}" + (f" (fold {folds})" if folds else "")


def p_cell(p: float) -> str:
    """A probability to the digits that matter."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def epochs_cell(row: Row) -> str:
    """Such as "48 of 300"."""
    wanted = row.get("num_epochs_wanted")
    return "" if not wanted else f"{row['num_epochs'] or 0:.0f} of {wanted:.0f}"


def counted(number: float | None) -> str:
    """Such as "4.69 M"."""
    if number is None:
        return ""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def explanation(report: dict[str, Any]) -> list[str]:
    """What the columns mean, a sentence each."""
    budget = report["budget_s"]
    limit = budget_line(budget)
    shared = f"AVGAN's fits began from the run of pictures {report['parent']}; its training is not counted."
    return [
        f"{report['title']}; seed {report['seed']}; {limit}; made with avgan {report['avgan']}.",
        *([shared] if report["parent"] else []),
        "Here: mean over folds and sample standard deviation over them; 95 %: bootstrap over the sources of the clips, "
        "whose clips are right or wrong together.",
        "p: sign-flip permutation test on the clips both answered, all clips of a source flipped together, two-sided.",
        f"{CHOSEN}: a choice about the method was made with such a test fold in sight, so that the figure may be too "
        "high; of the others no such choice is known.",
        "Training in seconds a fold; ms a clip without reading it; epochs that there was time for, of those of the "
        "original.",
    ]


def budget_line(budget_s: float | None) -> str:
    """How long a fit might take."""
    return "each fit took its time" if budget_s is None else f"each fit had {budget_s / 60:g} min"


def notes(row: Row) -> list[str]:
    """What is to be said of a method beside its numbers."""
    lines = [row["source"]]
    if len(row.get("seeds", ())) > 1:
        each = ", ".join(f"{100 * value:.1f}" for value in row["by_seed"])
        deviation = row["deviation_over_seeds"]
        spread = "" if deviation is None else f"; standard deviation {100 * deviation:.1f}"
        lines.append(f"mean over {len(row['seeds'])} seeds: {each} %{spread}")
    if row.get("chosen_on"):
        lines.append(f"{CHOSEN} choices were made with fold {', '.join(row['chosen_on'])} in sight")
    lines += [*(f"as there: {line}" for line in row["follows"])]
    lines += [f"not as there: {line}" for line in row["differs"]]
    return [*lines, *([f"* {row['remark']}"] if row["remark"] else [])]


def markdown(report: dict[str, Any]) -> str:
    """The table and what differs from the originals, in Markdown."""
    heads = headings(report)
    lines = [f"# {report['title']}: methods compared", ""]
    lines += [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in report["methods"]:
        lines.append(f"| {' | '.join(_in_cell(cell) for cell in cells(row, report))} |")
    lines += ["", *explanation(report), "", "## What is as in the originals, and what is not", ""]
    for row in report["methods"]:
        lines += [f"**{row['title']}** (`{row['name']}`)", ""]
        lines += [*(f"- {line}" for line in notes(row)), ""]
    if report["failed"]:
        lines += ["## Not in the table", ""]
        lines += [*(f"- `{name}`: {why}" for name, why in report["failed"].items()), ""]
    return "\n".join(lines)


def plain(report: dict[str, Any]) -> str:
    """A few columns for a terminal."""
    heads = headings(report)
    kept = [heads.index(head) for head in ("method", "published, %", "here, %", "95 %")]
    table = [heads, *(cells(row, report) for row in report["methods"])]
    lines = [[line[column] for column in kept] for line in table]
    widths = [max(len(line[column]) for line in lines) for column in range(len(kept))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def page(report: dict[str, Any]) -> str:
    """The same as one page."""
    return render(
        "comparison.html",
        report=report,
        heads=headings(report),
        methods=[(row, cells(row, report), notes(row)) for row in report["methods"]],
        explanation=explanation(report),
    )
