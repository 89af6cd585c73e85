"""What every source of videos has: a name, what it takes for its own, and the videos it finds there."""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avgan.curation.record import Video
from avgan.errors import DataError
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


def read_list(path: Path, advice: str) -> str:
    """The text of a list. Raises DataError, which ends in the advice, where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        raise DataError(f"{path}: not a list that can be read ({reason}); {advice}") from None


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
