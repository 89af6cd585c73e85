"""Which clips are kept, why the others are not, and in which split each stands.

A rule is a pure function of one clip, so that its verdict depends on no other. Near-duplicates, splits and quotas come
after, and depend on all.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from avgan.curation.measures import PICTURE_BITS, SOUND_BITS
from avgan.curation.record import Candidate, Tags
from avgan.errors import ConfigError
from avgan.scenes import TABLE_1, Table1Row

PLACES365_SPELLING: dict[str, tuple[str, ...]] = {
    "subway_station": ("subway_station/platform",),
    "shopping_mall": ("shopping_mall/indoor",),
    # neither stands alone: only what is seen from within and from the line
    "train": ("train_interior", "train_station/platform", "railroad_track"),
    "tram": ("train_interior", "railroad_track"),
    "car": ("car_interior",),
    "garden": (
        "botanical_garden",
        "formal_garden",
        "japanese_garden",
        "roof_garden",
        "topiary_garden",
        "vegetable_garden",
        "zen_garden",
    ),
    "road": ("desert_road", "field_road", "forest_road"),
}

AUDIOSET_SPELLING: dict[str, tuple[str, ...]] = {
    "Subway metro": ("Subway, metro, underground",),
    "Outside rural or natural": ("Outside, rural or natural",),
}


FIRST = 5
"""How many of a tagger's labels count (Sec. 4: "up-to five")."""

Labels = Literal["source", "table_1"]
WRONG_LABEL = "wrong label"
SPLITS = ("train", "validation", "test")
NEEDED = ("train", "test", "validation")
"""The order in which a scene of few sources is given parts: without training there is nothing to test."""
OVER_QUOTA = "quota"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a clip is kept, under which label and in which split, or why not."""

    candidate: Candidate
    label: str
    """The scene that it is kept under."""
    reason: str = ""
    """Why it was dropped, a word or two for statistics; empty where it is kept."""
    detail: str = ""
    """The number or the names that decided, in one line."""
    split: str = ""
    """train, validation or test, once the set is divided; empty for what was dropped."""

    @property
    def is_kept(self) -> bool:
        return not self.reason


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where a defect begins. The defaults lie between what was measured of sound clips and of planted defects."""

    min_brightness: float = 0.03
    """Mean of the picture, of full scale."""
    min_contrast: float = 0.02
    """Standard deviation of the picture, of full scale: below it is one plain colour."""
    max_bars: float = 0.1
    """Share of the picture under black bars; 2.39:1 within 16:9 is 0.26, upright within 16:9 is 0.68."""
    min_motion: float = 0.003
    """Mean change of the picture over the clip, of full scale; a codec makes 0.0016 of a photograph at the worst."""
    min_level_db: float = -60.0
    """Root mean square against full scale."""
    max_silent: float = 0.5
    """Share of the clip that is silent."""
    max_clipped: float = 0.02
    """Share of samples on a plateau at full scale; of loud recordings 0.0003 at the worst."""
    max_music: float = 0.3
    """Weight of music in [0, 1]. mn04's exceeds it in 42 of 2,000 clips of ESC-50, most of them doors, bells and horns;
    in 99 of 100 clips with chords twice as loud as the scene, and in seven of eight with chords half as loud."""
    max_speech: float = 0.4
    """Weight of speech in [0, 1]. mn04's exceeds it in 49 of 2,000 clips of ESC-50, above all applause, laughter and
    horns, and in 96 % with a sentence twice as loud as the scene. It takes many a crowd for a speaker: where people are
    wanted, 0.7 keeps four crowds of five, and 40 % of the speakers."""


Rule = Callable[[Candidate, Limits], str]
"""Says in a line what is wrong with a clip; nothing where it keeps the rule."""


def _silent(clip: Candidate, limits: Limits) -> str:
    measures = clip.measures
    return _below(measures.level_db, limits.min_level_db, "level in dB") or _above(
        measures.silent, limits.max_silent, "share of silence"
    )


# In the order in which they are judged: a black picture is also still, and is called black.
DEFECTS: dict[str, Rule] = {
    "black": lambda clip, limits: _below(clip.measures.brightness, limits.min_brightness, "brightness"),
    "plain": lambda clip, limits: _below(clip.measures.contrast, limits.min_contrast, "contrast"),
    "bars": lambda clip, limits: _above(clip.measures.bars, limits.max_bars, "bars"),
    # A photograph shown as a video: the sound may be of anything.
    "still": lambda clip, limits: _below(clip.measures.motion, limits.min_motion, "motion"),
    "silent": _silent,
    "clipped": lambda clip, limits: _above(clip.measures.clipped, limits.max_clipped, "share of clipped samples"),
    # Laid over the picture: nothing of the scene is left in the sound (Sec. 4).
    "music": lambda clip, limits: _above(clip.music, limits.max_music, "music"),
    "speech": lambda clip, limits: _above(clip.speech, limits.max_speech, "speech"),
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is judged, in which order, and where each defect begins."""

    labels: Labels = "source"
    """`source`: what the source says is believed. `table_1`: the paper's Table 1 must agree, in picture and sound."""
    defects: tuple[str, ...] = tuple(DEFECTS)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for defect in self.defects:
            if defect not in DEFECTS:
                raise ConfigError(f"{defect}: no defect that is known; known: {', '.join(DEFECTS)}")


def select(candidates: Iterable[Candidate], rules: Rules) -> list[Verdict]:
    """A verdict on each clip, in their order."""
    return [judge(candidate, rules) for candidate in candidates]


def judge(clip: Candidate, rules: Rules) -> Verdict:
    """The verdict on one clip: of the defects the first that it has; then whether its label is believed."""
    for reason in rules.defects:
        if detail := DEFECTS[reason](clip, rules.limits):
            return Verdict(candidate=clip, label=clip.label, reason=reason, detail=detail)
    if rules.labels == "source":
        if clip.label:
            return Verdict(candidate=clip, label=clip.label)
        detail = "its source names none"
        return Verdict(candidate=clip, label="", reason="no label", detail=detail)
    label, detail = by_table_1(clip)
    reason = WRONG_LABEL if detail else ""
    return Verdict(candidate=clip, label=label, reason=reason, detail=detail)


def by_table_1(clip: Candidate) -> tuple[str, str]:
    """(scene, what speaks against it): the source's scene if picture and sound agree to it by Table 1.

    Where the source names no scene, that on which picture and sound agree best, by the product of their weights; of
    equals the first of the table. Several rows ask for nearly the same (a road with cars is traffic, and a place for
    pedestrians), so that a source which names the scene is worth more.
    """
    if not clip.label:
        agreed = {scene: _agreement(clip, row) for scene, row in TABLE_1.items()}
        best = max(agreed, key=lambda scene: agreed[scene])
        return (
            (best, "")
            if agreed[best] > 0
            else ("", f"no row of Table 1 has {_names(clip.scenes)} with {_names(clip.sounds)}")
        )
    scene = SCENE_OF_NAME.get(plain_name(clip.label))
    if scene is None:
        return clip.label, "no scene of Table 1"
    row = TABLE_1[scene]
    if not _weight(clip.scenes, row.places365, PLACES365_SPELLING):
        return scene, f"the picture shows {_names(clip.scenes)}"
    if not _weight(clip.sounds, row.audioset, AUDIOSET_SPELLING):
        return scene, f"the sound is {_names(clip.sounds)}"
    return scene, ""


def plain_name(name: str) -> str:
    """Letters and digits of a label in small: `Train station`, `train_station` and `/t/train_station` are one name."""
    words = re.sub(r"^/[a-z]/", "", name.casefold())  # Places365 sorts its labels into folders
    return "".join(letter for letter in words if letter.isalnum())


SCENE_OF_NAME: dict[str, str] = {
    **{plain_name(row.youtube8m): scene for scene, row in TABLE_1.items()},
    **{plain_name(scene): scene for scene in TABLE_1},
}
"""Scenes by the names that sources give them: AV-10's own, and YouTube-8M's in Table 1."""


def _agreement(clip: Candidate, row: Table1Row) -> float:
    """How much picture and sound speak for a row: the product of their weights."""
    seen = _weight(clip.scenes, row.places365, PLACES365_SPELLING)
    return seen * _weight(clip.sounds, row.audioset, AUDIOSET_SPELLING)


def _weight(tags: Tags, wanted: Iterable[str], spelling: Mapping[str, tuple[str, ...]]) -> float:
    """Of the heaviest of the first tags that is wanted; 0 where none is."""
    names = {plain_name(name) for as_printed in wanted for name in (as_printed, *spelling.get(as_printed, ()))}
    # A tagger may give weight 0 to the fifth of its five: it is still among them.
    found = [max(weight, 1e-9) for name, weight in tags[:FIRST] if plain_name(name) in names]
    return max(found, default=0.0)


def _below(value: float, limit: float, what: str) -> str:
    return f"{what} {value:.4g}, below {limit:g}" if value < limit else ""


def _above(value: float, limit: float, what: str) -> str:
    return f"{what} {value:.4g}, above {limit:g}" if value > limit else ""


def _names(tags: Tags) -> str:
    return ", ".join(name for name, _ in tags[:FIRST]) or "not tagged"


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How many bits two hashes may differ in, of things that are alike."""

    look_bits: int = 7
    """Of the 64 of a picture. Measured: copies in another codec at another size up to 7, unlike pictures from 16."""
    voice_bits: int = 64
    """Of the 256 of a sound. Measured: copies up to 40, cut 0.1 s later up to 64; unlike sounds from 90."""

    def __post_init__(self) -> None:
        if not 0 <= self.look_bits < PICTURE_BITS // 2 or not 0 <= self.voice_bits < SOUND_BITS:
            raise ConfigError(
                f"likeness of {self.look_bits} and {self.voice_bits} bits: 0 to {PICTURE_BITS // 2 - 1} bits "
                f"of a picture and 0 to {SOUND_BITS - 1} of a sound may differ"
            )


def find_duplicates(clips: Iterable[Candidate], likeness: Likeness | None = None) -> dict[str, str]:
    """{id of a clip: id of the clip that it repeats}, without those that are to be kept.

    Each clip is compared with those kept before it that its picture may be alike to, not with all: see `_Index`.
    """
    likeness = likeness or Likeness()
    index = _Index(likeness)
    repeated: dict[str, str] = {}
    for clip in sorted(clips, key=lambda clip: clip.id):
        look, voice = int(clip.measures.look, 16), int(clip.measures.voice, 16)
        first = min(index.alike(look, voice), default="")
        if first:
            repeated[clip.id] = first
        else:
            index.add(clip.id, look, voice)
    return repeated


class _Index:
    """Finds all hashes of pictures within a distance, and few others.

    The hash is cut into bands, half as many as bits may differ, and one. Of two hashes within the distance, one band
    then differs in at most one bit: it is enough to look into each band's bucket and those a bit beside it. Of random
    hashes, 7 bits apart, that is 1 in 960: 4 bands of 16 bits, 17 buckets each.
    """

    def __init__(self, likeness: Likeness) -> None:
        self._likeness = likeness
        num_bands = likeness.look_bits // 2 + 1
        edges = [PICTURE_BITS * band // num_bands for band in range(num_bands + 1)]
        self._bands = [(low, high - low) for low, high in pairwise(edges)]
        self._buckets: dict[tuple[int, int], list[tuple[str, int, int]]] = defaultdict(list)

    def add(self, clip: str, look: int, voice: int) -> None:
        for low, width in self._bands:
            self._buckets[low, _band(look, low, width)].append((clip, look, voice))

    def alike(self, look: int, voice: int) -> Iterator[str]:
        """Ids of the clips that are alike to this one; an id may come several times."""
        for low, width in self._bands:
            own = _band(look, low, width)
            beside = [own ^ (1 << bit) for bit in range(width)] if self._likeness.look_bits else []
            for key in (own, *beside):
                for clip, its_look, its_voice in self._buckets.get((low, key), ()):
                    if (look ^ its_look).bit_count() <= self._likeness.look_bits and (
                        voice ^ its_voice
                    ).bit_count() <= self._likeness.voice_bits:
                        yield clip


def _band(look: int, low: int, width: int) -> int:
    return (look >> low) & ((1 << width) - 1)


@dataclass(frozen=True, kw_only=True)
class Division:
    """How a data set is divided."""

    shares: Mapping[str, float] = field(default_factory=lambda: {"train": 24_000, "validation": 16_000, "test": 16_000})
    """In proportion; the paper's numbers of sequences (Sec. 4)."""
    by: Literal["source", "place"] = "place"
    """`place`: a place, where it is known, is on one side too, so that the test is of places never seen."""
    per_class: int | None = None
    """The most clips of a scene, over all splits (the paper: 5,600); None: all."""
    seed: int = 0

    def __post_init__(self) -> None:
        if set(self.shares) - set(SPLITS) or any(share < 0 for share in self.shares.values()):
            raise ConfigError(f"shares {dict(self.shares)}: of train, validation and test, 0 or more")
        if not self.shares.get("train"):
            raise ConfigError(f"shares {dict(self.shares)}: train needs a share")
        if self.per_class is not None and self.per_class < 1:
            raise ConfigError(f"{self.per_class} clips per class: 1 or more are needed")

    def part(self, split: str) -> float:
        """The share of a split, of 1."""
        return self.shares.get(split, 0.0) / sum(self.shares.values())


def divide(verdicts: Sequence[Verdict], division: Division, related: Iterable[tuple[str, str]] = ()) -> list[Verdict]:
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
        verdict.candidate.id: replace(verdict, split=split_of[group_of[verdict.candidate.id]]) for verdict in kept
    }
    for id in _over_quota(list(divided.values()), division):
        one = divided[id]
        detail = f"enough of {one.label} in {one.split}"
        divided[id] = replace(one, reason=OVER_QUOTA, detail=detail, split="")
    return [divided.get(verdict.candidate.id, verdict) for verdict in verdicts]


def groups(
    clips: Iterable[Candidate], *, by: Literal["source", "place"], related: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """{clip: name of its group}: what must not stand on two sides.

    A group's name is the first of its places, or else of its sources; it is kept when another source vanishes.
    """
    together = _Together()
    key_of: dict[str, tuple[int, str]] = {}
    for clip in clips:
        key_of[clip.id] = (1, clip.source)
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
    position = {group: _fraction(division.seed, group) for group in labels}
    wanted = [split for split in SPLITS if division.part(split) > 0]
    split_of = {
        group: next((split for split in wanted if place < _range(split, division)[1]), wanted[-1])
        for group, place in position.items()
    }
    members: dict[str, list[str]] = defaultdict(list)
    for group, counts in labels.items():
        members[min(counts, key=lambda label: (-counts[label], label))].append(group)
    for label in sorted(members):
        _fill_splits(members[label], split_of, position, division)
    return split_of


def _fill_splits(
    members: list[str], split_of: dict[str, str], position: Mapping[str, float], division: Division
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
            key=lambda group: (max(low - position[group], position[group] - high), group),
        )
        split_of[moved] = split


def _range(split: str, division: Division) -> tuple[float, float]:
    """Where in [0, 1] a split's groups are."""
    low = sum(division.part(before) for before in SPLITS[: SPLITS.index(split)])
    return low, low + division.part(split)


def _over_quota(kept: Sequence[Verdict], division: Division) -> set[str]:
    """Ids of the clips that are too many of their scene in their split.

    The first of each source is taken before any source gives a second, in an order by hash: a quota is not filled
    from one long video.
    """
    if division.per_class is None:
        return set()
    clips_of_source: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in kept:
        clips_of_source[verdict.candidate.source].append(verdict)
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
