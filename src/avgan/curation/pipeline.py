"""From videos to a data set, in steps that can be interrupted anywhere and resumed.

    plan      which videos each unit of work is made of                      work/plan.parquet
    units     fetch, cut, measure, tag: an engine makes them, in any order   work/<number>/
    select    each clip by itself, then near-duplicates, splits and quotas   in memory: a clip is 3 kB
    write     shards, manifest, card, page, frozen list                      DIR

What is there is not done again: a unit is whole or absent, and the same clips give the same data set. Limits of the
selection may be changed and the same command given again: nothing is cut anew.
"""

import json
import os
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from avgan.curation.engines import FACTS, PLAN, Engine, Work
from avgan.curation.record import Candidate, Loss, Video, load_clips, load_plan, save_plan
from avgan.curation.select import Division, Likeness, Rules, Verdict, divide, find_duplicates, judge
from avgan.curation.unit import CLIPS, LOSSES, MEDIA, Settings, Tools, folder_of, is_done, read_report
from avgan.curation.write import tidy as remove_media
from avgan.curation.write import write
from avgan.errors import AvganError, DataError
from avgan.files import hold
from avgan.runtime.wording import clock

WORK = "work"
VIDEOS_PER_UNIT = 8
"""At most. More would lose more where a unit is broken off; fewer leave more files about."""
UNITS_WANTED = 64
"""At least, where there are as many videos: enough for all workers to have something to do."""
DUPLICATE = "duplicate"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which clips are kept, and where they stand."""

    rules: Rules = field(default_factory=Rules)
    likeness: Likeness | None = field(default_factory=Likeness)
    """None: near-duplicates are kept."""
    division: Division = field(default_factory=Division)


@dataclass(frozen=True)
class Found:
    """The clips and losses of all units."""

    clips: list[Candidate] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Spent in each stage, over all workers."""


@dataclass(frozen=True)
class Outcome:
    """The data set in numbers."""

    num_videos: int
    kept: Mapping[str, Counter[str]]
    """{split: {label: clips}}"""
    dropped: Mapping[str, int]
    """{reason: clips}"""
    losses: Sequence[Loss]
    num_clips: int
    seconds: Mapping[str, float]

    @property
    def lost(self) -> Mapping[str, int]:
        """{reason: videos}"""
        return Counter(loss.reason for loss in self.losses)


def curate(
    videos: Sequence[Video],
    out: Path,
    *,
    settings: Settings,
    choice: Choice,
    open_tools: Callable[[], Tools],
    engine: Engine,
    retry: frozenset[str] = frozenset(),
    tidy: bool = False,
    say: Say = lambda line: None,
    title: str = "",
) -> Outcome:
    """Make a data set in `out`, or go on with it. Videos that were cut in an earlier run stay, named again or not.

    `open_tools` is called by each worker. `retry`: reasons for which videos that were lost are tried again. `tidy`:
    when all is written, remove the media of the units; from then on neither choice nor videos may change.

    Raises DataError: `out` was begun with other settings, is being written to, or is to change after it was tidied.
    """
    work = out.absolute() / WORK
    work.mkdir(parents=True, exist_ok=True)
    with _alone(work):
        units = plan(videos, work, settings, retry)
        _clear(work)
        numbers = [number for number in range(len(units)) if not is_done(work, number)]
        _make(Work(work, uuid.uuid4().hex, open_tools), numbers, units, engine, say)
        _clear(work)  # of workers that died
        found = collect(work, units)
        verdicts = decide(found.clips, choice)
        taggers = json.loads((work / FACTS).read_text(encoding="utf-8"))
        made = {"settings": settings.stated(), "choice": asdict(choice), "taggers": taggers}
        media = {video: folder_of(work, number) / MEDIA for video, number in _unit_of(units).items()}
        write(verdicts, found.losses, out, media=media, made=made, title=title)
        if tidy:
            remove_media(out, [folder_of(work, number) / MEDIA for number in range(len(units))])
    kept: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        if verdict.is_kept:
            kept.setdefault(verdict.split, Counter())[verdict.label] += 1
    return Outcome(
        num_videos=len(media),
        kept=kept,
        dropped=Counter(verdict.reason for verdict in verdicts if not verdict.is_kept),
        losses=found.losses,
        num_clips=len(verdicts),
        seconds=found.seconds,
    )


def plan(
    videos: Sequence[Video], work: Path, settings: Settings, retry: frozenset[str] = frozenset()
) -> list[list[Video]]:
    """The videos of each unit: those planned before, then the new ones.

    A video that is described otherwise than before is new; where its file lies does not matter. One that stands in
    several units counts in the last.

    Raises DataError where the plan was made with other settings, an id is given twice, or there are new ones and the
    media of the others were tidied away.
    """
    path = work / PLAN
    stated = json.dumps(settings.stated(), sort_keys=True)
    units: list[list[Video]] = []
    if path.is_file():
        units, before = load_plan(path)
        if before != stated:
            raise DataError(f"{work.parent}: was begun with {_difference(before, stated)}; name another folder")
    given = {video.id: _located(video) for video in videos}
    if len(given) < len(videos):
        twice = next(id for id, count in Counter(video.id for video in videos).items() if count > 1)
        raise DataError(f"{twice}: two videos have this id; give them different ones")
    known = {video.id: video for unit in units for video in unit}
    units = [[_moved(video, given.get(video.id)) for video in unit] for unit in units]
    again = {loss.video_id for loss in _losses(work, units) if loss.reason in retry}
    new = [
        video
        for id, video in sorted(given.items())
        if id in again or id not in known or _moved(known[id], video) != video
    ]
    done = [number for number in range(len(units)) if is_done(work, number)]
    if new and not all((folder_of(work, number) / MEDIA).is_file() for number in done):
        raise DataError(
            f"{work.parent}: nothing can be added: the media of its clips are gone, as --tidy leaves them; "
            f"name another folder for what is new, such as {new[0].id}"
        )
    size = max(1, min(VIDEOS_PER_UNIT, len(new) // UNITS_WANTED))
    units += [new[i : i + size] for i in range(0, len(new), size)]
    if not units:
        raise DataError("there is no video; name a folder, a pattern or a list of videos")
    save_plan(path, units, stated)
    return units


def collect(work: Path, units: Sequence[Sequence[Video]]) -> Found:
    """What the units found. Raises DataError where one is damaged."""
    found, unit_of = Found(), _unit_of(units)
    found.losses.extend(_losses(work, units))
    for number in range(len(units)):
        clips = load_clips(folder_of(work, number) / CLIPS)
        found.clips.extend(clip for clip in clips if unit_of.get(clip.video_id) == number)
        for stage, spent_s in read_report(work, number).seconds.items():
            found.seconds[stage] = found.seconds.get(stage, 0.0) + spent_s
    return found


def decide(clips: Sequence[Candidate], choice: Choice) -> list[Verdict]:
    """A verdict on each clip: by itself, then beside the others, then by its split."""
    verdicts = [judge(clip, choice.rules) for clip in clips]
    related: list[tuple[str, str]] = []
    if choice.likeness is not None:
        kept = {one.candidate.id: one.candidate for one in verdicts if one.is_kept}
        repeated = find_duplicates(kept.values(), choice.likeness)
        related = [(kept[clip].source_id, kept[first].source_id) for clip, first in repeated.items()]
        verdicts = [
            replace(one, reason=DUPLICATE, detail=f"as {repeated[one.candidate.id]}")
            if one.candidate.id in repeated
            else one
            for one in verdicts
        ]
    return divide(verdicts, choice.division, related)


def _make(work: Work, numbers: Sequence[int], units: Sequence[Sequence[Video]], engine: Engine, say: Say) -> None:
    """Make the units of these numbers; after each a line of progress, at the end an empty one, which takes it away."""
    num_videos, num_done, num_clips = sum(len(units[number]) for number in numbers), 0, 0
    started_s = time.monotonic()
    try:
        if num_videos:
            say(f"0/{num_videos:,} videos")
        with closing(engine(work, numbers)) as reports:
            for report in reports:
                num_done += len(units[report.number])
                num_clips += report.num_clips
                say(progress(num_done, num_videos, num_clips, time.monotonic() - started_s))
    finally:
        say("")
    if missing := [number for number in numbers if not is_done(work.folder, number)]:
        raise AvganError(f"{len(missing)} units are not there, such as {missing[0]}; run it again")


def progress(num_done: int, num_videos: int, num_clips: int, spent_s: float) -> str:
    """Where the work is after `spent_s`, with a guess at how long it takes, in a line."""
    left_s = spent_s / num_done * (num_videos - num_done)
    return (
        f"{num_done:,}/{num_videos:,} videos  {num_clips:,} clips, {num_clips / max(spent_s, 1e-9):.3g} a second  "
        f"{clock(round(left_s))} left"
    )


def _unit_of(units: Sequence[Sequence[Video]]) -> dict[str, int]:
    """{video: the number of its unit, of several the last}"""
    return {video.id: number for number, unit in enumerate(units) for video in unit}


def _located(video: Video) -> Video:
    """With paths that hold wherever a worker stands."""
    path, sound_path = (os.path.abspath(path) if path else "" for path in (video.path, video.sound_path))
    return replace(video, path=path, sound_path=sound_path)


def _moved(video: Video, to: Video | None) -> Video:
    """A video as planned, with the place where its file lies now."""
    return video if to is None else replace(video, path=to.path, sound_path=to.sound_path)


def _losses(work: Path, units: Sequence[Sequence[Video]]) -> Iterator[Loss]:
    """Of all units that are done."""
    unit_of = _unit_of(units)
    for number in range(len(units)):
        if not is_done(work, number):
            continue
        path = folder_of(work, number) / LOSSES
        try:
            losses = [Loss(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            raise DataError(f"{path.parent}: is damaged; delete it and run again") from None
        yield from (loss for loss in losses if unit_of.get(loss.video_id) == number)


def _clear(work: Path) -> None:
    """Remove what was left half made."""
    for path in work.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix == ".tmp":
            path.unlink(missing_ok=True)


def _difference(before: str, now: str) -> str:
    """The first setting that is not as it was."""
    try:
        old, new = json.loads(before), json.loads(now)
        name = next(name for name in sorted(new) if old.get(name) != new[name])
        return f"{name} {json.dumps(old.get(name))}, not {json.dumps(new[name])}"
    except (ValueError, AttributeError, StopIteration):
        return "another version"


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Two runs at a time would remove each other's half-made units."""
    with open(work / "lock", "w") as file:
        if hold(file) is False:
            raise DataError(f"{work.parent}: another avgan is writing to it; wait for it, or name another folder")
        yield
