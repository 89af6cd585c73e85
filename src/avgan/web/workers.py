"""A few threads that hear recordings, each with a process that decodes for it, and the queue before them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from avgan.web.decoding import Decoder
from avgan.web.refusal import RefusedError

T = TypeVar("T")


class Workers:
    """Runs jobs, so many at a time; so many more may wait."""

    def __init__(self, decoders: list[Decoder], max_waiting: int) -> None:
        self.num_waiting = 0
        self._max_waiting = max_waiting
        self._decoders = decoders
        self._idle = list(decoders)
        self._free = asyncio.Semaphore(len(decoders))
        self._threads = ThreadPoolExecutor(len(decoders), thread_name_prefix="hear")

    @property
    def num_busy(self) -> int:
        return len(self._decoders) - len(self._idle)

    def check_room(self) -> None:
        """Raise RefusedError where nobody more may wait."""
        if self._free.locked() and self.num_waiting >= self._max_waiting:
            line = "the service is busy; try again in a moment"
            raise RefusedError(429, "queue_full", line, retry_after_s=1)

    async def run(self, job: Callable[[Decoder], T]) -> T:
        """Run a job in a thread, with a decoder that is its own until it returns.

        When this is cancelled the decoder is killed, which ends the job soon.
        """
        self.check_room()
        self.num_waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.num_waiting -= 1
        decoder = self._idle.pop()
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
            self._idle.append(decoder)
            self._free.release()

    def close(self) -> None:
        """End all jobs and processes."""
        for decoder in self._decoders:
            decoder.kill()
        self._threads.shutdown(cancel_futures=True)
        for decoder in self._decoders:
            decoder.close()
