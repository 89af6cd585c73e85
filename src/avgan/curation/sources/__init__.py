"""Where videos come from: each file here turns what a user names into videos, `find_videos` picks the right one."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from avgan.curation.record import Video
from avgan.curation.sources.addresses import ADDRESSES
from avgan.curation.sources.folder import FOLDER
from avgan.curation.sources.source import Source
from avgan.curation.sources.tau import TAU
from avgan.curation.sources.youtube8m import YOUTUBE8M
from avgan.errors import DataError

# The first that takes something for its own has it: a folder of TAU or of lists is a folder too, and an address with a
# question mark a pattern.
SOURCES: dict[str, Source] = {source.name: source for source in (TAU, YOUTUBE8M, ADDRESSES, FOLDER)}

__all__ = ["SOURCES", "Source", "find_all", "find_videos"]


def find_videos(named: str) -> list[Video]:
    """The videos of what a user names, by id, each id once. Opens no video and no connection.

    Raises DataError: it is nothing that is known, holds no videos, or a list has a wrong row.
    """
    for source in SOURCES.values():
        if source.matches(named):
            return source.find(named)
    problem = "no source of videos" if Path(named).exists() else "no such file or folder"
    known = "; ".join(source.names for source in SOURCES.values())
    raise DataError(f"{named}: {problem}; name one of: {known}")


def find_all(named: Iterable[str]) -> list[Video]:
    """The videos of all that a user names, by id, each id once.

    The same video twice is one; others that share an id get a number after it, in the order in which they are named.
    """
    videos: dict[str, Video] = {}
    for video in (video for name in named for video in find_videos(name)):
        number, own = 1, video
        while own.id in videos and _place(videos[own.id]) != _place(own):
            number += 1
            own = replace(video, id=f"{video.id}-{number}")
        videos.setdefault(own.id, own)
    return [videos[key] for key in sorted(videos)]


def _place(video: Video) -> str | Path:
    return Path(video.path).absolute() if video.path else video.address
