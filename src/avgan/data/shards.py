"""A file within a tar: `shards/train-00000.tar/bus-5000.flac`, read at random without unpacking.

A tar has no table of contents, so each is walked once, header by header, and what was found is kept for as long as the
file stays the same. Nothing stays open between two reads: threads and forked processes share no position in a file.
"""

import io
import tarfile
from collections.abc import KeysView
from functools import lru_cache
from pathlib import Path

from avgan.errors import DataError

SUFFIX = ".tar"
MAX_TABLES = 256  # of 1,000 clips each some 0.7 MB

Span = tuple[int, int]
"""Where a member's bytes begin in the tar, and how many there are."""


class Member(io.BytesIO):
    """The bytes of one file of a tar, named by its whole path in messages."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def find_shard(path: Path) -> tuple[Path, str] | None:
    """The tar that a path leads into and the name in it; None for a path that leads into none."""
    if not any(part.endswith(SUFFIX) for part in path.parts[:-1]):
        return None
    for parent in path.parents:
        if parent.suffix == SUFFIX and not parent.is_dir():
            return parent, path.relative_to(parent).as_posix()
    return None


def source_of(path: Path) -> Path | Member:
    """What a decoder takes: a path that leads into a tar as its bytes, any other as it is.

    Raises:
        OSError: there is no such tar, or no such file in it.
        DataError: the tar is damaged.
    """
    found = find_shard(path)
    return path if found is None else read_member(*found)


def open_media(path: Path) -> io.BufferedReader | Member:
    """Open a file for reading, be it in a folder or in a tar. Raises as `source_of`."""
    source = source_of(path)
    return source.open("rb") if isinstance(source, Path) else source


def read_member(shard: Path, name: str) -> Member:
    """Read one file of a tar. Raises as `source_of`."""
    spans = _spans_of(shard)
    if name not in spans:
        raise FileNotFoundError(2, "No such file in this tar", str(shard / name))
    start, size = spans[name]
    with shard.open("rb") as file:
        file.seek(start)
        content = file.read(size)
    if len(content) != size:
        raise _damaged(shard, "it ends early")
    return Member(content, str(shard / name))


def names_in(shard: Path) -> KeysView[str]:
    """The names of the files in a tar, in their order. Raises as `source_of`."""
    return _spans_of(shard).keys()


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to a tar that is written, without owner and time: the same bytes everywhere."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _spans_of(shard: Path) -> dict[str, Span]:
    """The table of contents of a tar, from what is kept where the file is still the same."""
    status = shard.stat()
    spans, problem = _table(shard, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    if problem:
        raise DataError(problem)
    return spans


@lru_cache(maxsize=MAX_TABLES)
def _table(shard: Path, state: tuple[int, ...]) -> tuple[dict[str, Span], str]:
    """What is in a tar, and what is wrong with it: kept too, for of a damaged one many files may be asked for."""
    try:
        return _walk(shard), ""
    except DataError as error:
        return {}, str(error)


def _walk(shard: Path) -> dict[str, Span]:
    """Read all headers of a tar. Whatever a header says, no more is promised than the file holds."""
    spans: dict[str, Span] = {}
    last, num_bytes = -1, shard.stat().st_size
    try:
        with shard.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (info := tar.next()) is not None:
                # What tarfile keeps of each header is ten times what we keep.
                tar.members.clear()  # type: ignore[attr-defined]
                if info.offset <= last or info.size < 0:
                    raise _damaged(shard, "its headers lead backwards")
                last = info.offset
                if not info.isreg() or info.issparse():
                    continue
                if info.offset_data + info.size > num_bytes:
                    raise _damaged(shard, "it ends early")
                spans[info.name.removeprefix("./")] = (info.offset_data, info.size)
            file.seek(tar.offset)
            # tarfile takes a header that it cannot read for the end, where there are only zeros
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise _damaged(shard, f"no header can be read at byte {tar.offset}")
    except (tarfile.TarError, ValueError, EOFError, OverflowError, MemoryError) as error:
        raise _damaged(shard, str(error) or type(error).__name__) from None
    return spans


def _damaged(shard: Path, reason: str) -> DataError:
    return DataError(f"{shard}: a damaged tar ({reason}); copy it again, or build it again")
