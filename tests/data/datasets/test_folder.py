"""A folder of one's own becomes clips, and a wrong one becomes a sentence that says how to mend it."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgan.data.datasets import find
from avgan.data.datasets.folder import MIN_REST_S, check_labels, cut, read_folder
from avgan.data.pairing import pair_within
from avgan.errors import DataError

Maker = Callable[..., Path]


@given(st.floats(0.01, 5000), st.floats(0.5, 60))
def test_clips_do_not_overlap_and_lose_at_most_a_short_rest(duration_s: float, window_s: float) -> None:
    clips = cut(0.0, duration_s, window_s)
    assert clips[0][0] == 0
    assert all(stop == start for (_, stop), (start, _) in pairwise(clips))
    assert all(0 < end - start <= window_s * (1 + 1e-9) for start, end in clips)
    assert duration_s - max(MIN_REST_S, 1e-9) < clips[-1][1] <= duration_s + 1e-9


def test_long_recordings_are_cut_and_share_their_source(tmp_path: Path, tone: Maker) -> None:
    tone(tmp_path / "bus" / "a.wav", seconds=5.5)
    tone(tmp_path / "tram" / "b.flac", seconds=1.0)
    clips = read_folder(tmp_path, window_s=2.0).clips
    assert [(c.id, c.start_s, c.end_s) for c in clips] == [
        ("bus/a.wav@0", 0.0, 2.0),
        ("bus/a.wav@2", 2.0, 4.0),
        ("bus/a.wav@4", 4.0, 5.5),
        ("tram/b.flac@0", 0.0, 1.0),
    ]
    assert [c.source_id for c in clips] == ["bus/a.wav"] * 3 + ["tram/b.flac"]
    assert {c.label for c in clips} == {"bus", "tram"}
    assert find(tmp_path, "folder", window_s=2.0).clips == clips
    assert len(find(tmp_path, "folder")) == 2


def test_videos_give_synchronous_clips_with_the_frame_at_the_middle(tmp_path: Path, video: Maker) -> None:
    video(tmp_path / "bus" / "a.mp4")
    video(tmp_path / "tram" / "b.mp4")
    manifest = read_folder(tmp_path, window_s=2.0)
    assert [c.frame_s for c in manifest.clips[:3]] == [1.0, 3.0, 5.0]
    assert all(c.audio_path == c.image_path == c.source_id for c in manifest.clips)
    assert pair_within(manifest).kind == "synchronous"


def test_recordings_beside_pictures_are_paired_by_label(tmp_path: Path, tone: Maker, picture: Maker) -> None:
    for label in ("bus", "tram"):
        tone(tmp_path / label / "a.ogg")
        picture(tmp_path / label / "a.png")
        picture(tmp_path / label / "b.jpg")
    pairing = pair_within(read_folder(tmp_path))
    assert pairing.kind == "by_label"
    assert [len(choices) for choices in pairing.image_choices] == [2, 2]


def test_other_files_are_left_alone(tmp_path: Path, tone: Maker) -> None:
    for label in ("bus", "tram"):
        tone(tmp_path / label / "a.WAV")
        (tmp_path / label / "notes.txt").write_text("recorded in rain")
        (tmp_path / label / "._a.wav").write_bytes(b"what a Mac leaves behind")
    assert len(read_folder(tmp_path)) == 2


def test_problems_say_what_to_do(tmp_path: Path, tone: Maker) -> None:
    with pytest.raises(DataError, match=r"no such folder; make one folder for each label"):
        read_folder(tmp_path / "absent")
    with pytest.raises(DataError, match="no recordings, videos or pictures; make one folder"):
        read_folder(tmp_path)
    tone(tmp_path / "loose.wav")
    loose = read_folder(tmp_path)
    assert [(clip.id, clip.label) for clip in loose.clips] == [("loose.wav@0", "")]
    with pytest.raises(DataError, match="files without a label folder; make one folder"):
        check_labels(loose)
    tone(tmp_path / "bus" / "a.wav")
    with pytest.raises(DataError, match="only one label, 'bus'; a model needs two"):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a.m4a"])
def test_a_damaged_file_is_named(tmp_path: Path, tone: Maker, name: str) -> None:
    tone(tmp_path / "bus" / "a.wav")
    (tmp_path / "tram").mkdir()
    (tmp_path / "tram" / name).write_bytes(b"not media" * 99)
    with pytest.raises(
        DataError, match=f"tram/{name}: cannot be decoded .*nothing else .*'tram'; convert or replace it"
    ):
        read_folder(tmp_path)
