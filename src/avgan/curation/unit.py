"""A unit of work: a few videos -> their clips, measured and tagged, with their media in one tar; and the tools for it.

    work/<number>/media.tar      <clip>.flac (32 kHz, stereo, 16 bit), <clip>.jpg, and <clip>.1.jpg ... of more frames
                  clips.parquet  a Candidate for each
                  losses.json    what gave nothing, and why
                  done.json      counts and seconds; written last

It is made in a folder beside, which takes its name when all is in it: a unit is whole or it is not there. Made
again, on any machine, it has the same clips, media and losses. A worker opens its tools once and keeps them: a
tagger's weights take seconds to read.

Shapes: B clips of a batch, L samples, H W pixels.
"""

import faulthandler
import hashlib
import io
import json
import shutil
import tarfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from avgan.curation.cut import cut
from avgan.curation.fetch import FetchSettings, fetch
from avgan.curation.measures import measure
from avgan.curation.privacy import blur
from avgan.curation.record import SOUND_RATE_HZ, Candidate, Cut, Loss, Measures, Tags, Video, save_clips
from avgan.curation.taggers import Tagger, first_tags, music_and_speech, open_tagger
from avgan.data.shards import add_member
from avgan.errors import AvganError, DataError
from avgan.files import to_disk, write_whole

SoundTags = tuple[Tags, float, float]
"""The first sounds of a clip; the weight of music and of speech in it."""
PATIENCE_S = 120.0
"""Some 25 times what a core needs for 10 s of H.264 in 4K."""
MEDIA, CLIPS, LOSSES, DONE = "media.tar", "clips.parquet", "losses.json", "done.json"
CLIPS_PER_BATCH = 16
"""Clips that are tagged at a time: of 10 s, 2.5 MB each."""
JPEG_QUALITY = 90  # artefacts do not show, least of all at the 128 px that models take
MAX_DEATHS = 3  # one death may be bad luck, three are the video


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the clips of a data set depend on, beside their videos."""

    clip_s: float = 10.0
    """10 for DCASE, 5 for ESC-50, 1 (Sec. 4)."""
    skip_s: float = 5.0
    """Of each video, "which usually includes an intro" (Sec. 4)."""
    num_frames: int = 1
    crop_bars: bool = False
    blur: tuple[str, ...] = ()
    """faces, plates"""
    picture_tagger: str = ""
    """As `taggers.open_tagger` takes it; empty: none."""
    sound_tagger: str = ""
    patience_s: float = PATIENCE_S
    """How long a video may take for its next clip."""

    def stated(self) -> dict[str, Any]:
        """As JSON, without what is a machine's, its places and its speed: what units must have in common."""
        stated = {**asdict(self), "blur": sorted(self.blur)}
        for kind, name in (("sees", "picture_tagger"), ("hears", "sound_tagger")):
            stated[kind] = Path(stated.pop(name).partition("=")[0]).name
        del stated["patience_s"]
        return stated


class Tools:
    """What is done to a video and its clips, as the settings ask for. `weights`: the folder of taggers' weights.

    Raises DataError where a tagger's weights are not there.
    """

    def __init__(self, settings: Settings, weights: Path, fetching: FetchSettings | None = None) -> None:
        self._settings = settings
        self._fetching = fetching
        self.patience_s = settings.patience_s
        """How long `cut` may take for its next clip; of a video that takes longer time and again nothing is kept."""
        self._taggers: dict[str, Tagger] = {}
        for kind, named in (("sees", settings.picture_tagger), ("hears", settings.sound_tagger)):
            if named:
                self._taggers[kind] = tagger = open_tagger(named, weights)
                if tagger.takes_sounds != (kind == "hears"):
                    other = "sounds" if tagger.takes_sounds else "pictures"
                    raise DataError(f"{tagger.name}: is a tagger of {other}; name another one")
        self.facts = {
            kind: {"name": tagger.name, "licence": tagger.licence, "sha256": tagger.sha256}
            for kind, tagger in self._taggers.items()
        }
        """For the data card."""

    def fetch(self, video: Video, folder: Path) -> Video:
        """A video as it is known once it is on a disk. What is downloaded goes to the folder."""
        return fetch(video, folder, settings=self._fetching)

    def cut(self, video: Video) -> Iterator[Cut]:
        """Of a video on a disk."""
        return cut(
            video.path,
            clip_s=self._settings.clip_s,
            skip_s=self._settings.skip_s if video.end_s is None else 0.0,  # a named stretch has no intro
            num_frames=self._settings.num_frames,
            start_s=video.start_s,
            end_s=video.end_s,
            sound_path=video.sound_path or None,
            crop_bars=self._settings.crop_bars,
        )

    def measure(self, cut: Cut) -> Measures:
        """The numbers that the rules decide on."""
        return measure(cut)

    def tag_pictures(self, pictures: Sequence[np.ndarray]) -> list[Tags]:
        """Of B pictures (H, W, 3)."""
        if not pictures or (tagger := self._taggers.get("sees")) is None:
            return [() for _ in pictures]
        return [first_tags(tagger.labels, weights) for weights in tagger.tag(pictures)]

    def tag_sounds(self, sounds: Sequence[np.ndarray]) -> list[SoundTags]:
        """Of B sounds (L, 2)."""
        if not sounds or (tagger := self._taggers.get("hears")) is None:
            return [((), 0.0, 0.0) for _ in sounds]
        return [
            (first_tags(tagger.labels, weights), *music_and_speech(tagger.labels, weights))
            for weights in tagger.tag(sounds)
        ]

    def blur(self, frame: np.ndarray) -> np.ndarray:
        """A frame as it may be shown."""
        return blur(frame, self._settings.blur) if self._settings.blur else frame


@dataclass(frozen=True)
class Report:
    """The numbers of a unit that was made."""

    number: int
    num_clips: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage."""


def folder_of(work: Path, number: int) -> Path:
    return work / f"{number:06}"


def is_done(work: Path, number: int) -> bool:
    return (folder_of(work, number) / DONE).is_file()


def read_report(work: Path, number: int) -> Report:
    """Of a unit that is done."""
    tree = json.loads((folder_of(work, number) / DONE).read_text(encoding="utf-8"))
    return Report(number, tree["clips"], tree["seconds"])


class AttemptLog:
    """Which video of a unit is being tried, on disk: a process that dies of it leaves no other trace.

    A decoder in C may crash, take more memory than there is, or never come back. A video that MAX_DEATHS workers of
    one run died of is left out. One death is no proof, not even by the clock: a disk stalls, a machine is suspended.
    Deaths in another run do not count: then the whole run was killed.
    """

    def __init__(self, work: Path, number: int, run: str) -> None:
        self._path = work / "attempts" / f"{number:06}.json"
        self._trace = self._path.with_suffix(".trace")
        self._run = run
        self._deaths: dict[str, int] = {}
        self._hung: set[str] = set()
        with suppress(OSError, ValueError):
            tree = json.loads(self._path.read_text(encoding="utf-8"))
            if tree["run"] == run:
                self._deaths, self._hung = tree["deaths"], set(tree["hung"])
                self._deaths[tree["trying"]] = self._deaths.get(tree["trying"], 0) + 1
                if self._trace.stat().st_size:
                    self._hung.add(tree["trying"])

    def may_try(self, video_id: str) -> bool:
        """Whether to try a video; noted if so."""
        if self._deaths.get(video_id, 0) >= MAX_DEATHS:
            return False
        hung = sorted(self._hung)
        tree = {"run": self._run, "deaths": self._deaths, "hung": hung, "trying": video_id}
        self._trace.unlink(missing_ok=True)
        write_whole(self._path, json.dumps(tree))
        return True

    def has_hung(self, video_id: str) -> bool:
        """Whether a worker died of a video because it took too long."""
        return video_id in self._hung

    @contextmanager
    def limited(self, limit_s: float) -> Iterator[None]:
        """End this process where what is done within takes longer.

        A loop in C lets no other thread of Python run, nor a signal handler. `faulthandler` waits in a thread that
        needs neither, writes where everybody stood, which is how the next worker knows, and ends the process.
        """
        with self._trace.open("w") as trace:
            faulthandler.dump_traceback_later(limit_s, exit=True, file=trace)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()

    def close(self) -> None:
        """All of the unit was tried."""
        for path in (self._path, self._trace):
            path.unlink(missing_ok=True)


def make_unit(number: int, videos: Sequence[Video], work: Path, tools: Tools, run: str) -> Report:
    """Make a unit, unless it is done. `run`: a name for this run; a video that its workers died of is left out."""
    if is_done(work, number):
        return read_report(work, number)
    log = AttemptLog(work, number, run)
    folder = work / f".{number:06}.{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        writer = _UnitWriter(folder, work / "fetched", tools, log)
        for video in videos:
            if log.may_try(video.id):
                writer.add_video(video)
            elif log.has_hung(video.id):
                writer.add_loss(video, "cut", "too slow", f"no clip within {tools.patience_s:g} s")
            else:
                writer.add_loss(video, "cut", "damaged", "its decoder dies of it")
        report = writer.finish(number)
        with suppress(OSError):  # another worker was faster: its unit is the same
            folder.rename(folder_of(work, number))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    log.close()
    for video in videos:
        shutil.rmtree(work / "fetched" / video.id, ignore_errors=True)
    return report


class _UnitWriter:
    """A unit on its way to the disk."""

    def __init__(self, folder: Path, fetched: Path, tools: Tools, log: AttemptLog) -> None:
        self._folder = folder
        self._fetched = fetched
        self._tools = tools
        self._log = log
        self._tar = tarfile.open(folder / MEDIA, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 (closed by `finish`)
        self._clips: list[Candidate] = []
        self._waiting: list[tuple[Video, Cut, Measures]] = []
        self._seconds: dict[str, float] = defaultdict(float)
        self.losses: list[Loss] = []

    def add_video(self, video: Video) -> None:
        """Fetch a video, and keep of it what can be had."""
        num_losses, num_before = len(self.losses), len(self._clips)
        with self._noting_loss("acquire", video), self._timed("acquire"):
            video = self._tools.fetch(video, self._fetched / video.id)
        if len(self.losses) > num_losses:
            return
        cuts = iter(self._tools.cut(video))
        while True:
            clip: Cut | None = None
            limited = self._log.limited(self._tools.patience_s)
            with self._noting_loss("cut", video), self._timed("cut"), limited:
                clip = next(cuts, None)
            if clip is None:
                break
            with self._timed("measure"):
                self._waiting.append((video, clip, self._tools.measure(clip)))
            if len(self._waiting) == CLIPS_PER_BATCH:
                self._flush()
        self._flush()
        if len(self._clips) == num_before and len(self.losses) == num_losses:
            self.add_loss(video, "cut", "too short", "no whole clip after what is skipped")

    @contextmanager
    def _noting_loss(self, stage: str, video: Video) -> Iterator[None]:
        """Note what is wrong with a video. What is wrong with this machine, such as a full disk, goes on."""
        try:
            yield
        except AvganError as error:
            reason, detail = getattr(error, "reason", ""), getattr(error, "detail", "")
            if not reason:
                raise
        except (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError) as error:
            # One of millions stops nothing.
            reason, detail = "damaged", f"{type(error).__name__}: {error}"
        else:
            return
        for path in (video.path, video.sound_path):
            if path:  # paths of this machine stay private
                detail = detail.replace(path, Path(path).name)
        self.add_loss(video, stage, reason, detail)

    def _flush(self) -> None:
        """Tag the clips that wait, and write them."""
        waiting = [clip for _, clip, _ in self._waiting]
        with self._timed("see"):
            scene_tags = self._tools.tag_pictures([clip.frames[0] for clip in waiting])
        with self._timed("hear"):
            sound_tags = self._tools.tag_sounds([clip.sound for clip in waiting])
        for (video, clip, measures), scenes, (sounds, music, speech) in zip(
            self._waiting, scene_tags, sound_tags, strict=True
        ):
            with self._timed("encode"):
                id = f"{video.id}-{round(clip.start_s * 1000)}"
                sound = flac(clip.sound)
                pictures = [jpeg(self._tools.blur(frame)) for frame in clip.frames]
                add_member(self._tar, f"{id}.flac", sound)
                for place, picture in enumerate(pictures):
                    add_member(self._tar, f"{id}.jpg" if place == 0 else f"{id}.{place}.jpg", picture)
            self._clips.append(
                Candidate(
                    id=id,
                    video_id=video.id,
                    source_id=video.source_id or video.id,
                    label=video.label,
                    start_s=clip.start_s,
                    end_s=clip.end_s,
                    frame_s=clip.frame_times_s[0],
                    address=video.address,
                    licence=video.licence,
                    place=video.place,
                    audio_sha256=hashlib.sha256(sound).hexdigest(),
                    image_sha256=hashlib.sha256(pictures[0]).hexdigest(),
                    measures=measures,
                    scenes=scenes,
                    sounds=sounds,
                    music=music,
                    speech=speech,
                )
            )
        self._waiting.clear()

    def finish(self, number: int) -> Report:
        """Write what is said of the media; the marker last."""
        self._tar.close()
        save_clips(self._folder / CLIPS, self._clips)
        text = json.dumps([asdict(loss) for loss in self.losses], indent=1, ensure_ascii=False)
        write_whole(self._folder / LOSSES, text + "\n")
        seconds = {stage: round(spent, 3) for stage, spent in sorted(self._seconds.items())}
        done = {"clips": len(self._clips), "losses": len(self.losses), "seconds": seconds}
        for name in (MEDIA, CLIPS, LOSSES):
            to_disk(self._folder / name)
        write_whole(self._folder / DONE, json.dumps(done) + "\n")
        to_disk(self._folder / DONE)
        return Report(number, len(self._clips), seconds)

    def add_loss(self, video: Video, stage: str, reason: str, detail: str) -> None:
        """Note that a video gives no clip, or none further."""
        detail = " ".join(detail.split())
        self.losses.append(Loss(video_id=video.id, stage=stage, reason=reason, detail=detail, address=video.address))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] += time.perf_counter() - started_s


def flac(sound: np.ndarray) -> bytes:
    """(L, C) float32 in [-1, 1] at SOUND_RATE_HZ -> FLAC of 16 bits."""
    samples = np.clip(np.rint(sound * 32_768.0), -32_768, 32_767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SOUND_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def jpeg(frame: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB -> JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return buffer.getvalue()
