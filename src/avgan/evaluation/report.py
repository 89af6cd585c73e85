"""A report on disk: report.json for programs, per_class.md and confusion.png for people."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from avgan.evaluation.groups import group_lines


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write report.json, per_class.md and confusion.png into `out`."""
    counts = np.asarray(report["confusion"])
    labels = report["labels"]
    _write(out / "per_class.md", per_class_table(counts, labels, title=headline(report)))
    draw_confusion(counts, labels, out / "confusion.png", title=headline(report))
    write_json(report, out / "report.json")


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write a report whole or not at all."""
    _write(path, json.dumps(report, indent=1) + "\n")


def headline(report: dict[str, Any]) -> str:
    """One line: what was scored and how well."""
    low, high = report["interval_95"]
    deviation = report["deviation_over_folds"]
    spread = "" if deviation is None else f" +- {100 * deviation:.1f} over folds"
    return (
        f"{report['preset']} ({report['classifier']}), {report['protocol']}: "
        f"{100 * report['accuracy']:.1f} %{spread} [{100 * low:.1f}, {100 * high:.1f}], seed {report['seed']}"
    )


def summary(report: dict[str, Any], out: Path) -> str:
    """What a person wants to know first, and where the rest lies: a few lines."""
    if report["protocol"] == "pictures":
        low, high = report["agreement_interval_95"]
        lines = [
            f"{report['preset']}, pictures: {100 * report['agreement']:.1f} % show the scene "
            f"[{100 * low:.1f}, {100 * high:.1f}], seed {report['seed']}",
            f"  another recording's   {100 * report['shuffled']:.1f} %",
            f"  real photographs      {100 * report['judge_accuracy_on_photographs']:.1f} %",
        ]
        return "\n".join([*lines, f"{report['num_pictures']} pictures; report and sheet: {out}"])
    lines = [headline(report)]
    lines += [f"  {fold:<12} {100 * value:5.1f} %" for fold, value in report["by_fold"].items()]
    if "scene_accuracy" in report:
        lines.append(f"  {'scenes':<12} {100 * report['scene_accuracy']:5.1f} %")
    lines += group_lines(report, ("seen", "city", "picture"))
    lines.append(f"{report['num_clips']} clips; report, table by class and confusion matrix: {out}")
    return "\n".join(lines)


def per_class_table(counts: np.ndarray, labels: list[str], *, title: str) -> str:
    """Markdown: for each class recall, precision and what it is most often taken for. counts (N, N)."""
    names = [label.replace("|", "\\|") for label in labels]  # a bar would end the cell
    lines = [
        f"# {title}",
        "",
        "| class | clips | recall % | precision % | most often taken for |",
        "|---|---|---|---|---|",
    ]
    recall = counts.diagonal() / np.maximum(counts.sum(1), 1)
    precision = counts.diagonal() / np.maximum(counts.sum(0), 1)
    for row in np.argsort(recall):
        others = counts[row].copy()
        others[row] = 0
        worst = f"{names[others.argmax()]} ({others.max()})" if others.any() else ""
        lines.append(
            f"| {names[row]} | {counts[row].sum()} | {100 * recall[row]:.1f} "
            f"| {100 * precision[row]:.1f} | {worst} |"
        )
    return "\n".join(lines) + "\n"


def draw_confusion(counts: np.ndarray, labels: list[str], path: Path, *, title: str) -> None:
    """The confusion matrix (N, N), each row as shares (the paper's Fig. 9), as a PNG."""
    # on first use it tells everyone that it looks for fonts
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    from matplotlib.figure import Figure

    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(5.0, 0.22 * len(labels) + 2.0)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="magma", vmin=0, vmax=1)
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=90, fontsize=7)
    axes.set_yticks(ticks, labels, fontsize=7)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.set_title(title, fontsize=9)
    figure.colorbar(picture, shrink=0.6, label="share of the class")
    figure.savefig(path, dpi=110)


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
