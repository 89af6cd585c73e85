"""The data set as one HTML page: how much of what, and clips of each scene to look at and listen to; also dropped ones.

The page holds everything itself and asks no server for anything.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from avgan.audio import SAMPLE_RATE_HZ
from avgan.curation.card import balance, in_words
from avgan.curation.record import Candidate, Tags
from avgan.curation.select import Verdict
from avgan.data.loading import read_excerpt
from avgan.data.shards import open_media
from avgan.errors import AvganError
from avgan.pages import jpeg_uri, mp3_uri, render, whole_percent
from avgan.runtime.drawing import plain
from avgan.runtime.wording import clock

PLAYED_S = 10.0  # the usual length of a clip
PICTURE_PX = 384  # shown smaller, so that it is sharp on dense screens
PER_SCENE = 6  # clips
PER_REASON = 4  # enough to judge a rule by
MAX_CLIPS = 240  # each adds some 80 kB

Media = Mapping[str, Path]
"""Video id -> the tar of its unit, which holds `<clip id>.flac` and `<clip id>.jpg`."""


def page(known: Mapping[str, Any], verdicts: Sequence[Verdict], media: Media) -> str:
    """The page of a data set, `known` from `card.facts`; sounds and pictures are read from the units' tars."""
    of_label: dict[str, list[Verdict]] = defaultdict(list)
    of_reason: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        (of_label[verdict.label] if verdict.is_kept else of_reason[verdict.reason]).append(verdict)
    reasons = sorted(of_reason, key=lambda reason: (-len(of_reason[reason]), reason))
    per_scene = max(2, min(PER_SCENE, MAX_CLIPS // max(1, len(of_label))))
    per_reason = max(1, min(PER_REASON, MAX_CLIPS // 4 // max(1, len(of_reason))))

    def shown(name: str, found: Sequence[Verdict], num: int) -> tuple[str, int, list[Any]]:
        return name, len(found), [_item(verdict, media) for verdict in choose(found, num)]

    licences = "; ".join(f"{name}: {num:,}" for name, num in known["licences"])
    return render(
        "curation.html",
        known=known,
        duration=duration(known["hours"]),
        balance=balance(known),
        largest=max((sum(counts.values()) for counts in known["classes"].values()), default=1),
        scenes=[shown(label, of_label[label], per_scene) for label in known["classes"]],
        dropped=[shown(reason, of_reason[reason], per_reason) for reason in reasons],
        making=[
            *((plain(name), in_words(value)) for name, value in known["made"].items()),
            ("licences", licences),
            *known["form"].items(),
        ],
        played_s=f"{PLAYED_S:g}",
    )


def choose(verdicts: Iterable[Verdict], num: int) -> list[Verdict]:
    """Some clips of many sources: of each source one before a second, chosen by a hash that is always the same."""

    def lot(verdict: Verdict) -> bytes:
        return hashlib.sha256(f"page {verdict.candidate.id}".encode()).digest()

    shown: Counter[str] = Counter()
    turns: list[tuple[int, int, Verdict]] = []
    for place, verdict in enumerate(sorted(verdicts, key=lot)):
        turns.append((shown[verdict.candidate.source_id], place, verdict))
        shown[verdict.candidate.source_id] += 1
    return [verdict for _, _, verdict in sorted(turns, key=lambda turn: turn[:2])[:num]]


def duration(hours: float) -> str:
    """ "5.3 minutes", "1,234.0 hours"."""
    return f"{60 * hours:.1f} minutes" if hours < 1 else f"{hours:,.1f} hours"


def _item(verdict: Verdict, media: Media) -> dict[str, Any]:
    """What the template shows of a clip."""
    clip = verdict.candidate
    tags = (("picture", clip.scenes), ("sound", clip.sounds))
    return {
        "picture": _try(lambda: _picture(clip, media)),
        "sound": _try(lambda: _sound(clip, media)),
        "label": f"{plain(verdict.label) or 'clip'}, {clip.video_id} at {clock(clip.start_s)}",
        "video": clip.video_id,
        "address": clip.address,
        "times": f"{clock(clip.start_s)}–{clock(clip.end_s)}",
        "why": verdict.detail,
        "source_label": "" if verdict.is_kept else plain(clip.label),
        "tags": [(how, _first_two(found)) for how, found in tags if found],
        "about": " · ".join(filter(None, (clip.place, clip.licence))),
    }


def _first_two(tags: Tags) -> str:
    return ", ".join(f"{plain(name)} {whole_percent(weight)}" for name, weight in tags[:2])


def _try(read: Callable[[], str]) -> str:
    """What is to be shown; nothing where it cannot be read: the page shows clips, `data check` reports damage."""
    try:
        return read()
    except (AvganError, OSError, KeyError):
        return ""


def _sound(clip: Candidate, media: Media) -> str:
    waveform = read_excerpt(
        media[clip.video_id] / f"{clip.id}.flac",
        start_s=0,
        length_s=min(PLAYED_S, clip.end_s - clip.start_s),
        rate_hz=SAMPLE_RATE_HZ,
    )
    return mp3_uri(waveform)


def _picture(clip: Candidate, media: Media) -> str:
    with open_media(media[clip.video_id] / f"{clip.id}.jpg") as file, Image.open(file, formats=("JPEG",)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
    return jpeg_uri(small)
