"""A folder of one's own: DIR/label/file, where the files are recordings, videos or pictures.

Files in no label folder are unlabelled, where there is none: videos to learn to imagine from.
Recordings and videos are cut into clips that do not overlap; a video's clip carries the frame at
its middle, so its sound and picture are synchronous. Pictures beside recordings are paired with
them by label. A source is a file.

Each file is read through when the folder is read, so that whatever cannot be used is known before anything is
trained: the manifest says it in one line, counted by reason.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from avgan.data.datasets.declaration import Dataset
from avgan.data.loading import KNOWN_FILES, extent_of
from avgan.data.manifest import Clip, Manifest
from avgan.errors import AudioError, DataError, ImageError
from avgan.images import LAST_SHOWN_S, read_image, shown
from avgan.media.kinds import SOUND_SUFFIXES, VIDEO_SUFFIXES, looks_like_sound
from avgan.media.tracks import track_kinds

RECORDINGS = SOUND_SUFFIXES
VIDEOS = VIDEO_SUFFIXES | {".ts"}  # which in a folder of recordings is no program
PICTURES = frozenset({".jpg", ".jpeg", ".png"})

Span = tuple[float, float]
"""From when to when, in s on the file's clock."""

WINDOW_S = 10.0
MIN_REST_S = 1.0  # a shorter rest at the end of a file makes no clip, unless it is all there is

MOST_MISSING_S = 0.1
"""Of a clip's sound that may be missing, and is silence then: tracks seldom begin and end in the same moment."""

NO_SOUND = "pictures without sound"
NO_PICTURE = "sound without pictures"
TOO_SHORT = "too short"
OTHER = "neither recordings, videos nor pictures"
LOOSE = "in no label folder"
EMPTY = "folders without recordings, videos or pictures"
UNREADABLE = "cannot be decoded"

_LAYOUT = "make one folder for each label and put its recordings, videos or pictures into it"


def read_folder(root: str | Path, *, window_s: float = WINDOW_S) -> Manifest:
    """Return the clips of DIR/label/file, at most `window_s` long, sorted by path; its `left_out` tells the rest.

    Raises:
        DataError: no files, only one label, or a label of which no file can be used.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {_LAYOUT}")
    paths = list(_media(root))
    if not paths:
        raise DataError(f"{root}: no recordings, videos or pictures; {_LAYOUT}")
    labels = {_label(path, root) for path in paths}
    if len(labels) < 2 and "" not in labels:
        raise DataError(f"{root}: only one label, {min(labels)!r}; a model needs two or more to tell")
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        content = dict(zip(paths, pool.map(_inspect, paths), strict=True))
    clips = [clip for path in paths for clip in _clips(path, root, window_s, content[path])]
    useful = {clip.label for clip in clips}
    for path in paths:
        if _label(path, root) not in useful:
            reason, detail = content[path].left_out[0]
            raise DataError(
                f"{path}: {reason} ({detail}), and nothing else is left of "
                f"{_label(path, root) or 'the folder'!r}; convert or replace it"
            )
    others = _passed_over(root, paths)
    left_out = _summary({path.relative_to(root).as_posix(): content[path] for path in paths}, others)
    return Manifest(FOLDER.name, root, tuple(clips), left_out=left_out and f"{root}: left out: {left_out}")


def _is_media(path: Path) -> bool:
    """Whether a file is a recording, a video or a picture, by its ending or else by how it begins."""
    if path.name.startswith(".") or not path.is_file():
        return False
    try:
        return path.suffix.lower() in RECORDINGS | VIDEOS | PICTURES or looks_like_sound(path)
    except OSError:
        return False


def _media(root: Path) -> Iterator[Path]:
    """All media of the label folders, in an order that is the same on every file system; else those that lie loose."""
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    labelled = [path for folder in folders for path in sorted(folder.iterdir()) if _is_media(path)]
    yield from labelled or sorted(path for path in root.iterdir() if _is_media(path))


def _passed_over(root: Path, media: list[Path]) -> list[tuple[str, str]]:
    """(reason, name) of all else in the folder and its label folders; hidden files are nobody's."""
    known = set(media)
    folders = {path.parent for path in media}
    found = []
    for folder in sorted({root, *folders}):
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path in known or path in folders:
                continue
            reason = OTHER if folder in folders or path.is_file() else EMPTY
            if folder == root and root not in folders and path.is_file() and _is_media(path):
                reason = LOOSE
            found.append((reason, path.relative_to(root).as_posix()))
    return found


def _label(path: Path, root: Path) -> str:
    return "" if path.parent == root else path.parent.name


def check_labels(manifest: Manifest) -> None:
    """Raise DataError where nothing says what the files are."""
    if not manifest.labels:
        raise DataError(f"{manifest.root}: files without a label folder; {_LAYOUT}")


@dataclass(frozen=True)
class _Content:
    """What of a file can be used."""

    stretches: tuple[Span, ...] = ()
    """With all that it has tracks of; of a picture none."""
    has_sound: bool = False
    has_picture: bool = False
    left_out: tuple[tuple[str, str], ...] = ()
    """Reasons, each with its details."""


def _clips(path: Path, root: Path, window_s: float, content: _Content) -> Iterator[Clip]:
    relative = path.relative_to(root).as_posix()
    label = _label(path, root)
    if path.suffix.lower() in PICTURES and content.has_picture:
        yield Clip(id=relative, source_id=relative, label=label, image_path=relative)
    for stretch in content.stretches:
        for start_s, end_s in cut(*stretch, window_s):
            yield Clip(
                id=f"{relative}@{start_s:g}",
                source_id=relative,
                label=label,
                audio_path=relative if content.has_sound else "",
                image_path=relative if content.has_picture else "",
                start_s=start_s,
                end_s=end_s,
                frame_s=(start_s + end_s) / 2 if content.has_picture else None,
            )


def _summary(content: dict[str, _Content], others: list[tuple[str, str]]) -> str:
    """What is left out, counted by reason, with the first of each."""
    found: dict[str, list[str]] = defaultdict(list)
    for reason, name in others:
        found[reason].append(name)
    for name, one in content.items():
        for reason, detail in one.left_out:
            found[reason].append(f"{name}: {detail}")
    return "; ".join(
        f"{reason}: {len(details)} ({details[0]}{', ...' if len(details) > 1 else ''})"
        for reason, details in sorted(found.items())
    )


def _inspect(path: Path) -> _Content:
    """Look through a file, once for as long as it stays the same."""
    status = path.stat()
    return _content_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=KNOWN_FILES)
def _content_of(path: Path, num_bytes: int, changed_ns: int) -> _Content:
    try:
        if path.suffix.lower() in PICTURES:
            read_image(path)
            return _Content(has_picture=True)
        kinds = {"audio"} if path.suffix.lower() in RECORDINGS else track_kinds(path)
        sound = _closed(extent_of(path).stretches) if "audio" in kinds else ()
        pictures = (shown(path),) if "video" in kinds else ()
    except (AudioError, ImageError) as error:
        detail = str(error).removeprefix(f"{path}: ").split(";")[0]
        return _Content(left_out=((UNREADABLE, detail),))
    found = _usable(sound, pictures)
    if not (found.stretches or found.left_out):
        return _Content(left_out=((TOO_SHORT, f"less than {MIN_REST_S:g} s"),))
    return found


def _usable(sound: tuple[Span, ...], pictures: tuple[Span, ...]) -> _Content:
    """What can be used of a file with sound, pictures, or both."""
    if not (sound and pictures):
        return _Content(_long_enough([*sound, *pictures]), bool(sound), bool(pictures))
    # The first picture is shown as long before its time as the last one stays.
    first_s, last_s = pictures[0][0] - LAST_SHOWN_S, pictures[0][1] + LAST_SHOWN_S
    both = _long_enough([(max(a, first_s), min(b, last_s)) for a, b in sound])
    left_out = tuple(
        (reason, f"{start_s:.1f} to {end_s:.1f} s")
        for reason, whole in ((NO_SOUND, pictures), (NO_PICTURE, sound))
        for start_s, end_s in _missing(whole, both)
    )
    return _Content(both, bool(both), bool(both), left_out)


def _closed(stretches: tuple[Span, ...]) -> tuple[Span, ...]:
    """The same with short holes closed, also that before the first."""
    joined: list[Span] = []
    for start_s, end_s in stretches:
        last_s = joined[-1][1] if joined else 0.0
        if start_s - last_s <= MOST_MISSING_S:
            start_s = joined.pop()[0] if joined else 0.0
        joined.append((start_s, end_s))
    return tuple(joined)


def _long_enough(stretches: list[Span]) -> tuple[Span, ...]:
    """Without the rests that make no clip; where there is no more, all of it."""
    long = tuple((a, b) for a, b in stretches if b - a >= MIN_REST_S)
    return long or tuple((a, b) for a, b in stretches if a == 0 and b > 0)


def _missing(whole: tuple[Span, ...], both: tuple[Span, ...]) -> Iterator[Span]:
    """What lies in the one and not in the other, but for rests that make no clip."""
    for start_s, end_s in whole:
        at_s = start_s
        for a, b in [*both, (end_s, end_s)]:
            if min(a, end_s) - at_s >= MIN_REST_S:
                yield at_s, min(a, end_s)
            at_s = max(at_s, b)


def cut(start_s: float, end_s: float, window_s: float) -> list[Span]:
    """Return (start, end) in s of the clips of a stretch: non-overlapping, the last one may be short."""
    count = int((end_s - start_s) // window_s)
    if count == 0 or end_s - start_s - count * window_s >= MIN_REST_S:
        count += 1
    return [(start_s + i * window_s, min(start_s + (i + 1) * window_s, end_s)) for i in range(count)]


def _matches(root: Path) -> bool:
    return root.is_dir() and next(_media(root), None) is not None


FOLDER = Dataset(
    name="folder",
    title="A folder of one's own, DIR/label/file",
    story="""\
One folder for each label. Videos (mp4, webm, mov, mkv, avi ...) give synchronous pairs of sound and frame;
recordings (wav, flac, ogg, mp3, m4a, opus, aiff, wma ...) with pictures (jpg, png) under the same labels give
pairs by label; recordings alone train a classifier. No file may give clips to both sides of a
split, so label folders need several files each.
""",
    citation="@misc{own, title = {Own recordings}, note = {Cite their source}}",
    licence="Yours: whatever holds for the files in the folder.",
    address="docs/data.md",
    by_hand=_LAYOUT,
    matches=_matches,
    read=read_folder,
    has_pictures=True,
)
