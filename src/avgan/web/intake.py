"""Receiving a recording: into memory, never to disk, and no more of it than the service takes."""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from avgan.web.settings import RefusedError

FIELD = "file"
_EXTENDED = re.compile(r";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]*)", re.IGNORECASE)
"""A name in other letters than those of ASCII (RFC 8187)."""
LONGEST_NAME = 255
"""Of a file, on every system that is in use."""
ENVELOPE_BYTES = 2**16
"""What a form may hold beside the recording."""
MAX_PARTS = 20  # a form for one file has a few
STALL_S, STALL_BYTES = 20, 20_000
"""So much must come in so long: a tenth of what the slowest telephones send."""
RECEIVE_S = 600  # 100 MB at the speed of a slow line, 170 kB/s
SLOW_BYTES_S = 64 << 10
"""A recording that comes more slowly than this, in bytes a second, may have to make room for others."""
LONG_S = 30
"""So may one that has been coming for longer."""


@dataclass(frozen=True, eq=False)
class Received:
    """A recording that has come."""

    content: bytearray
    name: str
    """Of its file, where the client says it."""


class _Upload:
    """A recording that is on its way."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.timeout: asyncio.Timeout | None = None
        self.is_cut = False
        self._began_s = time.monotonic()
        self._came: deque[tuple[int, int]] = deque(maxlen=4)
        """(quarter of a second, bytes that came in it), of those in which any came."""

    def take(self, chunk: bytes) -> None:
        """Add what came."""
        now, num_bytes = int(4 * time.monotonic()), len(chunk)
        if self._came and self._came[-1][0] == now:
            num_bytes += self._came.pop()[1]
        self._came.append((now, num_bytes))
        self.content.extend(chunk)

    def is_slow(self) -> bool:
        """Whether it may have to make room: it comes slowly, or has been coming for long."""
        now_s = time.monotonic()
        if now_s - self._began_s < 1:
            return False
        last_second = sum(size for when, size in self._came if when > int(4 * now_s) - 4)
        return last_second < SLOW_BYTES_S or now_s - self._began_s > LONG_S

    def cut(self) -> int:
        """End it; returns how much memory that frees."""
        num_bytes = len(self.content)
        self.is_cut = True
        self.content = bytearray()
        if self.timeout is not None:
            self.timeout.reschedule(0)
        return num_bytes


class Intake:
    """Receives recordings of at most `max_bytes`, all of those that are held at a time of at most `max_held_bytes`.

    Where that is not enough, recordings that come slowly make room for those that come.
    """

    def __init__(self, max_bytes: int, max_held_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._max_held_bytes = max_held_bytes
        self._num_held = 0
        self._coming: set[_Upload] = set()

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[Received]:
        """The recording that a request carries: its body as it is, or the field `file` of a form.

        Raises RefusedError, and ClientDisconnect where the client went away.
        """
        upload = _Upload()

        def add(chunk: bytes) -> None:
            if upload.is_cut:
                raise TimeoutError
            if len(upload.content) + len(chunk) > self._max_bytes:
                raise self._too_large()
            while self._num_held + len(chunk) > self._max_held_bytes:
                self._make_room(upload)
            self._num_held += len(chunk)
            upload.take(chunk)

        self._coming.add(upload)
        try:
            try:
                name = await self._read(request, upload, add)
            finally:
                self._coming.discard(upload)
            yield Received(upload.content, name)
        finally:
            self._num_held -= len(upload.content)

    def _make_room(self, newest: _Upload) -> None:
        """End the largest of the recordings that come slowly. Raises RefusedError where there is none."""
        slow = [upload for upload in self._coming if upload is not newest and upload.is_slow()]
        slow = [upload for upload in slow if upload.content]
        if not slow:
            line = "too many recordings are being received; try again in a moment"
            raise RefusedError(429, "memory", line, retry_after_s=1)
        self._num_held -= max(slow, key=lambda upload: len(upload.content)).cut()

    async def _read(self, request: Request, upload: _Upload, add: Callable[[bytes], None]) -> str:
        """Take a request's body; returns the name of the file."""
        most = self._max_bytes + ENVELOPE_BYTES
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > most:
            raise self._too_large()
        kind, options = parse_options_header(request.headers.get("content-type"))
        form = _Form(options, add) if kind == b"multipart/form-data" else None
        num_bytes = 0
        try:
            async with asyncio.timeout(RECEIVE_S) as upload.timeout:
                async for chunk in _chunks(request):
                    num_bytes += len(chunk)
                    if num_bytes > most:
                        raise self._too_large()
                    (form.write if form else add)(chunk)
        except TimeoutError:
            line = "the recording came too slowly; try again over a better connection, or cut it"
            raise RefusedError(408, "slow", line) from None
        if form is not None:
            return form.finish()
        return _file_name(request.headers.get("content-disposition", ""))

    def _too_large(self) -> RefusedError:
        most = f"{self._max_bytes / 2**20:g} MB"
        line = f"the recording is larger than {most}, the most that is taken here; cut or compress it"
        return RefusedError(413, "too_large", line)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises TimeoutError where too little comes for a while."""
    more = True
    while more:
        num_bytes = 0
        deadline_s = asyncio.get_running_loop().time() + STALL_S
        while more and num_bytes < STALL_BYTES:
            async with asyncio.timeout_at(deadline_s):
                message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more = message.get("more_body", False)
            if chunk := message.get("body", b""):
                num_bytes += len(chunk)
                yield chunk


class _Form:
    """A form with the recording in one field; other fields are skipped.

    Starlette's own reading of forms puts large files on disk.
    """

    def __init__(self, options: dict[bytes, bytes], add: Callable[[bytes], None]) -> None:
        self._add = add
        self._header = (bytearray(), bytearray())
        self._wanted = False
        self._name = ""
        self._num_found = self._num_parts = 0
        self._whole = False
        boundary = options.get(b"boundary")
        if not boundary:
            raise _bad_form("it names no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_begin": self._begin_header,
                    "on_header_field": lambda data, i, j: self._header[0].extend(data[i:j]),
                    "on_header_value": lambda data, i, j: self._header[1].extend(data[i:j]),
                    "on_header_end": self._end_header,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _bad_form(str(error)) from None

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the form."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _bad_form(str(error)) from None

    def finish(self) -> str:
        """Check that there was one recording, and return its name. Raises RefusedError."""
        if not self._whole:
            raise _bad_form("it ends too early")
        if self._num_found != 1:
            raise _bad_form(f"it has {self._num_found} fields of that name")
        return self._name

    def _begin(self) -> None:
        self._wanted = False
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:  # many small ones would cost more than their bytes
            raise _bad_form(f"it has more than {MAX_PARTS} fields")

    def _begin_header(self) -> None:
        self._header = (bytearray(), bytearray())

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            options = parse_options_header(bytes(value))[1]
            self._wanted = options.get(b"name") == FIELD.encode()
            self._num_found += self._wanted
            if self._wanted:
                self._name = _file_name(bytes(value))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._add(data[start:end])

    def _end(self) -> None:
        self._whole = True


def _file_name(disposition: str | bytes) -> str:
    """What a Content-Disposition header calls the file."""
    name = parse_options_header(disposition)[1].get(b"filename", b"")
    text = disposition if isinstance(disposition, str) else disposition.decode("latin-1")
    if extended := _EXTENDED.search(text):
        name = unquote_to_bytes(extended[1])
    return name.decode(errors="replace")[-LONGEST_NAME:]


def _bad_form(reason: str) -> RefusedError:
    line = f"the form cannot be read ({reason}); send the recording as the field {FIELD!r}, or as the body itself"
    return RefusedError(422, "form", " ".join(line.split()))
