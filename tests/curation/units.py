"""Units of work as the pipeline leaves them: clips with their verdicts, and the tars that hold their media."""

import hashlib
import io
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from clips import clip
from PIL import Image

from avgan.curation.record import Candidate, Loss
from avgan.curation.select import Verdict
from avgan.data.shards import add_member

RATE_HZ = 32_000
SCENES = ("bus", "metro_station", "park")


@dataclass(frozen=True)
class Units:
    """What `write` is given."""

    verdicts: list[Verdict]
    media: dict[str, Path]
    losses: list[Loss]


def sound_bytes(hz: float, *, seconds: float) -> bytes:
    """A tone as FLAC, higher in the right channel."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = 0.4 * np.sin(2 * np.pi * hz * times[:, None] * np.array([1.0, 1.5]))
    file = io.BytesIO()
    soundfile.write(file, tone.astype(np.float32), RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def picture_bytes(number: int, *, size: tuple[int, int] = (320, 180)) -> bytes:
    """A sky and a ground of colours that the number alone decides, as JPEG."""
    colours = np.random.default_rng(number).integers(0, 256, (2, 1, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).resize(size, Image.Resampling.NEAREST).save(file, "JPEG", quality=90)
    return file.getvalue()


def make_units(
    folder: Path, *, num_videos: int = 12, clips_per_video: int = 2, seconds: float = 1.0, more_frames: int = 0
) -> Units:
    """Videos of the three scenes in turn, two a unit; each third clip of a video's scene is dropped for a reason.

    A video is in train, validation or test by its number; no two clips have the same sound or picture.
    """
    units = Units([], {}, [Loss(video_id="gone-1", stage="acquire", reason="gone", detail="404")])
    for start in range(0, num_videos, 2):
        tar_path = folder / f"{start // 2:06}" / "media.tar"
        tar_path.parent.mkdir(parents=True)
        with tarfile.open(tar_path, "w", format=tarfile.PAX_FORMAT) as tar:
            for number in range(start, min(start + 2, num_videos)):
                video = f"film.{number}"
                units.media[video] = tar_path
                for index in range(clips_per_video):
                    _add(tar, units, video, number, index, seconds, more_frames)
    return units


def _add(
    tar: tarfile.TarFile, units: Units, video: str, number: int, index: int, seconds: float, more_frames: int
) -> None:
    serial = 10 * number + index
    files = {
        "flac": sound_bytes(200.0 + 20 * serial, seconds=seconds),
        "jpg": picture_bytes(serial),
        **{f"{frame}.jpg": picture_bytes(9_000 + frame) for frame in range(1, more_frames + 1)},
    }
    start_s = 5.0 + index * seconds
    candidate: Candidate = replace(
        clip(f"{video}-{round(1000 * start_s)}"),
        video_id=video,
        source_id=video,
        label=SCENES[number % 3],
        start_s=start_s,
        end_s=start_s + seconds,
        frame_s=start_s + seconds / 2,
        address=f"https://example.org/{video}",
        licence="CC BY 4.0" if number % 2 else "",
        place="lisbon" if number % 3 else "",
        audio_sha256=hashlib.sha256(files["flac"]).hexdigest(),
        image_sha256=hashlib.sha256(files["jpg"]).hexdigest(),
        scenes=(("bus_interior", 0.7), ("car_interior", 0.1)),
        sounds=(("Vehicle", 0.8),),
    )
    for kind, content in files.items():
        add_member(tar, f"{candidate.id}.{kind}", content)
    if index == 2:
        verdict = Verdict(candidate=candidate, label=candidate.label, reason="still", detail="motion 0 < 0.002")
    else:
        split = ("train", "train", "validation", "test")[number // 3 % 4]
        verdict = Verdict(candidate=candidate, label=candidate.label, split=split)
    units.verdicts.append(verdict)
