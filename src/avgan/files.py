"""Writing a file whole or not at all."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from avgan.errors import AvganError


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """An empty temporary sibling of `path` to write to; moved into its place at the end, removed on any error.

    So that no reader sees half a file. Folders that are missing are made. Raises AvganError where the place cannot be
    written, also while it is being written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes private files; results are meant to be shared
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = f"{path.parent} is no folder"
        raise AvganError(f"{path}: cannot be written ({reason}); choose another place") from None


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
