"""A folder of one's own: DIR/label/file, where the files are recordings, videos or pictures.

Files in no label folder are unlabelled, where there is none: videos to learn to imagine from.
Recordings and videos are cut into clips that do not overlap; a video's clip carries the frame at
its middle, so its sound and picture are synchronous. Pictures beside recordings are paired with
them by label. A source is a file.
"""

from collections.abc import Iterator
from pathlib import Path

import av
import soundfile

from avgan.data.datasets.declaration import Dataset
from avgan.data.excerpt import NO_PLAYLISTS
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.media.kinds import SOUND_SUFFIXES, VIDEO_SUFFIXES

RECORDINGS = SOUND_SUFFIXES
VIDEOS = VIDEO_SUFFIXES | {".ts"}  # which in a folder of recordings is no program
PICTURES = frozenset({".jpg", ".jpeg", ".png"})
_BY_SOUNDFILE = frozenset({
    ".aif", ".aifc", ".aiff", ".au", ".bwf", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".w64",
    ".wav", ".wave",
})  # fmt: skip

WINDOW_S = 10.0
MIN_REST_S = 1.0  # a shorter rest at the end of a file makes no clip, unless it is all there is

_LAYOUT = "make one folder for each label and put its recordings, videos or pictures into it"


def read_folder(root: str | Path, *, window_s: float = WINDOW_S) -> Manifest:
    """Return the clips of DIR/label/file, at most `window_s` long, sorted by path.

    Raises:
        DataError: no files, only one label, or a file that cannot be decoded.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {_LAYOUT}")
    paths = list(_media(root))
    if not paths:
        raise DataError(f"{root}: no recordings, videos or pictures; {_LAYOUT}")
    labels = {_label(path, root) for path in paths}
    if len(labels) < 2 and "" not in labels:
        raise DataError(
            f"{root}: only one label, {min(labels)!r}; a model needs two or more to tell"
        )
    clips = tuple(clip for path in paths for clip in _clips(path, root, window_s))
    return Manifest(FOLDER.name, root, clips)


def _is_media(path: Path) -> bool:
    is_hidden = path.name.startswith(".")
    return (
        path.is_file() and not is_hidden and path.suffix.lower() in RECORDINGS | VIDEOS | PICTURES
    )


def _media(root: Path) -> Iterator[Path]:
    """All media of the label folders, in an order that is the same on every file system; else those that lie loose."""
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    labelled = [path for folder in folders for path in sorted(folder.iterdir()) if _is_media(path)]
    yield from labelled or sorted(path for path in root.iterdir() if _is_media(path))


def _label(path: Path, root: Path) -> str:
    return "" if path.parent == root else path.parent.name


def check_labels(manifest: Manifest) -> None:
    """Raise DataError where nothing says what the files are."""
    if not manifest.labels:
        raise DataError(f"{manifest.root}: files without a label folder; {_LAYOUT}")


def _clips(path: Path, root: Path, window_s: float) -> Iterator[Clip]:
    relative = path.relative_to(root).as_posix()
    label = _label(path, root)
    if path.suffix.lower() in PICTURES:
        yield Clip(id=relative, source_id=relative, label=label, image_path=relative)
        return
    duration_s, has_sound, has_picture = _inspect(path)
    for start_s, end_s in cut(duration_s, window_s):
        yield Clip(
            id=f"{relative}@{start_s:g}",
            source_id=relative,
            label=label,
            audio_path=relative if has_sound else "",
            image_path=relative if has_picture else "",
            start_s=start_s,
            end_s=end_s,
            frame_s=(start_s + end_s) / 2 if has_picture else None,
        )


def cut(duration_s: float, window_s: float) -> list[tuple[float, float]]:
    """Return (start, end) in s of the clips of a file: non-overlapping, the last one may be short."""
    count = int(duration_s // window_s)
    if count == 0 or duration_s - count * window_s >= MIN_REST_S:
        count += 1
    return [(i * window_s, min((i + 1) * window_s, duration_s)) for i in range(count)]


def _inspect(path: Path) -> tuple[float, bool, bool]:
    """Duration in s, whether there is sound, whether there are frames; from the header alone."""
    is_video = path.suffix.lower() in VIDEOS
    try:
        if path.suffix.lower() in _BY_SOUNDFILE:
            return soundfile.info(path).duration, True, False
        with path.open("rb") as file, av.open(file, mode="r", options=NO_PLAYLISTS) as container:
            duration_s = (container.duration or 0) / av.time_base
            if not is_video and container.streams.audio:
                duration_s = _counted_s(container)
            has_sound = bool(container.streams.audio)
            has_picture = is_video and bool(container.streams.video)
    except (soundfile.SoundFileError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error  # without number and path
        raise DataError(f"{path}: cannot be decoded ({reason}); convert or remove it") from error
    if duration_s <= 0 or not (has_sound or has_picture):
        raise DataError(f"{path}: holds neither sound nor frames; convert or remove it")
    return duration_s, has_sound, has_picture


def _counted_s(container: av.container.InputContainer) -> float:
    """How long a recording is by its packets: what AAC, AMR or DTS say of themselves is a guess."""
    ends = [
        float((packet.pts + (packet.duration or 0)) * packet.time_base)
        for packet in container.demux(container.streams.audio[0])
        if packet.pts is not None and packet.time_base is not None
    ]
    return max(ends, default=0.0)


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
