"""yt-dlp as a library: what is behind an address, which of its files we want, and those files on disk.

No ffmpeg: where a site gives picture and sound apart, both are kept as they come. All waiting and trying again is left
to `fetch`; all that goes wrong comes out as FetchError or TryAgain, a word for statistics and a line for people.
"""

import errno
import io
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from avgan.curation.youtube import is_youtube
from avgan.errors import AvganError, DataError

REASONS = {
    "gone": "it is no longer there: deleted, made private, or its account closed",
    "blocked": "it is there and not for us: this country, this address on the net, or without an account",
    "no sound": "it has no sound track",
    "too long": "it is longer, or larger, than what is fetched",
    "refused": "it is nothing that is fetched: no video, live, protected, or a list of videos",
    "broken": "it did not arrive whole, or cannot be read",
}
WORTH_ANOTHER_DAY = frozenset({"blocked", "broken"})
"""Reasons that may not hold tomorrow."""

HOUR_S = 3600.0
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})

# What sites say in words, YouTube's as yt-dlp hands them on; the first that is found counts.
_PHRASES: tuple[tuple[str, str], ...] = (
    ("blocked", "in your country|from your location|geo.?restrict|(blocked|available) in your"),
    ("blocked", "confirm your age|age.?restricted|inappropriate for some"),
    ("blocked", "members|join this channel|premium|only available for registered"),
    ("blocked", "login required|log ?in to|requires (authentication|payment|login)"),
    ("refused", "requested format is not available|only images are available|no video formats"),
    ("gone", "unavailable|private video|is private|copyright|not found|does(n't| not) exist"),
    ("gone", "been (removed|deleted|terminated|closed)|removed by|no longer (available|exists)"),
    ("gone", "is(n't| not) available"),
    ("refused", r"\bDRM\b|live (event|stream)|premieres? in|will begin"),
    ("refused", "unsupported url|not a valid url|connection adapters|file:// urls"),
)
_RATE_LIMITED = re.compile(r"rate.?limited|too many requests|try again later", re.IGNORECASE)
_BOT_CHECK = re.compile(r"not a bot", re.IGNORECASE)
_BOT_WAIT_S = 900.0
TIMEOUT_S = 30.0  # for a server to answer; slow ones need seconds
TRICKLE_S, LEAST_BYTES_S = 30.0, 2_000
"""What comes more slowly for so long is let go: a video of a minute would take hours."""
PIECE_BYTES = 8_192
"""That are waited for at a time: of a trickle of 50 bytes a second, less than three minutes."""
TICK_S = 1.0  # after which a read returns what came, for yt-dlp to note progress
MAX_PAGES_BYTES = 256 << 20
"""Of all pages and lists that are read to find a video; YouTube's are 10 MB."""
RUNTIME = "deno"
"""For scripts of YouTube's. Of those that yt-dlp knows, only deno shuts them in."""
_NATIVE = frozenset({"http", "https", "m3u8_native", "http_dash_segments"})
"""What yt-dlp fetches itself. The rest it leaves to other programs."""
_OF_NETWORK = frozenset({"TransportError", "ContentTooShortError", "ConnectionError"})
_BROKEN_OFF = re.compile(
    r"Got error: |Did not get any data|more expected|fragment \d+ not found|timed out|new connection"
)
_DISK = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT})
_WRITING = re.compile(r"unable to (write data|open for writing)")
Info = dict[str, Any]
"""What yt-dlp knows of a video."""


class FetchError(DataError):
    """A video that does not come."""

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(reason, detail)
        self.reason = reason
        """A key of REASONS."""
        self.detail = detail
        """One line."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(eq=False)
class TryAgain(Exception):  # noqa: N818, only `fetch` sees it
    """A failure that a later attempt may not meet; `reason` and `detail` if all of them do."""

    reason: str
    detail: str
    wait_s: float | None = None
    """What the server asks for; None where it does not say."""
    host: bool = False
    """Whether it concerns all that is fetched from this host, and not this video alone."""
    account: bool = False
    """Whether the site takes us for a robot, and wants to see an account."""


def refused_with(status: int, *, wait_s: float | None = None) -> FetchError | TryAgain:
    """What a status of HTTP other than 2xx and 3xx means."""
    detail = f"the server answers {status}"
    if status == 429:
        return TryAgain("blocked", f"{detail} (too many requests)", wait_s=wait_s, host=True)
    if status in _BUSY:
        return TryAgain("broken", detail, wait_s=wait_s, host=wait_s is not None)
    if status in _GONE:
        return FetchError("gone", detail)
    if status == 451:
        return FetchError("blocked", f"{detail} (not allowed for legal reasons)")
    if 400 <= status < 500:
        return FetchError("blocked", f"{detail}; a cookies file may help")
    return FetchError("broken", detail)


def wait_asked(retry_after: str) -> float | None:
    """Seconds that a header Retry-After asks for; None where it holds none. Dates are not read: few send them."""
    text = (retry_after or "").strip()
    return float(text) if re.fullmatch(r"[0-9]{1,7}", text) else None


def meaning_of(message: str) -> FetchError | TryAgain:
    """What an error in words means; unknown ones are broken."""
    detail = one_line(message)
    if _BOT_CHECK.search(detail):
        hint = "the site takes us for a robot, though it sees an account: fetch fewer videos an hour"
        return TryAgain("blocked", hint, wait_s=_BOT_WAIT_S, host=True, account=True)
    if _RATE_LIMITED.search(detail):
        return TryAgain("blocked", detail, wait_s=HOUR_S, host=True)
    for reason, words in _PHRASES:
        if re.search(words, detail, re.IGNORECASE):
            return FetchError(reason, detail)
    return FetchError("broken", detail)


def one_line(message: Any) -> str:
    """The first sentence of what yt-dlp says, without colours, its name for the site, and its pleas to report bugs."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(message))
    text = re.split(r"\s*(?:; please report this issue|\(caused by )", text, maxsplit=1)[0]
    text = re.sub(r"^\s*ERROR:\s*", "", text)
    return " ".join(text.split())[:300].rstrip(".") or "no reason given"


class _Log:
    """Takes what yt-dlp would print."""

    misses_javascript = False
    """Whether it ever missed a runtime: it says so once, and nothing will change while we run."""

    def debug(self, message: str) -> None:
        pass

    def warning(self, message: str) -> None:
        self.misses_javascript |= "JavaScript runtime" in message

    error = debug  # is raised, too


class _Meter:
    """Counts what comes, whatever was said of it, and times it."""

    def begin(self, num_bytes: int, most: int) -> None:
        """A file follows, of `most` bytes at most; `num_bytes` of it are there already."""
        self._num_bytes, self._most = num_bytes, most
        self.rest()

    def rest(self) -> None:
        """The clock stands while nothing is asked for."""
        self._since_s, self._num_since = time.monotonic(), 0

    def read(self, read: Callable[[int], bytes], amount: int | None = None) -> bytes:
        """At most `amount` bytes, or else all, in pieces; fewer where they take long, for yt-dlp to note progress.

        Raises FetchError where it is too much in all, TryAgain where it is a trickle.
        """
        content, began_s = bytearray(), time.monotonic()
        limit = amount if amount is not None and amount >= 0 else None
        while limit is None or len(content) < limit:
            piece = read(PIECE_BYTES if limit is None else min(PIECE_BYTES, limit - len(content)))
            self._count(len(piece))
            content += piece
            if not piece or (limit is not None and time.monotonic() - began_s > TICK_S):
                break
        return bytes(content)

    def _count(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        self._num_since += num_bytes
        if self._num_bytes > self._most:
            raise FetchError("too long", f"more than the {self._most:,} bytes allowed")
        spent_s = time.monotonic() - self._since_s
        if spent_s >= TRICKLE_S:
            if self._num_since < LEAST_BYTES_S * spent_s:
                raise TryAgain("broken", f"less than {LEAST_BYTES_S:,} bytes a second for {spent_s:.0f} s")
            self.rest()


class Library:
    """A YoutubeDL, for one video after the other, all of whose answers come through a meter: pages, files, fragments.

    `cookies`: the content of a file in Netscape's format. Raises AvganError where yt-dlp is not installed, or cannot
    read the cookies.
    """

    def __init__(self, cache: Path, cookies: str, max_bytes: int) -> None:
        try:
            import yt_dlp
        except ImportError:
            raise AvganError("fetching videos needs yt-dlp; install it with: pip install 'avgan[curate]'") from None
        self._errors: type[Exception] = yt_dlp.utils.YoutubeDLError
        self._max_bytes = max_bytes
        self._log = _Log()
        self._meter = meter = _Meter()
        meter.begin(0, MAX_PAGES_BYTES)

        class Metered(yt_dlp.YoutubeDL):
            def urlopen(self, request: Any) -> Any:
                response = super().urlopen(request)
                meter.rest()
                response.read = partial(meter.read, response.read)
                return response

        self._ydl: Any = Metered(_options(cache, cookies, max_bytes, self._log))
        try:
            self._ydl.cookiejar  # noqa: B018, read now: bad cookies are no fault of a video
        except self._errors:
            raise AvganError(
                "cookies: not a file of cookies in Netscape's format; export it from the browser anew"
            ) from None

    def look_up(self, address: str) -> Info:
        """What is behind an address, with its `formats`. Raises FetchError, TryAgain, or DataError for our set-up."""
        self._meter.begin(0, MAX_PAGES_BYTES)
        try:
            info: Info | None = self._ydl.extract_info(address, download=False)
        except Exception as error:
            failure = self._failure(error)
            if getattr(failure, "reason", "") not in ("gone", "blocked"):
                self._blame_set_up(address)
            raise failure from None
        if not info:
            raise FetchError("broken", "nothing was found behind the address")
        return info

    def choose(self, info: Info, *, max_height_px: int) -> tuple[Info, ...]:
        """The files of a video to fetch (see `choose`)."""
        try:
            return choose(info.get("formats") or [info], max_height_px=max_height_px)
        except FetchError:
            self._blame_set_up(str(info.get("webpage_url")))
            raise

    def download(self, info: Info, chosen: Info, target: Path) -> None:
        """Fetch one of a video's files to `target`, from where an earlier call left off. Raises as `look_up`."""
        arrived = sum(path.stat().st_size for path in target.parent.glob(f"{target.name}*.part*"))
        self._meter.begin(arrived, self._max_bytes)
        try:
            done, _ = self._ydl.dl(str(target), {**info, **chosen})
        except Exception as error:
            raise self._failure(error) from None
        if not done:  # the one thing that it says without an error
            raise FetchError("too long", "the file is larger than allowed")

    def _failure(self, error: Exception) -> Exception:
        """What an error of yt-dlp's means."""
        if isinstance(error, FetchError | TryAgain):  # ours, on its way through
            return error
        causes = _causes(error)
        names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
        for cause in causes:
            if isinstance(cause, OSError) and (cause.errno in _DISK or _WRITING.search(str(error))):
                return AvganError(
                    f"{cause.filename or 'a video'}: cannot be written ({cause.strerror}); "
                    "make room or choose another place"
                )
            status = getattr(cause, "status", None)
            if isinstance(status, int) and hasattr(cause, "response"):
                asked = cause.response.headers.get("Retry-After", "")
                return refused_with(status, wait_s=wait_asked(asked))
        if found := re.search(r"HTTP Error (\d{3})", str(error)):
            return refused_with(int(found[1]))
        if "GeoRestrictedError" in names:
            return FetchError("blocked", f"{one_line(causes[-1])}; not shown in this country")
        if "UnsupportedError" in names:
            return FetchError("refused", "there is no video behind the address that yt-dlp knows")
        if names & _OF_NETWORK or _BROKEN_OFF.search(str(error)):
            return TryAgain("broken", f"connection lost ({one_line(error)})")
        if isinstance(error, self._errors):
            return meaning_of(str(error))
        return FetchError("broken", f"yt-dlp failed ({type(error).__name__}: {one_line(error)})")

    def _blame_set_up(self, address: str) -> None:
        """Raise DataError where YouTube would have needed a JavaScript runtime: that is no fault of the video."""
        if self._log.misses_javascript and is_youtube(address):
            raise DataError(
                f"YouTube wants a JavaScript runtime beside yt-dlp, and none was found: pip install {RUNTIME}"
            )


@lru_cache(maxsize=1)
def library(cache: Path, cookies: str, max_bytes: int) -> Library:
    """The library of this process: to open one takes 0.15 s, and it keeps its connections."""
    return Library(cache, cookies, max_bytes)


def _options(cache: Path, cookies: str, max_bytes: int, log: _Log) -> dict[str, Any]:
    return {
        "logger": log,
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "noplaylist": True,
        "extract_flat": "in_playlist",  # of a list of videos, none is looked up
        "playlist_items": "1",
        "format": "all",  # we choose
        "allow_unplayable_formats": False,
        "cachedir": str(cache),
        # A stream is read and written back to; a file would be changed by all processes at once.
        "cookiefile": io.StringIO(cookies) if cookies else None,
        "js_runtimes": {RUNTIME: {}},
        "socket_timeout": TIMEOUT_S,
        "retries": 0,
        "fragment_retries": 0,
        "extractor_retries": 0,
        "file_access_retries": 0,
        "skip_unavailable_fragments": False,
        "max_filesize": max_bytes,
        # Without it, yt-dlp would give what it cannot read itself to the system's, without limits of time or size.
        "ffmpeg_location": str(cache / "no-ffmpeg"),
        "continuedl": True,
        "overwrites": None,
        "updatetime": False,
        "enable_file_urls": False,
        "hls_prefer_native": True,
        "fixup": "never",
    }


def _causes(error: BaseException) -> list[Any]:
    """An error of yt-dlp's and those that it wrapped, the outermost first."""
    found: list[Any] = [error]
    for _ in range(8):
        held = getattr(error, "exc_info", None)
        inner = getattr(error, "cause", None) or (held[1] if held else None)
        if not isinstance(inner, BaseException) or inner in found:
            break
        found.append(error := inner)
    return found


def choose(formats: Iterable[Info], *, max_height_px: int) -> tuple[Info, ...]:
    """The files to fetch: one with picture and sound, or the picture's and the sound's.

    The tallest picture that is not taller than asked for; else the lowest there is. At the same height one file is
    better than two. `formats` come from yt-dlp, the worst first.

    Raises FetchError: no sound, or no picture, that can be fetched.
    """
    known = list(formats)
    usable = [one for one in known if one.get("protocol") in _NATIVE and not one.get("has_drm")]
    if not usable:
        drm = any(one.get("has_drm") for one in known)
        raise FetchError("refused", "protected (DRM)" if drm else "no file that can be fetched")
    with_picture = [one for one in usable if one.get("vcodec") != "none" and _is_media(one)]
    with_sound = [one for one in usable if one.get("acodec") != "none" and _is_media(one)]
    sounds = [one for one in with_sound if one.get("vcodec") == "none"]
    if not with_picture:
        raise FetchError("refused", "no picture track")
    pairs = [
        (one,) if one.get("acodec") != "none" else (one, sounds[-1])
        for one in with_picture
        if one.get("acodec") != "none" or sounds
    ]
    if not pairs:
        raise FetchError("no sound", "no sound track")

    def rank(pair: tuple[Info, ...]) -> tuple[bool, float, bool, int]:
        height = pair[0].get("height") or 0
        fits = height <= max_height_px
        return fits, height if fits else -height, len(pair) == 1, with_picture.index(pair[0])

    return max(pairs, key=rank)


def _is_media(one: Info) -> bool:
    """Whether it is no sheet of preview pictures."""
    return one.get("ext") != "mhtml" and "storyboard" not in str(one.get("format_note"))
