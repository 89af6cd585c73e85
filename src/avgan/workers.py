"""Work done elsewhere: in processes that may die, in threads whose results keep their order, on a Ray cluster.

A worker process runs one function and talks over one socket, in frames: a byte that says what it is, the length, the
content. When this process dies, however it dies, its workers see their socket close.
"""

import importlib
import logging
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

from avgan.errors import AvganError

FRAME = struct.Struct("!cI")
MAX_FRAME_BYTES = 64 * 2**20
"""A block of sound has a few MB at most: a length beyond this comes from a worker that was taken over."""

MAX_BEGUN = 1024
"""Items begun and not yet handed out: as many short ones need not wait for a long one before them."""
MAX_WAITING = 65_536
"""Parts, about 1 kB each, that wait for the items before theirs to be handed out."""
MIN_WAITING = 256
"""Parts of the item whose turn it is that may wait in any case, or nothing would go on."""

Item = TypeVar("Item")
Part = TypeVar("Part")
Result = TypeVar("Result")


def send_frame(line: socket.socket, kind: bytes, content: bytes = b"") -> None:
    """Send one frame. Raises OSError where the other end is closed."""
    line.sendall(FRAME.pack(kind, len(content)))
    line.sendall(content)


def receive_frame(line: socket.socket) -> tuple[bytes, bytes]:
    """The kind and the content of the next frame. Raises OSError or EOFError where there is none."""
    kind, num_bytes = FRAME.unpack(_receive_exactly(line, FRAME.size))
    if num_bytes > MAX_FRAME_BYTES:
        raise EOFError
    return kind, _receive_exactly(line, num_bytes)


def _receive_exactly(line: socket.socket, num_bytes: int) -> bytes:
    content = bytearray(num_bytes)
    view = memoryview(content)
    while view:
        num_received = line.recv_into(view)
        if not num_received:
            raise EOFError
        view = view[num_received:]
    return bytes(content)


class WorkerProcess:
    """A Python process that runs `target`, "module:function", on its end of `line` and `argument`.

    A `confined` one knows nothing of this process's environment, and what it prints is lost.
    """

    def __init__(self, target: str, argument: str = "", *, confined: bool = False) -> None:
        self._target = target
        self._argument = argument
        self._confined = confined
        self.start()

    def start(self) -> None:
        """Start the process, or another in place of one that was closed."""
        self.line, theirs = socket.socketpair()
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        environment = {"PYTHONPATH": paths}  # enough to find the same modules, and no secret
        environment |= (
            {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            if self._confined
            else {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        )
        output = subprocess.DEVNULL if self._confined else None
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, self._target, str(theirs.fileno()), self._argument],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                cwd="/" if self._confined else None,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches this process alone, and `kill` also what a worker started
            )

    def receive(self, timeout_s: float | None = None) -> tuple[bytes, bytes]:
        """The next frame. Raises TimeoutError where nothing comes, EOFError or OSError where the process died."""
        self.line.settimeout(timeout_s)
        return receive_frame(self.line)

    def kill(self) -> None:
        """End the process and what it started; from any thread."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> int:
        """End the process; returns its exit status, that of its death where it died before."""
        self.kill()
        self.line.close()
        return self.process.wait()


def main(target: str, descriptor: str, argument: str) -> int:
    """Body of a worker process."""
    module, _, name = target.partition(":")
    with socket.socket(fileno=int(descriptor)) as line:
        return int(getattr(importlib.import_module(module), name)(line, argument) or 0)


def run_in_processes(
    start: Callable[[], WorkerProcess],
    items: Sequence[int],
    *,
    num_processes: int,
    on_death: Callable[[int, int, int], None],
) -> Generator[tuple[int, bytes, bytes], None, None]:
    """Hand numbers to processes as frames of the kind `W`; gives each with the frame that answers it, in any order.

    A process that dies is replaced, and its number handed out again. `on_death` is given the number, how many processes
    died over it, and the exit status; it raises where that is too often. Closing this ends all processes.
    """
    waiting = deque(items)
    deaths: Counter[int] = Counter()
    busy: dict[WorkerProcess, int] = {}

    def hand_over(process: WorkerProcess, item: int) -> None:
        busy[process] = item
        with suppress(OSError):  # dead already: that is seen when its answer is taken
            send_frame(process.line, b"W", str(item).encode())

    try:
        for _ in range(min(num_processes, len(waiting))):
            hand_over(start(), waiting.popleft())
        while busy:
            ready, _, _ = select.select([process.line for process in busy], [], [])
            for process in [process for process in busy if process.line in ready]:
                item = busy[process]
                try:
                    kind, answer = process.receive()
                except (EOFError, OSError):
                    deaths[item] += 1
                    on_death(item, deaths[item], process.close())
                    process.start()
                    hand_over(process, item)
                    continue
                yield item, kind, answer
                if waiting:
                    hand_over(process, waiting.popleft())
                else:
                    process.close()
                    del busy[process]
    finally:
        for process in busy:
            process.close()


class _StoppedError(Exception):
    """Ends a thread whose work is no longer wanted."""


class OrderedStream(Generic[Part, Result]):
    """The parts of one item on their way from the thread that makes them, then its result."""

    def __init__(self, threads: "OrderedThreads[Any, Part, Result]") -> None:
        self._threads = threads
        self.parts: list[Part] = []
        self.is_done = False
        self.error: Exception | None = None
        self.result: Result | None = None

    def __iter__(self) -> Generator[Part, None, Result]:
        while parts := self._threads.fetch(self):
            yield from parts
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


class OrderedThreads(Generic[Item, Part, Result]):
    """Threads that run `job` on an item each; the parts are handed out in the order of the items, in bounded memory."""

    def __init__(self, job: Callable[[Item], Generator[Part, None, Result]], items: Sequence[Item]) -> None:
        self._job = job
        self._items = items
        self._changed = threading.Condition()
        self._begun: deque[OrderedStream[Part, Result]] = deque()  # the first is the one whose turn it is
        self._num_begun = 0
        self._num_waiting = 0  # parts of all of them
        self._stopped = False

    def run(self, num_threads: int) -> Generator[OrderedStream[Part, Result], None, None]:
        """A stream for each item; each must be taken whole before the next. Closing ends all threads."""
        threads = [threading.Thread(target=self._work) for _ in range(num_threads)]
        for thread in threads:
            thread.start()
        try:
            for _ in self._items:
                with self._changed:
                    self._wait(lambda: bool(self._begun))
                    first = self._begun[0]
                yield first
                with self._changed:
                    self._begun.popleft()
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
            for thread in threads:
                thread.join()

    def fetch(self, stream: OrderedStream[Part, Result]) -> list[Part]:
        """Parts that follow in the stream whose turn it is; none at its end."""
        with self._changed:
            self._wait(lambda: bool(stream.parts) or stream.is_done)
            parts, stream.parts = stream.parts, []
            self._num_waiting -= len(parts)
            self._changed.notify_all()
            return parts

    def _work(self) -> None:
        """Body of a thread: run jobs until there are none left."""
        with suppress(_StoppedError):
            while True:
                with self._changed:
                    self._wait(lambda: len(self._begun) < MAX_BEGUN)
                    if self._num_begun == len(self._items):
                        return
                    item = self._items[self._num_begun]
                    stream = OrderedStream(self)
                    self._begun.append(stream)
                    self._num_begun += 1
                    self._changed.notify_all()
                self._run(item, stream)

    def _run(self, item: Item, stream: OrderedStream[Part, Result]) -> None:
        def parts() -> Iterator[Part]:
            stream.result = yield from self._job(item)

        try:
            for part in parts():
                self._put(stream, part)
        except _StoppedError:
            raise
        except Exception as error:  # whatever it is, the caller is to deal with it
            # Without its frames, which would hold a file open until the garbage collector comes.
            stream.error = error.with_traceback(None)
        with self._changed:
            stream.is_done = True
            self._changed.notify_all()

    def _put(self, stream: OrderedStream[Part, Result], part: Part) -> None:
        with self._changed:
            self._wait(
                lambda: (
                    self._num_waiting < MAX_WAITING or (stream is self._begun[0] and len(stream.parts) < MIN_WAITING)
                )
            )
            stream.parts.append(part)
            self._num_waiting += 1
            if stream is self._begun[0]:
                self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._stopped or ready())
        if self._stopped:
            raise _StoppedError


@contextmanager
def ray_cluster(num_jobs: int | None, *, num_spare: int = 0) -> Iterator[int]:
    """The Ray cluster in use, that of RAY_ADDRESS, or processes of this machine; gives how many jobs it runs at a time.

    `num_jobs` None: as many as there are cores. `num_spare`: cores beside those of the jobs. What was started here ends
    with the context. Raises AvganError where there is no cluster.
    """
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        address = os.environ.get("RAY_ADDRESS")
        try:
            if address:
                ray.init(address, **quiet)
            else:
                num_cores = None if num_jobs is None else num_jobs + num_spare
                ray.init("local", num_cpus=num_cores, include_dashboard=False, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise AvganError(
                f"no Ray cluster at {address or 'this machine'} ({reason}); start one with `ray start`, "
                "or unset RAY_ADDRESS"
            ) from None
    try:
        yield num_jobs or int(ray.cluster_resources().get("CPU", 1))
    finally:
        if started_here:
            ray.shutdown()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
