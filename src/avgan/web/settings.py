"""What a service allows, and what it says where it does not answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from avgan.errors import AvganError
from avgan.web.decoder import Caps

LONGEST_NAME = 100
"""Of an option, in the message that it does not exist."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits and access."""

    max_bytes: int = 100 * 2**20
    """The largest file that is taken."""
    max_seconds: float = 3600
    """The longest recording that is taken."""
    num_workers: int = 1
    """How many recordings are decoded and classified at a time."""
    token: str | None = None
    """What a client must know; None: nothing."""
    hosts: frozenset[str] | None = None
    """The names under which the service answers; None: any. Keeps other pages from reaching it by a name of theirs."""

    @property
    def max_waiting(self) -> int:
        """Recordings that may wait for a worker: a second or two of work for short ones."""
        return 8 * self.num_workers

    @property
    def max_live(self) -> int:
        """Live connections at a time; each costs a worker a few hundredths of its time."""
        return 8 * self.num_workers

    @property
    def max_held_bytes(self) -> int:
        """What all recordings that are received or wait may take in memory together."""
        return 4 * self.max_bytes

    @property
    def deadline_s(self) -> float:
        """How long a request may wait and work once it is received; classifying is ten times faster than this asks."""
        return max(60.0, self.max_seconds / 30)

    def caps(self, rate_hz: int) -> Caps:
        """The limits of a decoder that gives sound at this rate."""
        return Caps(
            rate_hz=rate_hz,
            max_seconds=self.max_seconds,
            cpu_s=10 + round(self.max_seconds / 60),  # slow decoders do a minute of sound in a second
            memory_bytes=2 * self.max_bytes + 256 * 2**20,  # twice: while it is received
        )


class RefusedError(AvganError):
    """A request that is not answered: an HTTP status, a word for the statistics, one line that says what to do."""

    def __init__(self, status: int, reason: str, line: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(line)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with the answer."""
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def one_line(errors: Sequence[Any]) -> str:
    """The first problem that pydantic found with a query."""
    first = errors[0]
    given = next(str(part) for part in first["loc"] if part != "query")
    name = "".join(letter if letter.isprintable() else " " for letter in given[:LONGEST_NAME])
    if first["type"] == "extra_forbidden":
        return f"{name}: no such option; /openapi.json lists them"
    return f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}"
