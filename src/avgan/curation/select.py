"""Which clips are kept, why the others are not, and in which split each stands.

A rule is a pure function of one clip, so that its verdict depends on no other. Near-duplicates, splits and quotas come
after, and depend on all.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from avgan.curation.measures import PICTURE_BITS, SOUND_BITS
from avgan.curation.record import Candidate, Tags
from avgan.errors import ConfigError
from avgan.scenes import TABLE_1

PLACES365_SPELLING: dict[str, tuple[str, ...]] = {
    "subway_station": ("subway_station/platform",),
    "shopping_mall": ("shopping_mall/indoor",),
    # neither stands alone: only what is seen from within and from the line
    "train": ("train_interior", "train_station/platform", "railroad_track"),
    "tram": ("train_interior", "railroad_track"),
    "car": ("car_interior",),
    "garden": tuple(
        f"{kind}_garden" for kind in ("botanical", "formal", "japanese", "roof", "topiary", "vegetable", "zen")
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


DEFECTS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "black": (("brightness", "min_brightness", "brightness"),),
    "plain": (("contrast", "min_contrast", "contrast"),),
    "bars": (("bars", "max_bars", "bars"),),
    # A photograph shown as a video: the sound may be of anything.
    "still": (("motion", "min_motion", "motion"),),
    "silent": (("level_db", "min_level_db", "level in dB"), ("silent", "max_silent", "share of silence")),
    "clipped": (("clipped", "max_clipped", "share of clipped samples"),),
    # Laid over the picture: nothing of the scene is left in the sound (Sec. 4).
    "music": (("music", "max_music", "music"),),
    "speech": (("speech", "max_speech", "speech"),),
}
"""{defect: what tells it, each a measure, its limit, and its words}, in the order in which they are judged: a black
picture is also still, and is called black."""


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


def judge(clip: Candidate, rules: Rules) -> Verdict:
    """The verdict on one clip: of the defects the first that it has; then whether its label is believed."""
    for reason in rules.defects:
        if detail := find_defect(clip, reason, rules.limits):
            return Verdict(candidate=clip, label=clip.label, reason=reason, detail=detail)
    if rules.labels == "table_1":
        label, detail = by_table_1(clip)
        return Verdict(candidate=clip, label=label, reason=WRONG_LABEL if detail else "", detail=detail)
    if clip.label:
        return Verdict(candidate=clip, label=clip.label)
    return Verdict(candidate=clip, label="", reason="no label", detail="its source names none")


def find_defect(clip: Candidate, defect: str, limits: Limits) -> str:
    """In a line what of a defect a clip has; empty where it has none of it."""
    for name, limit_name, words in DEFECTS[defect]:
        value = getattr(clip if name in ("music", "speech") else clip.measures, name)
        limit = getattr(limits, limit_name)
        if limit_name.startswith("min") and value < limit:
            return f"{words} {value:.4g}, below {limit:g}"
        if limit_name.startswith("max") and value > limit:
            return f"{words} {value:.4g}, above {limit:g}"
    return ""


def by_table_1(clip: Candidate) -> tuple[str, str]:
    """(scene, what speaks against it): the source's scene if picture and sound agree to it by Table 1.

    Where the source names no scene, that on which picture and sound agree best, by the product of their weights; of
    equals the first of the table. Several rows ask for nearly the same (a road with cars is traffic, and a place for
    pedestrians), so that a source which names the scene is worth more.
    """
    if not clip.label:
        agreed = {
            scene: _weight(clip.scenes, row.places365, PLACES365_SPELLING)
            * _weight(clip.sounds, row.audioset, AUDIOSET_SPELLING)
            for scene, row in TABLE_1.items()
        }
        best = max(agreed, key=lambda scene: agreed[scene])
        if agreed[best]:
            return best, ""
        return "", f"no row of Table 1 has {_names(clip.scenes)} with {_names(clip.sounds)}"
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


def _weight(tags: Tags, wanted: Iterable[str], spelling: Mapping[str, tuple[str, ...]]) -> float:
    """Of the heaviest of the first tags that is wanted; 0 where none is."""
    names = {plain_name(name) for as_printed in wanted for name in (as_printed, *spelling.get(as_printed, ()))}
    # A tagger may give weight 0 to the fifth of its five: it is still among them.
    found = [max(weight, 1e-9) for name, weight in tags[:FIRST] if plain_name(name) in names]
    return max(found, default=0.0)


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
    """{id of a clip: id of the first clip that it repeats}, without those that are to be kept.

    Each clip is compared with all that were kept before it: of pictures a million comparisons take 1 ms, of sounds only
    those are made whose pictures are alike.
    """
    likeness = likeness or Likeness()
    clips = sorted(clips, key=lambda clip: clip.id)
    looks = np.empty(len(clips), np.uint64)
    kept: list[tuple[str, int]] = []
    repeated: dict[str, str] = {}
    for clip in clips:
        look, voice = np.uint64(int(clip.measures.look, 16)), int(clip.measures.voice, 16)
        near = np.flatnonzero(np.bitwise_count(looks[: len(kept)] ^ look) <= likeness.look_bits)
        alike = (id for id, other in map(kept.__getitem__, near) if (voice ^ other).bit_count() <= likeness.voice_bits)
        if first := next(alike, ""):
            repeated[clip.id] = first
        else:
            looks[len(kept)] = look
            kept.append((clip.id, voice))
    return repeated


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
    kept = {verdict.candidate.id: verdict for verdict in verdicts if verdict.is_kept}
    group_of = groups([verdict.candidate for verdict in kept.values()], by=division.by, related=related)
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for id, verdict in kept.items():
        labels[group_of[id]][verdict.label] += 1
    split_of = splits(labels, division)
    divided = {id: replace(verdict, split=split_of[group_of[id]]) for id, verdict in kept.items()}
    for id in _over_quota(divided.values(), division):
        one = divided[id]
        divided[id] = replace(one, reason=OVER_QUOTA, detail=f"enough of {one.label} in {one.split}", split="")
    return [divided.get(verdict.candidate.id, verdict) for verdict in verdicts]


def groups(
    clips: Iterable[Candidate], *, by: Literal["source", "place"], related: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """{clip: name of its group}: what must not stand on two sides.

    A group's name is the first of its places, or else of its sources; it is kept when another source vanishes.
    """
    clips = list(clips)
    key_of = {clip.id: (1, clip.source_id) for clip in clips}
    links = [(key_of[clip.id], (0, clip.place)) for clip in clips if by == "place" and clip.place]
    sources = set(key_of.values())
    links += [((1, one), (1, other)) for one, other in related if {(1, one), (1, other)} <= sources]
    above: dict[tuple[int, str], tuple[int, str]] = {}

    def first_of(key: tuple[int, str]) -> tuple[int, str]:
        """The first of the keys that are joined to one so far; the way there is halved."""
        while key in above:
            above[key] = key = above.get(above[key], above[key])
        return key

    for one, other in links:
        low, high = sorted((first_of(one), first_of(other)))
        if low != high:
            above[high] = low
    return {clip: "/".join(map(str, first_of(key))) for clip, key in key_of.items()}


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


def _over_quota(kept: Iterable[Verdict], division: Division) -> set[str]:
    """Ids of the clips that are too many of their scene in their split.

    The first of each source is taken before any source gives a second, in an order by hash: a quota is not filled
    from one long video.
    """
    if division.per_class is None:
        return set()
    num_before: Counter[str] = Counter()
    turns: dict[tuple[str, str], list[tuple[int, float, str]]] = defaultdict(list)
    for verdict in sorted(kept, key=lambda one: _fraction(division.seed, one.candidate.id)):
        source = verdict.candidate.source_id
        turn = (num_before[source], _fraction(division.seed, source), verdict.candidate.id)
        turns[verdict.label, verdict.split].append(turn)
        num_before[source] += 1
    return {
        id
        for (_, split), waiting in turns.items()
        for _, _, id in sorted(waiting)[round(division.per_class * division.part(split)) :]
    }


def _fraction(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on the name and the seed alone."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
