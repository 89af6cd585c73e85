"""An evaluation as one HTML page for people: how much is right, what is confused, and how that sounds and looks.

The page holds everything itself, recordings and pictures included, and asks no server for anything.

Shapes: M clips, N labels.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avgan.audio import SAMPLE_RATE_HZ
from avgan.data.loading import read_excerpt
from avgan.data.manifest import Clip
from avgan.errors import AudioError
from avgan.evaluation.confusions import Confusion, worst_confusions
from avgan.evaluation.matrix import matrix_svg
from avgan.evaluation.parts import (
    THIN,
    assemble,
    group_row,
    points,
    share_row,
    shares_table,
    sheet_section,
    whole_percent,
)
from avgan.evaluation.report import choices
from avgan.files import write_whole
from avgan.report import data_uri, jpeg_uri, mp3
from avgan.runtime.drawing import enlarged, plain

HEARD_S = 6.0
PICTURE_PX = 144
NUM_WEAKEST = 3

GROUPS = {
    "seen": "by whether the city was heard in training",
    "city": "by city",
    "fold": "by fold",
    "picture": "what a judge of pictures, taught with real ones, sees rightly",
}
"""How the groups of a report are headed, in this order."""

Picture = np.ndarray | None
Draw = Callable[[Sequence[int]], Sequence[Picture]]
"""Numbers of clips -> what is imagined for each, (H, W, 3) uint8, or None where nobody knows any more."""


@dataclass(frozen=True, eq=False)
class Answered:
    """All clips that were scored, with their answers."""

    clips: tuple[Clip, ...]
    root: Path
    targets: np.ndarray
    """(M,)"""
    probabilities: np.ndarray
    """(M, N)"""


def write_page(
    report: Mapping[str, Any],
    answered: Answered,
    out: Path,
    *,
    draw: Draw | None = None,
    sheet: Path | None = None,
) -> Path:
    """Write report.html into `out`; `sheet` is a contact sheet of imagined pictures. Returns the path."""
    confusions = worst_confusions(
        answered.targets,
        answered.probabilities,
        [clip.source_id for clip in answered.clips],
    )
    shown = [clip for confusion in confusions for clip in confusion.clips]
    pictures = dict(zip(shown, draw(shown), strict=True)) if draw else {}
    labels = [plain(label) for label in report["labels"]]
    counts = np.asarray(report["confusion"])
    sections = [
        shares_section(report),
        confusions_section(confusions, answered, labels, pictures),
        classes_section(counts, labels, confusions),
        matrix_section(counts, labels, confusions),
        sheet_section(sheet),
    ]
    return write_whole(out / "report.html", whole_page(report, confusions, sections))


def whole_page(
    report: Mapping[str, Any], confusions: Sequence[Confusion], sections: Sequence[str]
) -> str:
    """The page around its sections."""
    low, high = report["interval_95"]
    data = ", ".join(f"{name} {key[:12]}" for name, key in report["data"].items())
    what = f"{report['preset']} ({report['classifier']}), {report['protocol']}"
    return assemble(
        title=f"{points(report['accuracy'])} right: {what}",
        heading=f"{points(report['accuracy'])} right<small>between {100 * low:.1f} and "
        f"{points(high)} with 95{THIN}% certainty; blind guessing would reach "
        f"{whole_percent(1 / len(report['labels']))}</small>",
        lead=f"<b>{html.escape(what)}</b>, seed {report['seed']}: {report['num_clips']:,} recordings of "
        f"{len(report['labels'])} classes that were not trained on. {weakest(report, confusions)} "
        + html.escape(choices(report)),
        sections=sections,
        note="The pictures are imagined, not photographed. Intervals are bootstrapped over sources "
        "(original files or places), whose clips are right or wrong together. The recordings belong "
        "to their authors: pass this page on only where their licences allow. "
        + html.escape(f"avgan {report['avgan']}, data: {data}"),
    )


def weakest(report: Mapping[str, Any], confusions: Sequence[Confusion]) -> str:
    """In a sentence: the classes found least often, and the pair confused most often."""
    counts = np.asarray(report["confusion"])
    labels = [html.escape(plain(label)) for label in report["labels"]]
    recall = counts.diagonal() / np.maximum(counts.sum(1), 1)
    order = [row for row in np.argsort(recall, kind="stable") if counts[row].sum()]
    named = ", ".join(
        f"<b>{labels[row]}</b> {whole_percent(recall[row])}" for row in order[:NUM_WEAKEST]
    )
    if not confusions:
        return "Nothing was confused."
    worst = confusions[0]
    return (
        f"Found least often: {named}. Confused most often: <b>{labels[worst.truth]}</b>, taken for "
        f"<b>{labels[worst.answer]}</b> {worst.count} times in {worst.num_of_truth}."
    )


def shares_section(report: Mapping[str, Any]) -> str:
    """How much is right in all and in each part, with intervals."""
    whole = {"accuracy": report["accuracy"], "interval_95": report["interval_95"]}
    rows = [share_row("all", whole | {"num_clips": report["num_clips"]})]
    if "scene_accuracy" in report:
        places = {
            "accuracy": report["scene_accuracy"],
            "interval_95": report["scene_interval_95"],
        }
        rows.append(share_row("its place", places | {"num_clips": report["num_clips"]}))
    for key, title in GROUPS.items():
        if group := report.get("groups", {}).get(key):
            rows.append(group_row(title))
            rows += [share_row(plain(name), part) for name, part in group.items()]
    return f"""<section><h2>How much is right</h2>
<p>The line across the end of a bar is the range in which the true share lies with 95{THIN}% certainty.</p>
{shares_table(rows)}</section>"""


def confusions_section(
    confusions: Sequence[Confusion],
    answered: Answered,
    labels: Sequence[str],
    pictures: Mapping[int, Picture],
) -> str:
    """The pairs confused most often, with recordings to hear and the pictures that were imagined for them."""
    if not confusions:
        return ""
    articles = "".join(
        _pair_article(confusion, answered, labels, pictures) for confusion in confusions
    )
    total = int((answered.probabilities.argmax(1) != answered.targets).sum())
    shown = sum(len(confusion.clips) for confusion in confusions)
    beside = " Beside each is the picture that was imagined for it." if pictures else ""
    return f"""<section><h2>What is taken for what</h2>
<p>The most frequent confusions first: {shown} of {total:,} mistakes, the surest ones of each pair.{beside}</p>
<div class="pairs">{articles}</div></section>"""


def _pair_article(
    confusion: Confusion,
    answered: Answered,
    labels: Sequence[str],
    pictures: Mapping[int, Picture],
) -> str:
    truth, answer = (html.escape(labels[which]) for which in (confusion.truth, confusion.answer))
    items = "".join(
        _clip_item(
            answered.clips[number],
            answered.root,
            picture=pictures.get(number),
            answer=f"{answer} {whole_percent(answered.probabilities[number, confusion.answer])}",
            truth=f"{truth} {whole_percent(answered.probabilities[number, confusion.truth])}",
        )
        for number in confusion.clips
    )
    return (
        f'<article id="pair-{confusion.truth}-{confusion.answer}"><h3><b>{truth}</b> taken for '
        f"<b>{answer}</b> <span>{confusion.count} of {confusion.num_of_truth}</span></h3>"
        f"<ul>{items}</ul></article>"
    )


def _clip_item(clip: Clip, root: Path, *, picture: Picture, answer: str, truth: str) -> str:
    shown = '<span class="none"></span>'
    if picture is not None:
        uri = jpeg_uri(enlarged(picture, PICTURE_PX))
        shown = f'<img src="{uri}" width="72" height="72" alt="The picture imagined for it">'
    name = html.escape(clip.id)
    if clip.address.startswith("https://"):
        name = f'<a href="{html.escape(clip.address)}" rel="noreferrer">{name}</a>'
    whole, short = html.escape(clip.licence), html.escape(clip.licence.split(":")[0])
    return (
        f"<li>{shown}<p><b>{answer}</b><br>{truth}</p>"
        f'<p>{name} <span title="{whole}">{short}</span></p>{_player(clip, root)}</li>'
    )


def _player(clip: Clip, root: Path) -> str:
    """The beginning of a clip; nothing where it cannot be read."""
    length_s = HEARD_S if clip.end_s is None else min(HEARD_S, clip.end_s - clip.start_s)
    try:
        waveform = read_excerpt(
            root / clip.audio_path, start_s=clip.start_s, length_s=length_s, rate_hz=SAMPLE_RATE_HZ
        )
    except AudioError:
        return ""
    sound = data_uri(mp3(waveform), "audio/mpeg")
    label = html.escape(clip.id)
    return f'<audio controls preload="metadata" src="{sound}" aria-label="{label}"></audio>'


def classes_section(
    counts: np.ndarray, labels: Sequence[str], confusions: Sequence[Confusion]
) -> str:
    """Recall, precision and the most frequent mistake of each class, to be sorted by any of them."""
    recall = counts.diagonal() / np.maximum(counts.sum(1), 1)
    precision = counts.diagonal() / np.maximum(counts.sum(0), 1)
    heard = {(confusion.truth, confusion.answer) for confusion in confusions}
    rows = "".join(
        f'<tr><th scope="row">{html.escape(labels[row])}</th>'
        f'<td class="clips">{counts[row].sum()}</td>'
        f'<td class="meter" data-value="{recall[row]:.4f}">{_bar(recall[row])}</td>'
        f'<td class="precision" data-value="{precision[row]:.4f}">{whole_percent(precision[row])}</td>'
        f"{_mistake_cell(counts, int(row), labels, heard)}</tr>"
        for row in np.argsort(recall, kind="stable")
    )
    return f"""<section><h2>Class by class</h2>
<p>Recall: how many of its recordings are found. Precision: how many of those so named are it.</p>
<div class="card scroll"><table class="classes sortable"><thead><tr>
<th scope="col"><button>class</button></th><th scope="col" class="clips"><button>clips</button></th>
<th scope="col" aria-sort="ascending"><button>recall</button></th>
<th scope="col" class="precision"><button>precision</button></th>
<th scope="col"><button>most often taken for</button></th></tr></thead><tbody>{rows}</tbody></table></div></section>"""


def _mistake_cell(
    counts: np.ndarray, row: int, labels: Sequence[str], heard: set[tuple[int, int]]
) -> str:
    others = counts[row].copy()
    others[row] = 0
    if not others.any():
        return '<td data-value="0"></td>'
    worst = int(others.argmax())
    name = html.escape(labels[worst])
    if (row, worst) in heard:
        name = f'<a href="#pair-{row}-{worst}">{name}</a>'
    return f'<td data-value="{others[worst]}">{name} ({others[worst]})</td>'


def _bar(share: float) -> str:
    return f'<span class="bar" style="--share:{100 * share:.1f}%"></span>{whole_percent(share)}'


def matrix_section(
    counts: np.ndarray, labels: Sequence[str], confusions: Sequence[Confusion]
) -> str:
    """The whole confusion matrix."""
    linked = {(confusion.truth, confusion.answer) for confusion in confusions}
    return f"""<section><h2>All confusions</h2>
<p>A row is what was recorded, a column what was answered; the stronger the colour, the larger the share of the row.
A coloured cell that can be heard above leads there.</p>
<div class="card scroll">{matrix_svg(counts, labels, linked=linked)}</div></section>"""
