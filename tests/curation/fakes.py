"""Tools that need no videos: a "video" is a text file that says what its clips are.

clips=3 noise=7        three clips of 0.1 s whose sound and picture follow from 7
wait=0.05              each takes so many seconds
die                    the worker that decodes it dies
    once=FILE              the first worker that decodes it is killed, and leaves the file
loop                   it is never decoded, and nothing else of Python runs meanwhile
cut=FILE               what the real cutter makes of that file
damaged                after its clips it raises
"""

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from clips import GOOD

from avgan.curation import cut as cutting
from avgan.curation.engines import Work, open_worker
from avgan.curation.record import Cut, Measures, Video
from avgan.curation.unit import PATIENCE_S, SoundTags
from avgan.errors import DataError


def film_of_text(folder: Path, name: str, **said: Any) -> Video:
    """Write such a file; `video` keywords may be given as label, place, source_id."""
    known = {key: said.pop(key) for key in ("label", "place", "source_id") if key in said}
    path = folder / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join(f"{key}={value}" for key, value in said.items()))
    return Video(id=name, path=str(path), **known)


class LostError(DataError):
    """As `fetch` and `cut` tell of a video that does not come."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def fetch(video: Video, folder: Path) -> Video:
    if not Path(video.path).is_file():
        raise LostError("gone", f"{video.path}: no such file")
    return video


def cut(video: Video) -> Iterator[Cut]:
    said = dict(word.partition("=")[::2] for word in Path(video.path).read_text().split())
    if "die" in said:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "once" in said and not Path(said["once"]).exists():
        Path(said["once"]).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if "loop" in said:
        re.match("(a+)+$", "a" * 100 + "b")
    if "cut" in said:
        yield from cutting.cut(said["cut"], clip_s=1.0)
    rng = np.random.default_rng(int(said.get("noise", 0)))
    for number in range(int(said.get("clips", 1))):
        time.sleep(float(said.get("wait", 0)))
        yield Cut(
            start_s=5.0 + number,
            end_s=6.0 + number,
            sound=rng.uniform(-0.5, 0.5, (3_200, 2)).astype(np.float32),
            frames=(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8),),
            frame_times_s=(5.5 + number,),
            thumbnails=(),
        )
    if "damaged" in said:
        raise LostError("damaged", f"{video.path}: ends early")
    if "broken" in said:
        raise RuntimeError("what nobody thought of")
    if "full" in said:
        raise OSError(28, "No space left on device")


def measure(cut: Cut) -> Measures:
    """Hashes that follow from picture and sound."""
    look = cut.frames[0].tobytes()[:8].hex()
    voice = np.abs(cut.sound[:32, 0] * 255).astype(np.uint8).tobytes().hex()
    motion = float(cut.frames[0][0, 0, 0]) / 255
    return replace(GOOD, look=look, voice=voice, motion=motion)


def tag_pictures(pictures: Sequence[np.ndarray]) -> list[Any]:
    return [(("road", round(float(picture.mean()) / 255, 4)),) for picture in pictures]


def tag_sounds(sounds: Sequence[np.ndarray]) -> list[SoundTags]:
    return [((("Car", round(float(abs(sound).mean()), 4)),), 0.0, 0.0) for sound in sounds]


def open_tools(**changes: Any) -> Any:
    """Tools, some of them others."""
    usual = {
        "fetch": fetch,
        "cut": cut,
        "measure": measure,
        "tag_pictures": tag_pictures,
        "tag_sounds": tag_sounds,
        "blur": lambda frame: frame,
        "patience_s": PATIENCE_S,
        "facts": {"sees": {"name": "fake"}},
    }
    return SimpleNamespace(**usual | changes)


def make_here(work: Work, numbers: Sequence[int]) -> Any:
    """An engine that is this process."""
    yield from map(open_worker(work), numbers)


def open_impatient_tools() -> Any:
    return open_tools(patience_s=1.0)


def fail() -> Any:
    raise DataError("no weights here; get them")


def fail_badly() -> Any:
    raise KeyError("what nobody thought of")


def die() -> Any:
    os._exit(3)
