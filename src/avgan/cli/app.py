"""The command line itself: what it reads, what it answers with when something goes wrong.

Results go to standard output, progress and problems to standard error. Exit status: 0 all done; 1
some inputs failed, each named in a line of its own, the others done; 2 wrong usage; 130 Ctrl-C; 143 terminated.
"""

import io
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from cyclopts import App, CycloptsError

from avgan import __version__
from avgan.errors import AvganError, ConfigError, printable

STDIN = "<standard input>"

app = App(
    name="avgan",
    help="Hears a place and pictures it: says which scene a recording is, and draws it.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
data = App(name="data", help="Public data sets: list, download, verify.", help_format="plaintext")
app.command(data)


class UsageError(Exception):
    """Wrong usage that the parser cannot see."""


class TerminatedError(KeyboardInterrupt):
    """The system asks to end, as Ctrl-C does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    # Read when numpy is imported, which is later: its own threads would spin beside the model's.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _replace_closed()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    tokens = sys.argv[1:] if argv is None else argv
    # The parser would take a lone hyphen for an option.
    tokens = [STDIN if token == "-" else token for token in tokens]
    try:
        status = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return int(status or 0)
    except (CycloptsError, UsageError) as error:
        text = " ".join(str(error).split())
        said = text if text.endswith("...") else text.removesuffix(".")
        say(f"{said}; `avgan --help` shows the usage")
        return 2
    except AvganError as error:
        say(str(error))
        return 2 if isinstance(error, ConfigError) else 1
    except TerminatedError:
        say("terminated; what was finished before is kept")
        return 143
    except KeyboardInterrupt:
        say("interrupted; what was finished before is kept")
        return 130
    except BrokenPipeError:  # avgan ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a place that is read-only, full or gone
        say(f"{error.filename or 'disk'}: {error.strerror or error}; choose another place")
        return 1


class _Closed(io.StringIO):
    """Standard output where it was closed: whoever writes to it is told."""

    def write(self, text: str) -> int:
        raise AvganError("standard output is closed; redirect it to a file, or to /dev/null")


def _replace_closed() -> None:
    """Stand-ins for standard streams that were closed (`avgan ... >&-`), which Python leaves out."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 (held to the end)
    if sys.stdout is None:
        os.open(os.devnull, os.O_WRONLY)  # so that no other file gets its number
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def say(line: str) -> None:
    """One line on standard error, in place of the progress that may stand there."""
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{clear}avgan: {printable(line)}", file=sys.stderr, flush=True)


def show_progress(line: str) -> None:
    """Overwrite the last progress, on a terminal only; an empty line takes it away."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{printable(line)[:width]}", end="", file=sys.stderr, flush=True)


@contextmanager
def terminable() -> Iterator[None]:
    """End at SIGTERM as at Ctrl-C: what was finished is written."""

    def end(*_: object) -> NoReturn:
        raise TerminatedError

    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say how to install what the light installation leaves out."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing == "avgan":
            raise
        raise AvganError(f'this needs {missing}, which is not installed: pip install "avgan[{name}]"') from None


def two_sides(option: str, text: str, form: str = "name=value") -> tuple[str, str]:
    """The two sides of "imagination.gamma=0"."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise UsageError(f"{option} {text}: write it as {form}")
    return key, value
