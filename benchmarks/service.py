"""Many clients at once: throughput, latency, statuses and memory of `avgan serve` on this machine.

    python benchmarks/service.py [--clients 200] [--seconds 120] [--model BUNDLE]

Each client sends a recording of 5 s (16 kHz, WAV), waits for the answer and sends the next; told to come again later
(429) it waits as long as it was told. Prints Markdown: what was answered, how long an answer took, and the memory of
the service with all its processes over time. The clients share the machine's cores with the service.
"""

import argparse
import asyncio
import io
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import soundfile

RATE_HZ = 16_000
DURATION_S = 5
NUM_SHOWN = 8
"""Moments at which the memory is shown."""


@dataclass
class Tally:
    """What the clients were answered."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    """Of those that were answered with 200."""
    memory_mib: list[float] = field(default_factory=list)


def recording(seed: int) -> bytes:
    """Noise in bands, as a WAV file."""
    noise = np.random.default_rng(seed).standard_normal(DURATION_S * RATE_HZ)
    samples = 0.1 * np.convolve(noise, np.ones(1 + seed % 20) / (1 + seed % 20), "same")
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="WAV")
    return file.getvalue()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes) -> tuple[int, dict[str, str]]:
    """One request on a connection that stays open: status and headers of the answer."""
    head = f"POST /api/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    await writer.drain()
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split()[1]), headers


async def client(number: int, port: int, until: float, tally: Tally) -> None:
    """Ask until the time is over."""
    content = recording(number)
    writer = None
    while time.perf_counter() < until:
        began = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            status, headers = await ask(reader, writer, content)
        except (OSError, asyncio.IncompleteReadError) as error:
            tally.statuses[type(error).__name__] += 1
            writer = None
            await asyncio.sleep(0.1)
            continue
        tally.statuses[str(status)] += 1
        if status == 200:
            tally.latencies_s.append(time.perf_counter() - began)
        if headers.get("connection") == "close":
            writer.close()
            writer = None
        if status == 429:
            await asyncio.sleep(float(headers.get("retry-after", "1")))
    if writer is not None:
        writer.close()


async def watch(pid: int, tally: Tally, seconds: float) -> None:
    """Note the memory of a process and its children every second."""
    for _ in range(int(seconds)):
        tally.memory_mib.append(sum(map(memory_mib, family(pid))))
        await asyncio.sleep(1)


def family(pid: int) -> list[int]:
    """A process and those that it has started, and so on."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for path in children for child in path.read_text().split()]
    return [pid, *(one for child in found for one in family(child))]


def memory_mib(pid: int) -> float:
    """Proportional memory: what processes share is counted once."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0  # gone in the meantime
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


async def load(port: int, pid: int, num_clients: int, seconds: float) -> Tally:
    tally = Tally()
    until = time.perf_counter() + seconds
    clients = (client(number, port, until, tally) for number in range(num_clients))
    await asyncio.gather(watch(pid, tally, seconds), *clients)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--model")
    options = parser.parse_args()
    command = [sys.executable, "-u", "-m", "avgan", "serve", "--port", "0"]
    command += ["--model", options.model] if options.model else []
    with tempfile.TemporaryFile("w+") as log:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert service.stdout is not None
        address = service.stdout.readline().strip()
        try:
            if not address:
                log.seek(0)
                sys.exit(f"the service did not start: {log.read()[-300:]}")
            port = urlsplit(address).port
            assert port is not None
            tally = asyncio.run(load(port, service.pid, options.clients, options.seconds))
        finally:
            service.terminate()
            status = service.wait(60)
    report(tally, options.clients, options.seconds, status)


def report(tally: Tally, num_clients: int, seconds: float, status: int) -> None:
    print(f"{os.cpu_count()} cores, {num_clients} clients for {seconds:g} s\n")
    print("| answers a second | p50, s | p95, s | p99, s | longest, s |")
    print("|---|---|---|---|---|")
    quantiles = np.quantile(tally.latencies_s, (0.5, 0.95, 0.99, 1)) if tally.latencies_s else []
    times = " | ".join(f"{value:.2f}" for value in quantiles)
    print(f"| {len(tally.latencies_s) / seconds:.1f} | {times} |")
    statuses = ", ".join(f"{name}: {count}" for name, count in sorted(tally.statuses.items()))
    print(f"\nAnswers: {statuses}. Ended with {status} at SIGTERM.")
    memory = tally.memory_mib
    shown = memory[:: max(1, len(memory) // NUM_SHOWN)]
    told = ", ".join(f"{value:.0f}" for value in shown)
    print(f"Memory over time, MiB: {told}; largest {max(memory):.0f}.")


if __name__ == "__main__":
    main()
