"""No client can take more than its share, and each gets a line that says what is too much."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPResponse

import httpx
import numpy as np
import pytest

MB = 2**20


@contextmanager
def upload(server, num_bytes: int, sent: bytes) -> Iterator[socket.socket]:
    """A request that says how much it will send, and has sent this of it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as line:
        head = f"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {num_bytes}\r\n\r\n"
        line.sendall(head.encode() + sent)
        yield line


def answer_on(line: socket.socket) -> tuple[int, str]:
    """Status and text of the answer on a connection."""
    answer = HTTPResponse(line)
    answer.begin()
    return answer.status, answer.read().decode()


def test_a_large_file_is_refused_by_its_head(small) -> None:
    with upload(small, 10 * MB, b"") as line:
        status, said = answer_on(line)
    assert status == 413
    assert "0.5 MB" in said


def test_a_large_file_without_a_length_is_refused_on_the_way(small) -> None:
    with small.client() as client:
        answer = client.post("/api/classify", content=(bytes(65536) for _ in range(64)))
        assert answer.status_code == 413
        assert client.get("/healthz").status_code == 200  # also over the same connection


def test_a_large_file_in_a_form_is_refused(small) -> None:
    with small.client() as client:
        for size in (MB // 2 + 1, 3 * MB):
            answer = client.post("/api/classify", files={"file": bytes(size)})
            assert answer.status_code == 413


def test_a_file_of_the_largest_size_is_taken(small) -> None:
    samples = np.zeros(MB // 4 - 22, "<i2")  # with the head of a WAV file, half a megabyte
    head = (
        b"RIFF"
        + (MB // 2 - 8).to_bytes(4, "little")
        + b"WAVEfmt "
        + bytes.fromhex("100000000100010044ac00008858010002001000")
        + b"data"
        + samples.nbytes.to_bytes(4, "little")
    )
    content = head + samples.tobytes()
    assert len(content) == MB // 2
    assert small.ask(content).status_code == 200
    assert small.ask(content + b"\0").status_code == 413


def test_a_small_file_of_hours_is_refused(small, bomb: bytes, hiss_wav: bytes) -> None:
    answer = small.ask(bomb)
    assert answer.status_code == 413
    assert "longer than 10 s" in answer.json()["error"]
    assert small.ask(hiss_wav).status_code == 200


def test_recordings_on_their_way_take_only_so_much_memory(small) -> None:
    part = bytes(MB // 2 - 1000)
    with (
        upload(small, MB // 2, part),
        upload(small, MB // 2, part),
        upload(small, MB // 2, part),
        upload(small, MB // 2, part),
    ):
        time.sleep(0.5)
        with upload(small, MB // 2, part) as line:
            status, said = answer_on(line)
    assert status == 429
    assert "too many" in said


def test_who_comes_when_the_queue_is_full_is_sent_away(single, hiss_wav: bytes) -> None:
    server = single
    server.ask(hiss_wav)
    refusals = server.metric('avgan_refusals_total{reason="queue_full"}')
    with ThreadPoolExecutor(9) as threads:
        with server.held():
            waiting: list[Future[httpx.Response]] = [threads.submit(server.ask, hiss_wav) for _ in range(9)]
            server.wait_for("avgan_queue_length", 8)
            assert server.metric("avgan_busy_workers") == 1
            refused = server.ask(hiss_wav)
            with upload(server, 50 * MB, b"") as line:  # need not even be sent
                assert answer_on(line)[0] == 429
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "busy" in refused.json()["error"]
        assert [answer.result().status_code for answer in waiting] == [200] * 9
    assert server.metric('avgan_refusals_total{reason="queue_full"}') == refusals + 2


def test_slow_clients_hold_no_worker_and_are_sent_away(impatient, hiss_wav: bytes) -> None:
    server = impatient
    server.ask(hiss_wav)
    with upload(server, len(hiss_wav), hiss_wav[:100]) as line, upload(server, len(hiss_wav), hiss_wav[:-1]):
        assert server.metric("avgan_busy_workers") == 0
        assert server.ask(hiss_wav).status_code == 200
        status, said = answer_on(line)
    assert status == 408
    assert "too slowly" in said


def test_connections_that_ask_nothing_are_closed(impatient) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as line:
        line.sendall(b"GET /healthz HT")
        assert line.recv(100) == b""
    with impatient.client() as client:
        assert client.get("/healthz").status_code == 200


def test_a_request_may_not_take_for_ever(impatient, hiss_wav: bytes) -> None:
    server = impatient
    server.ask(hiss_wav)
    given_up = server.metric('avgan_decoder_kills_total{reason="given_up"}')
    with server.held():
        answer = server.ask(hiss_wav)
    assert answer.status_code == 504
    assert "too long" in answer.json()["error"]
    assert server.metric('avgan_decoder_kills_total{reason="given_up"}') == given_up + 1
    assert server.metric("avgan_busy_workers") == 0


def test_who_goes_away_frees_the_worker(single, hiss_wav: bytes) -> None:
    server = single
    server.ask(hiss_wav)
    name = 'avgan_requests_total{route="/api/classify",status="499"}'
    left = server.metric(name)
    with server.held():
        with upload(server, len(hiss_wav), hiss_wav):
            server.wait_for("avgan_busy_workers", 1)
        server.wait_for("avgan_busy_workers", 0)
    assert server.ask(hiss_wav).status_code == 200
    assert server.metric(name) == left + 1


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_decoder_that_dies_costs_one_answer(single, bomb: bytes, hiss_wav: bytes, number: int) -> None:
    server = single
    server.ask(hiss_wav)
    with ThreadPoolExecutor(1) as threads:
        while server.forks():
            time.sleep(0.05)
        asked = threads.submit(server.ask, bomb)
        while not server.forks():
            time.sleep(0.05)
        os.kill(server.forks()[0], number)
        assert asked.result().status_code in {400, 413}
    assert server.ask(hiss_wav).status_code == 200
