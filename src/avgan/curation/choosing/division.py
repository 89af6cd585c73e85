"""Which clips are for training, validation and test; and how many of each scene.

What belongs together stands on one side: clips of one source, and clips of one place where places are known. Where a
group goes is decided by a hash of its name, not by lot or by turn: as long as a video is there, it stands where it
stood, whatever vanishes beside it.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from avgan.curation.choosing.select import Verdict
from avgan.curation.record import Candidate
from avgan.errors import ConfigError

SPLITS = ("train", "validation", "test")
NEEDED = ("train", "test", "validation")
"""The order in which a scene of few sources is given parts: without training there is nothing to test."""
OVER_QUOTA = "quota"


@dataclass(frozen=True, kw_only=True)
class Division:
    """How a data set is divided."""

    shares: Mapping[str, float] = field(
        default_factory=lambda: {"train": 24_000, "validation": 16_000, "test": 16_000}
    )
    """In proportion; the paper's numbers of sequences (Sec. 4)."""
    by: Literal["source", "place"] = "place"
    """`place`: a place, where it is known, is on one side too, so that the test is of places never seen."""
    per_class: int | None = None
    """At most so many clips of a scene, over all splits (the paper: 5,600); None: all."""
    seed: int = 0

    def __post_init__(self) -> None:
        if set(self.shares) - set(SPLITS) or any(share < 0 for share in self.shares.values()):
            raise ConfigError(
                f"shares {dict(self.shares)}: of train, validation and test, 0 or more"
            )
        if not self.shares.get("train"):
            raise ConfigError(f"shares {dict(self.shares)}: train needs a share")
        if self.per_class is not None and self.per_class < 1:
            raise ConfigError(f"{self.per_class} clips per class: 1 or more are needed")

    def part(self, split: str) -> float:
        """The share of a split, of 1."""
        return self.shares.get(split, 0.0) / sum(self.shares.values())


def divide(
    verdicts: Sequence[Verdict],
    division: Division,
    related: Iterable[tuple[str, str]] = (),
) -> list[Verdict]:
    """The verdicts in their order, those kept with a split; those over a quota dropped.

    `related`: pairs of sources that have something in common, such as a clip that stands in both.
    """
    kept = [verdict for verdict in verdicts if verdict.is_kept]
    group_of = groups([verdict.candidate for verdict in kept], by=division.by, related=related)
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in kept:
        labels[group_of[verdict.candidate.id]][verdict.label] += 1
    split_of = splits(labels, division)
    divided = {
        verdict.candidate.id: replace(verdict, split=split_of[group_of[verdict.candidate.id]])
        for verdict in kept
    }
    over = _over_quota(list(divided.values()), division)
    return [_final(divided.get(verdict.candidate.id, verdict), over) for verdict in verdicts]


def _final(verdict: Verdict, over: set[str]) -> Verdict:
    if verdict.candidate.id not in over:
        return verdict
    detail = f"enough of {verdict.label} in {verdict.split}"
    return replace(verdict, reason=OVER_QUOTA, detail=detail, split="")


def groups(
    clips: Iterable[Candidate],
    *,
    by: Literal["source", "place"],
    related: Iterable[tuple[str, str]],
) -> dict[str, str]:
    """{clip: name of its group}: what must not stand on two sides.

    A group's name is the first of its places, or else of its sources; it is kept when another source vanishes.
    """
    together = _Together()
    key_of: dict[str, tuple[int, str]] = {}
    for clip in clips:
        key_of[clip.id] = (1, clip.source_id or clip.video_id)
        if by == "place" and clip.place:
            together.join(key_of[clip.id], (0, clip.place))
    sources = set(key_of.values())
    for one, other in related:
        if (1, one) in sources and (1, other) in sources:
            together.join((1, one), (1, other))
    return {clip: "/".join(map(str, together.first(key))) for clip, key in key_of.items()}


class _Together:
    """Sets of keys that are joined; each goes by the first of its keys."""

    def __init__(self) -> None:
        self._above: dict[tuple[int, str], tuple[int, str]] = {}

    def first(self, key: tuple[int, str]) -> tuple[int, str]:
        path = []
        while (above := self._above.get(key)) is not None:
            path.append(key)
            key = above
        for passed in path:
            self._above[passed] = key
        return key

    def join(self, one: tuple[int, str], other: tuple[int, str]) -> None:
        low, high = sorted((self.first(one), self.first(other)))
        if low != high:
            self._above[high] = low


def splits(labels: Mapping[str, Counter[str]], division: Division) -> dict[str, str]:
    """{group: split} for groups with their numbers of clips of each scene.

    By hash alone, but for scenes of so few groups that a split has none: it is then given the group whose hash is
    nearest to its range, from the split that has most of them.
    """
    lot = {group: _fraction(division.seed, group) for group in labels}
    split_of = {group: _split_at(place, division) for group, place in lot.items()}
    members: dict[str, list[str]] = defaultdict(list)
    for group, counts in labels.items():
        members[min(counts, key=lambda label: (-counts[label], label))].append(group)
    for label in sorted(members):
        _mend(members[label], split_of, lot, division)
    return split_of


def _mend(
    members: list[str], split_of: dict[str, str], lot: Mapping[str, float], division: Division
) -> None:
    """Give each split a group of a scene, as far as there are groups."""
    wanted = [split for split in NEEDED if division.part(split) > 0]
    for split in wanted[: len(members)]:
        count = Counter(split_of[group] for group in members)
        if count[split]:
            continue
        # Of equals that which is needed least; what is needed more has its group by now, or is this one.
        donor = max(count, key=lambda name: (count[name], NEEDED.index(name)))
        low, high = _range(split, division)
        moved = min(
            (group for group in members if split_of[group] == donor),
            key=lambda group: (max(low - lot[group], lot[group] - high), group),
        )
        split_of[moved] = split


def _range(split: str, division: Division) -> tuple[float, float]:
    """Where in [0, 1] a split's groups are."""
    low = sum(division.part(before) for before in SPLITS[: SPLITS.index(split)])
    return low, low + division.part(split)


def _split_at(place: float, division: Division) -> str:
    wanted = [split for split in SPLITS if division.part(split) > 0]
    return next((split for split in wanted if place < _range(split, division)[1]), wanted[-1])


def _over_quota(kept: Sequence[Verdict], division: Division) -> set[str]:
    """Ids of the clips that are too many of their scene in their split.

    The first of each source is taken before any source gives a second, in an order by hash: a quota is not filled
    from one long video.
    """
    if division.per_class is None:
        return set()
    clips_of_source: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in kept:
        clips_of_source[verdict.candidate.source_id or verdict.candidate.video_id].append(verdict)
    turns: dict[tuple[str, str], list[tuple[int, float, str]]] = defaultdict(list)
    for source, its_clips in clips_of_source.items():
        order = sorted(its_clips, key=lambda one: _fraction(division.seed, one.candidate.id))
        place = _fraction(division.seed, source)
        for turn, verdict in enumerate(order):
            turns[verdict.label, verdict.split].append((turn, place, verdict.candidate.id))
    over: set[str] = set()
    for (_, split), waiting in turns.items():
        quota = round(division.per_class * division.part(split))
        over.update(id for _, _, id in sorted(waiting)[quota:])
    return over


def _fraction(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on the name and the seed alone."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
