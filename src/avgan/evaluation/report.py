"""A report on disk: report.json for programs, per_class.md or pictures.md and confusion.png for people.

Shapes: N labels.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avgan.files import write_whole

FEW_CLIPS = 100
"""The interval of a share of fewer clips is up to 20 points wide and more."""


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write report.json, per_class.md and confusion.png into `out`."""
    counts, labels, title = np.asarray(report["confusion"]), report["labels"], headline(report)
    write_whole(out / "per_class.md", per_class_table(counts, labels, title=title))
    plot_confusion(counts, labels, out / "confusion.png", title=title)
    write_json(report, out / "report.json")


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write a report whole or not at all."""
    write_whole(path, json.dumps(report, indent=1) + "\n")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table in Markdown; a bar in a cell would end it."""
    lines = [heads, ["---"] * len(heads), *rows]
    cells = ([str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in lines)
    return [f"| {' | '.join(row)} |" for row in cells]


def points(share: float) -> str:
    """ "88.2"."""
    return f"{100 * share:.1f}"


def between(interval: Sequence[float]) -> str:
    """ "85.0 to 90.1"."""
    return f"{points(interval[0])} to {points(interval[1])}"


def bracketed(interval: Sequence[float]) -> str:
    """ "[85.0, 90.1]"."""
    return f"[{points(interval[0])}, {points(interval[1])}]"


def headline(report: Mapping[str, Any]) -> str:
    """One line: what was scored and how well."""
    deviation = report["deviation_over_folds"]
    spread = "" if deviation is None else f" +- {points(deviation)} over folds"
    return (
        f"{report['preset']} ({report['classifier']}), {report['protocol']}: {points(report['accuracy'])} %{spread} "
        f"{bracketed(report['interval_95'])}, seed {report['seed']}"
    )


def choices(report: Mapping[str, Any]) -> str:
    """Whether a choice was made with the answers to what is scored in sight, in a sentence."""
    folds = report["chosen_on"]
    if not folds:
        return "No choice about this preset is known to have been made on what is scored here."
    if folds == ["validation"]:
        return "Training was watched on what is scored here: whatever was chosen by it makes the figure too high."
    return f"Choices about this preset were made with fold {', '.join(folds)} in sight: the figure may be too high."


def summary(report: Mapping[str, Any], out: Path) -> str:
    """What a person wants to know first, and where the rest lies: a few lines."""
    if report["protocol"] == "pictures":
        return _summary_of_pictures(report, out)
    lines = [headline(report)]
    lines += [f"  {fold:<12} {100 * value:5.1f} %" for fold, value in report["by_fold"].items()]
    if "scene_accuracy" in report:
        lines.append(f"  {'scenes':<12} {100 * report['scene_accuracy']:5.1f} %")
    if "class_average" in report:
        lines.append(f"  {'mean over scenes':<41} {100 * report['class_average']:5.1f} %")
    for kind in ("seen", "city", "label", "picture"):
        for name, part in report.get("groups", {}).get(kind, {}).items():
            interval = f" {bracketed(part['interval_95'])}" if part["interval_95"] else ""
            share = f"{100 * part['accuracy']:5.1f} %{interval}"
            lines.append(f"  {name:<41} {share}, {part['num_clips']} clips")
    if report["num_clips"] < FEW_CLIPS:
        low, high = report["interval_95"]
        lines.append(
            f"  of {report['num_clips']} clips this says little: anything from {100 * low:.0f} to {100 * high:.0f} % "
            "may be true; score more recordings"
        )
    where = f"report.html, report.json, table by class and confusion matrix: {out}"
    return "\n".join([*lines, choices(report), f"{report['num_clips']} clips; {where}"])


def _summary_of_pictures(report: Mapping[str, Any], out: Path) -> str:
    at, imagined = report["retrieval"]["at"]["1"], report["exhibits"]["imagined"]
    return "\n".join(
        [
            f"{report['preset']}, pictures: {points(report['agreement'])} % show the scene "
            f"{bracketed(report['agreement_interval_95'])}, seed {report['seed']}",
            f"  another recording's   {points(report['shuffled'])} %",
            f"  real photographs      {points(report['judge_accuracy_on_photographs'])} %",
            f"  nearest photograph    {points(at['share'])} % of the scene (chance {points(at['chance'])} %)",
            f"  KID to photographs    {imagined['kid']:.2f} +- {imagined['kid_standard_error']:.2f}",
            f"{report['num_pictures']} pictures; report, table, Fig. 8 and sheet: {out}",
        ]
    )


def pictures_table(report: Mapping[str, Any]) -> str:
    """Markdown: all scores of imagined pictures beside their controls."""
    rows = []
    for score in report["exhibits"].values():
        known = score["agreement"] is not None  # else the scenes are not known to the classifier
        rows.append(
            [
                score["name"],
                points(score["agreement"]) if known else "",
                between(score["agreement_interval_95"]) if known else "",
                points(score["agreement_top5"]) if known else "",
                f"{score['kid']:.2f} +- {score['kid_standard_error']:.2f}",
                f"{score['fid']:.1f}",
                f"{score['distance_within_labels']:.2f}",
                f"{score['effective_number']:.1f}",
                points(score["distinct"]),
            ]
        )
    heads = "pictures, scene named %, 95 %, in first five %, KID, FID, distance in a label, kinds, distinct %"
    found = [
        [
            f"{k} of {report['retrieval']['num_photographs']}",
            points(at["share"]),
            between(at["interval_95"]),
            points(at["shuffled"]),
            points(at["chance"]),
        ]
        for k, at in report["retrieval"]["at"].items()
    ]
    nearest = "a photograph of the scene is among the nearest, imagined %, 95 %, sounds shuffled %, chance %"
    lines = [
        f"# {report['preset']}, pictures of {report['num_pictures']} held-out recordings, seed {report['seed']}",
        "",
        *markdown_table(heads.split(", "), rows),
        "",
        f"The scene classifier (sha256 `{report['scene_classifier']['sha256'][:12]}`) is the project's own: KID "
        f"(with its standard error) and FID compare within this project, for {report['num_pictures']} pictures against "
        "as many photographs. The distance within a label is a share of that between any two photographs. "
        f"Kinds: the effective number, of {report['num_kinds']} groups of photographs.",
        "",
        *markdown_table(nearest.split(", "), found),
        "",
        second_classifier_line(report["second_classifier"]),
        "",
        f"The judge of code maps, right on {points(report['judge_accuracy_on_photographs'])} % of photographs: "
        f"imagined {points(report['agreement'])} % {bracketed(report['agreement_interval_95'])}, "
        f"sounds shuffled {points(report['shuffled'])} %.",
    ]
    return "\n".join(lines) + "\n"


def second_classifier_line(second: Mapping[str, Any]) -> str:
    """How a second scene classifier, on which no choice is made, scores each exhibit."""
    parts = []
    for score in second["exhibits"].values():
        seen = ""
        if score["agreement"] is not None:
            seen = f"{points(score['agreement'])} % {bracketed(score['agreement_interval_95'])}, "
        parts.append(f"{score['name']} {seen}KID {score['kid']:.2f}, FID {score['fid']:.1f}")
    sha256 = second["scene_classifier"]["sha256"][:12]
    return f"A second scene classifier of another make (sha256 `{sha256}`) names the scene in: {'; '.join(parts)}."


def per_class_table(counts: np.ndarray, labels: Sequence[str], *, title: str) -> str:
    """Markdown: for each class recall, precision and what it is most often taken for. counts (N, N)."""
    rows = [
        [
            labels[row["number"]],
            row["num_clips"],
            points(row["recall"]),
            points(row["precision"]),
            f"{labels[row['taken_for']]} ({row['num_taken']})" if row["num_taken"] else "",
        ]
        for row in classes_of(counts)
    ]
    heads = "class, clips, recall %, precision %, most often taken for"
    return "\n".join([f"# {title}", "", *markdown_table(heads.split(", "), rows)]) + "\n"


def classes_of(counts: np.ndarray) -> list[dict[str, Any]]:
    """Recall, precision and the most frequent mistake of each class, by recall. counts (N, N)."""
    recall = counts.diagonal() / np.maximum(counts.sum(1), 1)
    precision = counts.diagonal() / np.maximum(counts.sum(0), 1)
    mistakes = counts - np.diag(counts.diagonal())
    return [
        {
            "number": int(row),
            "num_clips": int(counts[row].sum()),
            "recall": float(recall[row]),
            "precision": float(precision[row]),
            "taken_for": int(mistakes[row].argmax()),
            "num_taken": int(mistakes[row].max()),
        }
        for row in np.argsort(recall, kind="stable")
    ]


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure of matplotlib and its axes, sizes in inches."""
    # on first use it tells everyone that it looks for fonts
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def plot_confusion(counts: np.ndarray, labels: list[str], path: Path, *, title: str) -> None:
    """The confusion matrix (N, N), each row as shares (the paper's Fig. 9), as a PNG."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(5.0, 0.22 * len(labels) + 2.0)
    figure, axes = new_figure(side, side)
    picture = axes.imshow(shares, cmap="magma", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.set_title(title, fontsize=9)
    figure.colorbar(picture, shrink=0.6, label="share of the class")
    figure.savefig(path, dpi=110)
