"""All connections of a service, and which of them are let go.

A connection costs a descriptor and what is not yet sent over it. There are only so many; whoever comes when all are
taken takes the place of the one that does least: one over which nothing goes out any more, then one that asks nothing,
then one that sends a recording slowly. What is being worked on stays. Of several alike, one goes from the address that
has most. So nobody can keep others out by connecting, by not reading or by sending a byte at a time.
"""

import asyncio
import resource
import time
from collections import Counter
from dataclasses import dataclass, field

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_CONNECTIONS = 1_000
"""Each holds a few hundred kilobytes at most."""
MAX_SHARE = 0.75
"""Of them, for one address: a proxy needs many, and others still find room."""
RESERVED_FILES = 64
"""Descriptors for all else: the event loop, the listener, the decoders, the page's files."""
ACCEPTED_AT_ONCE = 32
"""Connections that are accepted before the first of them can be refused."""
WRITE_STALL_S = 10
"""How long nothing may go out of what waits to be sent."""
WRITE_S = 120
"""How long an answer may take to go out: one of a megabyte, at the speed of a telephone line."""
HEAD_S = 10
"""How long a connection may ask nothing."""
CLOSE_S = 5
"""How long a WebSocket may leave a goodbye unanswered."""
MAX_UNSENT_BYTES = 8 << 20
"""More than any answer: who sends pings and reads no pongs."""
SWEEP_S = 1.0  # a fifth of the shortest limit above

Protocol = H11Protocol | WebSocketsSansIOProtocol


@dataclass(eq=False)
class Line:
    """A connection."""

    transport: asyncio.Transport
    protocol: Protocol
    address: str
    idle_s: float = field(default_factory=time.monotonic)
    """Since when it asks nothing, or says goodbye."""
    unsent: int = 0
    stalled_s: float | None = None
    """Since when nothing goes out, though something waits."""
    unsent_s: float | None = None
    """Since when something waits to go out."""

    def update(self, now_s: float) -> bool:
        """Note what goes out; whether the connection is to be let go."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            self.stalled_s = self.unsent_s = None
        elif self.stalled_s is None or unsent < self.unsent:
            self.stalled_s = now_s
            self.unsent_s = self.unsent_s or now_s
        self.unsent = unsent
        is_leaving = isinstance(self.protocol, WebSocketsSansIOProtocol) and self.protocol.close_sent
        rank = self.rank()
        if not is_leaving and rank != 2:
            self.idle_s = now_s
        return (
            (self.stalled_s is not None and now_s - self.stalled_s >= WRITE_STALL_S)
            or (self.unsent_s is not None and now_s - self.unsent_s >= WRITE_S)
            or (is_leaving and now_s - self.idle_s >= CLOSE_S)
            or (rank == 2 and now_s - self.idle_s >= HEAD_S)
        )

    def rank(self) -> int:
        """How little it does: 3 nothing goes out, 2 asks nothing or says goodbye, 1 sends something, 0 is worked on."""
        if self.transport.get_write_buffer_size():
            return 3
        if self.transport.is_closing():  # and all is sent: it is about to be no more
            return 0
        if isinstance(self.protocol, WebSocketsSansIOProtocol):
            return 2 if self.protocol.close_sent else 0
        cycle = self.protocol.cycle
        if cycle is None or cycle.response_complete:
            return 2
        return 1 if cycle.more_body else 0


class Connections:
    """The connections that are open, at most `most`."""

    def __init__(self, num_workers: int) -> None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = MAX_CONNECTIONS
        if files != resource.RLIM_INFINITY:
            room = files - RESERVED_FILES - ACCEPTED_AT_ONCE - 4 * num_workers
        self.most = max(8, min(MAX_CONNECTIONS, room))
        self.num_let_go = 0
        self._lines: dict[asyncio.BaseTransport, Line] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        """A connection was made, or speaks another protocol from now on."""
        if transport in self._lines:
            self._lines[transport].protocol = protocol
            return
        peer = transport.get_extra_info("peername")
        line = Line(transport, protocol, str(peer[0]) if peer else "")
        of_address = [other for other in self._lines.values() if other.address == line.address]
        self._lines[transport] = line
        if len(self._lines) > self.most:
            self._make_room(list(self._lines.values()), line)
        elif len(of_address) >= MAX_SHARE * self.most:
            self._make_room([*of_address, line], line)

    def remove(self, transport: asyncio.BaseTransport) -> None:
        """A connection is no more."""
        self._lines.pop(transport, None)

    def sweep(self) -> None:
        """Let go of connections over which nothing goes out or nothing is asked, and do so again in a while."""
        now_s = time.monotonic()
        for line in list(self._lines.values()):
            if line.update(now_s):
                self._let_go(line)
        asyncio.get_running_loop().call_later(SWEEP_S, self.sweep)

    def _make_room(self, lines: list[Line], newest: Line) -> None:
        """Let go of one of these; the newest where all others are worked on."""
        now_s = time.monotonic()
        counts = Counter(line.address for line in lines)

        def worth(line: Line) -> tuple[int, int, float]:
            rank = line.rank()
            since_s = line.stalled_s or now_s if rank == 3 else line.idle_s
            return rank, counts[line.address], now_s - since_s

        others = [line for line in lines if line is not newest and line.rank()]
        self._let_go(max(others, key=worth, default=newest))

    def _let_go(self, line: Line) -> None:
        self.num_let_go += 1
        self._lines.pop(line.transport, None)
        line.transport.abort()


class _Known(asyncio.Protocol):
    """A protocol of uvicorn's whose connections are known to `Connections`."""

    transport: asyncio.Transport

    def __init__(self, known: Connections, **options: object) -> None:
        super().__init__(**options)
        self._known = known

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._known.add(self.transport, self)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        self._known.remove(self.transport)
        super().connection_lost(exc)


class HttpConnection(_Known, H11Protocol):
    """Answers one request of those that are sent without waiting, then closes: no client of ours does that."""

    def handle_events(self) -> None:
        super().handle_events()
        is_asked = self.cycle is not None and not self.cycle.more_body
        if is_asked and not self.cycle.response_complete and self.conn.trailing_data[0]:
            self.cycle.keep_alive = False


class LiveConnection(_Known, WebSocketsSansIOProtocol):
    """A WebSocket, which is cut where what it does not read becomes too much."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()
