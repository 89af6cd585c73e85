"""The table of a comparison: a row a method, as JSON for programs, Markdown and one HTML page for people."""

import html
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from avgan import __version__
from avgan.baselines.rival import Card
from avgan.evaluation import metrics
from avgan.evaluation.comparison.answers import Answers, Settings
from avgan.evaluation.comparison.folds import Protocol
from avgan.evaluation.comparison.plot import plot
from avgan.files import whole, write_whole

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
            row["mcnemar"] = test_against(answered[row["name"]], answered[reference])
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


def method_row(protocol: Protocol, card: Card, folds: Sequence[Answers]) -> Row:
    """One method: how well it did, with its uncertainty, and at what cost."""
    correct = np.concatenate([fold.correct for fold in folds])
    sources = np.concatenate([np.asarray(fold.sources) for fold in folds])
    clip_ids = np.concatenate([np.asarray(fold.clip_ids) for fold in folds])
    by_fold = {fold.fold: float(fold.correct.mean()) for fold in folds}
    mean, deviation = metrics.mean_and_deviation(list(by_fold.values()))
    parts = {}
    for part, members in protocol.parts.items():
        inside = np.isin(clip_ids, list(members))
        if inside.any():
            parts[part] = {
                "accuracy": float(correct[inside].mean()),
                "interval_95": list(metrics.bootstrap_interval(correct[inside], sources[inside])),
                "num_clips": int(inside.sum()),
            }
    return {
        "name": card.name,
        "title": card.title,
        "source": card.source,
        "published": published(card, protocol.name),
        "accuracy": mean,
        "deviation_over_folds": None if len(folds) == 1 else deviation,
        "interval_95": list(metrics.bootstrap_interval(correct, sources)),
        "by_fold": by_fold,
        "parts": parts,
        "num_clips": len(correct),
        "num_parameters": mean_of(folds, lambda fold: fold.num_parameters),
        "num_macs": mean_of(folds, lambda fold: fold.num_macs),
        "fitting_s": mean_of(folds, lambda fold: fold.fitting_s),
        "answering_ms": mean_of(folds, milliseconds_a_clip),
        "num_epochs": mean_of(folds, lambda fold: fold.num_epochs or None),
        "num_epochs_wanted": mean_of(folds, lambda fold: fold.num_epochs_wanted or None),
        "device": ", ".join(sorted({fold.device for fold in folds if fold.device})),
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
        "parts": {},
        "pretrained_on": "",
        "follows": [],
        "differs": ["the published figure; nobody was asked here"],
        "remark": "",
    }


def published(card: Card, protocol: str) -> float | None:
    """The accuracy in percent that a method's authors reported by a protocol, if they did."""
    return card.published if protocol == "esc50" else card.published_on.get(protocol)


def test_against(ours: Sequence[Answers], theirs: Sequence[Answers]) -> Row | None:
    """McNemar's test on the clips that both answered; None for a method and itself, or where there is none."""
    right = _right_by_clip(ours)
    other = _right_by_clip(theirs)
    common = sorted(right.keys() & other.keys())
    if not common or ours is theirs:
        return None
    only_this, only_that, p = metrics.mcnemar(
        np.array([right[clip] for clip in common]), np.array([other[clip] for clip in common])
    )
    return {
        "only_this_right": only_this,
        "only_that_right": only_that,
        "num_clips": len(common),
        "p": p,
    }


def _right_by_clip(folds: Sequence[Answers]) -> dict[tuple[str, str], bool]:
    return {
        (fold.fold, clip): bool(right)
        for fold in folds
        for clip, right in zip(fold.clip_ids, fold.correct, strict=True)
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
    test = row.get("mcnemar")
    parts = [row["parts"].get(part) for part in report["parts"]]
    return [
        row["title"] + ("*" if row["remark"] else ""),
        _number(row["published"], "{:.1f}"),
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
    return f"{100 * row['accuracy']:.1f}{spread}{missing}"


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
    limit = "each fit took its time" if budget is None else f"each fit had {budget / 60:g} min"
    shared = f"AVGAN's fits began from the run of pictures {report['parent']}; its training is not counted."
    return [
        f"{report['title']}; seed {report['seed']}; {limit}; made with avgan {report['avgan']}.",
        *([shared] if report["parent"] else []),
        "Here: mean over folds and sample standard deviation; 95 %: bootstrap over the sources of the clips.",
        "p: McNemar's exact test on the clips both answered, two-sided.",
        "Training in seconds a fold; ms a clip without reading it; epochs that there was time for, of those of the "
        "original.",
    ]


def notes(row: Row) -> list[str]:
    """What is to be said of a method beside its numbers."""
    lines = [row["source"], *(f"as there: {line}" for line in row["follows"])]
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
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def page(report: dict[str, Any]) -> str:
    """The same as one HTML page that asks no server for anything."""
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in headings(report))
    body = "\n".join(page_row(row, report) for row in report["methods"])
    told = "\n".join(
        f"<details><summary>{html.escape(row['title'])} <code>{html.escape(row['name'])}</code></summary><ul>"
        + "".join(f"<li>{html.escape(line)}</li>" for line in notes(row))
        + "</ul></details>"
        for row in report["methods"]
    )
    failed = "".join(
        f"<li><code>{html.escape(name)}</code>: {html.escape(why)}</li>"
        for name, why in report["failed"].items()
    )
    template = (
        resources.files("avgan.evaluation.comparison").joinpath("compare.html").read_text("utf-8")
    )
    return Template(template).substitute(
        title=html.escape(report["title"]),
        heads=heads,
        rows=body,
        explanation="".join(f"<li>{html.escape(line)}</li>" for line in explanation(report)),
        notes=told,
        failed=f"<h2>Not in the table</h2><ul>{failed}</ul>" if failed else "",
    )


def page_row(row: Row, report: dict[str, Any]) -> str:
    """One row, its accuracy drawn behind the number with the interval as a line."""
    first, was, here, *rest = (html.escape(cell) for cell in cells(row, report))
    drawn = ""
    if row["accuracy"] is not None:
        low, high = row["interval_95"]
        drawn = (
            f'<i class="bar" style="width:{100 * row["accuracy"]:.1f}%"></i>'
            f'<i class="span" style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i>'
        )
    others = "".join(f"<td>{cell}</td>" for cell in rest)
    kind = ' class="ours"' if row["name"].startswith("avgan") else ""
    return (
        f"<tr{kind}><th>{first}</th><td>{was}</td>"
        f'<td class="here">{drawn}<span>{here}</span></td>{others}</tr>'
    )
