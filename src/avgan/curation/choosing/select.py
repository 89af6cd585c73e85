"""Which clips are kept, and why the others are not.

Enters: a Candidate with what was measured and tagged. Leaves: a Verdict with one reason, of the first rule that the
clip breaks. A rule is a pure function of one clip, so that a verdict depends on no other clip; what depends on others
(near-duplicates, quotas) comes after (`duplicates`, `division`).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from avgan.curation.choosing.spelling import AUDIOSET_SPELLING, PLACES365_SPELLING
from avgan.curation.record import Candidate, Tags
from avgan.errors import ConfigError
from avgan.scenes import TABLE_1, Table1Row

FIRST = 5
"""How many of a tagger's labels count (Sec. 4: "up-to five")."""

Labels = Literal["source", "table_1"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of a clip."""

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


def black(clip: Candidate, limits: Limits) -> str:
    """A picture in which there is nothing to be seen."""
    return _below(clip.measures.brightness, limits.min_brightness, "brightness")


def plain(clip: Candidate, limits: Limits) -> str:
    """A picture of one colour."""
    return _below(clip.measures.contrast, limits.min_contrast, "contrast")


def bars(clip: Candidate, limits: Limits) -> str:
    """A picture in black bars."""
    return _above(clip.measures.bars, limits.max_bars, "bars")


def still(clip: Candidate, limits: Limits) -> str:
    """A photograph shown as a video: the sound may be of anything."""
    return _below(clip.measures.motion, limits.min_motion, "motion")


def silent(clip: Candidate, limits: Limits) -> str:
    """Nothing is to be heard, all the time or most of it."""
    measures = clip.measures
    return _below(measures.level_db, limits.min_level_db, "level in dB") or _above(
        measures.silent, limits.max_silent, "share of silence"
    )


def clipped(clip: Candidate, limits: Limits) -> str:
    """A sound that was driven beyond full scale."""
    return _above(clip.measures.clipped, limits.max_clipped, "share of clipped samples")


def music(clip: Candidate, limits: Limits) -> str:
    """Music was laid over the picture (Sec. 4: the scene cannot be told from it)."""
    return _above(clip.music, limits.max_music, "music")


def speech(clip: Candidate, limits: Limits) -> str:
    """Somebody explains what is seen."""
    return _above(clip.speech, limits.max_speech, "speech")


Rule = Callable[[Candidate, Limits], str]
"""Says in a line what is wrong with a clip; nothing where it keeps the rule."""

DEFECTS: dict[str, Rule] = {
    "black": black,
    "plain": plain,
    "bars": bars,
    "still": still,
    "silent": silent,
    "clipped": clipped,
    "music": music,
    "speech": speech,
}
"""By reason, in the order in which they are judged: a black picture is also still, and is called black."""
WRONG_LABEL = "wrong label"


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
        return (best, "") if agreed[best] > 0 else ("", f"no row of Table 1 has {_shown(clip)}")
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
    names = {
        plain_name(name)
        for as_printed in wanted
        for name in (as_printed, *spelling.get(as_printed, ()))
    }
    # A tagger may give weight 0 to the fifth of its five: it is still among them.
    found = [max(weight, 1e-9) for name, weight in tags[:FIRST] if plain_name(name) in names]
    return max(found, default=0.0)


def _below(value: float, limit: float, what: str) -> str:
    return f"{what} {value:.4g}, below {limit:g}" if value < limit else ""


def _above(value: float, limit: float, what: str) -> str:
    return f"{what} {value:.4g}, above {limit:g}" if value > limit else ""


def _names(tags: Tags) -> str:
    return ", ".join(name for name, _ in tags[:FIRST]) or "not tagged"


def _shown(clip: Candidate) -> str:
    return f"{_names(clip.scenes)} with {_names(clip.sounds)}"
