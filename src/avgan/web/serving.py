"""Running the service: a socket, uvicorn, signals."""

import asyncio
import ipaddress
import logging
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import quote

import uvicorn

from avgan.errors import AvganError, ConfigError
from avgan.runtime import Model
from avgan.web.app import make_app
from avgan.web.connections import ACCEPTED_AT_ONCE, HttpConnection, LiveConnection
from avgan.web.service import Service
from avgan.web.settings import Settings

MIN_TOKEN_LENGTH = 16  # 64 bits or more where the characters are random
MAX_MESSAGE_BYTES = 2**20  # five seconds of live sound at 48 kHz in 32 bits
STOP_S = 25
"""How long requests may go on after the service was asked to stop."""
BACKLOG = 1024
"""Connections that the system keeps until they are accepted."""
LINES_A_MINUTE = 20
"""In the log, of each kind; with what happened each, a few kilobytes."""


def serve(model: Model, settings: Settings, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that run are then finished. `announce` is called at the start."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    service = Service(model, settings)
    connections = service.connections
    config = uvicorn.Config(
        make_app(service),
        http=partial(HttpConnection, connections),  # type: ignore[arg-type]
        ws=partial(LiveConnection, connections),  # type: ignore[arg-type]
        backlog=ACCEPTED_AT_ONCE,
        log_level="error",  # what clients do wrong is not for the log
        access_log=False,
        server_header=False,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=STOP_S,
    )
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_Sparing())

    def begin() -> None:
        listener.listen(BACKLOG)  # asyncio takes what it accepts at once for what may wait
        connections.sweep()
        announce()

    try:
        asyncio.run(_Server(config, begin).serve([listener]))
    finally:
        service.close()


class _Sparing(logging.Filter):
    """Passes a few lines a minute: what strangers cause may not fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._minute = 0
        self._num_said = 0

    def filter(self, record: logging.LogRecord) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._num_said = minute, 0
        self._num_said += 1
        return self._num_said <= LINES_A_MINUTE


class _Server(uvicorn.Server):
    """Ends well when it is asked to end; uvicorn's own would end by the signal."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises AvganError where the address cannot be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise AvganError(
            f"{host} port {port}: {reason.lower()}; choose another with --port, or 0 for any that is free"
        ) from None


def is_local(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def choose_token(host: str, token: str | None) -> str | None:
    """The token to ask for: the one given, none on a local address, else a new one. Raises ConfigError."""
    if token is not None and len(token) < MIN_TOKEN_LENGTH:
        raise ConfigError(f"the access token is short; take at least {MIN_TOKEN_LENGTH} characters")
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError("the access token holds what no HTTP header carries; take letters, digits and signs of ASCII")
    if token is not None or is_local(host):
        return token
    return secrets.token_urlsafe(24)


def local_hosts(host: str) -> frozenset[str] | None:
    """The names under which a local service answers; None for one that asks for a token instead."""
    if not is_local(host):
        return None
    name = f"[{host}]" if ":" in host else host
    return frozenset({name.lower(), "localhost", "127.0.0.1", "[::1]"})


def address(listener: socket.socket, host: str, token: str | None = None) -> str:
    """Where to open the page; a token goes into the fragment, which browsers keep to themselves."""
    port = listener.getsockname()[1]
    name = socket.gethostname() if host in {"0.0.0.0", "::"} else host
    name = f"[{name}]" if ":" in name else name
    fragment = f"#token={quote(token)}" if token else ""
    return f"http://{name}:{port}/{fragment}"
