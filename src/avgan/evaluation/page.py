"""An evaluation as one page for people: how much is right, what is confused, and how that sounds and looks.

Shapes: M clips, N labels.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avgan.audio import SAMPLE_RATE_HZ
from avgan.data.loading import read_excerpt
from avgan.data.manifest import Clip
from avgan.errors import AudioError
from avgan.evaluation.protocols.protocol import Scored
from avgan.evaluation.report import choices, classes_of
from avgan.files import write_whole
from avgan.images import FORMATS
from avgan.pages import jpeg_uri, mp3_uri, render
from avgan.runtime.drawing import enlarged, plain

EXCERPT_S = 6.0
PICTURE_PX = 144
SHEET_PX = 1400
NUM_CLIPS = 40
"""Shown with their sound: 40 stay below 5 MB."""
PER_PAIR = 4

GROUPS = {
    "seen": "by whether training had recordings of the city",
    "city": "by city",
    "fold": "by fold",
    "picture": "what a judge of pictures, taught with real ones, names rightly",
}
"""Headings of the groups of a report, in this order."""
EXHIBITS = {
    "photographs": "photographs",
    "reconstructed": "photographs through the codes",
    "imagined": "imagined",
    "shuffled": "imagined for another recording",
}

Picture = np.ndarray | None
Imagine = Callable[[Sequence[int]], Sequence[Picture]]
"""Numbers of clips -> what is imagined for each, (H, W, 3) uint8, or None where the run is gone."""


@dataclass(frozen=True)
class Confusion:
    """A label that was taken for another."""

    truth: int
    answer: int
    count: int
    """How many clips of `truth` were answered so."""
    num_of_truth: int
    clips: tuple[int, ...]
    """Numbers of those to show, the surest first."""

    @property
    def key(self) -> tuple[int, int]:
        return self.truth, self.answer


def write_page(
    report: Mapping[str, Any],
    scored: Scored,
    out: Path,
    *,
    root: Path,
    imagine: Imagine | None = None,
    sheet: Path | None = None,
) -> Path:
    """Write report.html into `out`; `root`: of the clips' files, `sheet`: a contact sheet of imagined pictures.

    Returns the path.
    """
    pairs = worst_confusions(scored.targets, scored.probabilities, scored.sources)
    shown = [clip for pair in pairs for clip in pair.clips]
    pictures = dict(zip(shown, imagine(shown), strict=True)) if imagine else {}
    page = render(
        "evaluation.html",
        report=report,
        labels=[plain(label) for label in report["labels"]],
        choices=choices(report),
        groups=groups_of(report),
        pairs=pairs,
        clips={
            number: {
                "row": scored.clips[number],
                "probabilities": scored.probabilities[number].tolist(),
                "sound": beginning(scored.clips[number], root),
                "picture": "" if (picture := pictures.get(number)) is None else jpeg_uri(enlarged(picture, PICTURE_PX)),
            }
            for number in shown
        },
        num_mistakes=int((~scored.correct).sum()),
        has_pictures=bool(pictures),
        classes=classes_of(np.asarray(report["confusion"])),
        sheet=embedded(sheet),
    )
    return write_whole(out / "report.html", page)


def beginning(clip: Clip, root: Path) -> str:
    """The first seconds of a clip as sound, empty where it cannot be read."""
    length_s = EXCERPT_S if clip.end_s is None else min(EXCERPT_S, clip.end_s - clip.start_s)
    try:
        path = root / clip.audio_path
        return mp3_uri(read_excerpt(path, start_s=clip.start_s, length_s=length_s, rate_hz=SAMPLE_RATE_HZ))
    except AudioError:
        return ""


def worst_confusions(
    targets: np.ndarray,
    probabilities: np.ndarray,
    sources: Sequence[str] | np.ndarray,
    *,
    num_clips: int = NUM_CLIPS,
    per_pair: int = PER_PAIR,
) -> list[Confusion]:
    """The pairs confused most often, until `num_clips` clips are shown.

    targets (M,), probabilities (M, N). Of equally frequent pairs the one answered more surely comes first. A source
    gives a pair a second clip only where there is no other.
    """
    answers, sure = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(answers != targets)
    clips_of: dict[tuple[int, int], list[int]] = {}
    for clip in wrong[np.argsort(-sure[wrong], kind="stable")].tolist():
        clips_of.setdefault((int(targets[clip]), int(answers[clip])), []).append(clip)
    order = sorted(clips_of.items(), key=lambda pair: (-len(pair[1]), -float(sure[pair[1]].mean())))
    found: list[Confusion] = []
    for pair, clips in order:
        room = num_clips - sum(len(each.clips) for each in found)
        if room <= 0:
            break
        seen: Counter[str] = Counter()
        rank = {}
        for clip in clips:
            rank[clip] = seen[sources[clip]]
            seen[sources[clip]] += 1
        chosen = sorted(clips, key=rank.__getitem__)[: min(per_pair, room)]
        found.append(Confusion(*pair, len(clips), int((targets == pair[0]).sum()), tuple(chosen)))
    return found


def groups_of(report: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Shares of right answers: of all, by place where labels are sounds, and of each group."""
    places = {
        "accuracy": report.get("scene_accuracy"),
        "interval_95": report.get("scene_interval_95"),
        "num_clips": report["num_clips"],
    }
    whole = {"all": report} | ({"its place": places} if "scene_accuracy" in report else {})
    groups = report.get("groups", {})
    return [("", whole), *((title, groups.get(key, {})) for key, title in GROUPS.items())]


def embedded(path: Path | None) -> dict[str, Any] | None:
    """A large picture with its size; None where the file is missing."""
    if path is None or not path.is_file():
        return None
    with Image.open(path, formats=FORMATS) as picture:
        small = picture.convert("RGB")
    small.thumbnail((SHEET_PX, 4 * SHEET_PX))
    return {"uri": jpeg_uri(small), "width": small.width, "height": small.height}


def write_picture_page(report: Mapping[str, Any], out: Path) -> Path:
    """Write report.html of imagined pictures into `out`, with the figure and the contact sheet that lie there."""
    num = report["num_pictures"]

    def part(value: float, interval: Any = None) -> dict[str, Any]:
        return {"accuracy": value, "interval_95": interval, "num_clips": num}

    order = [*EXHIBITS, *report["exhibits"]]  # another method's exhibit comes last
    rows = [
        (EXHIBITS.get(kind, exhibit["name"]), exhibit)
        for kind, exhibit in sorted(report["exhibits"].items(), key=lambda item: order.index(item[0]))
    ]
    another, groups = EXHIBITS["shuffled"], []
    if report["exhibits"]["imagined"]["agreement"] is not None:
        seen = {name: part(each["agreement"], each["agreement_interval_95"]) for name, each in rows}
        num_scenes = report["scene_classifier"]["num_scenes"]
        groups.append((f"the scene classifier names the right one of {num_scenes} scenes", seen))
    judged = {
        "photographs": part(report["judge_accuracy_on_photographs"]),
        "imagined": part(report["agreement"], report["agreement_interval_95"]),
        another: part(report["shuffled"]),
    }
    groups.append((f"a judge of code maps names the right one of {report['num_scenes']}", judged))
    for k, at in report["retrieval"]["at"].items():
        nearest = "the nearest photograph is" if k == "1" else f"the {k} nearest photographs hold one"
        found = {
            "imagined": part(at["share"], at["interval_95"]),
            another: part(at["shuffled"], at["shuffled_interval_95"]),
            "by chance": part(at["chance"]),
        }
        groups.append((f"{nearest} of the right scene", found))
    page = render(
        "pictures.html",
        report=report,
        groups=groups,
        rows=rows,
        figure=embedded(out / "figure8.png"),
        sheet=embedded(out / "contact_sheet.jpg"),
    )
    return write_whole(out / "report.html", page)
