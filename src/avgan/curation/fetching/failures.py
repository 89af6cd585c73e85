"""Why a video did not come: a word for statistics and a line for people, from what servers and yt-dlp say."""

import re
from typing import Any

from avgan.errors import DataError

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
_TELLING: tuple[tuple[str, str], ...] = (
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


class TryAgain(Exception):  # noqa: N818, nobody but `fetch` sees it
    """A failure that a later attempt may not meet; `reason` and `detail` if all of them do."""

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        wait_s: float | None = None,
        host: bool = False,
        account: bool = False,
    ) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.wait_s = wait_s
        """What the server asks for; None where it does not say."""
        self.host = host
        """Whether it concerns all that is fetched from this host, and not this video alone."""
        self.account = account
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


def told_by(message: str) -> FetchError | TryAgain:
    """What an error in words means; unknown ones are broken."""
    detail = one_line(message)
    if _BOT_CHECK.search(detail):
        hint = (
            "the site takes us for a robot, though it sees an account: fetch fewer videos an hour"
        )
        return TryAgain("blocked", hint, wait_s=_BOT_WAIT_S, host=True, account=True)
    if _RATE_LIMITED.search(detail):
        return TryAgain("blocked", detail, wait_s=HOUR_S, host=True)
    for reason, words in _TELLING:
        if re.search(words, detail, re.IGNORECASE):
            return FetchError(reason, detail)
    return FetchError("broken", detail)


def one_line(message: Any) -> str:
    """The first sentence of what yt-dlp says, without colours, its name for the site, and its pleas to report bugs."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(message))
    text = re.split(r"\s*(?:; please report this issue|\(caused by )", text, maxsplit=1)[0]
    text = re.sub(r"^\s*ERROR:\s*", "", text)
    return " ".join(text.split())[:300].rstrip(".") or "no reason given"
