"""The data card: what is in the set, where from, under which licences, what was left out and why.

`facts` counts, `card_text` says it to people; card.json and card.md are the two.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
    videos = {verdict.candidate.video_id for verdict in verdicts} | {loss.video_id for loss in losses}
    of_class = Counter((verdict.label, verdict.split) for verdict in kept)
    of_split = {split: [one.candidate.source_id for one in kept if one.split == split] for split in SPLITS}
    splits = [split for split in SPLITS if of_split[split]]
    lost = Counter((loss.stage, loss.reason) for loss in losses)
    dropped = _counts(verdict.reason for verdict in verdicts if not verdict.is_kept)
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
        "num_sources": len({clip.source_id for clip in clips}),
        "num_places": len({clip.place for clip in clips if clip.place}),
        "num_videos_kept": len({clip.video_id for clip in clips}),
        "num_videos": len(videos),
        "num_clips_seen": len(verdicts),
        "classes": {
            label: {split: of_class[label, split] for split in splits} for label in sorted({one.label for one in kept})
        },
        "splits": {
            split: {"num_clips": len(of_split[split]), "num_sources": len(set(of_split[split]))} for split in splits
        },
        "licences": _counts(clip.licence or NOT_STATED for clip in clips),
        "places": _counts(clip.place or NOT_STATED for clip in clips),
        # what was left out: videos (or stretches of them) first, then clips; at each stage the most frequent reason
        "dropped": [
            {"stage": stage, "reason": reason, "of": "videos", "num": num}
            for (stage, reason), num in sorted(lost.items(), key=lambda item: (item[0][0], -item[1], item[0]))
        ]
        + [{"stage": "select", "reason": reason, "of": "clips", "num": num} for reason, num in dropped],
    }


def balance(known: Mapping[str, Any]) -> float:
    """How many times as many clips the largest class has as the smallest."""
    totals = [sum(counts.values()) for counts in known["classes"].values()]
    return max(totals) / min(totals) if totals else 1.0


def _counts(names: Iterable[str]) -> list[list[Any]]:
    """[name, how often], the most frequent first."""
    return [[name, num] for name, num in sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))]


def card_text(known: Mapping[str, Any]) -> str:
    """The card in Markdown."""
    splits = ", ".join(
        f"{split} {row['num_clips']:,} clips of {row['num_sources']:,} sources"
        for split, row in known["splits"].items()
    )
    places = f" in {known['num_places']:,} places" if known["num_places"] else ""
    form, num_cut, kept = known["form"], known["num_clips_seen"], known["num_clips"]
    share = f" ({100 * kept / num_cut:.1f} %)" if num_cut else ""
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

Of {known["num_videos"]:,} videos {known["num_videos_kept"]:,} are in the set; of {num_cut:,} clips cut from them {kept:,}{share}.

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
