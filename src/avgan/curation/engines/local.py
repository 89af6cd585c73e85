"""Units made by processes of this machine.

Processes rather than threads: decoders written in C crash on damaged videos, or never come back from them, and then
take their process with them.
Each process has a pipe of its own, so that the death of one disturbs no other. When this process dies, however it dies,
its workers see their pipe close and end.
"""

import os
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Generator, Sequence
from multiprocessing import connection, get_context
from typing import Any

from avgan.curation.engines import Work, Worker
from avgan.curation.unit import MAX_DEATHS, Report
from avgan.errors import AvganError

MOST_DEATHS = 100
"""Of workers at one unit."""
GRACE_S = 5.0
"""For a worker that is asked to end."""


def make_in_processes(
    work: Work, numbers: Sequence[int], *, num_jobs: int
) -> Generator[Report, None, None]:
    """Make units in so many processes.

    Raises AvganError where workers cannot work at all; what was done by then is kept.
    """
    waiting = list(reversed(numbers))
    deaths: Counter[int] = Counter()
    crew = [_Hand(work) for _ in range(min(num_jobs, len(waiting)))]
    try:
        for hand in crew:
            hand.begin(waiting.pop())
        while crew:
            for hand in _ready(crew):
                number = hand.number
                try:
                    yield hand.take()
                except EOFError:
                    deaths[number] += 1
                    hand.end()
                    crew.remove(hand)
                    _check(number, deaths[number], hand)
                    hand = _Hand(work)
                    crew.append(hand)
                    hand.begin(number)
                    continue
                if waiting:
                    hand.begin(waiting.pop())
                else:
                    hand.end()
                    crew.remove(hand)
    finally:
        for hand in crew:
            hand.end()


def _ready(crew: Sequence["_Hand"]) -> list["_Hand"]:
    """Those who have something to say, be it that they are dead."""
    said = connection.wait([hand.pipe for hand in crew])
    return [hand for hand in crew if hand.pipe in said]


def _check(number: int, num_deaths: int, hand: "_Hand") -> None:
    """A video that kills is left out after some deaths; other deaths, one for each of these, are bad luck."""
    if num_deaths > MOST_DEATHS or (num_deaths > MAX_DEATHS and not hand.has_tried(number)):
        raise AvganError(
            f"unit {number}: its worker died {num_deaths} times (exit code {hand.exit_code}); "
            "is there enough memory? try with fewer jobs"
        )


class _Hand:
    """A process that makes units, as seen from here."""

    def __init__(self, work: Work) -> None:
        context = get_context("spawn")  # a fork would hold the pipes of the others open
        self.pipe, theirs = context.Pipe()
        self._folder = work.folder
        self._process: Any = context.Process(target=_work, args=(work, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.number = -1

    @property
    def exit_code(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def begin(self, number: int) -> None:
        self.number = number
        try:
            self.pipe.send(number)
        except OSError:  # dead already: that is seen when its answer is taken
            return

    def take(self) -> Report:
        """Its report. Raises EOFError where it died, AvganError where it could not go on."""
        try:
            kind, answer = self.pipe.recv()
        except OSError:
            raise EOFError from None
        if kind == "done":
            report: Report = answer
            return report
        if kind == "mended":
            raise AvganError(answer)
        raise RuntimeError(f"a worker failed at unit {self.number}:\n{answer}")

    def has_tried(self, number: int) -> bool:
        """Whether it came as far as a video."""
        return (self._folder / "attempts" / f"{number:06}.json").is_file()

    def end(self) -> None:
        self.pipe.close()
        self._process.join(0.1)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _work(work: Work, pipe: Any) -> None:
    """Body of a process."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all; whoever gave the work ends it
    numbers = _Numbers(pipe)
    try:
        worker = Worker(work)
        while True:
            pipe.send(("done", worker.make(numbers.next())))
    except (EOFError, BrokenPipeError):
        return
    except AvganError as error:
        pipe.send(("mended", str(error)))
    except Exception:
        pipe.send(("failed", traceback.format_exc()))


class _Numbers:
    """Numbers of units as they come. A thread waits for them: when the pipe closes, the process ends at once."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._number = -1
        self._come = threading.Semaphore(0)
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> int:
        self._come.acquire()
        return self._number

    def _listen(self) -> None:
        while True:
            try:
                self._number = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(1)
            self._come.release()
