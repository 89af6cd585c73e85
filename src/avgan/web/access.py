"""Who may come in: the host name asked for, the page that asks, the token; and the headers for browsers."""

import hashlib
import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from avgan.web.live import NO_ACCESS, refuse
from avgan.web.metrics import Metrics
from avgan.web.settings import RefusedError, Settings

COOKIE = "avgan"
GUARDED = ("/api/", "/metrics")
"""What needs the token: the page itself and the state of health hold no secret."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; worker-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def cookie_value(token: str) -> str:
    """What stands for the token in the page's cookie; it opens this service and nothing else that has the token."""
    return hmac.new(token.encode(), b"avgan page", hashlib.sha256).hexdigest()


class Guard:
    """Checks host, origin and token, and adds the headers that keep browsers strict."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["path"], Headers(scope=scope))
        if refusal is not None:
            self._metrics.refuse(refusal.reason)

        async def send_strict(message: Message) -> None:
            if message["type"].endswith("response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if refusal is None:
            await self._app(scope, receive, send_strict)
        elif scope["type"] == "websocket" and refusal.status == 401:
            # Sent inside the connection: browsers do not show a page why none was made.
            websocket = WebSocket(scope, receive, send)
            await websocket.accept()
            await refuse(websocket, NO_ACCESS, str(refusal))
        else:
            await refusal_response(refusal)(scope, receive, send_strict)

    def _refusal(self, path: str, headers: Headers) -> RefusedError | None:
        host = headers.get("host", "")
        hosts = self._settings.hosts
        if hosts is not None and _without_port(host) not in hosts:
            line = f"this service answers under {' or '.join(sorted(hosts))} only; ask for it so"
            return RefusedError(421, "host", line)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return RefusedError(403, "origin", "other pages may not use this service; open its own page")
        if path.startswith(GUARDED) and not self._knows_token(headers):
            line = "say the service's access token in the header Authorization: Bearer TOKEN"
            return RefusedError(401, "token", line)
        return None

    def _knows_token(self, headers: Headers) -> bool:
        token = self._settings.token
        if token is None:
            return True
        kind, _, said = headers.get("authorization", "").partition(" ")
        known = kind.lower() == "bearer" and _equal(said.strip(), token)
        for cookie in headers.get("cookie", "").split(";"):
            name, _, value = cookie.strip().partition("=")
            known |= name == COOKIE and _equal(value, cookie_value(token))
        return known


def refusal_response(refusal: RefusedError) -> JSONResponse:
    """A refusal as every client gets it."""
    return JSONResponse({"error": str(refusal)}, refusal.status, refusal.headers)


def _equal(said: str, known: str) -> bool:
    """Whether two secrets are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(said.encode(), known.encode())


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()
