"""The files of a bundle, a folder or a zip file, read as something that comes from a stranger.

Sizes are looked at before anything is read, nothing outside the bundle is opened, and what is no regular file (a pipe,
a device) is refused. The same rules hold wherever a bundle is read: with `--model`, in `models add`, in Python.
"""

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BufferedReader
from pathlib import Path, PurePosixPath

from avgan.errors import BundleError
from avgan.files import open_regular

CARD_FILE = "card.json"
MAX_BYTES = 1 << 30
"""Of a bundle, packed or unpacked: a hundred times the shipped one."""
MAX_CARD_BYTES = 1 << 20
"""The shipped card has 11 kB; one of a thousand labels has 100."""
MAX_FILES = 1_000
MAX_DIRECTORY_BYTES = 1 << 18
"""Of a zip's list of files, which is read at once: 1,000 names of 200 letters."""

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE, _END64_SIGNATURE = b"PK\5\6", b"PK\6\7"
_END64_BYTES = 20
_LONGEST_COMMENT = (1 << 16) - 1

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What the standard library raises on a zip that is damaged, encrypted or packed in a way it does not know."""

Read = Callable[[str], bytes]


@contextmanager
def open_package(path: Path) -> Iterator[Read]:
    """A function that reads a file of the bundle at `path` by its name. Both raise BundleError."""
    with ExitStack() as opened:
        with _in_a_line(path):
            if path.is_dir():
                find = partial(_read_in_folder, path)
            else:
                archive = opened.enter_context(_open_zip(opened.enter_context(_open_regular(path)), path))
                find = partial(_read_member, archive, _members(archive, path), path)

        def read(name: str) -> bytes:
            with _in_a_line(path):
                return find(name)

        yield read


@contextmanager
def _in_a_line(path: Path) -> Iterator[None]:
    """Turn what can go wrong with the disk into BundleError."""
    try:
        yield
    except FileNotFoundError as error:
        name = Path(error.filename or path).name
        if (path / "checkpoint").is_dir() or (path / "recipe.json").is_file():
            raise BundleError(
                f"{path}: a run, not a bundle; make one with: avgan export {path} -o {path.name}.bundle"
            ) from None
        raise BundleError(f"{path}: no bundle there ({name} is missing)") from None
    except (OSError, ValueError) as error:  # the latter for a path with a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{path}: cannot be read ({reason}); copy the bundle again") from None


def checksum(path: Path) -> str:
    """The SHA-256 of a bundle's zip file. Raises BundleError where it is too large or no file."""
    try:
        with _open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _open_regular(path: Path, most: int = MAX_BYTES) -> BufferedReader:
    """A file, opened. Raises BundleError where it is larger than `most`, OSError where it is no file."""
    file = open_regular(path)
    if os.fstat(file.fileno()).st_size > most:
        file.close()
        raise BundleError(f"{path}: larger than {most:,} bytes, the most it may be in a bundle")
    return file


def _read_in_folder(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(
            f"{folder}: {name} lies elsewhere ({os.path.realpath(path)}); copy the file itself into the bundle"
        )
    with _open_regular(path, _most(name)) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def _open_zip(file: BufferedReader, path: Path) -> zipfile.ZipFile:
    try:
        _look_at_end(file, path)
        return zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        raise _unreadable(path, error) from None


def _look_at_end(file: BufferedReader, path: Path) -> None:
    """Refuse a list of files that is too long to be read: the standard library reads all of it at once."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _END.size - _LONGEST_COMMENT - _END64_BYTES)
    file.seek(start)
    tail = file.read()
    file.seek(0)
    # As the standard library finds it: at the very end, or else the last that could be one.
    at = len(tail) - _END.size
    if at < 0 or tail[at : at + 4] != _END_SIGNATURE or tail[-2:] != b"\0\0":
        at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) < at + _END.size:
        return  # it will say so itself
    _, _, _, _, num_files, num_bytes, _, _ = _END.unpack_from(tail, at)
    is_64 = tail[max(0, at - _END64_BYTES) :].startswith(_END64_SIGNATURE)
    if is_64 or num_files > MAX_FILES or num_bytes > MAX_DIRECTORY_BYTES:
        raise _too_much(path)


def _members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """What a zip holds, which is refused as a whole where it is not honest. Nothing is unpacked by its own name."""
    members = archive.infolist()
    if len(members) > MAX_FILES or sum(member.file_size for member in members) > MAX_BYTES:
        raise _too_much(path)
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if ".." in parts or parts[:1] == ("/",) or ":" in member.filename:
            raise BundleError(f"{path}: holds the unsafe name {member.filename!r}; delete it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise BundleError(f"{path}: holds the link {member.filename!r}; delete it")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleError(f"{path}: packed in an unusual way; unpack it and name the folder")
    return members


def _read_member(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], path: Path, name: str) -> bytes:
    """A file at the root of a zip, or in the one folder that was zipped."""
    matches = [member for member in members if PurePosixPath(member.filename).name == name]
    if not matches:
        raise FileNotFoundError(2, "missing", name)
    member = min(matches, key=lambda member: len(member.filename))
    if member.file_size > _most(name):
        raise BundleError(f"{path}: {name} unpacks to {member.file_size:,} bytes; the most is {_most(name):,}")
    try:
        return archive.read(member)
    except _ZIP_ERRORS as error:
        raise _unreadable(path, error) from None


def _most(name: str) -> int:
    return MAX_CARD_BYTES if name == CARD_FILE else MAX_BYTES


def _too_much(path: Path) -> BundleError:
    return BundleError(f"{path}: unpacks to more than {MAX_FILES:,} files or {MAX_BYTES:,} bytes; no bundle does")


def _unreadable(path: Path, error: Exception) -> BundleError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BundleError(f"{path}: not a zip file that can be read ({reason}); copy it again")
