"""What every source of videos has: a name, what it takes for its own, and the videos it finds there; and ids."""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from avgan.curation.record import Video
from avgan.scenes import DCASE_SCENES

SLUG_LENGTH = 40  # readable in a listing, and far below the 255 of file systems


@dataclass(frozen=True, kw_only=True)
class Source:
    """A kind of place where videos are listed. Finding them opens no video and no connection."""

    name: str
    names: str
    """How a user names it, for messages."""
    matches: Callable[[str], bool]
    """Whether what a user named is of this kind."""
    find: Callable[[str], list[Video]]
    """The videos there, by id, each id once. Raises DataError."""


def id_of(name: str) -> str:
    """An id for what has a name of any letters: as much of its end as a file may be called, and a hash of all of it.

    The hash keeps apart what differs in the rest, or only in upper and lower case, which some file systems take for
    the same. It is of the composed form: macOS gives names decomposed.
    """
    composed = unicodedata.normalize("NFC", name)
    digest = hashlib.sha256(composed.encode("utf-8", "surrogateescape")).hexdigest()
    stem = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", composed)
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", stem)[-SLUG_LENGTH:].strip("-_")
    return f"{slug}-{digest[:10]}" if slug else digest[:10]


def scene_of(label: str) -> str:
    """The label as the paper's scenes are spelt, where it is one of them: `Metro Station` is metro_station."""
    spelt = re.sub(r"[\s_-]+", "_", label.strip()).lower()
    return spelt if spelt in DCASE_SCENES else label.strip()


YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
YOUTUBE_HOSTS = ("youtube.com", "youtu.be", "youtube-nocookie.com")
_BEFORE_ID = {"shorts", "embed", "live", "v"}


def youtube_address(youtube_id: str) -> str:
    """The address of the page of a video."""
    return f"https://www.youtube.com/watch?v={youtube_id}"


def is_youtube(address: str) -> bool:
    """Whether an address leads to one of YouTube's hosts."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return False
    return any(host == known or host.endswith("." + known) for known in YOUTUBE_HOSTS)


def youtube_id_in(address: str) -> str:
    """The video's id in an address of YouTube's, in any of its forms; empty where there is none."""
    if not is_youtube(address):
        return ""
    parts = urlsplit(address)
    steps = [step for step in parts.path.split("/") if step]
    if steps and (parts.hostname or "").endswith("youtu.be"):
        found = steps[0]
    elif len(steps) > 1 and steps[0] in _BEFORE_ID:
        found = steps[1]
    else:
        found = parse_qs(parts.query).get("v", [""])[0]
    return found if YOUTUBE_ID.fullmatch(found) else ""
