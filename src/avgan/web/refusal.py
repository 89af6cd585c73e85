"""What the service says where it does not answer."""

from collections.abc import Sequence
from typing import Any

from avgan.errors import AvganError


class RefusedError(AvganError):
    """A request that is not answered: an HTTP status, a word for the statistics, one line that says what to do."""

    def __init__(
        self, status: int, reason: str, line: str, *, retry_after_s: int | None = None
    ) -> None:
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


LONGEST_NAME = 100
"""Of an option, in the message that it does not exist."""


def one_line(errors: Sequence[Any]) -> str:
    """The first problem that pydantic found with a query."""
    first = errors[0]
    given = next(str(part) for part in first["loc"] if part != "query")
    name = "".join(letter if letter.isprintable() else " " for letter in given[:LONGEST_NAME])
    if first["type"] == "extra_forbidden":
        return f"{name}: no such option; /openapi.json lists them"
    return f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}"
