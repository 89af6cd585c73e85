"""`avgan curate`: videos to a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from avgan.cli.app import UsageError, app, extra, say, show_progress, terminable, two_sides
from avgan.cli.options import Flag, Output, Positive, Several

if TYPE_CHECKING:
    from avgan.curation.pipeline import Choice, Outcome
    from avgan.curation.select import Division
    from avgan.curation.unit import Settings, Tools

NONE = "none"
SMALL_SET = 10_000
"""Clips: of fewer, training is short of them before a test is."""
MOST_SAID = 10
"""Lost videos that are named; the others are in losses.json."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Order:
    """What is wanted of videos, and how."""

    output: Output
    """Folder of the data set. Where it was begun, it is gone on with; new videos are added."""
    clip: Annotated[float, Parameter(validator=Number(gte=0.5, lte=60))] = 10.0
    """Seconds of a clip: 10 as DCASE, 5 as ESC-50, or 1."""
    skip: Annotated[float, Parameter(validator=Number(gte=0))] = 5.0
    """Seconds at the start of each video that are left out, as there is often an intro."""
    frames: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 1
    """Pictures kept of each clip."""
    labels: Literal["source", "table-1"] = "source"
    """Whose labels count: the source's (a folder's name), or those that picture and sound agree to by the paper's
    Table 1."""
    sounds: str = "mn04"
    """Tagger of sounds, which finds music and speech: mn04, cnn14, cnn14=FILE, an ONNX file; none."""
    scenes: str = NONE
    """Tagger of pictures: vgg16-places365, squeezenet-places365, NAME=FILE, an ONNX file; none."""
    weights: Path = Path("data")
    """Folder with the taggers' weights, see docs/data.md for where to get them."""
    tolerate: tuple[str, ...] = ()
    """Defects that drop no clip: black, plain, bars, still, silent, clipped, music, speech, duplicate."""
    limit: Several = ()
    """Where a defect begins, such as --limit min_motion=0.01; may be given several times."""
    crop_bars: Flag = False
    """Cut black bars off the pictures."""
    blur: tuple[Literal["faces", "plates"], ...] = ()
    """Blur faces, or number plates, in the pictures."""
    shares: str = "24000,16000,16000"
    """Of training, validation and test."""
    split_by: Literal["place", "source"] = "place"
    """What stands in one split only: videos and places, where they are known; or videos alone."""
    per_class: Positive | None = None
    """At most so many clips of a label."""
    title: str = ""
    """For the data card."""
    cookies: Path | None = None
    """For downloads: a cookies file in Netscape's format."""
    per_hour: Annotated[float, Parameter(validator=Number(gte=0))] = 300.0
    """For downloads: at most so many videos an hour of one site; 0: no limit."""
    retry: Flag = False
    """Try again the downloads that were blocked or broke off before."""
    tidy: Flag = False
    """When all is written and verified, remove the second copy of the media in DIR/work, half of the disk space. The
    same command still finds all done; other limits or more videos need another folder then."""
    jobs: Positive | None = None
    """How many videos are worked on at a time: as many as there are cores, unless given."""
    engine: Literal["local", "ray"] = "local"
    """Who does it: this machine, or the Ray cluster at RAY_ADDRESS."""


@app.command
def curate(*source: str, order: Order) -> int:
    """Make an audio-visual data set from videos: cut, tag, select, split, write.

    Broken off, the same command goes on. Given again with other limits, it selects anew and cuts nothing. What was
    dropped, and why, is in DIR/index.html, card.md and manifest.parquet; which videos were lost, in losses.json.

    Args:
        source: Folders of videos (a folder for each label), patterns in quotes, lists of addresses (.csv, .jsonl), the
            folder of TAU Urban Audio-Visual Scenes 2021, or a folder of YouTube-8M's lists.
    """
    if not source:
        raise UsageError("name a folder of videos, a pattern in quotes, or a list of addresses")
    with extra("curate"):
        from avgan.curation.engines import engine_named
        from avgan.curation.fetch import WORTH_ANOTHER_DAY
        from avgan.curation.pipeline import curate
        from avgan.curation.sources import find_all

    settings, choice = settings_of(order), choice_of(order)
    videos = find_all(source)
    with terminable(), extra("cluster" if order.engine == "ray" else "curate"):
        outcome = curate(
            videos,
            order.output,
            settings=settings,
            choice=choice,
            open_tools=opener(order, settings),
            engine=engine_named(order.engine, order.jobs),
            retry=WORTH_ANOTHER_DAY if order.retry else frozenset(),
            tidy=order.tidy,
            say=show_progress,
            title=order.title,
        )
    return tell(outcome, order)


def settings_of(order: Order) -> "Settings":
    """What the clips depend on."""
    from avgan.curation.unit import Settings

    if order.labels == "table-1" and NONE in (order.scenes, order.sounds):
        raise UsageError("Table 1 asks for scenes and sounds: name taggers with --scenes and --sounds")
    return Settings(
        clip_s=order.clip,
        skip_s=order.skip,
        num_frames=order.frames,
        crop_bars=order.crop_bars,
        blur=tuple(sorted(set(order.blur))),
        picture_tagger="" if order.scenes == NONE else order.scenes,
        sound_tagger="" if order.sounds == NONE else order.sounds,
    )


def choice_of(order: Order) -> "Choice":
    """Which clips are kept."""
    from avgan.curation.pipeline import DUPLICATE, Choice
    from avgan.curation.select import DEFECTS, Likeness, Limits, Rules

    known = (*DEFECTS, DUPLICATE)
    for defect in order.tolerate:
        if defect not in known:
            raise UsageError(f"--tolerate {defect}: known are {', '.join(known)}")
    limits: dict[str, float] = {}
    names = [field.name for field in fields(Limits)]
    for name, value in (two_sides("--limit", text) for text in order.limit):
        if name not in names:
            raise UsageError(f"--limit {name}: known are {', '.join(names)}")
        limits[name] = _number(f"--limit {name}={value}", value)
    rules = Rules(
        labels="table_1" if order.labels == "table-1" else "source",
        defects=tuple(defect for defect in DEFECTS if defect not in order.tolerate),
        limits=Limits(**limits),
    )
    likeness = None if DUPLICATE in order.tolerate else Likeness()
    return Choice(rules=rules, likeness=likeness, division=division_of(order))


def division_of(order: Order) -> "Division":
    """How the clips are divided."""
    from avgan.curation.select import SPLITS, Division

    parts = order.shares.split(",")
    if len(parts) > len(SPLITS):
        raise UsageError(f"--shares {order.shares}: at most three numbers")
    shares = {split: _number(f"--shares {order.shares}", part) for split, part in zip(SPLITS, parts, strict=False)}
    return Division(shares=shares, by=order.split_by, per_class=order.per_class)


def opener(order: Order, settings: "Settings") -> "partial[Tools]":
    """Opens the tools of a worker, wherever it is."""
    from avgan.curation.fetch import FetchSettings
    from avgan.curation.unit import Tools

    fetching = FetchSettings(
        cookies=order.cookies.absolute() if order.cookies else None,
        per_hour=order.per_hour,
        shared=order.output.absolute() / "work" / "shared",
    )
    return partial(Tools, settings, order.weights.absolute(), fetching)


def tell(outcome: "Outcome", order: Order) -> int:
    """What became of the videos: the data set's folder on standard output, all else on standard error."""
    from avgan.curation.cut import SKIPPED

    num_kept = sum(sum(labels.values()) for labels in outcome.kept.values())
    say(f"{outcome.num_clips:,} clips of {outcome.num_videos:,} videos")
    if outcome.dropped:
        say(f"dropped {_counted(outcome.dropped)}")
    for loss in outcome.losses[:MOST_SAID]:
        say(f"{loss.video_id}: {loss.reason}" + (f" ({loss.detail})" if loss.detail else ""))
    if len(outcome.losses) > MOST_SAID:
        say(f"{len(outcome.losses):,} videos lost in all: {_counted(outcome.lost)}; see losses.json")
    skipped = sum(SKIPPED in loss.detail for loss in outcome.losses)
    if skipped:
        say(
            f"note: of {skipped:,} videos the first {order.skip:g} s are left out as an intro, and no clip of "
            f"{order.clip:g} s remains: for clips that are cut already, --skip 0 into another folder"
        )
    if not num_kept:
        say(f"{order.output}: no clip was kept; see index.html there, and --limit and --tolerate")
        return 1
    for split, labels in sorted(outcome.kept.items()):
        say(f"{split}: {sum(labels.values()):,} clips, {_counted(labels)}")
    spared = sum(sum(labels.values()) for split, labels in outcome.kept.items() if split != "train")
    if spared > num_kept / 4 and num_kept < SMALL_SET:
        say(
            f"note: {spared / num_kept:.0%} of the clips are kept from training, the paper's shares, which are meant "
            "for large sets: --shares 80,10,10 keeps 20 %"
        )
    for split in ("validation", "test"):
        if split not in outcome.kept and division_of(order).part(split):
            say(f"note: nothing for {split}: of too few videos or places; see --split-by")
    if spent_s := sum(outcome.seconds.values()):
        shares = {stage: f"{s / spent_s:.0%}" for stage, s in outcome.seconds.items()}
        said = ", ".join(f"{stage} {share}" for stage, share in shares.items())
        say(f"{outcome.num_clips / spent_s:.3g} clips a second and core: {said}")
    print(order.output)
    say(f"next: avgan train --preset compact --data {order.output} -o RUN")
    return 0


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"{name}: {value!r} is no number") from None


def _counted(counts: Mapping[str, int]) -> str:
    """The most frequent first."""
    order = sorted(counts, key=lambda name: (-counts[name], name))
    return ", ".join(f"{name or 'unlabelled'} {counts[name]:,}" for name in order)
