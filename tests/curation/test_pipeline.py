"""From videos to a data set: in steps that can be broken off anywhere; the same bytes in the end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import die, fail, fail_badly, film_of_text, make_here, open_impatient_tools, open_tools

from avgan.curation.engines import Work, make_in_processes
from avgan.curation.pipeline import Choice, Outcome, curate, progress
from avgan.curation.record import Video
from avgan.curation.select import Division, Likeness, Limits, Rules
from avgan.curation.unit import Settings
from avgan.data.manifest import Manifest
from avgan.errors import AvganError, DataError

SETTINGS = Settings(clip_s=1.0)


def built(videos: Sequence[Video], out: Path, **options: Any) -> Outcome:
    usual: dict[str, Any] = {"settings": SETTINGS, "choice": Choice(), "open_tools": open_tools, "engine": make_here}
    return curate(videos, out, **{**usual, **options})


def tree(out: Path) -> dict[str, bytes]:
    """The data set, without the work that led to it."""
    files = (path for path in out.rglob("*") if path.is_file())
    names = {path.relative_to(out).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith("work/")}


@pytest.fixture
def videos(tmp_path: Path) -> list[Video]:
    folder = tmp_path / "videos"
    films = [
        film_of_text(folder, f"film{number:02}", clips=number % 4 + 1, noise=number, label="abc"[number % 3])
        for number in range(8)
    ]
    copy = film_of_text(folder, "film90", clips=4, noise=3, label="a")
    return [*films, copy, Video(id="gone", path=str(folder / "gone.txt"), label="a")]


def test_a_data_set_comes_of_it(tmp_path: Path, videos: list[Video]) -> None:
    said: list[str] = []
    outcome = built(videos, tmp_path / "set", say=said.append)
    manifest = Manifest.load(tmp_path / "set" / "manifest.parquet")
    assert outcome.num_videos == 10
    assert outcome.num_clips == len(manifest) == 2 * 10 + 4
    assert outcome.dropped == {"duplicate": 4}
    assert outcome.lost == {"gone": 1}
    kept = [clip for clip in manifest.clips if clip.status == "kept"]
    assert sum(sum(labels.values()) for labels in outcome.kept.values()) == len(kept) == 20
    dropped = [clip for clip in manifest.clips if clip.status == "dropped"]
    assert {clip.source_id for clip in dropped} == {"film90"}
    assert dropped[0].reason == "duplicate: as film03-5000"
    assert said[0] == "0/10 videos"
    assert said[-2].startswith("10/10 videos  24 clips, ")
    assert said[-1] == ""


def test_progress_says_rate_and_what_is_left() -> None:
    assert progress(8, 1_200, 120, 60.0) == "8/1,200 videos  120 clips, 2 a second  2:29:00 left"
    assert progress(400, 1_200, 6_000, 120.0) == "400/1,200 videos  6,000 clips, 50 a second  4:00 left"


def test_the_order_of_videos_and_the_place_of_files_change_nothing(tmp_path: Path, videos: list[Video]) -> None:
    built(videos, tmp_path / "one")
    (tmp_path / "videos").rename(tmp_path / "moved")
    moved = [replace(video, path=video.path.replace("/videos/", "/moved/")) for video in videos]
    random.Random(0).shuffle(moved)
    built(moved, tmp_path / "two")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_what_comes_later_is_added_and_what_vanished_stays(tmp_path: Path, videos: list[Video]) -> None:
    built(videos, tmp_path / "whole")
    built(videos[:5], tmp_path / "grown")
    Path(videos[0].path).unlink()
    outcome = built(videos[3:], tmp_path / "grown")
    assert outcome.num_videos == 10
    assert tree(tmp_path / "grown") == tree(tmp_path / "whole")


def test_a_video_that_is_described_anew_is_done_anew(tmp_path: Path, videos: list[Video]) -> None:
    built(videos, tmp_path / "set")
    videos[0] = replace(videos[0], label="c")
    built(videos, tmp_path / "set")
    built(videos, tmp_path / "fresh")
    assert tree(tmp_path / "set") == tree(tmp_path / "fresh")
    labels = {clip.source_id: clip.label for clip in Manifest.load(tmp_path / "set/manifest.parquet").clips}
    assert labels["film00"] == "c"


def test_limits_may_change_without_cutting_anew(tmp_path: Path, videos: list[Video]) -> None:
    built(videos, tmp_path / "set")
    for video in videos[:-1]:
        Path(video.path).write_text("this would break")
    stricter = Choice(rules=Rules(limits=Limits(min_motion=0.5)), likeness=None, division=Division(per_class=2))
    outcome = built(videos, tmp_path / "set", choice=stricter)
    assert set(outcome.dropped) == {"still", "quota"}
    alike = Choice(likeness=Likeness(look_bits=0, voice_bits=0))
    assert built(videos, tmp_path / "set", choice=alike).dropped == {"duplicate": 4}


def test_what_was_lost_may_be_tried_again(tmp_path: Path, videos: list[Video]) -> None:
    built(videos, tmp_path / "set")
    back = film_of_text(tmp_path / "videos", "gone", clips=2, noise=77, label="a")
    assert built(videos, tmp_path / "set").lost == {"gone": 1}
    assert built(videos, tmp_path / "set", retry=frozenset({"gone"})).lost == {}
    assert {clip.source_id for clip in Manifest.load(tmp_path / "set/manifest.parquet").clips} >= {back.id}


def test_other_settings_are_refused_by_name(tmp_path: Path, videos: list[Video]) -> None:
    built(videos[:1], tmp_path / "set")
    with pytest.raises(DataError, match=r"was begun with clip_s 1.0, not 5.0; name another folder"):
        built(videos, tmp_path / "set", settings=Settings(clip_s=5.0))
    other = lambda: open_tools(facts={"sees": {"name": "other"}})  # noqa: E731
    with pytest.raises(DataError, match="other taggers"):
        built(videos, tmp_path / "set", open_tools=other)


def test_what_cannot_be_planned_is_refused(tmp_path: Path, videos: list[Video]) -> None:
    with pytest.raises(DataError, match="there is no video"):
        built([], tmp_path / "set")
    with pytest.raises(DataError, match="film00: two videos have this id"):
        built([videos[0], videos[0]], tmp_path / "set")


def test_two_at_a_time_are_refused(tmp_path: Path, videos: list[Video]) -> None:
    def meanwhile(work: Work, numbers: Sequence[int]) -> Any:
        with pytest.raises(DataError, match="another avgan is writing to it"):
            built(videos, tmp_path / "set")
        yield from make_here(work, numbers)

    built(videos, tmp_path / "set", engine=meanwhile)


def media_in(out: Path) -> list[str]:
    return sorted(path.parent.name for path in out.glob("work/*/media.tar"))


def test_tidied_it_stays_the_same_and_may_be_run_again(tmp_path: Path, videos: list[Video]) -> None:
    videos = videos[:5]
    out, work = tmp_path / "set", tmp_path / "set" / "work"
    built(videos, out)
    before, facts = tree(out), {path.name for path in work.glob("0*/*")}
    assert len(media_in(out)) == 5
    outcome = built(videos, out, tidy=True)
    assert media_in(out) == []
    assert {path.name for path in work.glob("0*/*")} == facts - {"media.tar"}
    for options in ({}, {"tidy": True}):
        again = built(videos, out, **options)
        assert (again.kept, again.dropped) == (outcome.kept, outcome.dropped)
        assert tree(out) == before


def test_tidied_what_needs_media_is_refused_and_leaves_all(tmp_path: Path, videos: list[Video]) -> None:
    out = tmp_path / "set"
    built(videos[:5], out, tidy=True)
    before = tree(out)
    with pytest.raises(DataError, match="cannot be written anew: the media of 5 units are gone"):
        built(videos[:5], out, choice=Choice(division=Division(per_class=1)))
    with pytest.raises(DataError, match=r"nothing can be added: .* such as film05"):
        built(videos, out)
    assert tree(out) == before
    built(videos[:5], out)  # nothing of the other videos was noted
    assert tree(out) == before


def test_nothing_is_removed_that_is_not_whole_elsewhere(tmp_path: Path, videos: list[Video]) -> None:
    out = tmp_path / "set"
    built(videos[:5], out)
    before = tree(out)
    shard = sorted((out / "shards").iterdir())[0]
    altered = bytearray(shard.read_bytes())
    altered[700] ^= 1
    shard.write_bytes(altered)
    with pytest.raises(DataError, match=r"tar: is not as it was written.*delete it and list.json"):
        built(videos[:5], out, tidy=True)
    assert len(media_in(out)) == 5
    shard.unlink()
    (out / "list.json").unlink()
    built(videos[:5], out, tidy=True)
    assert (tree(out), media_in(out)) == (before, [])


def test_killed_while_it_is_tidied(tmp_path: Path, videos: list[Video], monkeypatch: pytest.MonkeyPatch) -> None:
    out, unlink, left = tmp_path / "set", Path.unlink, 0
    built(videos[:5], out)
    before = tree(out)

    def dying(path: Path, missing_ok: bool = False) -> None:
        nonlocal left
        if path.name == "media.tar":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", dying)
    for num_left in (5, 4, 2):
        left = len(media_in(out)) - num_left
        with pytest.raises(KeyboardInterrupt):
            built(videos[:5], out, tidy=True)
        assert len(media_in(out)) == num_left
        assert built(videos[:5], out).num_clips > 0
        assert tree(out) == before
        if num_left < 5:
            with pytest.raises(DataError, match=f"the media of {5 - num_left} units are gone"):
                built(videos[:5], out, title="Another")
            assert tree(out) == before
    monkeypatch.undo()
    built(videos[:5], out, tidy=True)
    assert (tree(out), media_in(out)) == (before, [])


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from functools import partial
from pathlib import Path
from fakes import film_of_text, open_tools
from avgan.curation.engines import make_in_processes
from avgan.curation.pipeline import Choice, curate
from avgan.curation.record import Video
from avgan.curation.unit import Settings

if __name__ == "__main__":
    videos = [Video(id=path.stem, path=str(path), label="abc"[int(path.stem[4:]) % 3])
              for path in sorted(Path({videos!r}).glob("*.txt"))]
    curate(videos, Path(sys.argv[1]), settings=Settings(clip_s=1.0), choice=Choice(), open_tools=open_tools,
           engine=partial(make_in_processes, num_jobs=2), tidy=sys.argv[1].endswith("tidy"))
"""


class Killed:
    """A run in a process of its own, killed with SIGKILL at some moments and run again."""

    def __init__(self, folder: Path, *, num_videos: int, wait_s: float) -> None:
        self._folder = folder
        for number in range(num_videos):
            film_of_text(folder / "videos", f"film{number:02}", clips=3, noise=number, wait=wait_s)
        text = SCRIPT.format(tests=str(Path(__file__).parent), videos=str(folder / "videos"))
        (folder / "script.py").write_text(text)

    def start(self, out: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(self._folder / "script.py"), str(self._folder / out)]
        return subprocess.Popen(command, stderr=subprocess.PIPE)

    def finish(self, out: str) -> dict[str, bytes]:
        process = self.start(out)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors.decode()
        return tree(self._folder / out)

    def kill_after(self, out: str, seconds: float) -> bool:
        """Whether it was killed in its work."""
        process = self.start(out)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        return process.returncode == -signal.SIGKILL


def test_killed_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    run = Killed(tmp_path, num_videos=17, wait_s=0.01)
    started_s = time.monotonic()
    expected = run.finish("whole")
    spent_s = time.monotonic() - started_s
    assert len(expected) > 5
    killed = [run.kill_after("broken", spent_s * share) for share in (0.5, 0.75, 0.95)]
    assert any(killed)
    assert run.finish("broken") == expected
    left = [path.name for path in (tmp_path / "broken" / "work").iterdir() if path.name.startswith(".")]
    assert left == []


@pytest.mark.slow
def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    run = Killed(tmp_path, num_videos=60, wait_s=0.02)
    started_s = time.monotonic()
    expected = run.finish("whole")
    spent_s = time.monotonic() - started_s
    rng = random.Random(5)
    for number in range(20):
        out = f"broken{number // 4}"  # four times each, at whatever stage it is by then
        out += "tidy" if number // 4 % 2 else ""
        run.kill_after(out, spent_s * rng.random())
        if number % 4 == 3:
            assert run.finish(out) == expected


def worker_ids() -> set[int]:
    """Processes that this one started and that live."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return set(map(int, children.read_text().split()))


class Murderous:
    """An engine of two workers of which one is killed after each of the first reports, until two are."""

    num_killed = 0

    def __call__(self, work: Work, numbers: Sequence[int]) -> Any:
        before = worker_ids()
        for report in make_in_processes(work, numbers, num_jobs=2):
            if self.num_killed < 2:
                for process in sorted(worker_ids() - before)[-1:]:
                    os.kill(process, signal.SIGKILL)
                    self.num_killed += 1
            yield report


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, videos: list[Video]) -> None:
    built(videos, tmp_path / "whole")
    murderous = Murderous()
    built(videos, tmp_path / "set", engine=murderous)
    assert murderous.num_killed == 2
    assert tree(tmp_path / "set") == tree(tmp_path / "whole")


def test_a_video_that_kills_its_worker_costs_no_other(tmp_path: Path, videos: list[Video]) -> None:
    lethal = film_of_text(tmp_path / "videos", "film05", die="", label="c")
    outcome = built(videos, tmp_path / "set", engine=partial(make_in_processes, num_jobs=2))
    assert outcome.lost == {"gone": 1, "damaged": 1}
    losses = json.loads((tmp_path / "set" / "losses.json").read_text())
    assert {loss["video_id"] for loss in losses} == {"gone", lethal.id}
    assert outcome.num_clips == 24 - 2
    assert not list((tmp_path / "set" / "work").glob(".*")), "what the dead began is cleared away"


def with_endless(videos: Sequence[Video], folder: Path) -> list[Video]:
    """The first five videos, of which two are now a loop in C and a pipe that nobody writes to."""
    os.mkfifo(folder / "pipe")
    film_of_text(folder / "videos", "film01", loop="")
    film_of_text(folder / "videos", "film02", cut=folder / "pipe")
    return list(videos[:5])


def test_a_video_that_never_ends_costs_no_other(tmp_path: Path, videos: list[Video]) -> None:
    outcome = built(
        with_endless(videos, tmp_path),
        tmp_path / "set",
        open_tools=open_impatient_tools,
        engine=partial(make_in_processes, num_jobs=2),
    )
    assert [(loss.video_id, loss.stage, loss.reason, loss.detail) for loss in outcome.losses] == [
        ("film01", "cut", "too slow", "no clip within 1 s"),
        ("film02", "cut", "too slow", "no clip within 1 s"),
    ]
    assert outcome.num_clips == 1 + 4 + 1
    assert not list((tmp_path / "set" / "work" / "attempts").iterdir())


@pytest.mark.slow
def test_endless_videos_and_killed_workers_give_the_same_bytes(tmp_path: Path, videos: list[Video]) -> None:
    murderous = Murderous()
    films = with_endless(videos, tmp_path)
    engine = partial(make_in_processes, num_jobs=2)
    built(films, tmp_path / "whole", open_tools=open_impatient_tools, engine=engine)
    built(films, tmp_path / "set", open_tools=open_impatient_tools, engine=murderous)
    assert murderous.num_killed == 2
    assert tree(tmp_path / "set") == tree(tmp_path / "whole")


def test_workers_that_cannot_work_say_why(tmp_path: Path, videos: list[Video]) -> None:
    engine = partial(make_in_processes, num_jobs=1)
    with pytest.raises(AvganError, match=r"^no weights here; get them$"):
        built(videos, tmp_path / "set", open_tools=fail, engine=engine)
    with pytest.raises(RuntimeError, match="what nobody thought of"):
        built(videos, tmp_path / "set", open_tools=fail_badly, engine=engine)
    with pytest.raises(AvganError, match="its worker died 4 times \\(exit code 3\\)"):
        built(videos, tmp_path / "set", open_tools=die, engine=engine)
