"""Who makes the units: processes of this machine, or a cluster. The units are the same bytes.

An engine knows nothing of videos. It is given the numbers of units, hands each to a worker, and gives a report as each
is done, in any order. A worker that dies is replaced, and what it had begun is begun again.
"""

import errno
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avgan.curation.tables import load_unit
from avgan.curation.tools import Tools
from avgan.curation.unit import AttemptLog, Report, make_unit
from avgan.errors import AvganError, DataError
from avgan.files import write_whole

PLAN = "plan.parquet"
FACTS = "tools.json"
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


@dataclass(frozen=True)
class Work:
    """All that a worker needs to be told; it travels to wherever the worker is."""

    folder: Path
    """With the plan, for the units; every worker must see it under this path."""
    run: str
    """A name for this run, unlike that of any other."""
    open_tools: Callable[[], Tools]


Engine = Callable[[Work, Sequence[int]], Generator[Report, None, None]]
"""Makes the units of these numbers. Closing it ends all workers."""


class Worker:
    """Makes units one after another, with tools that it opens once.

    Raises DataError where they are not the tools that other units were made with.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tools = work.open_tools()
        facts = json.dumps(self._tools.facts, sort_keys=True, indent=1)
        path = work.folder / FACTS
        if not path.is_file():
            write_whole(path, facts)
        elif path.read_text(encoding="utf-8") != facts:
            raise DataError(
                f"{path}: other units were made with other taggers; use theirs, or another folder"
            )

    def make(self, number: int) -> Report:
        """Make a unit. Raises AvganError where the disk is full or gone: that is no fault of a video."""
        folder, run = self._work.folder, self._work.run
        videos = load_unit(folder / PLAN, number)
        try:
            return make_unit(number, videos, folder, self._tools, AttemptLog(folder, number, run))
        except OSError as error:
            if error.errno not in _DISK:
                raise
            raise AvganError(
                f"{folder.parent}: cannot be written ({error.strerror}); make room and run this again, "
                "what was finished is kept"
            ) from None
