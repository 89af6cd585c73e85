"""What a long training says on standard error: lines that stay, and one that moves, with an estimate."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from avgan.errors import printable
from avgan.training import distributed

LONG_S = 5.0
"""Without a word people take a program for stuck."""
TERMINAL_S, ELSEWHERE_S = 0.2, 15.0
"""How often a line moves: as the eye follows, and so that a log of hours stays short."""

Item = TypeVar("Item")


class Line:
    """A line that moves: overwritten on a terminal, a new one now and then elsewhere."""

    def __init__(self) -> None:
        self.shown_at = 0.0

    def show(self, text: str, *, last: bool = False) -> None:
        """Say how far it is, unless that was just said; the last is always said, and stays."""
        terminal, now = sys.stderr.isatty(), time.monotonic()
        if not last and now - self.shown_at < (TERMINAL_S if terminal else ELSEWHERE_S):
            return
        self.shown_at = now
        if terminal:  # what runs over the edge could not be overwritten
            text = "\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write(text + ("\n" if last or not terminal else ""))
        sys.stderr.flush()


def progress(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items one by one; the first process says how many are done, if it takes long."""
    line, began, shown = Line(), time.monotonic(), False
    for done, item in enumerate(items):
        spent_s = time.monotonic() - began
        if done and spent_s > LONG_S and distributed.is_first():
            shown = True
            left_s = spent_s / done * (len(items) - done)
            line.show(f"{what}: {100 * done / len(items):.0f} %, {duration(left_s)} left")
        yield item
    if shown:
        line.show(f"{what}: {duration(time.monotonic() - began)}", last=True)


def say(line: str) -> None:
    """A line on standard error that stays, by the first process."""
    if distributed.is_first():
        print(line, file=sys.stderr, flush=True)


@contextmanager
def say_if_long(line: str) -> Iterator[None]:
    """Say what it is that takes so long, if it does."""
    timer = threading.Timer(LONG_S, say_once, (line,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


_said: set[str] = set()


def say_once(line: str) -> None:
    """The same, but once in the life of a process; nothing where there is nothing to say."""
    if line and line not in _said:
        _said.add(line)
        say(printable(line))


def duration(seconds: float) -> str:
    """Time to wait, to the digit that matters to who waits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
