"""Clients that do not read, that drip or flood keep nobody out for more than a second, and are let go."""

import base64
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import pytest

from avgan.errors import ConfigError
from avgan.web.serving import choose_token

OUT_S = 1.0
"""For how long others may be kept out."""
GET = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
FILES = 300
"""Descriptors that the service may have, in tests that use them up."""
FEW_FILES = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))"


def connected(server, *, small: bool = False) -> socket.socket:
    line = socket.socket()
    if small:  # so that little of what is not read lies in the systems' buffers
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(30)
    line.connect(("127.0.0.1", server.port))
    return line


def healthy_within(server, seconds: float = OUT_S) -> float:
    """How long the state of health takes on a connection of its own."""
    began_s = time.monotonic()
    with connected(server) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 200")
    took_s = time.monotonic() - began_s
    assert took_s < seconds
    return took_s


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.1)


@contextmanager
def unread(server, count: int, requests: int = 40) -> Iterator[list[socket.socket]]:
    """Connections that ask much and read nothing."""
    with ExitStack() as opened:
        lines = []
        for _ in range(count):
            line = opened.enter_context(connected(server, small=True))
            line.setblocking(False)
            with suppress(OSError):
                line.send(GET * requests)
            lines.append(line)
        yield lines


def is_closed(line: socket.socket) -> bool:
    line.setblocking(False)
    try:
        while line.recv(1 << 20):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.fixture(scope="module")
def poor(start):
    """A service of few descriptors, which says little however it is used."""
    server = start("--workers", "1", patch=FEW_FILES)
    yield server
    server.stop()
    _, err = server.process.communicate()
    assert err.count("\n") < 50


def test_more_connections_than_descriptors_that_read_nothing(poor, hiss_wav: bytes) -> None:
    server = poor
    with unread(server, FILES + 20):
        for _ in range(3):
            healthy_within(server)
            with server.client() as client:
                assert client.post("/api/classify", content=hiss_wav).status_code == 200
        assert server.metric("avgan_connections") < FILES


def test_more_connections_than_descriptors_that_ask_nothing(poor) -> None:
    server = poor
    with ExitStack() as opened:
        for number in range(FILES + 100):
            line = opened.enter_context(connected(server))
            with suppress(OSError):
                line.sendall(b"GET /heal" if number % 2 else b"")
            if number % 50 == 0:
                healthy_within(server)
        healthy_within(server)


def test_who_does_not_read_is_let_go(impatient) -> None:
    server = impatient
    let_go = server.metric("avgan_connections_let_go")
    with ExitStack() as opened:
        lines = [opened.enter_context(live_line(server)) for _ in range(5)]
        noise = np.random.default_rng(0).integers(-9000, 9000, 8_000, np.int16).tobytes()
        for _ in range(40):  # each of their answers has a picture
            for line in lines:
                line.setblocking(False)
                with suppress(OSError):
                    line.sendall(frame(noise))
            time.sleep(0.1)
        wait_until(lambda: server.metric("avgan_connections_let_go") >= let_go + 5, 30)
        assert all(is_closed(line) for line in lines)


def test_dripping_recordings_make_room(small, hiss_wav: bytes) -> None:
    """Four that hold nearly all the memory for recordings, and send a byte now and then."""
    server = small
    half = 1 << 19
    with ExitStack() as opened:
        lines = []
        for _ in range(4):
            line = opened.enter_context(connected(server))
            head = f"POST /api/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {half}\r\n\r\n"
            line.sendall(head.encode() + bytes(half - 500))
            lines.append(line)
        time.sleep(OUT_S)
        for _ in range(5):
            for line in lines:
                with suppress(OSError):
                    line.sendall(b"0")
            time.sleep(0.1)
            with server.client() as client:
                assert client.post("/api/classify", content=hiss_wav).status_code == 200
        replies = []
        for line in lines:
            line.setblocking(False)
            with suppress(BlockingIOError):
                replies.append(line.recv(12))
        assert b"HTTP/1.1 408" in replies


def test_a_drip_is_ended(impatient) -> None:
    with connected(impatient) as line:
        line.sendall(b"POST /api/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999\r\n\r\n")
        began_s = time.monotonic()
        line.settimeout(0.2)
        while time.monotonic() - began_s < 20:
            line.sendall(b"0")
            with suppress(TimeoutError):
                assert line.recv(12) == b"HTTP/1.1 408"
                break
        assert time.monotonic() - began_s < 10


def live_line(server, query: str = "rate=16000&format=s16&hop=0.25") -> socket.socket:
    """A WebSocket, of which only the first answer is read."""
    line = connected(server, small=True)
    key = base64.b64encode(os.urandom(16)).decode()
    line.sendall(
        f"GET /api/live?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    assert line.recv(12) == b"HTTP/1.1 101"
    return line


def frame(content: bytes, kind: int = 2) -> bytes:
    """A message of a client, which masks it; with a mask of zeros."""
    size = len(content)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | kind]) + length + bytes(4) + content


def is_heard(server) -> bool:
    """Whether somebody who sends sound now finds a place and is answered."""
    from websockets.sync.client import connect

    address = f"ws://127.0.0.1:{server.port}/api/live?rate=16000&format=s16&hop=1"
    with connect(address, proxy=None) as connection:
        noise = np.random.default_rng(0).integers(-9000, 9000, 20_000, np.int16)
        with suppress(Exception):
            connection.send(noise.tobytes())
        return '"scene":"beach"' in str(connection.recv(timeout=30))


def test_live_places_go_to_those_who_send_and_read(single) -> None:
    server = single
    server.wait_for("avgan_live_connections", 0)
    noise = np.random.default_rng(0).integers(-9000, 9000, 8_000, np.int16).tobytes()
    assert is_heard(server)
    with ExitStack() as opened:
        lines = [opened.enter_context(live_line(server)) for _ in range(8)]
        server.wait_for("avgan_live_connections", 8)
        assert not is_heard(server)  # they may yet begin to speak
        for _ in range(12):  # half of them speak and do not read, the others say a word
            for number, line in enumerate(lines):
                with suppress(OSError):
                    line.sendall(frame(noise) if number % 2 else frame(b"hello", 1))
            time.sleep(0.25)
        for _ in range(4):
            assert is_heard(server)
        assert server.metric("avgan_live_connections") <= 8


def test_who_sends_words_instead_of_sound_is_let_go(impatient) -> None:
    server = impatient
    server.wait_for("avgan_live_connections", 0)
    with live_line(server) as line:
        began_s = time.monotonic()
        while time.monotonic() - began_s < 20 and not is_closed(line):
            with suppress(OSError):
                line.sendall(frame(b"hello", 1))
            time.sleep(0.2)
            if server.metric("avgan_live_connections") == 0:
                break
        assert time.monotonic() - began_s < 10


def test_an_unanswered_goodbye_is_not_waited_for(impatient) -> None:
    with live_line(impatient, "speed=1") as line:  # which is refused
        wait_until(lambda: is_closed(line), 8)


def test_pings_whose_pongs_are_not_read_fill_no_memory(impatient) -> None:
    pings = frame(bytes(125), 9) * 500

    def sent_all(line: socket.socket) -> None:
        for _ in range(2_000):
            line.sendall(pings)

    with live_line(impatient) as line, pytest.raises(OSError):  # noqa: PT011 (reset, broken or timed out)
        sent_all(line)
    healthy_within(impatient)


def test_a_full_table_of_descriptors_fills_no_log(start) -> None:
    """Even where accepting fails, as when other files take the descriptors."""
    patch = f"{FEW_FILES}; import avgan.web.connections as c; c.MAX_CONNECTIONS = 1000; c.RESERVED_FILES = -1000"
    server = start("--workers", "1", patch=patch)
    with ExitStack() as opened:
        for _ in range(FILES + 50):
            opened.enter_context(connected(server))
        time.sleep(3)
    healthy_within(server, 15)
    server.stop()
    _, err = server.process.communicate()
    assert len(err) < 100_000


@pytest.mark.parametrize("token", ["ä" * 20, "a b" * 10, "line\nbreak" * 3, "\x1b[0m" * 9])
def test_tokens_that_no_header_carries_are_refused_at_the_start(token: str) -> None:
    with pytest.raises(ConfigError, match="access token"):
        choose_token("127.0.0.1", token)
