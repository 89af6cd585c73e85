"""A few threads that hear recordings, each with a process that decodes for it, and the queue before them.

Clients are served in turns, by their address, whoever has sent more: who sends many recordings waits for himself.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from avgan.web.decoding import Decoder
from avgan.web.refusal import RefusedError

T = TypeVar("T")
Waiting = asyncio.Future[Decoder]

RECENT_S = 60.0
"""For so long after others have asked, one worker is kept from a client that holds all the rest."""


class Workers:
    """Runs jobs, so many at a time; so many more may wait."""

    def __init__(self, decoders: list[Decoder], max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._decoders = decoders
        self._idle = list(decoders)
        self._waiting: dict[str, deque[Waiting]] = {}
        """By client; who stands first is served next, then goes to the end."""
        self._held: Counter[str] = Counter()
        """Client -> workers that work for it."""
        self._asked_s: dict[str, float] = {}
        self._threads = ThreadPoolExecutor(len(decoders), thread_name_prefix="hear")

    @property
    def num_waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def num_busy(self) -> int:
        return len(self._decoders) - len(self._idle)

    def check_room(self, client: str = "") -> None:
        """Raise RefusedError where nobody more may wait, and no other client has more that wait than this one."""
        self._note(client)
        if self._may_start(client) or self.num_waiting < self._max_waiting:
            return
        if self._greediest(client) is None:
            raise _busy()

    async def run(self, job: Callable[[Decoder], T], client: str = "") -> T:
        """Run a job of a client in a thread, with a decoder that is its own until it returns.

        Raises RefusedError where it may not wait, or has to make room for a client with fewer that wait. When this is
        cancelled the decoder is killed, which ends the job soon.
        """
        decoder = await self._turn(client)
        try:
            working = asyncio.get_running_loop().run_in_executor(self._threads, job, decoder)
            try:
                return await asyncio.shield(working)
            except asyncio.CancelledError:
                decoder.kill()
                with suppress(Exception):
                    await working
                raise
        finally:
            self._give_back(decoder, client)

    async def _turn(self, client: str) -> Decoder:
        """Wait for a decoder."""
        self.check_room(client)
        if self.num_waiting >= self._max_waiting and not self._may_start(client):
            greediest = self._greediest(client)
            assert greediest is not None  # or `check_room` had raised
            if not (latest := greediest.pop()).done():
                latest.set_exception(_busy())
        turn: Waiting = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        self._serve()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(turn.result(), client)
            elif turn in self._waiting.get(client, ()):
                self._waiting[client].remove(turn)
                if not self._waiting[client]:
                    del self._waiting[client]
            raise

    def _serve(self) -> None:
        """Give idle decoders to those who wait."""
        while True:
            client = next(
                (one for one, turns in self._waiting.items() if turns and self._may_start(one)),
                None,
            )
            if client is None:
                break
            turns = self._waiting.pop(client)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns
            if not turn.done():
                self._held[client] += 1
                turn.set_result(self._idle.pop())

    def _give_back(self, decoder: Decoder, client: str) -> None:
        self._idle.append(decoder)
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        self._serve()

    def _may_start(self, client: str) -> bool:
        """Whether there is a worker for a client now."""
        if not self._idle:
            return False
        is_last = len(self._idle) == 1 and self._held[client] == len(self._decoders) - 1 > 0
        return not (is_last and self._others_ask(client))

    def _others_ask(self, client: str) -> bool:
        """Whether another client has asked lately."""
        return any(one != client for one in self._asked_s)

    def _note(self, client: str) -> None:
        """Take down that a client asks, and forget those who have not for long."""
        now_s = time.monotonic()
        self._asked_s.pop(client, None)
        self._asked_s[client] = now_s
        while now_s - self._asked_s[first := next(iter(self._asked_s))] > RECENT_S:
            del self._asked_s[first]

    def _greediest(self, client: str) -> deque[Waiting] | None:
        """What waits of the client of whom most does, where that is more than of this one with one more."""
        most = max(self._waiting.values(), key=len, default=None)
        if most is None or len(most) <= len(self._waiting.get(client, ())) + 1:
            return None
        return most

    def close(self) -> None:
        """End all jobs and processes."""
        for decoder in self._decoders:
            decoder.kill()
        self._threads.shutdown(cancel_futures=True)
        for decoder in self._decoders:
            decoder.close()


def _busy() -> RefusedError:
    line = "the service is busy; try again in a moment"
    return RefusedError(429, "queue_full", line, retry_after_s=1)
