"""TAU Urban Audio-Visual Scenes 2021 in its official layout: each clip of 10 s is a video here.

Picture and sound lie in files of their own; there is no intro to skip. Places stay together: a source is a location.
"""

from pathlib import Path

from avgan.curation.record import Video
from avgan.curation.sources.source import Source
from avgan.data.datasets.tau import TAU_AV_2021


def _find(named: str) -> list[Video]:
    manifest = TAU_AV_2021.read(Path(named))
    videos = [
        Video(
            id=clip.id,
            path=str(manifest.root / clip.image_path),
            sound_path=str(manifest.root / clip.audio_path),
            address=clip.address,
            label=clip.label,
            end_s=clip.end_s,
            source_id=clip.source_id,
            place=clip.place,
            licence=clip.licence,
        )
        for clip in manifest.clips
    ]
    return sorted(videos, key=lambda video: video.id)


TAU = Source(
    name="tau",
    names="the folder of TAU Urban Audio-Visual Scenes 2021, development",
    matches=lambda named: TAU_AV_2021.matches(Path(named)),
    find=_find,
)
