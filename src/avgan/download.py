"""One file over HTTP: resumed where it broke off, retried while that may help, verified, then named."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from avgan.errors import DataError

ATTEMPTS = 5
TIMEOUT_S = 60.0
LEAST_BYTES_S = 1_000
"""What comes more slowly for a minute is asked for anew."""
BLOCK_BYTES = 1 << 20
REPORT_S = 10.0
USER_AGENT = "avgan (https://pypi.org/project/avgan)"  # some hosts refuse Python's own

_WORTH_A_RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One file to download."""

    url: str
    filename: str
    bytes: int | None = None
    """Exact size; None where the server makes the file anew and its size may move."""
    max_bytes: int | None = None
    """What is larger is refused; None where the publisher is trusted."""
    sha256: str = ""
    md5: str = ""
    """Checksums as published; empty where none is known."""


class _TooLarge(Exception):  # noqa: N818, it never leaves this file
    """More bytes than the remote file may have."""


class _TryAgain(Exception):  # noqa: N818, it never leaves this file
    """A failure that a later attempt may not meet."""


def download(
    remote: Remote, target: Path, say: Callable[[str], None], *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Fetch a remote file to `target`, from where an earlier call left off; all or nothing.

    Attempts that fail on the way wait 1, 2, 4, ... s before the next. Only those that bring nothing count: a file of
    gigabytes may break often and still arrive.

    Raises:
        DataError: the server refuses it, stays unreachable, or sends something else.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    failed, longest = 0, _size(partial)
    while True:
        try:
            _transfer(remote, partial, say)
            break
        except _TryAgain as problem:
            gets_on = _size(partial) - longest >= BLOCK_BYTES
            failed, longest = 1 if gets_on else failed + 1, max(longest, _size(partial))
            if failed == ATTEMPTS:
                raise DataError(
                    f"{remote.url}: {problem} ({ATTEMPTS} attempts); what arrived is kept, run the "
                    "command again to go on"
                ) from problem
            say(f"{remote.filename}: {problem}; trying again")
            sleep(2.0 ** (failed - 1))
    verify(remote, partial)
    os.replace(partial, target)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _transfer(remote: Remote, partial: Path, say: Callable[[str], None]) -> None:
    """Bring `partial` to its full length, or raise."""
    start = _size(partial)
    if start and start == remote.bytes:
        return
    headers = {"User-Agent": USER_AGENT}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(remote.url, headers=headers)
    try:
        opener = urllib.request.build_opener(_Redirects(remote))
        with opener.open(request, timeout=TIMEOUT_S) as response:
            _refuse_downgrade(remote, response.url)
            resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
            with partial.open("ab" if resumed else "wb") as file:
                _copy(response, file, remote, say)
    except _TooLarge:
        partial.unlink()
        raise DataError(
            f"{remote.url}: holds more than the {remote.max_bytes:,} bytes allowed; see that it is the right file"
        ) from None
    except urllib.error.HTTPError as error:
        with error:  # the answer, whose connection stays open otherwise
            _refused(error, remote, partial)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise _unwritable(partial, error) from error
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise _TryAgain(f"connection lost ({reason})") from error


def _refused(error: urllib.error.HTTPError, remote: Remote, partial: Path) -> None:
    """Turn a status of the server into a retry or an end."""
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        partial.unlink(missing_ok=True)
        raise _TryAgain("the part on disk is no part of the file; starting anew") from error
    if error.code in _WORTH_A_RETRY:
        raise _TryAgain(f"the server answers {error.code} {error.reason}") from error
    raise DataError(
        f"{remote.url}: the server answers {error.code} {error.reason}; look for the file's new "
        f"address, fetch it by hand and put it at {partial.with_suffix('')}"
    ) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Looks at every station on the way, and not at the last alone."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        _refuse_downgrade(self._remote, urllib.parse.urljoin(arguments[0].full_url, arguments[-1]))
        return super().redirect_request(*arguments)


def _refuse_downgrade(remote: Remote, url: str) -> None:
    """Refuse to be led from https to http, where no checksum would tell that the file was changed on the way."""
    known = remote.sha256 or remote.md5 or not remote.url.startswith("https:")
    if not known and not url.startswith("https:"):
        raise DataError(f"{remote.url}: leads to {url}, which is not https; state its sha256")


def _copy(response: http.client.HTTPResponse, file: IO[bytes], remote: Remote, say: Callable[[str], None]) -> None:
    left = response.length  # None where the server does not say
    total = file.tell() + left if left is not None else remote.bytes
    reported_s = since_s = time.monotonic()
    num_since = 0
    _refuse_too_large(total, remote)
    while block := response.read1(BLOCK_BYTES):
        num_since += len(block)
        if time.monotonic() - since_s > TIMEOUT_S:
            if num_since < LEAST_BYTES_S * TIMEOUT_S:
                raise _TryAgain(f"less than {LEAST_BYTES_S:,} bytes a second")
            since_s, num_since = time.monotonic(), 0
        _refuse_too_large(file.tell() + len(block), remote)
        _write(file, block)
        if time.monotonic() - reported_s > REPORT_S:
            reported_s = time.monotonic()
            share = f" of {total / 1e6:,.0f}" if total else ""
            say(f"{remote.filename}: {file.tell() / 1e6:,.0f}{share} MB")
    if left is not None and file.tell() < (total or 0):
        raise _TryAgain(f"only {file.tell():,} of {total:,} bytes arrived")


def _write(file: IO[bytes], block: bytes) -> None:
    """Write to disk, where an error is none of the network's and no reason to try again."""
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise _unwritable(Path(file.name), error) from error


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be written ({error.strerror}); make room or choose another place")


def _refuse_too_large(num_bytes: int | None, remote: Remote) -> None:
    if num_bytes and remote.max_bytes and num_bytes > remote.max_bytes:
        raise _TooLarge


def verify(remote: Remote, path: Path) -> None:
    """Refuse a file that is not the published one, and delete it, so that the next call starts anew.

    Raises:
        DataError: its size or a checksum differs.
    """
    size = path.stat().st_size
    problem = ""
    if remote.bytes is not None and size != remote.bytes:
        problem = f"has {size:,} bytes, published are {remote.bytes:,}"
    for algorithm, expected in (("sha256", remote.sha256), ("md5", remote.md5)):
        if expected and not problem:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, algorithm).hexdigest()
            if found != expected:
                problem = f"has {algorithm} {found}, published is {expected}"
    if problem:
        path.unlink()
        raise DataError(f"{remote.url}: what arrived {problem}; deleted, run the command again")
