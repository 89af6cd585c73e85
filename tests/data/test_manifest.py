"""A manifest survives the disk, and its checksum depends on the rows alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError

CLIPS = (
    Clip(id="a", source_id="x", label="rain", audio_path="a.wav", end_s=5.0, fold="1"),
    Clip(id="b", source_id="y", labels=(("rain", 0.25), ("Ärger", 0.5)), image_path="b.jpg"),
    Clip(id="c", source_id="y", label="bus", frame_s=2.5, status="dropped", reason="a still"),
)


def test_parquet_gives_back_the_same_rows(tmp_path: Path) -> None:
    manifest = Manifest("own", tmp_path, CLIPS)
    path = manifest.save(tmp_path / "sub" / "clips.parquet")
    assert Manifest.load(path, tmp_path) == manifest
    assert Manifest.load(path).root == path.parent
    assert [p.name for p in path.parent.iterdir()] == ["clips.parquet"]


def test_an_empty_manifest_survives_too(tmp_path: Path) -> None:
    manifest = Manifest("own", tmp_path, ())
    assert Manifest.load(manifest.save(tmp_path / "clips.parquet")) == manifest


def test_the_checksum_ignores_root_and_order_and_sees_every_field() -> None:
    original = Manifest("own", Path("/here"), CLIPS).sha256()
    assert Manifest("own", Path("/there"), CLIPS[::-1]).sha256() == original
    changed = (replace(CLIPS[0], end_s=4.0), *CLIPS[1:])
    assert Manifest("own", Path("/here"), changed).sha256() != original


def test_the_checksum_is_the_same_in_every_version() -> None:
    """Reports quote it: a change of Clip's fields that changes it must be deliberate."""
    expected = "dcbc12d7320c67605e48a2220658e4711df7ad8a54b93969b54106cd1fd98487"
    assert Manifest("own", Path(), CLIPS).sha256() == expected


@given(st.lists(st.text(min_size=1), unique=True))
def test_the_checksum_survives_the_disk(ids: list[str]) -> None:
    import tempfile

    clips = tuple(Clip(id=name, source_id=name[::-1]) for name in ids if name.isprintable())
    with tempfile.TemporaryDirectory() as folder:
        manifest = Manifest("own", Path(folder), clips)
        loaded = Manifest.load(manifest.save(Path(folder) / "m.parquet"))
    assert loaded.sha256() == manifest.sha256()


def test_labels_and_selection(tmp_path: Path) -> None:
    manifest = Manifest("own", tmp_path, CLIPS)
    assert manifest.labels == ("bus", "rain")
    kept = manifest.select(lambda clip: clip.status == "kept")
    assert [clip.id for clip in kept.clips] == ["a", "b"]
    assert (kept.name, kept.root) == (manifest.name, manifest.root)


def test_ids_are_unique(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'a' occurs twice"):
        Manifest("own", tmp_path, (CLIPS[0], CLIPS[0]))


def test_what_is_no_manifest_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such manifest"):
        Manifest.load(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("not Parquet")
    with pytest.raises(DataError, match="not a Parquet file"):
        Manifest.load(tmp_path / "text.parquet")


def test_a_foreign_parquet_file_is_a_clear_error(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "foreign.parquet")
    with pytest.raises(DataError, match="not a manifest of format 1"):
        Manifest.load(tmp_path / "foreign.parquet")
