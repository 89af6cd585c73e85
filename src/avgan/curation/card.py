"""The data card: what is in the set, where from, under which licences, what was left out and why.

`facts` counts, `card_text` says it to people; card.json and card.md are the two.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from avgan.curation.record import FRAME_WIDTH_PX, SOUND_RATE_HZ, Loss
from avgan.curation.select import SPLITS, Verdict
from avgan.runtime.drawing import plain

NOT_STATED = "not stated"


def facts(
    verdicts: Sequence[Verdict], losses: Sequence[Loss], made: Mapping[str, Any], title: str = "", *, list_hash: str
) -> dict[str, Any]:
    """All that the card says, as JSON. `made`: how the data set was made."""
    kept = [verdict for verdict in verdicts if verdict.is_kept]
    clips = [verdict.candidate for verdict in kept]
    videos = {verdict.candidate.video_id for verdict in verdicts}
    videos |= {loss.video_id for loss in losses}
    return {
        "title": title or "An audio-visual data set",
        "hash": list_hash,
        "made": dict(made),
        "form": {
            "sound": f"FLAC, two channels, {SOUND_RATE_HZ:,} Hz",
            "picture": f"JPEG, at most {FRAME_WIDTH_PX} px wide",
        },
        "num_clips": len(kept),
        "hours": round(sum(clip.end_s - clip.start_s for clip in clips) / 3600, 4),
        "num_sources": len({clip.source for clip in clips}),
        "num_places": len({clip.place for clip in clips if clip.place}),
        "num_videos_kept": len({clip.video_id for clip in clips}),
        "num_videos": len(videos),
        "num_clips_seen": len(verdicts),
        "classes": _by_class(kept),
        "splits": _by_split(kept),
        "licences": _counts(kept, lambda verdict: verdict.candidate.licence or NOT_STATED),
        "places": _counts(kept, lambda verdict: verdict.candidate.place or NOT_STATED),
        "dropped": _drop_out(verdicts, losses),
    }


def balance(known: Mapping[str, Any]) -> float:
    """How many times as many clips the largest class has as the smallest."""
    totals = [sum(counts.values()) for counts in known["classes"].values()]
    return max(totals) / min(totals) if totals else 1.0


def _by_class(kept: Iterable[Verdict]) -> dict[str, dict[str, int]]:
    counts = Counter((verdict.label, verdict.split) for verdict in kept)
    splits = _splits_of(split for _, split in counts)
    labels = sorted({label for label, _ in counts})
    return {label: {split: counts[label, split] for split in splits} for label in labels}


def _by_split(kept: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """Clips and sources of each split."""
    found = {}
    for split in _splits_of(verdict.split for verdict in kept):
        clips = [verdict.candidate for verdict in kept if verdict.split == split]
        sources = {clip.source for clip in clips}
        found[split] = {"num_clips": len(clips), "num_sources": len(sources)}
    return found


def _splits_of(names: Iterable[str]) -> list[str]:
    """In the order in which one speaks of them."""
    there = set(names)
    return [name for name in SPLITS if name in there] + sorted(there - set(SPLITS))


def _counts(kept: Iterable[Verdict], key: Callable[[Verdict], str]) -> list[list[Any]]:
    """[name, number of clips], the most frequent first."""
    counts = Counter(map(key, kept))
    return [[name, counts[name]] for name in sorted(counts, key=lambda name: (-counts[name], name))]


def _drop_out(verdicts: Iterable[Verdict], losses: Iterable[Loss]) -> list[dict[str, Any]]:
    """What was left out at each stage for each reason: videos (or stretches of them) first, then clips."""
    lost = Counter((loss.stage, loss.reason) for loss in losses)
    dropped = Counter(verdict.reason for verdict in verdicts if not verdict.is_kept)
    rows = [
        {"stage": stage, "reason": reason, "of": "videos", "num": num}
        for (stage, reason), num in sorted(lost.items(), key=lambda item: (item[0][0], -item[1], item[0]))
    ]
    return rows + [
        {"stage": "select", "reason": reason, "of": "clips", "num": num}
        for reason, num in sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    ]


def card_text(known: Mapping[str, Any]) -> str:
    """The card in Markdown."""
    splits = ", ".join(
        f"{split} {row['num_clips']:,} clips of {row['num_sources']:,} sources"
        for split, row in known["splits"].items()
    )
    places = f" in {known['num_places']:,} places" if known["num_places"] else ""
    form, seen, kept = known["form"], known["num_clips_seen"], known["num_clips"]
    share = f" ({100 * kept / seen:.1f} %)" if seen else ""
    scenes = [
        (_cell(plain(label)), *(f"{counts[split]:,}" for split in known["splits"]), f"{sum(counts.values()):,}")
        for label, counts in known["classes"].items()
    ]
    licences = [(_cell(name), f"{num:,}") for name, num in known["licences"]]
    dropped = [(row["stage"], _cell(row["reason"]), row["of"], f"{row['num']:,}") for row in known["dropped"]]
    making = [f"- {_cell(name)}: {_cell(in_words(value))}\n" for name, value in known["made"].items()]
    return f"""# {_cell(known["title"])}

{kept:,} clips of {len(known["classes"])} scenes, {known["hours"]:,.2f} hours, from {known["num_sources"]:,} sources{places}: sound and picture of one moment.
Sound: {form["sound"]}. Picture: {form["picture"]}, shown at the middle of the clip.

Hash of the list: `{known["hash"]}`

Splits: {splits or "none"}. No source stands in two of them.

## Scenes

{_table(("scene", *known["splits"], "all"), scenes)}
The largest scene has {balance(known):.3g} times as many clips as the smallest.

## Licences

{_table(("licence", "clips"), licences)}
The licence of each clip and the address it came from stand in `list.json` and in the manifest. A clip
whose licence is not stated may not be passed on without asking.

## What was left out

Of {known["num_videos"]:,} videos {known["num_videos_kept"]:,} are in the set; of {seen:,} clips cut from them {kept:,}{share}.

{_table(("stage", "reason", "what", "how many"), dropped, num_words=3)}
Each clip's reason stands in `manifest.parquet`, each video's in `losses.json`.

## How it was made

{"".join(making)}
## How to use it

    avgan data check curated --data DIR      # is every byte as it was written?
    avgan train --preset compact --data DIR -o RUN

The shards are plain tar files in the form of WebDataset: for each clip `.flac`, `.jpg` and `.json`. A reported
result names the hash above: where videos have vanished, a list made anew has another one.
"""  # noqa: E501 (paragraphs of Markdown)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], num_words: int = 1) -> str:
    """A table in Markdown: `num_words` columns of words, then columns of numbers."""
    rule = "|" + "---|" * num_words + "---:|" * (len(head) - num_words)
    lines = [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def in_words(value: Any) -> str:
    """A value of `made` in words."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {in_words(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    return str(value)


def _cell(text: str) -> str:
    """Untrusted text in one cell of a table: on one line, without Markdown."""
    line = " ".join(text.split()).replace("\\", "\\\\")
    for sign in "|`*<>[]":
        line = line.replace(sign, "\\" + sign)
    return line
