"""No source ever stands on two sides, whatever the data; labels are divided as evenly as they can be."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from avgan.data.datasets import find
from avgan.data.manifest import Clip, Manifest
from avgan.data.splits import check_leakage, hold_out, split_by_source
from avgan.errors import ConfigError, DataError, LeakageError

FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def manifest_of(rows: list[tuple[int, str]]) -> Manifest:
    """Rows of (source, label)."""
    clips = tuple(
        Clip(id=str(number), source_id=str(source), label=label) for number, (source, label) in enumerate(rows)
    )
    return Manifest("own", Path(), clips)


def part(manifest: Manifest, name: str) -> Manifest:
    return manifest.select(lambda clip: clip.split == name)


rows = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=120)


@given(rows, st.integers(0, 5))
def test_no_source_on_two_sides_and_no_clip_lost(rows: list[tuple[int, str]], seed: int) -> None:
    manifest = manifest_of(rows)
    try:
        divided = split_by_source(manifest, fractions=FRACTIONS, seed=seed)
    except DataError:
        assume(False)
    assert [replace(clip, split="train") for clip in divided.clips] == list(manifest.clips)
    splits_of_source = defaultdict(set)
    for clip in divided.clips:
        splits_of_source[clip.source_id].add(clip.split)
    assert all(len(splits) == 1 for splits in splits_of_source.values())
    assert {clip.split for clip in divided.clips} == set(FRACTIONS)
    check_leakage(part(divided, "train"), part(divided, "test"))


@given(st.integers(3, 12), st.integers(1, 4), st.integers(0, 5))
def test_a_label_with_enough_sources_stands_in_every_split(num_sources: int, clips_each: int, seed: int) -> None:
    rows = [
        (source + 100 * (label == "b"), label)
        for label in "ab"
        for source in range(num_sources)
        for _ in range(clips_each)
    ]
    divided = split_by_source(manifest_of(rows), fractions=FRACTIONS, seed=seed)
    for name in FRACTIONS:
        assert part(divided, name).labels == ("a", "b")


def test_parts_come_close_to_their_fractions() -> None:
    manifest = manifest_of([(source, "ab"[source % 2]) for source in range(400)])
    divided = split_by_source(manifest, fractions=FRACTIONS, seed=0)
    counts = Counter((clip.split, clip.label) for clip in divided.clips)
    for label in "ab":
        assert counts["train", label] == 140
        assert counts["validation", label] == 20
        assert counts["test", label] == 40


def test_the_seed_decides_and_the_order_of_the_rows_does_not() -> None:
    manifest = manifest_of([(source, "ab"[source % 2]) for source in range(60)])

    def splits(manifest: Manifest, seed: int) -> dict[str, str]:
        divided = split_by_source(manifest, fractions=FRACTIONS, seed=seed)
        return {clip.id: clip.split for clip in divided.clips}

    reversed_rows = replace(manifest, clips=manifest.clips[::-1])
    assert splits(manifest, 1) == splits(reversed_rows, 1)
    assert splits(manifest, 1) != splits(manifest, 2)


def test_too_few_sources_are_a_clear_error() -> None:
    with pytest.raises(DataError, match="1 sources are too few"):
        split_by_source(manifest_of([(0, "a"), (0, "a")]), fractions=FRACTIONS, seed=0)


@pytest.mark.parametrize("train", [0.5, -0.1, 1.0])
def test_fractions_must_be_positive_and_add_up(train: float) -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        split_by_source(manifest_of([(0, "a")]), fractions={"train": train, "test": 0.0}, seed=0)


def test_the_guard_names_a_shared_source() -> None:
    train, test = manifest_of([(7, "a"), (8, "a")]), manifest_of([(7, "b"), (9, "b")])
    with pytest.raises(LeakageError, match="source '7' stands in training and test"):
        check_leakage(train, test)


def test_the_guard_sees_the_same_sound_under_two_names() -> None:
    one = Manifest("own", Path(), (Clip(id="a", source_id="x", audio_sha256="ff"),))
    two = Manifest("own", Path(), (Clip(id="b", source_id="y", audio_sha256="ff"),))
    with pytest.raises(LeakageError, match="'b' has the same sound as training clip 'a'"):
        check_leakage(one, two)


def test_holding_out_keeps_the_fold_whole_and_frees_training_of_its_sources() -> None:
    clips = (
        Clip(id="1", source_id="x", fold="1"),
        Clip(id="2", source_id="x", fold="2"),
        Clip(id="3", source_id="y", fold="2"),
    )
    rest, held_out = hold_out(Manifest("own", Path(), clips), ["1"])
    assert [clip.id for clip in held_out.clips] == ["1"]
    assert [clip.id for clip in rest.clips] == ["3"]
    with pytest.raises(DataError, match="no fold '6'"):
        hold_out(rest, ["6"])


SHARED_BY_TWO_FOLDS = {"131943", "134049", "209698", "234879"}


def test_four_sources_of_esc50_stand_in_two_official_folds(data_root: Path) -> None:
    """Its documentation says none do; a new table that mends it should not go unnoticed."""
    folds = defaultdict(set)
    for clip in find(data_root, "esc50").clips:
        folds[clip.source_id].add(clip.fold)
    assert {source for source, its in folds.items() if len(its) > 1} == SHARED_BY_TWO_FOLDS


@pytest.mark.parametrize("fold", ["1", "2", "3", "4", "5"])
def test_held_out_folds_of_esc50_do_not_leak(data_root: Path, fold: str) -> None:
    esc50 = find(data_root, "esc50")
    rest, held_out = hold_out(esc50, [fold])
    check_leakage(rest, held_out)
    assert len(held_out) == 400
    assert 1597 <= len(rest) <= 1600
