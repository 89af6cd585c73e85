"""Starting, stopping, and what the service leaves behind: nothing."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from sounds import encoded

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux what a process does")


Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_port_that_is_taken_is_said_in_one_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run("serve", "--port", port, model=True)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"port {port}: address already in use" in ended.stderr
    assert "--port" in ended.stderr
    assert ended.stdout == ""


def test_an_address_that_is_not_ours_is_said_in_one_line(run: Run) -> None:
    ended = run("serve", "--host", "203.0.113.1", model=True)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_short_token_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    if given == "environment":
        monkeypatch.setenv("AVGAN_TOKEN", "abc")
    ended = run("serve", *["--token", "abc"] * (given == "option"))
    assert ended.returncode == 2
    assert "16 characters" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_are_finished_when_it_is_stopped(start, hiss_wav: bytes, number: int) -> None:
    server = start("--workers", "1")
    server.ask(hiss_wav)
    decoders = server.decoders()
    with ThreadPoolExecutor(1) as threads:
        with server.held():
            asked = threads.submit(server.ask, hiss_wav)
            server.wait_for("avgan_busy_workers", 1)
            server.process.send_signal(number)
            while not refuses_connections(server.port):
                time.sleep(0.05)
        assert asked.result().json()["sound"] == "hiss"
    assert server.process.wait(60) == 0
    out, err = server.process.communicate()
    assert (out, err) == ("", "")
    assert not any(Path(f"/proc/{pid}").exists() for pid in decoders)


def refuses_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_requests_that_go_on_for_too_long_are_cut(start, hiss_wav: bytes) -> None:
    server = start("--workers", "1", patch="import avgan.web.serving as s; s.STOP_S = 1")
    server.ask(hiss_wav)
    with ThreadPoolExecutor(1) as threads, server.held():
        asked = threads.submit(server.ask, hiss_wav)
        server.wait_for("avgan_busy_workers", 1)
        assert server.stop() == 0
        with suppress(httpx.TransportError):  # cut without a word
            assert asked.result().status_code >= 500


def open_files(process: int) -> set[str]:
    """What the descriptors of a process point to, less those that are closed while they are read."""
    opened = set()
    for path in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            opened.add(os.readlink(path))
    return opened


@needs_proc
def test_nothing_is_written_to_disk(start, rng: np.random.Generator) -> None:
    server = start("--workers", "1")
    noise = rng.integers(-9_000, 9_000, 4_000_000, np.int16)  # 8 MB, more than is held by forms
    content = b"RIFF" + bytes(4) + b"WAVEfmt " + bytes.fromhex("100000000100010044ac00008858010002001000")
    content += b"data" + noise.nbytes.to_bytes(4, "little") + noise.tobytes()
    with server.client() as client, ThreadPoolExecutor(1) as threads:
        with server.held():
            asked = threads.submit(client.post, "/api/classify", files={"file": content})
            server.wait_for("avgan_busy_workers", 1)
            opened = open_files(server.process.pid)
        assert asked.result().status_code == 200
    files = {name for name in opened if name.startswith("/") and not name.startswith("/dev/")}
    assert files == set()
    assert list(server.folder.iterdir()) == []
    server.stop()
    assert list(server.folder.iterdir()) == []


@needs_proc
@pytest.mark.slow
def test_memory_stays_flat(start, rng: np.random.Generator) -> None:
    """200 recordings of a megabyte: were they kept, in any part, it would show."""
    content = encoded(rng.uniform(-0.5, 0.5, (125_000, 4)), 44_100)
    server = start("--workers", "2")

    def memory_kb() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    with server.client() as client:
        used = []
        for n in range(200):
            assert client.post("/api/classify?picture=1&hop=0.5", content=content).status_code == 200
            if n in {50, 199}:
                used.append(memory_kb())
    assert used[1] - used[0] < 10_000
    assert len(server.decoders()) == 2
    server.stop()
