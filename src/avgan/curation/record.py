"""What is known of a video and of each clip that is cut from it, on its way from a source to the data set.

Shapes: L samples, C = 2 channels, H W pixels.
"""

from dataclasses import dataclass, field

import numpy as np

SOUND_RATE_HZ = 32_000
"""Of the two-channel sound that is kept (Sec. 4); models hear it mono at 16 kHz."""
FRAME_WIDTH_PX = 640
"""Of the frame that is kept; models see its central square at 128 px."""

Tags = tuple[tuple[str, float], ...]
"""Names with their weights in [0, 1], the heaviest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """Something to be watched: a file, or an address to fetch it from."""

    id: str
    """Unique within a data set, and fit to be the name of a file: letters, digits, `-`, `_` and `.`."""
    path: str = ""
    """Where it lies, where it is a file."""
    sound_path: str = ""
    """Where its sound lies, where that is a file of its own."""
    address: str = ""
    """Where it came from, or is to be fetched from."""
    label: str = ""
    """The scene that its source says it shows; empty where nobody says."""
    start_s: float = 0.0
    end_s: float | None = None
    """The stretch that is of interest; None: to the end. Where it is named, there is no intro to skip."""
    source_id: str = ""
    """What belongs together in every split, such as a recording location; the video itself where empty."""
    place: str = ""
    """City or place."""
    licence: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """A clip as it was cut out of its video."""

    start_s: float
    end_s: float
    sound: np.ndarray = field(repr=False)
    """(L, 2) float32 at SOUND_RATE_HZ; both channels alike where the video has one."""
    frames: tuple[np.ndarray, ...] = field(repr=False)
    """Each (H, W, 3) uint8 RGB, upright, at most FRAME_WIDTH_PX wide. The first is the clip's picture."""
    frame_times_s: tuple[float, ...] = ()
    """Of the frames, within the video."""
    glimpses: tuple[np.ndarray, ...] = field(default=(), repr=False)
    """Small pictures (h, w) uint8 of luminance, spread evenly over the clip: what moves in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Numbers about a clip, which the rules decide on (`select`)."""

    motion: float
    """Mean change between frames that are spread over the clip, of full scale; 0 for a still picture."""
    brightness: float
    """Mean of the picture, 0 black to 1 white."""
    contrast: float
    """Standard deviation of the picture's luminance, of full scale; 0 for one plain colour."""
    bars: float
    """Share of the picture that is black bars at its edges."""
    level_db: float
    """Root mean square of the sound against full scale; -120 for digital silence."""
    silent: float
    """Share of tenths of a second that are silent."""
    clipped: float
    """Share of samples on a plateau at full scale."""
    look: str
    """Perceptual hash of the picture: 16 hexadecimal digits, of which alike pictures share most bits."""
    voice: str
    """Perceptual hash of the sound, likewise, 64 hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A clip that may enter the data set: a row of a unit's table."""

    id: str
    """`<video>-<start in ms>`"""
    video_id: str
    source_id: str
    label: str
    """The scene that the source says."""
    start_s: float
    end_s: float
    frame_s: float
    address: str
    licence: str
    place: str
    audio_sha256: str
    """Of the FLAC file."""
    image_sha256: str
    """Of the JPEG file."""
    measures: Measures
    scenes: Tags = ()
    """What a tagger of pictures sees, its first five."""
    sounds: Tags = ()
    """What a tagger of sounds hears, its first five."""
    music: float = 0.0
    speech: float = 0.0
    """Weight of music and of speech in the sound, in [0, 1], whether among the first five or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A video, or a stretch of one, of which nothing came: what and why."""

    video_id: str
    stage: str
    """acquire or cut"""
    reason: str
    """A word for statistics: too short, damaged, or one of `failures.REASONS`."""
    detail: str = ""
    """One line."""
    address: str = ""
    """Of the video, for whoever looks for it."""
