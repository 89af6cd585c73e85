"""Addresses: their hosts, and YouTube's ids in them."""

import re
from urllib.parse import parse_qs, urlsplit

YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
YOUTUBE_HOSTS = ("youtube.com", "youtu.be", "youtube-nocookie.com")
_BEFORE_ID = {"shorts", "embed", "live", "v"}


def youtube_address(youtube_id: str) -> str:
    """The address of the page of a video."""
    return f"https://www.youtube.com/watch?v={youtube_id}"


def host_in(address: str) -> str:
    """The host of an address that begins with http:// or https://; empty where it is none."""
    try:
        parts = urlsplit(address)
        return parts.hostname or "" if parts.scheme in ("http", "https") else ""
    except ValueError:
        return ""


def is_youtube(address: str) -> bool:
    """Whether an address leads to one of YouTube's hosts."""
    host = host_in(address)
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
