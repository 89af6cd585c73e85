"""Videos in a folder, of a pattern, or a single one; the label is the name of the folder that each lies in."""

import glob
from collections.abc import Iterator
from pathlib import Path

from avgan.curation.record import Video
from avgan.curation.sources.source import Source, id_of, scene_of
from avgan.data.datasets.folder import VIDEOS
from avgan.errors import DataError


def _is_video(path: Path) -> bool:
    is_hidden = path.name.startswith(".")  # such as ._1.mp4, which macOS leaves on foreign disks
    return path.suffix.lower() in VIDEOS and not is_hidden and path.is_file()


def _matches(named: str) -> bool:
    path = Path(named)
    if path.is_dir() or path.suffix.lower() in VIDEOS:
        return True
    return glob.has_magic(named) and not path.exists()


def _find(named: str) -> list[Video]:
    path = Path(named)
    if path.is_dir():
        root = path
        paths: Iterator[Path] = path.rglob("*")
    elif path.is_file():
        root, paths = path.parent, iter([path])
    elif glob.has_magic(named):
        root, paths = _plain_part(path), _matching(named)
    else:
        raise DataError(f"{named}: no such file; name a video, a folder of videos or a pattern")
    videos = {video.id: video for video in (_video(path, root) for path in paths if _is_video(path))}
    if not videos:
        raise DataError(f"{named}: no video here; name a folder that holds mp4, webm, mov or mkv")
    return [videos[key] for key in sorted(videos)]


def _matching(pattern: str) -> Iterator[Path]:
    """The files that match, and those in folders that do."""
    for found in map(Path, glob.iglob(pattern, recursive=True)):
        yield from found.rglob("*") if found.is_dir() else (found,)


def _plain_part(pattern: Path) -> Path:
    """The folders of a pattern before the first wildcard."""
    plain = Path(pattern.anchor)
    for part in pattern.parts[len(plain.parts) : -1]:
        if glob.has_magic(part):
            break
        plain /= part
    return plain


def _video(path: Path, root: Path) -> Video:
    """The id is of the path below the root, and of its folder's name at least: a folder of folders may be moved."""
    folder = path.absolute().parent.name
    below = path.relative_to(root)
    return Video(
        id=id_of(below.as_posix() if len(below.parts) > 1 else f"{folder}/{path.name}"),
        path=str(path),
        label=scene_of(folder),
        title=path.stem,
    )


FOLDER = Source(
    name="folder",
    names="a folder of videos, a pattern such as 'clips/*/*.mp4', or one video",
    matches=_matches,
    find=_find,
)
