"""The data set as one HTML page: how much of what, and clips of each scene to look at and listen to; also dropped ones.

The page holds everything itself and asks no server for anything.
"""

import hashlib
import html
from collections import defaultdict
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
PER_SCENE = 6
PER_REASON = 4  # enough to judge a rule by
MAX_CLIPS = 240  # each adds some 80 kB
KINDS = ("train", "validation", "test")
STATUS = '<p class="now" role="status" aria-live="polite"></p>'
"""Where the script says what plays, for who does not see it."""

Media = Mapping[str, Path]


def page(known: Mapping[str, Any], verdicts: Sequence[Verdict], media: Media) -> str:
    """The page of a data set, `known` from `card.facts`; sounds and pictures are read from the units' tars."""
    return render(
        "curation.html",
        title=known["title"],
        heading=_heading(known),
        lead="Press a picture to hear it. With the keyboard: <kbd>Tab</kbd> to a picture, <kbd>Space</kbd> plays, "
        "<kbd>←</kbd> <kbd>→</kbd> go on to the next.",
        sections=[
            _counts_section(known),
            *_scene_sections(known, verdicts, media),
            _drop_out_section(known),
            _dropped_section(verdicts, media),
            _making_section(known),
            STATUS,
        ],
        note=f"Shown are the first {PLAYED_S:g} s of clips chosen at random, the sound as models take it: one "
        "channel, 16 kHz. The recordings belong to their authors: pass this page on only where their licences "
        f"allow. Hash of the list: <code>{html.escape(known['hash'])}</code>",
    )


def choose(verdicts: Iterable[Verdict], num: int) -> list[Verdict]:
    """Some clips of many sources: of each source one before a second, chosen by a hash that is always the same."""

    def lot(verdict: Verdict) -> bytes:
        return hashlib.sha256(f"page {verdict.candidate.id}".encode()).digest()

    shuffled = sorted(verdicts, key=lot)
    seen: dict[str, int] = defaultdict(int)
    turns: list[tuple[int, int]] = []
    for verdict in shuffled:
        source = verdict.candidate.source
        turns.append((seen[source], len(turns)))
        seen[source] += 1
    return [shuffled[place] for _, place in sorted(turns)[:num]]


def _heading(known: Mapping[str, Any]) -> str:
    places = f" in {known['num_places']:,} places" if known["num_places"] else ""
    return (
        f"{html.escape(known['title'])}<small>{known['num_clips']:,} clips of {len(known['classes'])} scenes, "
        f"{duration(known['hours'])}, from {known['num_sources']:,} sources{places}</small>"
    )


def duration(hours: float) -> str:
    """ "5.3 minutes", "1,234.0 hours"."""
    return f"{60 * hours:.1f} minutes" if hours < 1 else f"{hours:,.1f} hours"


def _counts_section(known: Mapping[str, Any]) -> str:
    """Clips of each scene by split, and the sources of each split."""
    classes, splits = known["classes"], known["splits"]
    if not classes:
        return "<section><h2>Nothing was kept</h2><p>The reasons stand below.</p></section>"
    largest = max(sum(counts.values()) for counts in classes.values())
    keys = "".join(
        f'<li style="--kind:var(--{_kind(split)})">{html.escape(split)}: {row["num_clips"]:,} clips of '
        f"{row['num_sources']:,} sources</li>"
        for split, row in splits.items()
    )
    names = "".join(f'<th scope="col" class="part">{html.escape(split)}</th>' for split in splits)
    rows = [
        f'<tr class="group"><th scope="col">scene</th><td></td>{names}<th scope="col">all</th></tr>'
    ]
    for number, (label, counts) in enumerate(classes.items()):
        bars = "".join(
            f'<i style="--kind:var(--{_kind(split)});--share:{100 * num / largest:.2f}%"></i>'
            for split, num in counts.items()
        )
        cells = "".join(f'<td class="part">{num:,}</td>' for num in counts.values())
        rows.append(
            f'<tr><th scope="row"><a href="#scene-{number}">{html.escape(plain(label))}</a></th>'
            f'<td><span class="parts" aria-hidden="true">{bars}</span></td>{cells}'
            f"<td>{sum(counts.values()):,}</td></tr>"
        )
    return f"""<section><h2>Scenes</h2>
<p>No source stands in two splits. The largest scene has {balance(known):.3g} times as many clips as the smallest.</p>
<ul class="key">{keys}</ul>
<div class="card"><table class="counts">{"".join(rows)}</table></div></section>"""


def _kind(split: str) -> str:
    return split if split in KINDS else "other"


def _scene_sections(
    known: Mapping[str, Any], verdicts: Sequence[Verdict], media: Media
) -> list[str]:
    """Clips of each scene."""
    of_label: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.is_kept:
            of_label[verdict.label].append(verdict)
    num = max(2, min(PER_SCENE, MAX_CLIPS // max(1, len(of_label))))
    sections = []
    for number, label in enumerate(known["classes"]):
        items = "".join(_item(verdict, media) for verdict in choose(of_label[label], num))
        total = sum(known["classes"][label].values())
        sections.append(
            f'<section id="scene-{number}"><h2><b>{html.escape(plain(label))}</b> '
            f'<span>{total:,} clips</span></h2><ul class="clips">{items}</ul></section>'
        )
    return sections


def _drop_out_section(known: Mapping[str, Any]) -> str:
    """What was left out, by stage and reason."""
    seen, kept = known["num_clips_seen"], known["num_clips"]
    rows = []
    for of, total, title in (
        ("videos", known["num_videos"], "videos, or stretches of them, of which nothing came"),
        ("clips", seen, "clips that were cut and then dropped"),
    ):
        part = [row for row in known["dropped"] if row["of"] == of]
        if part:
            rows.append(f'<tr class="group"><th scope="colgroup" colspan="3">{title}</th></tr>')
        rows += [_reason_row(row, total) for row in part]
    share = f", {whole_percent(kept / seen)}" if seen else ""
    table = f'<div class="card"><table class="counts">{"".join(rows)}</table></div>' if rows else ""
    return f"""<section><h2>What was left out</h2>
<p>Of {known["num_videos"]:,} videos {known["num_videos_kept"]:,} are in the set; of {seen:,} clips cut from them
{kept:,}{share}.</p>{table}</section>"""


def _reason_row(row: Mapping[str, Any], total: int) -> str:
    share = 100 * min(1.0, row["num"] / max(total, 1))
    return (
        f'<tr><th scope="row">{html.escape(row["reason"])}</th><td><span class="parts" aria-hidden="true">'
        f'<i style="--kind:var(--other);--share:{share:.2f}%"></i></span></td><td>{row["num"]:,}</td></tr>'
    )


def _dropped_section(verdicts: Iterable[Verdict], media: Media) -> str:
    """Some of the dropped clips, so that everybody may judge whether that was right."""
    of_reason: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if not verdict.is_kept:
            of_reason[verdict.reason].append(verdict)
    if not of_reason:
        return ""
    num = max(1, min(PER_REASON, MAX_CLIPS // 4 // len(of_reason)))
    parts = []
    for reason in sorted(of_reason, key=lambda reason: (-len(of_reason[reason]), reason)):
        items = "".join(_item(verdict, media) for verdict in choose(of_reason[reason], num))
        parts.append(
            f"<h3>{html.escape(reason)} <span>{len(of_reason[reason]):,}</span></h3>"
            f'<ul class="clips small">{items}</ul>'
        )
    return f"""<section><h2>Dropped: rightly?</h2>
<p>Some clips for each reason, with the number that decided.</p>{"".join(parts)}</section>"""


def _making_section(known: Mapping[str, Any]) -> str:
    """How it was made, and under which licences its clips stand."""
    licences = "; ".join(f"{name}: {num:,}" for name, num in known["licences"])
    rows = [(plain(name), in_words(value)) for name, value in known["made"].items()]
    rows += [("licences", licences), ("sound", known["form"]["sound"])]
    rows += [("picture", known["form"]["picture"])]
    items = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in rows if v)
    return f'<section><h2>How it was made</h2><div class="card"><dl>{items}</dl></div></section>'


def _item(verdict: Verdict, media: Media) -> str:
    """A clip: its picture, which plays its sound, and what is known of it."""
    clip = verdict.candidate
    times = f"{clock(clip.start_s)}–{clock(clip.end_s)}"
    name = html.escape(clip.video_id)
    sound = _try(lambda: _sound(clip, media))
    picture = _try(lambda: _picture(clip, media))
    shown = f'<img src="{picture}" alt="">' if picture else '<span class="none"></span>'
    label = html.escape(
        f"{plain(verdict.label) or 'clip'}, {clip.video_id} at {clock(clip.start_s)}"
    )
    player = f'<audio controls preload="none" src="{sound}" aria-label="{label}"></audio>'
    button = (
        f'<button type="button" class="play" aria-pressed="false" aria-label="Play {label}">{shown}'
        "<b></b><u></u></button>"
        if sound
        else f'<div class="play mute">{shown}</div>'
    )
    if clip.address.startswith("https://"):
        name = f'<a href="{html.escape(clip.address)}" rel="noreferrer">{name}</a>'
    why = f'<p class="why">{html.escape(verdict.detail)}</p>' if verdict.detail else ""
    if not verdict.is_kept and clip.label:
        why += f"<p>said to be: <b>{html.escape(plain(clip.label))}</b></p>"
    tags = _tags("seen", clip.scenes) + _tags("heard", clip.sounds)
    about = " · ".join(filter(None, (html.escape(clip.place), html.escape(clip.licence))))
    return (
        f"<li>{button}{player if sound else ''}{why}<p>{name} <span>{times}</span></p>{tags}"
        f"{f'<p>{about}</p>' if about else ''}</li>"
    )


def _tags(how: str, tags: Tags) -> str:
    """The first two names that a tagger gave."""
    if not tags:
        return ""
    named = ", ".join(f"{plain(name)} {whole_percent(weight)}" for name, weight in tags[:2])
    return f"<p>{how}: {html.escape(named)}</p>"


def _try(read: Callable[[], str]) -> str:
    """What is to be shown; nothing where it cannot be read: the page shows clips, `data check` reports damage."""
    try:
        return read()
    except (AvganError, OSError, KeyError):
        return ""


def _sound(clip: Candidate, media: Media) -> str:
    length_s = min(PLAYED_S, clip.end_s - clip.start_s)
    waveform = read_excerpt(
        media[clip.video_id] / f"{clip.id}.flac",
        start_s=0,
        length_s=length_s,
        rate_hz=SAMPLE_RATE_HZ,
    )
    return mp3_uri(waveform)


def _picture(clip: Candidate, media: Media) -> str:
    with (
        open_media(media[clip.video_id] / f"{clip.id}.jpg") as file,
        Image.open(file, formats=("JPEG",)) as opened,
    ):
        small = opened.convert("RGB")
    small.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
    return jpeg_uri(small)
