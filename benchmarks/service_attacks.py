"""Attacks on `avgan serve` with honest clients beside them: what the honest ones notice, on this machine.

    python benchmarks/service_attacks.py [--clients 50] [--seconds 20] [--files 300] [--source SRC]

The service runs on 127.0.0.1, with so many descriptors, and nothing else is asked. The attacks: clients that ask and
do not read the answer; recordings and live sound that drip; more connections than descriptors. Honest clients ask for
the state of health, and some send a recording of a second, each request over a connection of its own. Prints Markdown:
how long they waited, what failed, the memory and the log of the service. `--source` measures another version's
source folder.
"""

import argparse
import asyncio
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import soundfile

RATE_HZ = 16_000
PATIENCE_S = 30.0
MAX_ATTACKERS = 600
"""However many are asked for."""


@dataclass
class Tally:
    """What honest clients noticed."""

    waited_s: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    memory_mib: list[float] = field(default_factory=list)


def recording() -> bytes:
    """A second of noise, as a WAV file."""
    file = io.BytesIO()
    samples = 0.1 * np.random.default_rng(0).standard_normal(RATE_HZ)
    soundfile.write(file, samples, RATE_HZ, format="WAV")
    return file.getvalue()


def post(num_bytes: int) -> bytes:
    head = f"POST /api/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {num_bytes}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode()


async def honest(port: int, until_s: float, tally: Tally, request: bytes) -> None:
    """Ask, wait for the answer, ask again half a second later."""
    while time.monotonic() < until_s:
        began_s = time.monotonic()
        writer = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request)
                line = await reader.readline()
                await reader.read()
            answer = line.split()[1].decode() if line else "closed"
        except (OSError, TimeoutError) as error:
            answer = type(error).__name__
        finally:
            if writer is not None:
                writer.close()
        tally.answers[answer] += 1
        tally.waited_s.append(time.monotonic() - began_s)
        await asyncio.sleep(0.5)


async def nothing(port: int, until_s: float, number: int) -> None:
    """No attack."""
    await asyncio.sleep(max(0.0, until_s - time.monotonic()))


async def not_reading(port: int, until_s: float, number: int) -> None:
    """Ask for much over one connection and read nothing."""
    ask = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 200
    await _held(port, until_s, ask, every_s=0.2)


async def dripping(port: int, until_s: float, number: int) -> None:
    """A recording of which all but a little comes at once, or live sound of which none does."""
    if number % 4:
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        head = "GET /api/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
        begin = f"{head}Upgrade: websocket\r\n{key}\r\n".encode()
        await _held(port, until_s, begin, b"\x81\x81" + bytes(4) + b"a")
    else:
        size = 1 << 20
        await _held(port, until_s, post(size) + bytes(size - 1_000), b"0")


async def exhausting(port: int, until_s: float, number: int) -> None:
    """A connection, of which one in two asks half a question; a new one where it is closed."""
    await _held(port, until_s, b"GET /heal" if number % 2 else b"")


ATTACKS: dict[str, Callable[[int, float, int], Awaitable[None]]] = {
    "none": nothing,
    "answers are not read": not_reading,
    "recordings and live sound drip": dripping,
    "more connections than descriptors": exhausting,
}


async def _held(port: int, until_s: float, begin: bytes, drip: bytes = b"", *, every_s: float = 1.0) -> None:
    """Hold a connection, which is not read; make another where it is closed, at most one each `every_s`."""
    while time.monotonic() < until_s:
        with suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_024)
            try:
                writer.write(begin)
                while time.monotonic() < until_s and not writer.transport.is_closing():
                    await asyncio.sleep(every_s)
                    writer.write(drip or b"")
                    if reader.at_eof():
                        break
            finally:
                writer.transport.abort()
        await asyncio.sleep(min(every_s, max(0.0, until_s - time.monotonic())))


async def watch(pid: int, until_s: float, tally: Tally) -> None:
    """Note the memory of the service."""
    while time.monotonic() < until_s:
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            tally.memory_mib.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
        await asyncio.sleep(1)


async def attack(name: str, port: int, pid: int, options: argparse.Namespace) -> Tally:
    tally = Tally()
    until_s = time.monotonic() + options.seconds
    count = min(MAX_ATTACKERS, options.files + 100)
    attackers = [ATTACKS[name](port, until_s, number) for number in range(count)]
    sound = recording()
    ask = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    requests = [post(len(sound)) + sound if n % 10 == 0 else ask for n in range(options.clients)]
    clients = [honest(port, until_s, tally, request) for request in requests]
    await asyncio.gather(watch(pid, until_s, tally), *attackers, *clients)
    return tally


def measure(name: str, options: argparse.Namespace) -> str:
    """One attack on a service of its own, as a row of the table."""
    command = [
        sys.executable,
        "-u",
        "-c",
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({options.files},) * 2);"
        "from avgan.cli import main; sys.exit(main(sys.argv[1:]))",
        "serve",
        "--port",
        "0",
        "--max-mb",
        "1",
    ]
    environment = dict(os.environ)
    if options.source:
        environment["PYTHONPATH"] = options.source
    with tempfile.TemporaryFile("w+") as log:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert service.stdout is not None
        try:
            port = urlsplit(service.stdout.readline().strip()).port
            assert port is not None, "the service did not start"
            tally = asyncio.run(attack(name, port, service.pid, options))
        finally:
            service.terminate()
            try:
                service.wait(60)
            except subprocess.TimeoutExpired:
                service.kill()
        log_bytes = log.seek(0, os.SEEK_END)
    p50, p99 = np.quantile(tally.waited_s, (0.5, 0.99))
    answers = ", ".join(f"{what}: {count}" for what, count in sorted(tally.answers.items()))
    return (
        f"| {name} | {p50:.3f} | {p99:.3f} | {max(tally.waited_s):.2f} | {answers} | "
        f"{max(tally.memory_mib):.0f} | {log_bytes / 1e3:,.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--source")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(
        f"{os.cpu_count()} cores, {options.clients} honest clients, {options.seconds:g} s each, "
        f"{options.files} descriptors\n"
    )
    print("| attack | p50, s | p99, s | longest, s | answers | memory, MiB | log, kB |")
    print("|---|---|---|---|---|---|---|")
    for name in ATTACKS:
        print(measure(name, options), flush=True)


if __name__ == "__main__":
    main()
