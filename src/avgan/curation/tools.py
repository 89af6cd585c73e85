"""What is done to a video, as functions that fit together; and the settings that choose them.

A worker opens its tools once and keeps them: a tagger's weights take seconds to read.

Shapes: B clips of a batch, L samples, H W pixels.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avgan.curation.record import Cut, Measures, Tags, Video
from avgan.errors import DataError

if TYPE_CHECKING:
    from avgan.curation.fetching.fetch import FetchSettings
    from avgan.curation.taggers import Tagger

Fetch = Callable[[Video, Path], Video]
"""A video as it is known once it is on a disk, with the path of its file. What is downloaded goes to the folder."""
Heard = tuple[Tags, float, float]
"""The first sounds of a clip; the weight of music and of speech in it."""
PATIENCE_S = 120.0
"""Some 25 times what a core needs for 10 s of H.264 in 4K."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What is done to a video and its clips."""

    fetch: Fetch
    cut: Callable[[Video], Iterable[Cut]]
    """Of a video on a disk."""
    measure: Callable[[Cut], Measures]
    see: Callable[[Sequence[np.ndarray]], list[Tags]]
    """B pictures (H, W, 3)."""
    hear: Callable[[Sequence[np.ndarray]], list[Heard]]
    """B sounds (L, 2)."""
    blur: Callable[[np.ndarray], np.ndarray]
    """A frame as it may be shown."""
    patience_s: float = PATIENCE_S
    """How long `cut` may take for its next clip; of a video that takes longer time and again nothing is kept."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """For the data card: names, licences and hashes of the taggers."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the clips of a data set depend on, beside their videos."""

    clip_s: float = 10.0
    """10 for DCASE, 5 for ESC-50, 1 (Sec. 4)."""
    skip_s: float = 5.0
    """Of each video, "which usually includes an intro" (Sec. 4)."""
    num_frames: int = 1
    crop_bars: bool = False
    blur: tuple[str, ...] = ()
    """faces, plates"""
    sees: str = ""
    """A tagger of pictures as `taggers.open_tagger` takes it; empty: none."""
    hears: str = ""
    """A tagger of sounds."""
    patience_s: float = PATIENCE_S
    """How long a video may take for its next clip."""

    def stated(self) -> dict[str, Any]:
        """As JSON, without what is a machine's, its places and its speed: what units must have in common."""
        names = {kind: getattr(self, kind).partition("=")[0] for kind in ("sees", "hears")}
        files = {kind: Path(name).name for kind, name in names.items()}
        stated = {**asdict(self), "blur": sorted(self.blur), **files}
        del stated["patience_s"]
        return stated


def open_tools(settings: Settings, weights: Path, fetching: "FetchSettings | None" = None) -> Tools:
    """The tools that the settings ask for. `weights`: the folder of taggers' weights.

    Raises DataError where a tagger's weights are not there.
    """
    from avgan.curation.cutting.cut import cut
    from avgan.curation.cutting.measures import measure
    from avgan.curation.fetching.fetch import fetch, known_of
    from avgan.curation.taggers import open_tagger

    sees = open_tagger(settings.sees, weights) if settings.sees else None
    hears = open_tagger(settings.hears, weights) if settings.hears else None
    for tagger, what in ((sees, False), (hears, True)):
        if tagger is not None and tagger.hears != what:
            raise DataError(
                f"{tagger.name}: is a tagger of {'pictures' if what else 'sounds'}; name another one"
            )

    def fetch_video(video: Video, folder: Path) -> Video:
        return known_of(video, fetch(video, folder, settings=fetching))

    def cut_video(video: Video) -> Iterable[Cut]:
        return cut(
            video.path,
            clip_s=settings.clip_s,
            skip_s=settings.skip_s
            if video.end_s is None
            else 0.0,  # a stretch that is named has no intro
            num_frames=settings.num_frames,
            start_s=video.start_s,
            end_s=video.end_s,
            sound_path=video.sound_path or None,
            crop_bars=settings.crop_bars,
        )

    facts = {
        kind: {"name": tagger.name, "licence": tagger.licence, "sha256": tagger.sha256}
        for kind, tagger in (("sees", sees), ("hears", hears))
        if tagger is not None
    }
    return Tools(
        fetch=fetch_video,
        cut=cut_video,
        measure=measure,
        see=partial(_see, sees),
        hear=partial(_hear, hears),
        blur=partial(_blur, settings.blur),
        patience_s=settings.patience_s,
        facts=facts,
    )


def _see(tagger: "Tagger | None", pictures: Sequence[np.ndarray]) -> list[Tags]:
    from avgan.curation.taggers import first_tags

    if tagger is None or not pictures:
        return [() for _ in pictures]
    return [first_tags(tagger.labels, weights) for weights in tagger.tag(pictures)]


def _hear(tagger: "Tagger | None", sounds: Sequence[np.ndarray]) -> list[Heard]:
    from avgan.curation.taggers import first_tags, music_and_speech

    if tagger is None or not sounds:
        return [((), 0.0, 0.0) for _ in sounds]
    return [
        (first_tags(tagger.labels, weights), *music_and_speech(tagger.labels, weights))
        for weights in tagger.tag(sounds)
    ]


def _blur(what: Sequence[str], frame: np.ndarray) -> np.ndarray:
    if not what:
        return frame
    from avgan.curation.cutting.privacy import blur

    blurred: np.ndarray = blur(frame, what)
    return blurred
