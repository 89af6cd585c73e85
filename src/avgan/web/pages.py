"""The page: its files, as they lie in the package."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
# By our own table: what a machine takes a suffix for is its owner's affair.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


def page_routes() -> list[Route]:
    """A route for each file of the page, and `/` for its start: no other address leads to a file."""
    paths = {path.relative_to(FOLDER).as_posix(): path for path in sorted(FOLDER.rglob("*"))}
    files = {name: path for name, path in paths.items() if path.suffix in TYPES}
    if INDEX in files:
        files[""] = files[INDEX]
    return [Route(f"/{name}", _endpoint(path), methods=["GET"]) for name, path in files.items()]


def _endpoint(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """Gives one file; a browser that has it is only told that it is the same."""

    async def give(request: Request) -> Response:
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[path.suffix], headers=headers)

    return give
