"""Fetch what is declared, and check what is on disk.

A download may be cut off at any byte: what has arrived stays in a `.part` file and the next call
goes on from there. A file takes its name only after size and checksum agree. An archive leaves a
marker when all of it is unpacked, written last; running the command again is the recovery.
"""

import hashlib
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from avgan.audio import SAMPLE_RATE_HZ
from avgan.data.datasets import Remote, declaration, locate
from avgan.data.loading import picture_of, read_excerpt
from avgan.data.manifest import Clip, Manifest
from avgan.data.shards import find_shard, open_media
from avgan.download import download, verify
from avgan.errors import AvganError, DataError

_MARKERS = ".complete"  # folder of the markers of unpacked archives, inside that of the data set

SAID_BYTES = 10**9  # a smaller download is not worth a line
MAX_CHECKED_S = 60.0  # of a clip; data sets have clips of 5 or 10 s

Say = Callable[[str], None]


def say_on_stderr(line: str) -> None:
    """Show a line of progress."""
    print(line, file=sys.stderr)


def get(name: str, root: str | Path, *, say: Say = say_on_stderr) -> Path:
    """Download a data set into `root/name` unless there, and return the folder.

    The licence is said before the first byte is fetched.

    Raises:
        DataError: it cannot be fetched, or what arrived is not what was published.
    """
    declared = declaration(name)
    say(f"{declared.title}. Licence: {declared.licence}")
    folder, present = Path(root) / name, locate(root, name)
    is_ours = (present / _MARKERS).is_dir()
    if declared.matches(present) and not is_ours:
        say(f"already in {present}; verify it with: avgan data check {name} --data {root}")
        return present
    if not declared.remotes:
        raise DataError(f"{name}: no program can fetch it; {declared.by_hand}")
    (folder / _MARKERS).mkdir(parents=True, exist_ok=True)  # from now on the folder is ours
    _say_how_much(declared.remotes, folder, say)
    for remote in declared.remotes:
        _fetch(remote, folder, say)
    if not declared.matches(folder):
        raise DataError(f"{folder}: downloaded, but not in the layout of {name}; see {declared.address}")
    return folder


def _say_how_much(remotes: tuple[Remote, ...], folder: Path, say: Say) -> None:
    """Say what is still to come, and whether the disk has room for it, before hours are spent on it."""
    left = [remote for remote in remotes if not _is_there(remote, folder)]
    num_bytes = sum(remote.bytes or 0 for remote in left)
    if num_bytes < SAID_BYTES:
        return
    say(f"{len(left)} of {len(remotes)} files to fetch, {num_bytes / 1e9:.1f} GB, into {folder}")
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        say(f"warning: only {free / 1e9:.1f} GB are free there; what arrives before it is full is kept")


def _is_there(remote: Remote, folder: Path) -> bool:
    """Whether a file is laid into the folder, all of it."""
    if remote.unpack:
        return (folder / _MARKERS / remote.filename).is_file()
    return (folder / remote.filename).is_file()


def _fetch(remote: Remote, folder: Path, say: Say) -> None:
    target = folder / remote.filename
    marker = folder / _MARKERS / remote.filename
    if _is_there(remote, folder):
        say(f"{remote.filename}: already there")
        return
    if target.is_file():
        verify(remote, target)
    else:
        download(remote, target, say)
    if remote.unpack:
        say(f"{remote.filename}: unpacking")
        unpack(target, folder, strip=remote.strip)
        marker.touch()
        target.unlink()


def unpack(archive: Path, folder: Path, *, strip: int) -> None:
    """Lay the files of a zip into a folder, without the first `strip` folders of their names.

    Raises:
        DataError: the zip is damaged, or would write outside the folder.
    """
    try:
        with zipfile.ZipFile(archive) as files:
            for info in files.infolist():
                parts = PurePosixPath(info.filename).parts[strip:]
                if info.is_dir() or not parts:
                    continue
                if ".." in parts or parts[0].startswith("/"):
                    raise DataError(f"{archive}: holds the unsafe name {info.filename!r}; delete it")
                _extract(files, info, folder.joinpath(*parts))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        archive.unlink()
        raise DataError(f"{archive.name}: damaged ({error}), deleted; run the command again") from error


def _extract(files: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    with files.open(info) as source, partial.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    os.replace(partial, target)


def check(name: str, root: str | Path) -> list[str]:
    """Return what is wrong with a data set below `root`, a line each; empty: nothing.

    Every file is decoded once, so a large data set takes minutes.
    """
    declared, folder = declaration(name), locate(root, name)
    try:
        manifest = declared.read(folder)
    except DataError as error:
        return [str(error)]
    return list(dict.fromkeys([*declared.verify(manifest), *check_media(manifest)]))


def check_media(manifest: Manifest) -> list[str]:
    """Return the files of a manifest that are missing, altered or cannot be decoded, a line each."""

    def problem(clip: Clip) -> str:
        for path, sha256 in ((clip.audio_path, clip.audio_sha256), (clip.image_path, clip.image_sha256)):
            if path and (found := _file_problem(manifest.root / path, sha256)):
                return found
        try:
            _decode(clip, manifest.root)
        except AvganError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(dict.fromkeys(line for line in pool.map(problem, manifest.clips) if line))


def _file_problem(path: Path, sha256: str) -> str:
    in_shard = find_shard(path)
    file_path = in_shard[0] if in_shard else path
    if not file_path.is_file():
        return f"{file_path}: missing"
    try:
        with open_media(path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest() if sha256 else ""
    except FileNotFoundError:
        return f"{path}: missing"
    except DataError as error:
        return str(error)
    return "" if found == sha256 else f"{path}: altered, its sha256 is not that of the manifest"


def _decode(clip: Clip, root: Path) -> None:
    if clip.audio_path:
        length_s = MAX_CHECKED_S
        if clip.end_s is not None:
            length_s = min(length_s, clip.end_s - clip.start_s)
        path = root / clip.audio_path
        read_excerpt(path, start_s=clip.start_s, length_s=length_s, rate_hz=SAMPLE_RATE_HZ)
    if clip.image_path:
        picture_of(clip, root)
