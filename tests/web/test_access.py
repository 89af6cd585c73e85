"""Who is let in, and the headers for browsers."""

import re
import socket
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from avgan.web.access import HEADERS
from avgan.web.serving import choose_token, is_local

TOKEN = "open-sesame-open-sesame"


@pytest.fixture(scope="module")
def guarded(start):
    """A service that can be reached from other machines, and so asks for a token."""
    return start("--host", "0.0.0.0", "--workers", "1", "--token", TOKEN)


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "127.0.0.1.nip.io"])
def test_a_local_service_answers_under_its_own_name_only(server, host: str) -> None:
    answer = server.client().get("/api/model", headers={"Host": host})
    assert answer.status_code == 421
    assert "127.0.0.1" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_a_local_service_has_several_names(server, host: str) -> None:
    assert server.client().get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "file://"])
def test_pages_from_elsewhere_are_refused(server, hiss_wav: bytes, origin: str) -> None:
    answer = server.client().post("/api/classify", content=hiss_wav, headers={"Origin": origin})
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{server.port}/api/live", origin=origin, proxy=None):
        pass


def test_its_own_page_is_let_in(server, hiss_wav: bytes) -> None:
    headers = {"Origin": server.base}
    answer = server.client().post("/api/classify", content=hiss_wav, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        bearer(TOKEN + "x"),
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"avgan={TOKEN}"},
        {"Cookie": "avgan="},
        {"Authorization": "Bearer \xe9\xe9".encode("latin-1")},
    ],
)
def test_without_the_token_nobody_is_let_in(guarded, hiss_wav: bytes, headers: dict[str, str]) -> None:
    client = guarded.client(headers=headers)
    refusals = [client.post(f"/api/{name}", content=hiss_wav) for name in ("classify", "imagine", "explain")]
    refusals += [client.get("/api/model"), client.get("/metrics"), client.get("/api/nothing")]
    for refusal in refusals:
        assert refusal.status_code == 401
        assert refusal.headers["www-authenticate"] == "Bearer"
        assert "token" in refusal.json()["error"]


def test_health_and_page_need_no_token(guarded) -> None:
    client = guarded.client()
    for path in ("/healthz", "/openapi.json", "/"):
        assert client.get(path).status_code == 200


def test_the_token_lets_in_and_gives_the_page_a_cookie(guarded, hiss_wav: bytes) -> None:
    client = guarded.client()
    about = client.get("/api/model", headers=bearer())
    assert about.status_code == 200
    said = about.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=strict" in said
    assert TOKEN not in said
    assert client.cookies  # and no longer the token
    assert client.post("/api/classify", content=hiss_wav).status_code == 200
    cookie = f"avgan={client.cookies['avgan']}"
    with connect(f"ws://127.0.0.1:{guarded.port}/api/live", additional_headers={"Cookie": cookie}, proxy=None) as live:
        live.send("end")
        assert "error" in live.recv()  # no sound came, but it was let in


def test_a_page_is_told_why_it_may_not_listen(guarded) -> None:
    with connect(f"ws://127.0.0.1:{guarded.port}/api/live", proxy=None) as live:
        assert "token" in live.recv()
        with pytest.raises(ConnectionClosedError) as closed:
            live.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_the_token_is_documented_where_it_is_asked_for(guarded, server) -> None:
    document = guarded.client().get("/openapi.json").json()
    assert document["paths"]["/api/classify"]["post"]["security"]
    assert "security" not in document["paths"]["/healthz"]["get"]
    assert "security" not in server.client().get("/openapi.json").json()["paths"]["/api/classify"]["post"]


def test_a_token_is_made_and_shown_once_where_it_is_needed(start) -> None:
    made = start("--host", "0.0.0.0", "--workers", "1")
    token = re.fullmatch(r"http://[^/]+:\d+/#token=([\w-]{32})", made.address)
    assert token
    client = made.client()
    assert client.get("/api/model").status_code == 401
    assert client.get("/api/model", headers=bearer(token[1])).status_code == 200
    made.stop()
    out, err = made.process.communicate()
    assert token[1] not in out + err


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_local_addresses_need_no_token(host: str) -> None:
    assert is_local(host)
    assert choose_token(host, None) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_other_addresses_need_one(host: str) -> None:
    assert not is_local(host)
    first, second = choose_token(host, None), choose_token(host, None)
    assert first
    assert first != second


def test_every_answer_keeps_browsers_strict(server, hiss_wav: bytes) -> None:
    client = server.client()
    for answer in (
        client.get("/"),
        client.get("/api/model"),
        client.get("/nothing"),
        client.post("/api/classify", content=b"x"),
    ):
        for name, value in HEADERS.items():
            if name != "Cache-Control":
                assert answer.headers[name] == value
    assert client.get("/api/model").headers["cache-control"] == "no-store"
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


def test_the_pages_files(server) -> None:
    client = server.client()
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/app.js").headers["content-type"] == "text/javascript; charset=utf-8"
    assert client.get("/style.css").headers["content-type"] == "text/css; charset=utf-8"
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    "target", ["/../pages.py", "/%2e%2e/pages.py", "/..%2fpages.py", "/fonts/../../pages.py", "//etc/passwd"]
)
def test_no_other_file_can_be_had(server, target: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as line:  # httpx would tidy the path up
        line.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert line.makefile("rb").read().startswith(b"HTTP/1.1 404")


def test_every_file_of_the_page_has_a_type() -> None:
    from avgan.web.app import FOLDER, TYPES

    suffixes = {path.suffix for path in Path(FOLDER).rglob("*") if path.is_file()}
    assert suffixes - set(TYPES) <= {".txt", ".md"}
