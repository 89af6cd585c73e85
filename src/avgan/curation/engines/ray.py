"""Units made by a Ray cluster, or by processes of this machine where RAY_ADDRESS names none.

Ray Data hands the numbers of units to a pool of actors, each of which holds its taggers. Each machine needs avgan, the
weights, the videos and the folder of the data set under the same paths. An actor or a machine that is lost takes
nothing along: its units are begun again on those that are left, and those that were done are found done. Where the
loss breaks Ray Data's own stream, another one makes what is left.
"""

import json
import logging
import os
import traceback
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import count
from typing import Any

import ray
from ray.exceptions import RayError

from avgan.curation.engines import Engine, Work, Worker
from avgan.curation.unit import Report
from avgan.errors import AvganError

CORES_PER_ACTOR = 0.5
"""As Ray counts. An actor uses a core; but where actors hold all cores of the machines that are left, the tasks that
hand them their work wait for ever."""
MAX_BLOCKS = 5_000
"""In which the numbers of units are handed out. What is lost in the middle of a block is begun again with its first
unit; units of it that are done cost nothing."""
ACTORS_AT_FIRST = 1
MOST_BREAKS = 5
"""Of Ray Data's stream, one after another, before a unit is made."""


def make_on_cluster(
    work: Work, numbers: Sequence[int], *, num_jobs: int | None
) -> Generator[Report, None, None]:
    """Make units wherever there is a free core; `num_jobs` at a time, or as many as there are cores.

    Raises AvganError where there is no cluster, or its machines cannot work.
    """
    if not numbers:
        return
    started_here = not ray.is_initialized()
    if started_here:
        _start(num_jobs)
    try:
        yield from go_on(partial(_make, num_jobs=num_jobs), work, numbers)
    finally:
        if started_here:
            ray.shutdown()


def go_on(engine: Engine, work: Work, numbers: Sequence[int]) -> Generator[Report, None, None]:
    """Make units with an engine that Ray's losses may break: what is left then is given to it again.

    Raises AvganError where it breaks MOST_BREAKS times in a row and makes nothing.
    """
    left, num_breaks = dict.fromkeys(numbers), 0
    for stream in count():
        # The actors of a stream end with it: of that, no video is to blame.
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


def _make(
    work: Work, numbers: Sequence[int], *, num_jobs: int | None
) -> Generator[Report, None, None]:
    """In one stream of Ray Data."""
    import ray.data

    num_actors = num_jobs or int(ray.cluster_resources().get("CPU", 1))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    items = [{"number": number} for number in numbers]
    made = ray.data.from_items(items, override_num_blocks=min(len(items), MAX_BLOCKS)).map_batches(
        Actor,
        fn_constructor_args=(work,),
        batch_size=1,
        concurrency=(ACTORS_AT_FIRST, max(ACTORS_AT_FIRST, num_actors)),
        num_cpus=CORES_PER_ACTOR,
    )
    for row in made.iter_rows():
        yield report_of(row)


class Actor:
    """A worker on some machine. What goes wrong comes back as text: not all exceptions can travel."""

    def __init__(self, work: Work) -> None:
        self._worker: Worker | None = None
        self._wrong = {"user": "", "own": ""}
        try:
            # Deaths that came with the loss of a machine were no video's fault: after each they are counted afresh.
            self._worker = Worker(replace(work, run=f"{work.run}.{num_lost()}"))
        except Exception as error:
            self._wrong = _told(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """`batch`: one number of a unit."""
        wrong, made = dict(self._wrong), ""
        if self._worker is not None:
            try:
                made = json.dumps(asdict(self._worker.make(int(batch["number"][0]))))
            except Exception as error:
                wrong = _told(error)
        return {"made": [made], **{kind: [text] for kind, text in wrong.items()}}


def num_lost() -> int:
    """Machines that the cluster had and has no more."""
    return sum(not node["Alive"] for node in ray.nodes()) if ray.is_initialized() else 0


def report_of(row: dict[str, str]) -> Report:
    """The report in what an actor answers. Raises what went wrong there."""
    if row["user"]:
        raise AvganError(row["user"])
    if row["own"]:
        raise RuntimeError(f"a worker failed:\n{row['own']}")
    return Report(**json.loads(row["made"]))


def _told(error: Exception) -> dict[str, str]:
    if isinstance(error, AvganError):
        return {"user": str(error), "own": ""}
    return {"user": "", "own": "".join(traceback.format_exception(error))}


def _start(num_cores: int | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address, **quiet)
        else:
            # A core more than actors: see CORES_PER_ACTOR.
            num_cpus = None if num_cores is None else num_cores + 1
            ray.init("local", num_cpus=num_cpus, include_dashboard=False, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise AvganError(
            f"no Ray cluster at {address or 'this machine'} ({reason}); start one with `ray start`, "
            "or unset RAY_ADDRESS"
        ) from None
