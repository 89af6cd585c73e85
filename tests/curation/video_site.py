"""A site with videos on this machine: a real server of HTTP, which misbehaves where it is told to."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What the site answers with under one address."""

    body: bytes
    type: str = "video/mp4"
    statuses: list[int] = field(default_factory=list)
    """Of the first answers; then 200."""
    retry_after: str = ""
    """Sent with the refusals."""
    breaks_at: list[int] = field(default_factory=list)
    """For each request for the body in turn, the number of bytes after which the connection is cut."""
    moved_to: str = ""
    says_length: bool = True
    trickles_after: int | None = None
    """From then on, 50 bytes a second."""


class Site(ThreadingHTTPServer):
    """Serves `pages`; `asked` is what it was asked for: path and range, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str]] = []
        self.headers: list[Message] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def put(self, path: str, page: Page) -> str:
        """Put a page there; returns its address."""
        self.pages[path] = page
        return self.address + path


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET(send_body=False)

    def do_GET(self, send_body: bool = True) -> None:
        site, wanted = self.server, self.headers.get("Range", "")
        site.asked.append((self.path, wanted))
        site.headers.append(self.headers)
        page = site.pages.get(self.path)
        if page is None:
            self.send_error(404)
            return
        if page.statuses and (status := page.statuses.pop(0)) != 200:
            self.send_response(status)
            if page.retry_after:
                self.send_header("Retry-After", page.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if page.moved_to:
            self.send_response(302)
            self.send_header("Location", page.moved_to)
            self.end_headers()
            return
        self._answer(page, wanted, send_body)

    def _answer(self, page: Page, wanted: str, send_body: bool) -> None:
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, stop = int(first or 0), int(last) + 1 if last else len(page.body)
        body = page.body[start:stop]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", page.type)
        if page.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            span = f"bytes {start}-{start + len(body) - 1}/{len(page.body)}"
            self.send_header("Content-Range", span)
        self.end_headers()
        if not send_body:
            return
        if page.trickles_after is not None:
            self._trickle(body, page.trickles_after)
            return
        cut = page.breaks_at.pop(0) if page.breaks_at else len(body)
        with suppress(ConnectionError):
            self.wfile.write(body[:cut])
        if cut < len(body) or not page.says_length:
            self.close_connection = True

    def _trickle(self, body: bytes, begin: int) -> None:
        with suppress(OSError):
            self.wfile.write(body[:begin])
            for start in range(begin, len(body), 5):
                self.wfile.write(body[start : start + 5])
                time.sleep(0.1)
        self.close_connection = True


@contextmanager
def open_site() -> Iterator[Site]:
    """A site that answers until the block ends."""
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()
