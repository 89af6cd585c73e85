"""Splits and quotas: together what belongs together, and nothing moves because something else vanished."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from clips import clip
from hypothesis import given, settings
from hypothesis import strategies as st

from avgan.curation.select import OVER_QUOTA, SPLITS, Division, Verdict, divide
from avgan.errors import ConfigError

CLASSES = ("bus", "park", "tram")


def kept(id: str, label: str, **known: Any) -> Verdict:
    return Verdict(candidate=clip(id, label=label, **known), label=label)


def films(num_films: int, num_clips: int = 3, *, places: int = 0) -> list[Verdict]:
    """So many films of each class, each of so many clips; in so many places, 0: nobody says where."""
    return [
        kept(f"{label}{film}-{number}", label, place=f"city{film % places}" if places else "")
        for label in CLASSES
        for film in range(num_films)
        for number in range(num_clips)
    ]


def split_of(verdicts: Sequence[Verdict]) -> dict[str, str]:
    return {verdict.candidate.id: verdict.split for verdict in verdicts}


def test_the_papers_shares_by_default() -> None:
    count = Counter(verdict.split for verdict in divide(films(1_000, 1), Division()))
    total = sum(count.values())
    assert [round(count[split] / total, 1) for split in SPLITS] == [0.4, 0.3, 0.3]


@given(
    num_films=st.integers(1, 12),
    places=st.integers(0, 6),
    seed=st.integers(0, 9),
    mixed=st.randoms(use_true_random=False),
)
def test_together_what_belongs_together_in_any_order(num_films: int, places: int, seed: int, mixed: Any) -> None:
    given = films(num_films, places=places)
    divided = divide(given, Division(seed=seed))
    assert [verdict.candidate for verdict in divided] == [verdict.candidate for verdict in given]
    for what in ("source_id", "place"):
        sides: dict[str, set[str]] = {}
        for verdict in divided:
            sides.setdefault(getattr(verdict.candidate, what), set()).add(verdict.split)
        assert all(len(splits) == 1 for name, splits in sides.items() if name)
    mixed.shuffle(given)
    assert split_of(divide(given, Division(seed=seed))) == split_of(divided)


@given(num_films=st.integers(1, 6), shares=st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9)))
def test_few_films_give_every_split_what_there_is(num_films: int, shares: tuple[int, int, int]) -> None:
    division = Division(shares=dict(zip(SPLITS, shares, strict=True)))
    wanted = [split for split in ("train", "test", "validation") if division.part(split)]
    divided = divide(films(num_films), division)
    for label in CLASSES:
        found = {verdict.split for verdict in divided if verdict.label == label}
        assert found >= set(wanted[:num_films])
        assert found <= set(wanted)


@settings(max_examples=30)
@given(gone=st.sets(st.integers(0, 59), max_size=30))
def test_nothing_moves_when_films_vanish(gone: set[int]) -> None:
    whole = films(60, 2)
    rest = [one for one in whole if int(one.candidate.video_id.lstrip("abcdefghijklmnopqrstuvwxyz")) not in gone]
    before = split_of(divide(whole, Division()))
    assert all(before[id] == split for id, split in split_of(divide(rest, Division())).items())


def test_sources_that_share_a_clip_stand_together() -> None:
    sources = [f"bus{number}" for number in range(20)]
    verdicts = divide(films(20), Division(), related=pairwise(sources))
    assert len({verdict.split for verdict in verdicts if verdict.label == "bus"}) == 1
    unknown = divide(films(20), Division(), related=[("bus1", "gone"), ("gone", "bus2")])
    assert split_of(unknown) == split_of(divide(films(20), Division()))


def test_by_source_a_place_may_stand_in_all_splits() -> None:
    verdicts = divide(films(30, places=1), Division(by="source"))
    assert {verdict.split for verdict in verdicts} == set(SPLITS)
    together = divide(films(30, places=1), Division(by="place"))
    assert {verdict.split for verdict in together} == {"train"}


def test_a_quota_is_filled_from_many_films() -> None:
    verdicts = divide(films(40, 10), Division(per_class=56))
    count = Counter((verdict.label, verdict.split) for verdict in verdicts if verdict.is_kept)
    assert {key[1]: number for key, number in count.items()} == {"train": 24, "validation": 16, "test": 16}
    of_film = Counter(verdict.candidate.source_id for verdict in verdicts if verdict.is_kept)
    by_split = {verdict.candidate.source_id: verdict.split for verdict in verdicts if verdict.split}
    for label in CLASSES:
        for split in SPLITS:
            numbers = [n for film, n in of_film.items() if film.startswith(label) and by_split[film] == split]
            assert max(numbers) - min(numbers) <= 1
    dropped = [verdict for verdict in verdicts if not verdict.is_kept]
    assert {(verdict.reason, verdict.split) for verdict in dropped} == {(OVER_QUOTA, "")}
    assert any(verdict.detail == "enough of bus in train" for verdict in dropped)


def test_what_was_dropped_stays_dropped() -> None:
    lost = Verdict(candidate=clip("x-0"), label="bus", reason="still")
    assert divide([lost], Division(per_class=1)) == [lost]


def test_impossible_divisions_are_refused() -> None:
    with pytest.raises(ConfigError, match="train needs a share"):
        Division(shares={"train": 0, "test": 1})
    with pytest.raises(ConfigError, match="0 or more"):
        Division(shares={"train": 1, "tset": 1})
    with pytest.raises(ConfigError, match="1 or more"):
        Division(per_class=0)
