"""Folds of protocols: official ones kept, own ones by source, nothing on both sides."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avgan.data.datasets.esc50 import ESC50
from avgan.data.manifest import Clip, Manifest
from avgan.errors import ConfigError, DataError, LeakageError
from avgan.evaluation.protocols import esc50, read_protocol, select_folds
from avgan.evaluation.protocols.protocol import Fold, Protocol, check_fold, divide


def recordings(root: Path, **counts: int) -> Path:
    """A folder with so many recordings of 1 s under each label."""
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            soundfile.write(root / label / f"{number}.wav", np.zeros(8_000), 8_000)
    return root


def folded(num_folds: int = 3) -> Manifest:
    clips = (
        Clip(id=str(n), source_id=f"s{n}", label="ab"[n % 2], audio_path="x", fold=str(n // 4 + 1))
        for n in range(4 * num_folds)
    )
    return Manifest("made", Path(), tuple(clips))


def test_each_clip_is_answered_once_by_who_has_not_heard_its_source() -> None:
    sounds = folded()
    sounds = replace(sounds, clips=(*sounds.clips, replace(sounds.clips[0], id="twin", fold="3")))
    all_folds = divide(sounds, ("1", "2", "3"))
    answered = [clip.id for fold in all_folds for clip in fold.test.clips]
    assert sorted(answered) == sorted(clip.id for clip in sounds.clips)
    for fold in all_folds:
        check_fold(fold)
    # the twin of clip 0 stands in another fold: neither is learnt from where the other is answered
    assert "twin" not in {clip.id for clip in all_folds[0].train.clips}
    assert "0" not in {clip.id for clip in all_folds[2].train.clips}


def test_a_leaking_fold_and_one_that_cannot_be_learnt_are_refused() -> None:
    first = divide(folded(), ("1",))[0]
    with pytest.raises(LeakageError, match="s4"):
        check_fold(Fold("1", first.train, first.train.select(lambda clip: clip.id == "4")))
    only_a = first.train.select(lambda clip: clip.label == "a")
    with pytest.raises(DataError, match="no recording of 'b' is left"):
        check_fold(replace(first, train=only_a))


def test_a_folder_is_cut_by_source_into_as_many_folds_as_its_poorest_label_has(tmp_path: Path) -> None:
    protocol = read_protocol("folder", recordings(tmp_path / "data", beach=7, street=3))
    assert [fold.name for fold in protocol.folds] == ["1", "2", "3"]
    assert protocol.labels == ("beach", "street")
    assert sum(len(fold.test) for fold in protocol.folds) == 10
    for fold in protocol.folds:
        assert fold.test.labels == fold.train.labels == ("beach", "street")
        assert {clip.split for clip in fold.train.clips} == {"train"}
    again = read_protocol("folder", tmp_path / "data")
    assert [fold.test for fold in again.folds] == [fold.test for fold in protocol.folds]


def test_pictures_of_a_folder_are_learnt_from_and_never_answered(tmp_path: Path) -> None:
    data = recordings(tmp_path / "data", beach=2, street=2)
    Image.new("RGB", (16, 16)).save(data / "beach" / "sea.png")
    (data / "beach" / "broken.wav").write_bytes(b"")
    assert "broken.wav" in read_protocol("folder", data).folds[0].train.left_out
    for fold in read_protocol("folder", data).folds:
        assert "beach/sea.png" in {clip.id for clip in fold.train.clips}
        assert all(clip.audio_path for clip in fold.test.clips)


def test_a_curated_set_is_cut_by_source_as_a_folder_is(tmp_path: Path) -> None:
    clips = tuple(
        Clip(
            id=f"{video}-{start}",
            source_id=f"video {video}",
            label="ab"[video % 2],
            split=split,
            end_s=8.0,
            audio_path=f"shards/x.tar/{video}-{start}.flac",
            image_path=f"shards/x.tar/{video}-{start}.jpg",
        )
        for video, split in enumerate(("train", "test", "validation", "train", "train", "test"))
        for start in (5, 13)
    )
    lost = Clip(id="lost", source_id="video 9", split="unused", status="dropped", reason="still")
    Manifest("curated", tmp_path, (*clips, lost)).save(tmp_path / "manifest.parquet")
    (tmp_path / "list.json").write_text('{"format": 1}')
    protocol = read_protocol("folder", tmp_path)
    assert (protocol.images, protocol.window_s) == ("curated", 8.0)
    assert protocol.labels == ("a", "b")
    assert len(protocol.folds) == 3
    answered = sorted(clip.id for fold in protocol.folds for clip in fold.test.clips)
    assert answered == sorted(clip.id for clip in clips)


def test_what_cannot_be_compared_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = recordings(tmp_path / "data", beach=2, street=1)
    with pytest.raises(DataError, match="'street' has 1 recording;"):
        read_protocol("folder", data)
    (data / "street" / "0.wav").rename(data / "street.wav")
    Image.new("RGB", (16, 16)).save(data / "street" / "a.png")
    with pytest.raises(DataError, match="'street' has no recordings;"):
        read_protocol("folder", data)
    with pytest.raises(ConfigError, match="choose one of esc50, esc10, folder"):
        read_protocol("fsd", tmp_path)
    with pytest.raises(DataError, match="no ESC-50 here"):
        read_protocol("esc50", tmp_path)
    monkeypatch.setattr(esc50, "find", lambda *_: folded(2))
    with pytest.raises(DataError, match="no clips of fold 3"):
        read_protocol("esc50", tmp_path)


def test_folds_are_chosen_by_name() -> None:
    protocol = Protocol(name="made", title="", folds=divide(folded(), ("1", "2", "3")), window_s=1.0)
    assert [fold.name for fold in select_folds(protocol, ())] == ["1", "2", "3"]
    assert [fold.name for fold in select_folds(protocol, ("3", "1", "3"))] == ["3", "1"]
    with pytest.raises(ConfigError, match="made has no fold '6': choose among 1, 2, 3"):
        select_folds(protocol, ("6",))


def test_esc10_is_what_the_table_says(data_root: Path) -> None:
    manifest = ESC50.read(data_root / "esc50")
    # in the table the clips of ESC-10 are those without NC in their licence
    marked = {clip.id for clip in manifest.clips if clip.licence == "CC BY 3.0"}
    protocol = read_protocol("esc10", data_root)
    assert {clip.id for fold in protocol.folds for clip in fold.test.clips} == marked
    assert [len(fold.test) for fold in protocol.folds] == [80] * 5
    assert len(protocol.labels) == 10
