"""A video behind an address -> a file on disk (or two, picture and sound), once, politely, and resumed where it broke.

    video = fetch(video, folder)     # with its path and sound_path, and the title and licence that the site states

    folder/<id>.video.mp4, or <id>.picture.mp4 beside <id>.sound.m4a
    folder/<id>.json                 what arrived, written last

All processes that share a folder keep one limit for each host: the hour is cut into slots; the process that makes a
slot's file first has it, and waits for its time. A host that asks for a pause gets one from all (`hold`).
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av

from avgan.curation.record import Video
from avgan.curation.sources import youtube8m
from avgan.curation.youtube import host_in, is_youtube, youtube_address
from avgan.curation.ytdlp import HOUR_S, WORTH_ANOTHER_DAY, FetchError, Info, Library, TryAgain, library
from avgan.errors import AvganError
from avgan.files import write_whole
from avgan.images import PICTURE_CODECS
from avgan.media import open_container, sound_codecs

LONGEST_HOLD_S = 2 * HOUR_S
"""Nobody waits for longer than an hour (`LONGEST_WAIT_S`), and clocks differ."""
_HELD = "held-until"

Clock = Callable[[], float]
"""Seconds since 1970, alike on all machines that share the folder."""
Sleep = Callable[[float], None]
FORMAT = 1  # of the note beside a fetched file
FIRST_WAIT_S = 2.0  # doubled with each attempt that brings nothing: half a minute for five
LONGEST_WAIT_S = 3600.0  # more than an hour is for another run
PROGRESS_BYTES = 1 << 20  # an attempt that brings less is no progress


def host_of(address: str) -> str:
    """The host that an address counts for, fit for the name of a folder; YouTube's are one."""
    if is_youtube(address):
        return "youtube.com"
    netloc = urlsplit(address).netloc.rpartition("@")[2].lower()
    return re.sub(r"[^a-z0-9.-]", "_", netloc).strip(".") or "nowhere"


def take_turn(folder: Path, host: str, *, per_hour: float, sleep: Sleep = time.sleep, clock: Clock = time.time) -> None:
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
        if _held_until(place, clock()) <= clock():  # else a hold came while we waited
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
        for path in place.glob("*.slot"):  # those that are over, but for the last few: clocks differ a little
            if path.stem.isdigit() and int(path.stem) < slot - 10:
                path.unlink(missing_ok=True)
        while True:
            try:
                (place / f"{slot}.slot").touch(exist_ok=False)
                break
            except FileExistsError:
                slot += 1
    except OSError as error:
        raise AvganError(f"{place}: cannot be written ({error.strerror}); choose another place") from None
    return slot * length_s


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """How much is fetched, and how politely."""

    max_height_px: int = 720
    """Pictures are kept 640 px wide; taller ones only cost time."""
    max_duration_s: float = 3 * 3600.0
    """What is longer is mostly a stream."""
    max_bytes: int = 4_000_000_000
    """Of each file."""
    per_hour: float = 300.0
    """Of one host, over all processes; what YouTube is said to bear from a guest. 0: no limit."""
    attempts: int = 5
    """That bring nothing, before a video is given up."""
    cookies: Path | None = None
    """In Netscape's format; read, never written."""
    shared: Path | None = None
    """A folder that all processes see, for whose turn it is (and yt-dlp's cache); None: where the video goes."""


def fetch(
    video: Video,
    folder: Path,
    *,
    settings: FetchSettings | None = None,
    sleep: Sleep = time.sleep,
    clock: Clock = time.time,
) -> Video:
    """Bring a video to `folder`, unless it is there; returns it with where it lies and what the site states of it.

    What its list says goes before what the site states. Attempts that fail on the way wait 2, 4, 8, ... s, or what the
    server asks for, before the next.

    Raises:
        FetchError: it does not come; `reason` is a key of `ytdlp.REASONS`.
        AvganError: yt-dlp or what it needs is missing, the cookies or the folder cannot be used: no video will come.
    """
    if video.path:
        if not Path(video.path).is_file():
            raise FetchError("gone", f"{video.path}: no such file")
        return video
    note_path = folder / f"{video.id}.json"
    if (note := _read_note(note_path)) is None:
        if note_path.exists():  # and yet something is missing or cut off
            _remove(folder, video.id)
        if not host_in(video.address):  # yt-dlp would also search, and read files
            raise FetchError("refused", f"{video.address[:80]!r} is no address that begins with http:// or https://")
        _bring(video, folder, settings or FetchSettings(), sleep, clock)
        note = json.loads(note_path.read_text(encoding="utf-8"))
    path, *sound = (str(folder / file["name"]) for file in note["files"])
    return replace(
        video,
        path=path,
        sound_path=sound[0] if sound else "",
        address=note["address"],
        title=video.title or note["title"],
        licence=video.licence or note["licence"],
    )


def _bring(video: Video, folder: Path, settings: FetchSettings, sleep: Sleep, clock: Clock) -> None:
    """Attempt after attempt, as long as there is hope."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AvganError(f"{folder}: cannot be made ({error.strerror}); choose another place") from None
    shared = settings.shared or folder
    opened = library(shared / ".cache", _cookies(settings.cookies), settings.max_bytes)
    address, failed, longest = video.address, 0, _num_bytes(folder, video.id)
    while True:
        host = host_of(address)
        try:
            take_turn(shared / ".pace", host, per_hour=settings.per_hour, sleep=sleep, clock=clock)
            if youtube8m.is_entry(address):
                address = youtube_address(youtube8m.resolve(address))
                continue
            return _fetch_once(video.id, address, folder, opened, settings)
        except FetchError as problem:
            if problem.reason not in WORTH_ANOTHER_DAY:
                _remove(folder, video.id)
            raise
        except TryAgain as problem:
            if problem.account and settings.cookies is None:
                raise AvganError(
                    f"{host} takes this machine for a robot and gives nothing more without an account: export the "
                    "cookies of a browser that is logged in there and name their file, or go on tomorrow, more slowly"
                ) from None
            arrived = _num_bytes(folder, video.id)
            gets_on = arrived - longest >= PROGRESS_BYTES
            failed, longest = 1 if gets_on else failed + 1, max(longest, arrived)
            wait_s = min(problem.wait_s or FIRST_WAIT_S * 2.0 ** (failed - 1), LONGEST_WAIT_S)
            if problem.host:
                hold(shared / ".pace", host, wait_s, clock=clock)
            if failed >= settings.attempts:
                detail = f"{problem.detail} ({settings.attempts} attempts)"
                raise FetchError(problem.reason, detail) from None
            if not problem.host:
                sleep(wait_s)


def _cookies(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise AvganError(f"{path}: cookies that cannot be read ({reason}); export them anew") from None


def _fetch_once(name: str, address: str, folder: Path, opened: Library, settings: FetchSettings) -> None:
    """One attempt. Raises FetchError and TryAgain."""
    info = opened.look_up(address)
    if info.get("_type", "video") != "video":
        raise FetchError("refused", "a list of videos; name each of them")
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
        raise FetchError("refused", "live; fetch it when it is over")
    _refuse_long(info.get("duration"), settings)
    chosen = opened.choose(info, max_height_px=settings.max_height_px)
    paths = []
    for part, one in zip(("video",) if len(chosen) == 1 else ("picture", "sound"), chosen, strict=True):
        suffix = re.sub(r"[^a-z0-9]", "", str(one.get("ext") or "").lower())[:5] or "media"
        paths.append(folder / f"{name}.{part}.{suffix}")
        opened.download(info, one, paths[-1])
    try:
        duration_s = _check_files(paths)
        _refuse_long(duration_s, settings)
    except FetchError:
        _remove(folder, name)
        raise
    note = {
        "format": FORMAT,
        "address": address,
        "title": _text(info.get("title")),
        "licence": _text(info.get("license")),
        "uploader": _text(info.get("uploader")),
        "duration_s": duration_s,
        "files": [{"name": path.name, "bytes": path.stat().st_size} for path in paths],
    }
    write_whole(folder / f"{name}.json", json.dumps(note, ensure_ascii=False, indent=1) + "\n")


def _refuse_long(duration_s: Any, settings: FetchSettings) -> None:
    if isinstance(duration_s, int | float) and duration_s > settings.max_duration_s:
        raise FetchError("too long", f"{duration_s / 3600:.1f} hours; allowed are {settings.max_duration_s / 3600:.1f}")


def _check_files(paths: list[Path]) -> float:
    """Check by their headers that files can be opened and hold picture and sound; returns how long they last in s."""
    kinds: set[str] = set()
    duration_s = 0.0
    for path in paths:
        try:
            with path.open("rb") as file, open_container(file, f"{PICTURE_CODECS},{sound_codecs()}") as container:
                kinds |= {stream.type for stream in container.streams}
                duration_s = max(duration_s, (container.duration or 0) / av.time_base)
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise FetchError("broken", f"what arrived cannot be read as video ({reason})") from None
    if "video" not in kinds:
        raise FetchError("refused", "no picture track")
    if "audio" not in kinds:
        raise FetchError("no sound", "no sound track")
    return duration_s


def _text(value: Any) -> str:
    return " ".join(value.split())[:300] if isinstance(value, str) else ""


def _files(folder: Path, name: str) -> list[Path]:
    """What there is of a video, partial files included."""
    parts = ("video", "picture", "sound")
    return [path for part in parts for path in folder.glob(f"{name}.{part}.*")]


def _num_bytes(folder: Path, name: str) -> int:
    return sum(path.stat().st_size for path in _files(folder, name))


def _remove(folder: Path, name: str) -> None:
    for path in [*_files(folder, name), folder / f"{name}.json"]:
        path.unlink(missing_ok=True)


def _read_note(path: Path) -> Info | None:
    """What is noted of a video that has arrived; None unless its files are there, and whole."""
    try:
        note: Info = json.loads(path.read_text(encoding="utf-8"))
        sizes = [(path.parent / file["name"]).stat().st_size == file["bytes"] for file in note["files"]]
        return note if note["format"] == FORMAT and sizes and all(sizes) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
