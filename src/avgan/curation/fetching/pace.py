"""Not more than so many addresses of one host an hour, by all processes that share a folder together.

The hour is cut into slots; who makes a slot's file first has it, and waits for its time. A host that asks to be left
alone is left alone by all (`hold`).
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from avgan.curation.sources.youtube import is_youtube
from avgan.errors import AvganError
from avgan.files import write_whole

HOUR_S = 3600.0
LONGEST_HOLD_S = 2 * HOUR_S
"""Nobody is told to wait for longer than an hour (`fetch.LONGEST_WAIT_S`), and clocks differ."""
_HELD = "held-until"

Clock = Callable[[], float]
"""Seconds since 1970, alike on all machines that share the folder."""
Sleep = Callable[[float], None]


def host_of(address: str) -> str:
    """The host that an address counts for, fit for the name of a folder; YouTube's are one."""
    if is_youtube(address):
        return "youtube.com"
    netloc = urlsplit(address).netloc.rpartition("@")[2].lower()
    return re.sub(r"[^a-z0-9.-]", "_", netloc).strip(".") or "nowhere"


def take_turn(
    folder: Path, host: str, *, per_hour: float, sleep: Sleep = time.sleep, clock: Clock = time.time
) -> None:
    """Wait until it is our turn at a host. `per_hour` 0: only where it asked to be left alone.

    Raises AvganError where the folder cannot be written to.
    """
    place = folder / host
    while True:
        start_s = max(clock(), _held_until(place, clock()))
        if per_hour > 0:
            start_s = max(start_s, _take_slot(place, start_s, HOUR_S / per_hour))
        wait_s = start_s - clock()
        if wait_s > 0:
            sleep(wait_s)
        if _held_until(place, clock()) <= clock():  # else somebody was told to wait while we did
            return


def hold(folder: Path, host: str, wait_s: float, *, clock: Clock = time.time) -> None:
    """Leave a host alone for `wait_s`."""
    place = folder / host
    until = max(clock() + wait_s, _held_until(place, clock()))
    write_whole(place / _HELD, f"{until:.3f}\n")


def _held_until(place: Path, now_s: float) -> float:
    """Until when a host is to be left alone; what lies further ahead than anybody waits was noted by another clock."""
    try:
        until_s = float((place / _HELD).read_text())
    except (OSError, ValueError):
        return 0.0
    return until_s if until_s <= now_s + LONGEST_HOLD_S else 0.0


def _take_slot(place: Path, start_s: float, length_s: float) -> float:
    """Take the first free slot that begins at `start_s` or holds it; returns when it begins."""
    slot = int(start_s // length_s)
    try:
        place.mkdir(parents=True, exist_ok=True)
        _forget(place, slot)
        while not _is_first(place / f"{slot}.slot"):
            slot += 1
    except OSError as error:
        raise AvganError(
            f"{place}: cannot be written ({error.strerror}); choose another place"
        ) from None
    return slot * length_s


def _is_first(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _forget(place: Path, slot: int) -> None:
    """Remove the slots that are over, but for the last few: clocks differ a little."""
    for path in place.glob("*.slot"):
        if path.stem.isdigit() and int(path.stem) < slot - 10:
            path.unlink(missing_ok=True)
