"""A report on disk: report.json for programs, per_class.md and confusion.png for people."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avgan.evaluation.groups import group_lines

FEW_CLIPS = 100
"""The interval of a share of fewer clips is up to 20 points wide and more."""


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write report.json, per_class.md and confusion.png into `out`."""
    counts = np.asarray(report["confusion"])
    labels = report["labels"]
    write_text(out / "per_class.md", per_class_table(counts, labels, title=headline(report)))
    draw_confusion(counts, labels, out / "confusion.png", title=headline(report))
    write_json(report, out / "report.json")


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write a report whole or not at all."""
    write_text(path, json.dumps(report, indent=1) + "\n")


def headline(report: dict[str, Any]) -> str:
    """One line: what was scored and how well."""
    low, high = report["interval_95"]
    deviation = report["deviation_over_folds"]
    spread = "" if deviation is None else f" +- {100 * deviation:.1f} over folds"
    return (
        f"{report['preset']} ({report['classifier']}), {report['protocol']}: "
        f"{100 * report['accuracy']:.1f} %{spread} [{100 * low:.1f}, {100 * high:.1f}], seed {report['seed']}"
    )


def choices(report: Mapping[str, Any]) -> str:
    """Whether a choice was made with the answers to what is scored in sight, in a sentence."""
    folds = report["chosen_on"]
    if not folds:
        return "No choice about this preset is known to have been made on what is scored here."
    if folds == ["validation"]:
        return "Training was watched on what is scored here: whatever was chosen by it makes the figure too high."
    return f"Choices about this preset were made with fold {', '.join(folds)} in sight: the figure may be too high."


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
        at = report["retrieval"]["at"]["1"]
        seen = report["exhibits"]["imagined"]
        lines += [
            f"  nearest photograph    {100 * at['share']:.1f} % of the scene (chance {100 * at['chance']:.1f} %)",
            f"  KID to photographs    {seen['kid']:.2f} +- {seen['kid_standard_error']:.2f}",
        ]
        where = f"{report['num_pictures']} pictures; report, table, Fig. 8 and sheet: {out}"
        return "\n".join([*lines, where])
    lines = [headline(report)]
    lines += [f"  {fold:<12} {100 * value:5.1f} %" for fold, value in report["by_fold"].items()]
    if "scene_accuracy" in report:
        lines.append(f"  {'scenes':<12} {100 * report['scene_accuracy']:5.1f} %")
    if "class_average" in report:
        lines.append(f"  {'mean over scenes':<41} {100 * report['class_average']:5.1f} %")
    lines += group_lines(report, ("seen", "city", "label", "picture"))
    if report["num_clips"] < FEW_CLIPS:
        low, high = report["interval_95"]
        lines.append(
            f"  of {report['num_clips']} clips this says little: anything from {100 * low:.0f} to {100 * high:.0f} % "
            "may be true; score more recordings"
        )
    lines.append(choices(report))
    where = f"report.html, report.json, table by class and confusion matrix: {out}"
    lines.append(f"{report['num_clips']} clips; {where}")
    return "\n".join(lines)


def pictures_table(report: dict[str, Any]) -> str:
    """Markdown: all scores of imagined pictures beside their controls."""
    lines = [
        f"# {report['preset']}, pictures of {report['num_pictures']} recordings never heard, seed {report['seed']}",
        "",
        "| pictures | scene seen % | 95 % | in first five % | KID | FID | distance in a label | kinds | distinct % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for score in report["exhibits"].values():
        seen, interval, five = "", "", ""  # of scenes that the eye does not know
        if score["agreement"] is not None:
            low, high = score["agreement_interval_95"]
            seen, interval = (
                f"{100 * score['agreement']:.1f}",
                f"{100 * low:.1f} to {100 * high:.1f}",
            )
            five = f"{100 * score['agreement_top5']:.1f}"
        lines.append(
            f"| {score['name']} | {seen} | {interval} | {five} "
            f"| {score['kid']:.2f} +- {score['kid_standard_error']:.2f} "
            f"| {score['fid']:.1f} | {score['distance_within_labels']:.2f} | {score['effective_number']:.1f} "
            f"| {100 * score['distinct']:.1f} |"
        )
    lines += [
        "",
        f"The eye that looks (sha256 `{report['eye']['sha256'][:12]}`) is the project's own: KID (with its standard "
        f"error) and FID compare within this project, for {report['num_pictures']} pictures against as many "
        "photographs. The distance within a label is a share of that between any two photographs. "
        f"Kinds: the effective number, of {report['num_kinds']} groups of photographs.",
        "",
        "| a photograph of the scene is among the nearest | imagined % | 95 % | sounds shuffled % | chance % |",
        "|---|---|---|---|---|",
    ]
    for k, at in report["retrieval"]["at"].items():
        low, high = at["interval_95"]
        lines.append(
            f"| {k} of {report['retrieval']['num_photographs']} | {100 * at['share']:.1f} "
            f"| {100 * low:.1f} to {100 * high:.1f} | {100 * at['shuffled']:.1f} | {100 * at['chance']:.1f} |"
        )
    lines += ["", second_eye_line(report.get("second_eye"))]
    low, high = report["agreement_interval_95"]
    lines += [
        "",
        f"The judge of code maps, right on {100 * report['judge_accuracy_on_photographs']:.1f} % of photographs: "
        f"imagined {100 * report['agreement']:.1f} % [{100 * low:.1f}, {100 * high:.1f}], "
        f"sounds shuffled {100 * report['shuffled']:.1f} %.",
    ]
    return "\n".join(lines) + "\n"


def second_eye_line(second: dict[str, Any] | None) -> str:
    """What the second eye, on which no choice is made, sees of each exhibit."""
    if second is None:
        return "The second eye is not in this installation: `python recipes/eye.py --make second` makes it."
    parts = []
    for score in second["exhibits"].values():
        seen = ""
        if score["agreement"] is not None:
            low, high = score["agreement_interval_95"]
            seen = f"{100 * score['agreement']:.1f} % [{100 * low:.1f}, {100 * high:.1f}], "
        parts.append(f"{score['name']} {seen}KID {score['kid']:.2f}, FID {score['fid']:.1f}")
    sha256 = second["eye"]["sha256"][:12]
    return (
        f"A second eye of another make (sha256 `{sha256}`) sees the scene in: {'; '.join(parts)}."
    )


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


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
