"""Whatever is asked, in whatever bytes: an answer or one line that says why not, never a 500, never silence."""

import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

SEEDS = Path(__file__).parents[1] / "fuzz" / "seeds.py"
WORK = ("/api/classify", "/api/explain", "/api/imagine")
OTHERS = ("/api/model", "/api/live", "/healthz", "/metrics", "/openapi.json", "/", "/docs", "//", "/..%2f")
FINE = {200, 400, 403, 404, 405, 408, 413, 421, 422, 429, 426}

fuzzed = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
brief = settings(fuzzed, max_examples=40, derandomize=True)
thorough = settings(fuzzed, max_examples=1_500)

words = st.one_of(
    st.sampled_from(["", "1", "0", "-1", "true", "nan", "inf", "1e400", "0.1", "3600", "9" * 400, "\0", "é", "[]"]),
    st.text(max_size=20),
)
options = st.lists(
    st.tuples(st.one_of(st.sampled_from(["hop", "windows", "picture", "why", "scale", "start", "rate"]), words), words),
    max_size=4,
)
headers = st.dictionaries(
    st.sampled_from(
        ["content-type", "authorization", "cookie", "origin", "accept", "range", "content-encoding", "expect", "te"]
    ),
    st.one_of(
        st.sampled_from(
            [
                "application/json",
                "multipart/form-data",
                "multipart/form-data; boundary=x",
                "gzip",
                "bytes=0-0",
                "multipart/form-data; boundary=" + "x" * 300,
                "Bearer x",
                "null",
                "text/plain; charset=utf-99",
            ]
        ),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),  # else httpx refuses
    ),
    max_size=3,
)


@pytest.fixture(scope="module")
def bodies() -> Callable[[int, int, int], bytes]:
    """A function: the real recording of a number, cut and with a byte changed."""
    recordings = sorted(runpy.run_path(str(SEEDS))["recordings"]().items())

    def body(number: int, place: int, byte: int) -> bytes:
        content = bytearray(recordings[number % len(recordings)][1])
        if byte < 256:
            content[place % min(len(content), 300)] = byte
        elif byte < 300:
            del content[place % len(content) :]
        return bytes(content)

    return body


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client
        assert client.get("/healthz").json() == {"status": "ok"}
        failed = [line for line in client.get("/metrics").text.splitlines() if 'status="500"' in line]
        assert failed == []


def problem(response: httpx.Response) -> str:
    """What an answer has that no answer may have; nothing where it is a good one."""
    if response.status_code not in FINE:
        return f"status {response.status_code}: {response.text[:200]}"
    if response.status_code < 400:
        return ""
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} without a reason: {response.text[:200]}"
    return "" if error and "\n" not in error and len(error) < 500 else f"not one line: {error!r}"


def check_request(
    client: httpx.Client, content: bytes, *, method: str, path: str, query: list[tuple[str, str]], head: dict[str, str]
) -> None:
    request = client.build_request(method, path, params=query, content=content, headers=head)
    try:
        response = client.send(request)
    except httpx.RemoteProtocolError:  # the connection was kept, and closed as too long idle just then
        response = client.send(request)
    assert method == "HEAD" or problem(response) == ""


recording = st.tuples(st.integers(0, 10_000), st.integers(0, 1 << 20), st.integers(0, 400))
request = {
    "which": recording,
    "noise": st.one_of(st.none(), st.binary(max_size=500)),
    "method": st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "HEAD", "OPTIONS", "DELETE"]),
    "path": st.one_of(st.sampled_from(WORK), st.sampled_from(OTHERS)),
    "query": options,
    "head": headers,
}


LINE_FOR_A_NAME = {"method": "POST", "path": "/api/classify", "query": [("\n", "")], "head": {}}


@brief
@given(**request)
@example(which=(0, 0, 0), noise=b"", **LINE_FOR_A_NAME)
def test_any_request(client: httpx.Client, bodies: Any, which: Any, noise: Any, **asked: Any) -> None:
    check_request(client, bodies(*which) if noise is None else noise, **asked)


@pytest.mark.slow
@thorough
@given(**request)
def test_many_requests(client: httpx.Client, bodies: Any, which: Any, noise: Any, **asked: Any) -> None:
    check_request(client, bodies(*which) if noise is None else noise, **asked)


@brief
@given(which=recording, hop=st.sampled_from([None, 0.1, 0.33, 1, 3600]), flags=st.integers(0, 7))
def test_good_options_with_damaged_recordings(
    client: httpx.Client, bodies: Any, which: Any, hop: float | None, flags: int
) -> None:
    query = {"windows": flags & 1, "picture": flags >> 1 & 1, "why": flags >> 2}
    response = client.post("/api/classify", params=query | ({"hop": hop} if hop else {}), content=bodies(*which))
    assert response.status_code in (200, 400, 413), response.text
    assert problem(response) == ""
    json.loads(response.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@brief
@given(
    lines=st.lists(
        st.sampled_from(
            [
                b"POST /api/classify HTTP/1.1",
                b"GET / HTTP/1.1",
                b"GET /api/live HTTP/1.1",
                b"Host: 127.0.0.1",
                b"Content-Length: 10",
                b"Content-Length: -1",
                b"Content-Length: 99999999999999999999",
                b"Host: \xff",
                b"Transfer-Encoding: chunked",
                b"Upgrade: websocket",
                b"Connection: Upgrade",
                b"Expect: 100-continue",
                b"Sec-WebSocket-Key: x",
                b"Sec-WebSocket-Version: 13",
                b"",
                b"0",
                b"ffffffffffffffff",
                b"A" * 70_000,
            ]
        )
        | st.binary(max_size=60),
        max_size=8,
    )
)
def test_any_bytes_on_the_wire(server: Any, client: httpx.Client, lines: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire, suppress(OSError):
        wire.sendall(b"\r\n".join(lines))
        wire.shutdown(socket.SHUT_WR)
        answer = wire.recv(1_000)
        assert not answer or answer.startswith(b"HTTP/1.1 ")
        assert not answer.startswith(b"HTTP/1.1 5")
    assert client.get("/healthz").status_code == 200


@brief
@given(query=options, usual=st.booleans(), messages=st.lists(st.one_of(words, st.binary(max_size=9_000)), max_size=6))
def test_any_messages_live(
    server: Any, client: httpx.Client, query: list, usual: bool, messages: list[str | bytes]
) -> None:
    asked = httpx.QueryParams([("rate", "16000"), ("hop", "0.5")] if usual else query)
    try:
        with connect(f"ws://127.0.0.1:{server.port}/api/live?{asked}", proxy=None) as connection:
            for message in messages:
                connection.send(message)
            connection.send("end")
            while "end" not in json.loads(connection.recv(timeout=120)):
                pass
    except TimeoutError:
        pytest.fail("no answer")
    except (WebSocketException, OSError):
        pass  # refused, or closed with a reason
    assert client.get("/healthz").status_code == 200


@pytest.mark.slow
def test_the_service_does_what_its_document_says(server: Any, tmp_path: Path) -> None:
    """Schemathesis asks for all that /openapi.json describes, and for what it excludes."""
    command = shutil.which("schemathesis", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if command is None:
        pytest.skip("schemathesis is not installed")
    done = subprocess.run(
        [
            command,
            "run",
            f"{server.base}/openapi.json",
            "--checks",
            "all",
            "--continue-on-failure",
            "--no-color",
            # any bytes are a valid body to the document, and few of them a sound
            "--exclude-checks",
            "positive_data_acceptance",
            "--max-examples",
            "60",
            "--request-timeout",
            "60",
            "--suppress-health-check",
            "all",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:]
    assert "6 selected" in done.stdout
