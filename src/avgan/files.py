"""Writing a file whole or not at all."""

import errno
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from avgan.errors import AvganError

PREFIX, SUFFIX = ".avgan-", ".tmp"
FRESH_S = 1.0
LEFT_S = 86_400
"""Where files cannot be held: a film of a day takes an hour to write."""


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """An empty temporary sibling of `path` to write to; moved into its place at the end, removed on any error.

    So that no reader sees half a file. Folders that are missing are made. What is there is respected: a link is
    followed and stays, a file keeps its mode (and, where it can, its owner), a new one gets what the umask leaves, a
    pipe or a device is written to and never replaced. Siblings left by whoever was killed are removed. Raises
    AvganError where the place cannot be written, also while it is being written to.
    """
    path = Path(path)
    try:
        before = path.stat() if path.exists() else None
        if before is not None and not stat.S_ISREG(before.st_mode):
            with _written_through(path, before) as temporary:
                yield temporary
            return
        target = path.resolve() if path.is_symlink() else path
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent)
        temporary = target.parent / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        handle = os.open(temporary, flags, 0o600 if before else 0o666)  # a new one gets what the umask leaves
        try:
            hold(handle)
            yield temporary
            if before is not None:
                _give_rights(temporary, before)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = f"{path.parent} is no folder"
        raise AvganError(f"{path}: cannot be written ({reason}); choose another place") from None
    except RuntimeError as error:  # before Python 3.13, for links in a circle
        if "Symlink loop" not in str(error):
            raise
        raise AvganError(f"{path}: links in a circle; choose another place") from None


@contextmanager
def resumable(path: str | Path) -> Iterator[None]:
    """For what is written bit by bit: AvganError in one line where there is no room; what was finished before stays."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise AvganError(
            f"{path}: cannot be written ({reason}); make room, then the same command goes on from where it was left"
        ) from None


@contextmanager
def _written_through(path: Path, before: os.stat_result) -> Iterator[Path]:
    """A temporary file elsewhere, whose content is then written to a pipe or a device."""
    if stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        temporary = Path(folder) / (path.name or PREFIX)
        temporary.touch()
        yield temporary
        with temporary.open("rb") as file, open(os.open(path, os.O_WRONLY), "wb") as sink:
            shutil.copyfileobj(file, sink)


def _give_rights(temporary: Path, before: os.stat_result) -> None:
    """The rights of the file that was there."""
    with suppress(OSError):  # somebody else's file becomes ours, as it must
        if hasattr(os, "chown"):
            os.chown(temporary, before.st_uid, before.st_gid)
    temporary.chmod(stat.S_IMODE(before.st_mode))


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of whoever was killed: those that nobody holds."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError):
            age_s = time.time() - path.lstat().st_mtime
            if age_s < FRESH_S:  # perhaps not held yet
                continue
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                if hold(handle) or age_s > LEFT_S:
                    path.unlink()
            finally:
                os.close(handle)


def hold(file: int | IO[Any]) -> bool | None:
    """Hold an open file until it is closed: False where another holds it, None where the system keeps no such locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def write_whole(path: str | Path, data: bytes | str) -> Path:
    """Write `data` whole or not at all (see `whole`)."""
    path = Path(path)
    with whole(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def open_regular(path: str | Path) -> BufferedReader:
    """Open a file to read. Raises OSError, also for a pipe or a device, which is not waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return open(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "a pipe or device, no file", str(path))


def to_disk(path: Path) -> None:
    """Not only to the system's memory: whoever relies on the file may outlive a loss of power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
