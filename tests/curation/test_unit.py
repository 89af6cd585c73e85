"""A unit: the same bytes from any worker, whole or absent, and nothing lost without a reason."""

import hashlib
import io
import json
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from clips import clip
from fakes import film_of_text, open_tools
from PIL import Image

from avgan.curation.engines import PLAN, Work, open_worker
from avgan.curation.record import Video, load_clips, load_plan, load_unit, save_clips, save_plan
from avgan.curation.unit import MAX_DEATHS, AttemptLog, flac, folder_of, is_done, jpeg, make_unit, read_report
from avgan.errors import AvganError, DataError


def make(work: Path, videos: list[Video], number: int = 0) -> Path:
    make_unit(number, videos, work, open_tools(), "run")
    return folder_of(work, number)


def contents(folder: Path) -> dict[str, bytes]:
    """All but the marker, which holds times."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "done.json"}


@pytest.fixture
def videos(tmp_path: Path) -> list[Video]:
    return [
        film_of_text(tmp_path, "one", clips=20, noise=1, label="bus", place="lisbon"),
        film_of_text(tmp_path, "two", clips=0),
        film_of_text(tmp_path, "three", clips=2, noise=3, damaged="", source_id="square"),
        Video(id="four", path=str(tmp_path / "nowhere.txt")),
        film_of_text(tmp_path, "five", clips=1, noise=5, broken=""),
    ]


def test_clips_media_and_losses(tmp_path: Path, videos: list[Video]) -> None:
    folder = make(tmp_path, videos)
    clips = load_clips(folder / "clips.parquet")
    assert [one.id for one in clips][::20] == ["one-5000", "three-5000"]
    assert len(clips) == 23
    assert (clips[0].label, clips[0].place, clips[0].source_id) == ("bus", "lisbon", "one")
    assert clips[-2].source_id == "square"
    assert clips[0].scenes[0][0] == "road"
    assert clips[0].frame_s == 5.5
    losses = json.loads((folder / "losses.json").read_text())
    assert [(loss["video_id"], loss["stage"], loss["reason"], loss["detail"]) for loss in losses] == [
        ("two", "cut", "too short", "no whole clip after what is skipped"),
        ("three", "cut", "damaged", "three.txt: ends early"),
        ("four", "acquire", "gone", "nowhere.txt: no such file"),
        ("five", "cut", "damaged", "RuntimeError: what nobody thought of"),
    ]
    with tarfile.open(folder / "media.tar") as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        assert all(member.mtime == 0 for member in tar.getmembers())
        media = {name: file.read() for name, file in members.items() if file}
    assert len(media) == 46
    for one in clips:
        assert hashlib.sha256(media[f"{one.id}.flac"]).hexdigest() == one.audio_sha256
        assert hashlib.sha256(media[f"{one.id}.jpg"]).hexdigest() == one.image_sha256
    assert read_report(tmp_path, 0).num_clips == 23
    assert set(read_report(tmp_path, 0).seconds) == {"acquire", "cut", "measure", "see", "hear", "encode"}


def test_the_same_bytes_each_time(tmp_path: Path, videos: list[Video]) -> None:
    assert contents(make(tmp_path, videos, 0)) == contents(make(tmp_path, videos, 1))


def test_what_is_done_is_not_done_again(tmp_path: Path, videos: list[Video]) -> None:
    before = contents(make(tmp_path, videos))
    tools = open_tools(fetch=None)
    make_unit(0, videos, tmp_path, tools, "run")
    assert contents(folder_of(tmp_path, 0)) == before


def test_a_unit_that_fails_leaves_nothing(tmp_path: Path, videos: list[Video]) -> None:
    tools = open_tools(measure=None)
    with pytest.raises(TypeError):
        make_unit(0, videos, tmp_path, tools, "run")
    assert not is_done(tmp_path, 0)
    assert not list(tmp_path.glob(".*"))


def test_what_is_wrong_with_the_machine_is_no_fault_of_a_video(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        make(tmp_path, [film_of_text(tmp_path, "one", full="")])

    save_plan(tmp_path / PLAN, [[film_of_text(tmp_path, "one", full="")]], "{}")
    with pytest.raises(AvganError, match=r"No space left.*make room"):
        open_worker(Work(tmp_path, "run", open_tools))(0)

    def lacking(video: Video, folder: Path) -> Video:
        raise DataError("yt-dlp is not installed")

    tools = open_tools(fetch=lacking)
    with pytest.raises(DataError, match="not installed"):
        make_unit(0, [Video(id="one")], tmp_path, tools, "run")


def test_two_who_make_the_same_unit_do_not_disturb_each_other(tmp_path: Path, videos: list[Video]) -> None:
    def late(video: Video, folder: Path) -> Video:
        if not is_done(tmp_path, 0):  # somebody else is faster
            make(tmp_path, videos)
        return open_tools().fetch(video, folder)

    make_unit(0, videos, tmp_path, open_tools(fetch=late), "run")
    assert contents(make(tmp_path, videos, 1)) == contents(folder_of(tmp_path, 0))
    assert not list(tmp_path.glob(".*"))


def test_a_video_that_kills_is_left_out_in_the_run_that_it_kills(tmp_path: Path) -> None:
    for _ in range(MAX_DEATHS):
        log = AttemptLog(tmp_path, 0, "run")
        assert log.may_try("good")
        assert log.may_try("lethal")  # and here the worker dies
    log = AttemptLog(tmp_path, 0, "run")
    assert log.may_try("good")
    assert not log.may_try("lethal")
    assert AttemptLog(tmp_path, 0, "another run").may_try("lethal")


def test_what_killed_is_said(tmp_path: Path, videos: list[Video]) -> None:
    for _ in range(MAX_DEATHS):
        assert AttemptLog(tmp_path, 0, "run").may_try("one")
    folder = make(tmp_path, videos)
    losses = json.loads((folder / "losses.json").read_text())
    assert losses[0]["video_id"] == "one"
    assert losses[0]["detail"] == "its decoder dies of it"


def test_who_took_too_long_is_told_from_who_died(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / "000000.trace").write_text("of another run")
    for video in ("dies", "hangs"):
        for number in range(MAX_DEATHS):
            log = AttemptLog(tmp_path, 0, "run")
            assert log.may_try(video)
            with log.limited(60.0):
                pass
            if video == "hangs" and number == 1:  # as the watch leaves it
                (tmp_path / "attempts" / "000000.trace").write_text("Timeout (0:02:00)!")
    log = AttemptLog(tmp_path, 0, "run")
    assert not log.may_try("dies")
    assert not log.may_try("hangs")
    assert not log.has_hung("dies")
    assert log.has_hung("hangs")
    log.close()
    assert not list((tmp_path / "attempts").iterdir())


@pytest.mark.slow
def test_within_its_time_nobody_is_ended(tmp_path: Path) -> None:
    """A busy machine may stop for a second: the limit, which would end this very process, leaves it that."""
    log = AttemptLog(tmp_path, 0, "run")
    assert log.may_try("slow")
    for _ in range(3):
        with log.limited(3.0):
            time.sleep(1.2)
    time.sleep(3.2)  # nor afterwards


def test_sound_is_kept_to_the_bit_and_held_to_full_scale(rng: np.random.Generator) -> None:
    whole = rng.integers(-32_768, 32_768, (1_000, 2)).astype(np.float32) / 32_768
    samples, rate_hz = soundfile.read(io.BytesIO(flac(whole)), dtype="float32")
    assert rate_hz == 32_000
    np.testing.assert_array_equal(samples, whole)
    loud, _ = soundfile.read(io.BytesIO(flac(np.array([[2.0, -2.0]], np.float32))), dtype="int16")
    assert loud.tolist() == [[32_767, -32_768]]


def test_pictures_are_kept_at_their_size(rng: np.random.Generator) -> None:
    frame = np.full((31, 47, 3), (200, 100, 50), np.uint8)
    picture = np.asarray(Image.open(io.BytesIO(jpeg(frame))))
    assert picture.shape == frame.shape
    assert np.abs(picture.astype(int) - frame).max() <= 3


def test_tables_give_back_what_they_were_given(tmp_path: Path) -> None:
    clips = [clip("a-0", scenes=(("road", 0.5), ("sky", 0.1)), music=0.25), clip("b-0")]
    assert load_clips(save_clips(tmp_path / "clips.parquet", clips)) == clips
    assert load_clips(save_clips(tmp_path / "none.parquet", [])) == []
    units = [[Video(id="a", end_s=3.5), Video(id="b", address="x")], [Video(id="c")]]
    path = save_plan(tmp_path / "plan.parquet", units, "settings")
    assert load_plan(path) == (units, "settings")
    assert [load_unit(path, number) for number in range(2)] == units


def test_tables_refuse_what_they_did_not_write(tmp_path: Path) -> None:
    save_clips(tmp_path / "clips.parquet", [])
    with pytest.raises(DataError, match="made by another version"):
        load_plan(tmp_path / "clips.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(DataError, match="cannot be read"):
        load_clips(tmp_path / "text.parquet")
    with pytest.raises(DataError, match="cannot be read"):
        load_clips(tmp_path / "none.parquet")
