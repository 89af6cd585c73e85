"""The application: routes, the files of the page, errors as one line of JSON, and what stands before them."""

import hashlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from avgan import __version__
from avgan.web.access import Guard, refusal_response
from avgan.web.api import routes
from avgan.web.live import live_routes
from avgan.web.metrics import Metered
from avgan.web.service import Service
from avgan.web.settings import RefusedError, one_line

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
DESCRIPTION = """Hears a place and pictures it.

Live sound: `WebSocket /api/live?rate=48000&format=s16&hop=1` takes binary messages of mono samples (`s16` or `f32`,
little-endian) and answers each window with a JSON message: start_s, end_s, scene, sound, probability, reason, scenes
(the five most probable), picture (PNG in base64), latency_s, gap_s, num_dropped. The text `end` asks for what is left.
"""
CLIENT_LEFT = 499  # as nginx calls it: for the statistics, no client reads it


def page_routes() -> list[Route]:
    """A route for each file of the page, and `/` for its start: no other address leads to a file."""
    paths = {path.relative_to(FOLDER).as_posix(): path for path in sorted(FOLDER.rglob("*"))}
    files = {name: path for name, path in paths.items() if path.suffix in TYPES}
    if INDEX in files:
        files[""] = files[INDEX]
    return [Route(f"/{name}", _endpoint(path), methods=["GET"]) for name, path in files.items()]


def _endpoint(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """Gives one file; a browser that has it gets only 304."""

    async def give(request: Request) -> Response:
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[path.suffix], headers=headers)

    return give


def make_app(service: Service) -> ASGIApp:
    """The application of a service."""
    app = FastAPI(
        title="avgan",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(routes(service))
    app.include_router(live_routes(service))
    app.router.routes.extend(page_routes())
    _answer_errors(app, service)
    if service.settings.token is not None:
        _document_token(app)
    return Metered(Guard(app, service.settings, service.metrics), service.metrics)


def _answer_errors(app: FastAPI, service: Service) -> None:
    """Let every error be one line of JSON."""

    @app.exception_handler(RefusedError)
    async def refuse(request: Request, refusal: RefusedError) -> Response:
        service.metrics.refuse(refusal.reason)
        return refusal_response(refusal)

    @app.exception_handler(RequestValidationError)
    async def refuse_options(request: Request, error: RequestValidationError) -> Response:
        return await refuse(request, RefusedError(422, "options", one_line(error.errors())))

    @app.exception_handler(HTTPException)
    async def refuse_address(request: Request, error: HTTPException) -> Response:
        said = HTTPStatus(error.status_code).phrase.lower()
        line = f"{request.method} {request.url.path}: {said}; /openapi.json lists what there is"
        return JSONResponse({"error": line}, error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def leave(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_LEFT)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        line = "the service failed; what happened stands in its log"
        return JSONResponse({"error": line}, 500)


def _document_token(app: FastAPI) -> None:
    """Say in /openapi.json that the routes under /api need the token."""
    schema: dict[str, Any] = app.openapi()
    schema.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, methods in schema["paths"].items():
        if path.startswith(("/api/", "/metrics")):
            for operation in methods.values():
                operation["security"] = [{"token": []}]
