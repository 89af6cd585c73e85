"""Who makes the units: processes of this machine, or a Ray cluster. The units are the same bytes.

An engine knows nothing of videos. It is given the numbers of units, hands each to a worker, and gives a report as each
is done, in any order. A worker that dies is replaced, and what it had begun is begun again. Processes rather than
threads: decoders written in C crash on damaged videos, or never come back from them, and take their process with them.

A cluster: Ray Data hands the numbers of units to a pool of actors, each of which holds its taggers. Each machine needs
avgan, the weights, the videos and the folder of the data set under the same paths. Where the loss of a machine breaks
Ray Data's own stream, another one makes what is left.
"""

import errno
import json
import os
import socket
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from avgan.curation.record import load_unit
from avgan.curation.unit import MAX_DEATHS, Report, Tools, make_unit
from avgan.errors import AvganError, DataError
from avgan.files import write_whole
from avgan.workers import WorkerProcess, ray_cluster, receive_frame, run_in_processes, send_frame

PLAN = "plan.parquet"
FACTS = "tools.json"
MOST_DEATHS = 100
"""Of workers at one unit: more than its videos can cause, with MAX_DEATHS each."""
DONE, FAULT, FAILED = b"D", b"A", b"F"
"""What a worker answers: a report; a line for the user; a traceback."""
CORES_PER_ACTOR = 0.5
"""As Ray counts. An actor uses a core; but where actors hold all cores of the machines that are left, the tasks that
hand them their work wait for ever."""
MAX_BLOCKS = 5_000
"""In which the numbers of units are handed out. What is lost in the middle of a block is begun again with its first
unit; units of it that are done cost nothing."""
MOST_BREAKS = 5
"""Of Ray Data's stream, one after another, before a unit is made."""
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


@dataclass(frozen=True)
class Work:
    """All that a worker needs; it travels to wherever the worker is."""

    folder: Path
    """With the plan, for the units; every worker must see it under this path."""
    run: str
    """A name for this run, unlike that of any other."""
    open_tools: Callable[[], Tools]


Engine = Callable[[Work, Sequence[int]], Generator[Report, None, None]]
"""Makes the units of these numbers. Closing it ends all workers."""


def engine_named(name: str, num_jobs: int | None) -> Engine:
    """`local`: `num_jobs` processes of this machine. `ray`: a cluster. As many jobs as cores, unless given."""
    if name == "ray":
        return partial(make_on_cluster, num_jobs=num_jobs)
    return partial(make_in_processes, num_jobs=num_jobs or os.cpu_count() or 1)


def open_worker(work: Work) -> Callable[[int], Report]:
    """A function that makes a unit, with tools that are opened once.

    It raises AvganError where the disk is full or gone: that is no fault of a video. Raises DataError where the tools
    are not those that other units were made with.
    """
    tools = work.open_tools()
    facts = json.dumps(tools.facts, sort_keys=True, indent=1)
    path = work.folder / FACTS
    if not path.is_file():
        write_whole(path, facts)
    elif path.read_text(encoding="utf-8") != facts:
        raise DataError(f"{path}: other units were made with other taggers; use theirs, or another folder")

    def make(number: int) -> Report:
        videos = load_unit(work.folder / PLAN, number)
        try:
            return make_unit(number, videos, work.folder, tools, work.run)
        except OSError as error:
            if error.errno not in _DISK:
                raise
            raise AvganError(
                f"{work.folder.parent}: cannot be written ({error.strerror}); make room and run this again, "
                "what was finished is kept"
            ) from None

    return make


def make_in_processes(work: Work, numbers: Sequence[int], *, num_jobs: int) -> Generator[Report, None, None]:
    """Make units in `num_jobs` processes.

    Raises AvganError where workers cannot work at all; what was done by then is kept.
    """
    # As multiprocessing would: from here to a process of ours, never back.
    packed = bytes(ForkingPickler.dumps(work)).hex()

    def check(number: int, num_deaths: int, exit_code: int) -> None:
        """A video that kills is left out after some deaths; other deaths, one for each of these, are bad luck."""
        has_tried = (work.folder / "attempts" / f"{number:06}.json").is_file()
        if num_deaths > MOST_DEATHS or (num_deaths > MAX_DEATHS and not has_tried):
            raise AvganError(
                f"unit {number}: its worker died {num_deaths} times (exit code {exit_code}); "
                "is there enough memory? try with fewer jobs"
            )

    answers = run_in_processes(
        partial(WorkerProcess, f"{__name__}:work_in_process", packed), numbers, num_processes=num_jobs, on_death=check
    )
    try:
        for _, kind, answer in answers:
            yield report_of(kind, answer.decode())
    finally:
        answers.close()


def work_in_process(line: socket.socket, packed: str) -> None:
    """Body of a worker process: makes units until its socket closes."""
    numbers: SimpleQueue[int] = SimpleQueue()

    def listen() -> None:
        try:
            while True:
                numbers.put(int(receive_frame(line)[1]))
        except (EOFError, OSError):
            os._exit(1)  # at once, whatever is being made: the parent is gone

    threading.Thread(target=listen, daemon=True).start()
    answer = answerer(lambda: ForkingPickler.loads(bytes.fromhex(packed)))
    while True:
        kind, text = answer(numbers.get())
        send_frame(line, kind, text.encode())


def answerer(get_work: Callable[[], Work]) -> Callable[[int], tuple[bytes, str]]:
    """A function that makes a unit and says what came of it, as text: not all exceptions can travel."""
    try:
        make = open_worker(get_work())
    except Exception as error:
        problem = _problem(error)
        return lambda number: problem

    def answer(number: int) -> tuple[bytes, str]:
        try:
            return DONE, json.dumps(asdict(make(number)))
        except Exception as error:
            return _problem(error)

    return answer


def _problem(error: Exception) -> tuple[bytes, str]:
    if isinstance(error, AvganError):
        return FAULT, str(error)
    return FAILED, "".join(traceback.format_exception(error))


def report_of(kind: bytes, text: str) -> Report:
    """The report in an answer. Raises what went wrong."""
    if kind == FAULT:
        raise AvganError(text)
    if kind == FAILED:
        raise RuntimeError(f"a worker failed:\n{text}")
    return Report(**json.loads(text))


def make_on_cluster(work: Work, numbers: Sequence[int], *, num_jobs: int | None) -> Generator[Report, None, None]:
    """Make units wherever there is a free core; `num_jobs` at a time, or as many as there are cores.

    Raises AvganError where there is no cluster, or its machines cannot work.
    """
    if not numbers:
        return
    with ray_cluster(num_jobs, num_spare=1) as num_actors:  # see CORES_PER_ACTOR
        yield from make_despite_losses(partial(_make_in_stream, num_actors=num_actors), work, numbers)


def make_despite_losses(engine: Engine, work: Work, numbers: Sequence[int]) -> Generator[Report, None, None]:
    """Make units with an engine that Ray's losses may break: what is left then is given to it again.

    Raises AvganError where it breaks MOST_BREAKS times in a row and makes nothing.
    """
    from ray.exceptions import RayError

    left, num_breaks = dict.fromkeys(numbers), 0
    for stream in count():
        # The actors of a stream end with it: no video is to blame for that.
        fresh = replace(work, run=f"{work.run}.{stream}")
        try:
            for report in engine(fresh, list(left)):
                left.pop(report.number, None)
                num_breaks = 0
                yield report
            return
        except RayError as error:
            num_breaks += 1
            if num_breaks == MOST_BREAKS:
                raise AvganError(
                    f"the Ray cluster broke off {num_breaks} times in a row ({type(error).__name__}); "
                    "look at its machines, then run it again"
                ) from error


def _make_in_stream(work: Work, numbers: Sequence[int], *, num_actors: int) -> Generator[Report, None, None]:
    """In one stream of Ray Data."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    items = [{"number": number} for number in numbers]
    made = ray.data.from_items(items, override_num_blocks=min(len(items), MAX_BLOCKS)).map_batches(
        Actor, fn_constructor_args=(work,), batch_size=1, concurrency=(1, num_actors), num_cpus=CORES_PER_ACTOR
    )
    for row in made.iter_rows():
        yield report_of(row["kind"], row["text"])


class Actor:
    """A worker on some machine of a cluster."""

    def __init__(self, work: Work) -> None:
        # Deaths that came with the loss of a machine were no video's fault: after each they are counted afresh.
        self._answer = answerer(lambda: replace(work, run=f"{work.run}.{num_lost()}"))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """`batch`: one number of a unit."""
        kind, text = self._answer(int(batch["number"][0]))
        return {"kind": [kind], "text": [text]}


def num_lost() -> int:
    """Machines that the cluster had and has no more."""
    import ray

    return sum(not node["Alive"] for node in ray.nodes()) if ray.is_initialized() else 0
