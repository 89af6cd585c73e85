"""Who sends many recordings waits for himself: clients take turns, by their address."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.requests import Request

from avgan.web.decoding import DecoderPool
from avgan.web.service import address_of
from avgan.web.settings import RefusedError
from sounds import encoded


class FakeDecoder:
    """Decodes nothing."""

    def kill(self) -> None: ...

    def close(self) -> None: ...


class Jobs:
    """Jobs that wait until they are let go, and what was begun in which order."""

    def __init__(self, num_workers: int, max_waiting: int = 8) -> None:
        self.workers = DecoderPool([FakeDecoder() for _ in range(num_workers)], max_waiting)  # type: ignore[misc]
        self.begun: list[str] = []
        self._ends: dict[str, threading.Event] = {}

    def start(self, name: str) -> asyncio.Task[str]:
        """A job of the client that its name begins with."""
        end = self._ends[name] = threading.Event()

        def job(decoder: Any) -> str:
            self.begun.append(name)
            end.wait(20)
            return name

        return asyncio.create_task(self.workers.run(job, name[0]))

    async def finish(self, name: str) -> None:
        self._ends[name].set()
        await settle()

    def close(self) -> None:
        for end in self._ends.values():
            end.set()
        self.workers.close()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0.002)


def play(scene: Callable[[Jobs], Any], num_workers: int, max_waiting: int = 8) -> None:
    async def run() -> None:
        jobs = Jobs(num_workers, max_waiting)
        try:
            await scene(jobs)
        finally:
            jobs.close()
            await settle()

    asyncio.run(run())


def test_clients_are_served_in_turns() -> None:
    async def scene(jobs: Jobs) -> None:
        tasks = [jobs.start(name) for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")]
        await settle()
        for name in ("a1", "a2", "b1", "c1", "a3", "b2", "a4"):
            assert jobs.begun[-1] == name
            await jobs.finish(name)
        assert [await task for task in tasks] == ["a1", "a2", "a3", "a4", "b1", "b2", "c1"]
        assert (jobs.workers.num_waiting, jobs.workers.num_busy) == (0, 0)

    play(scene, num_workers=1)


def test_where_all_places_to_wait_are_taken_the_longest_queue_makes_room() -> None:
    async def scene(jobs: Jobs) -> None:
        tasks = {name: jobs.start(name) for name in ("a1", "a2", "a3", "a4")}
        await settle()
        with pytest.raises(RefusedError, match="busy"):
            jobs.workers.check_room("a")
        for name in ("b1", "b2"):
            tasks[name] = jobs.start(name)
            await settle()
        refused = [name for name, task in tasks.items() if task.done() and task.exception()]
        assert refused == ["a4", "b2"]  # of three places a has two: b gets no second one
        with pytest.raises(RefusedError, match="busy"):
            tasks["a4"].result()
        await jobs.finish("a1")
        await jobs.finish("a2")
        assert jobs.begun[-1] == "b1"

    play(scene, num_workers=1, max_waiting=3)


def test_the_last_worker_is_kept_for_others_where_others_ask() -> None:
    async def scene(jobs: Jobs) -> None:
        for name in ("a1", "a2"):
            jobs.start(name)
        await settle()
        assert jobs.begun == ["a1", "a2"]  # nobody else asks: all are for one
        jobs.start("b1")
        await jobs.finish("a1")
        assert jobs.begun[-1] == "b1"
        await jobs.finish("b1")
        jobs.start("a3")
        await settle()
        assert jobs.begun[-1] == "b1"
        jobs.start("c1")
        await settle()
        assert jobs.begun[-1] == "c1"
        await jobs.finish("a2")
        assert jobs.begun[-1] == "a3"

    play(scene, num_workers=2)


def test_who_leaves_takes_no_place_with_him() -> None:
    async def scene(jobs: Jobs) -> None:
        jobs.start("a1")
        leaving = [jobs.start("a2"), jobs.start("b1")]
        await settle()
        for task in leaving:
            task.cancel()
        await settle()
        assert jobs.workers.num_waiting == 0
        jobs.start("b2")
        await jobs.finish("a1")
        assert jobs.begun == ["a1", "b2"]
        await jobs.finish("b2")
        assert jobs.workers.num_busy == 0

    play(scene, num_workers=1)


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_is_an_address_or_a_network(host: str, client: str) -> None:
    assert address_of(Request({"type": "http", "client": (host, 5000), "headers": []})) == client


def test_one_address_with_many_recordings_does_not_keep_another_waiting(
    server: Any, hiss: np.ndarray, hiss_wav: bytes
) -> None:
    minutes = encoded(np.tile(hiss, 30))

    def flood(number: int) -> int:
        with server.client() as client:
            return client.post("/api/classify?hop=0.1", content=minutes).status_code

    other = httpx.HTTPTransport(local_address="127.0.0.2")
    with ThreadPoolExecutor(18) as threads, server.client(transport=other) as honest:
        honest.post("/api/classify", content=hiss_wav)  # so that both are known
        flooding = [threads.submit(flood, number) for number in range(18)]
        time.sleep(0.5)
        waited, statuses = [], []
        while not all(one.done() for one in flooding) and len(waited) < 20:
            began_s = time.monotonic()
            statuses.append(honest.post("/api/classify", content=hiss_wav).status_code)
            waited.append(time.monotonic() - began_s)
            time.sleep(0.05)
        assert len(waited) >= 3
        assert statuses == [200] * len(statuses)
        took_s = sum(waited) / len(waited)
        assert {one.result() for one in flooding} <= {200, 429}
    print(f"{len(waited)} answers, mean {took_s:.2f} s, longest {max(waited):.2f} s")
    assert took_s < 2
