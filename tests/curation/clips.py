"""Clips as they come out of measuring and tagging, for tests of what is decided about them."""

from dataclasses import fields, replace
from typing import Any

from avgan.curation.record import Candidate, Measures

GOOD = Measures(
    motion=0.05,
    brightness=0.5,
    contrast=0.2,
    bars=0.0,
    level_db=-20.0,
    silent=0.0,
    clipped=0.0,
    look="0123456789abcdef",
    voice="0123456789abcdef" * 4,
)
MEASURED = {field.name for field in fields(Measures)}


def clip(id: str = "film-0", **known: Any) -> Candidate:
    """A clip without fault, but for what is named: fields of Candidate or of Measures."""
    measures = replace(GOOD, **{name: known.pop(name) for name in MEASURED & set(known)})
    video = id.rpartition("-")[0]
    usual: dict[str, Any] = {
        "video_id": video,
        "source_id": video,
        "label": "bus",
        "start_s": 5.0,
        "end_s": 15.0,
        "frame_s": 10.0,
        "address": "",
        "licence": "",
        "place": "",
        "audio_sha256": "a" * 64,
        "image_sha256": "b" * 64,
    }
    return Candidate(id=id, measures=measures, **{**usual, **known})
