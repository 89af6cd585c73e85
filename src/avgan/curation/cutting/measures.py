"""A clip -> the numbers that the rules decide on: does it move, is it lit, does it sound, does it resemble another.

Pure functions of pictures and samples. Thresholds belong to the rules (`select`), not here.

Shapes: H W pixels, h w pixels of a glimpse, L samples.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from avgan.curation.cutting.bars import bar_share, find_bars
from avgan.curation.cutting.hashes import look_hash, voice_hash
from avgan.curation.record import SOUND_RATE_HZ, Cut, Measures

SILENT_DB = -70.0
"""Below it a tenth of a second is silent: microphones in a quiet room make about -60, a muted track less than -90."""
FLOOR_DB = -120.0
FULL_SCALE = 0.9
"""Of a plateau. A lossy codec and another rate leave ripples on what was cut off at 1, and less of it than there was:
of 15 to 35 % of cut off samples 2 to 20 % are counted, of those of whole recordings at full scale 0.03 % at most."""
TENTH = SOUND_RATE_HZ // 10
PATCH_PX = 8

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def measure(cut: Cut) -> Measures:
    """The measures of a clip; a few milliseconds for one of 10 s.

    What lies between black bars is what counts for brightness, contrast, motion and the hash: a film and the same film
    in a letterbox look alike.
    """
    picture = luminance(cut.frames[0])
    glimpses = cut.glimpses or tuple(luminance(frame).astype(np.uint8) for frame in cut.frames)
    bars = find_bars(np.max(glimpses, 0))
    height, width = glimpses[0].shape
    rows, columns = picture.shape[0] / height, picture.shape[1] / width
    seen = bars.scaled(rows, columns).inside(picture)
    return Measures(
        motion=motion([bars.inside(glimpse) for glimpse in glimpses]),
        brightness=float(seen.mean()) / 255,
        contrast=float(seen.std()) / 255,
        bars=bar_share(bars, (height, width)),
        level_db=level_db(cut.sound),
        silent=silent_share(cut.sound),
        clipped=clipped_share(cut.sound),
        look=look_hash(seen),
        voice=voice_hash(cut.sound.mean(1), rate_hz=SOUND_RATE_HZ),
    )


def luminance(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) float32, 0 to 255."""
    return picture.astype(np.float32) @ _LUMA


def motion(glimpses: Sequence[np.ndarray]) -> float:
    """Mean absolute change from one glimpse (h, w) uint8 to the next, of full scale; 0 of a single one.

    Patches of 8 x 8 are compared: their means hardly show what a codec makes of a photograph, which changes every
    pixel a little with each key frame (0.0004, at the worst 0.0016; pixel by pixel 0.002 and 0.006).
    """
    patches = [_patch_means(glimpse) for glimpse in glimpses]
    changes = [np.abs(b - a).mean() for a, b in pairwise(patches)]
    return float(np.mean(changes)) / 255 if changes else 0.0


def _patch_means(glimpse: np.ndarray) -> np.ndarray:
    """(h, w) -> (h // 8, w // 8); what is left at the edges is left out, unless there is nothing else."""
    height, width = glimpse.shape
    rows, columns = max(1, height // PATCH_PX), max(1, width // PATCH_PX)
    down, across = min(PATCH_PX, height), min(PATCH_PX, width)
    patches = glimpse[: rows * down, : columns * across].reshape(rows, down, columns, across)
    return patches.mean((1, 3))


def level_db(sound: np.ndarray) -> float:
    """Root mean square of samples (L, C), in dB of full scale, FLOOR_DB at least."""
    power = float(np.mean(np.square(sound, dtype=np.float64))) if sound.size else 0.0
    return max(FLOOR_DB, 10 * float(np.log10(power))) if power > 0 else FLOOR_DB


def silent_share(sound: np.ndarray) -> float:
    """Share of the tenths of a second of a sound (L, C) that are below SILENT_DB in all channels."""
    tenths = sound[: len(sound) // TENTH * TENTH].reshape(-1, TENTH * sound.shape[1])
    if not len(tenths):
        return float(level_db(sound) < SILENT_DB)
    power = np.mean(np.square(tenths, dtype=np.float64), 1)
    return float(np.mean(power < 10 ** (SILENT_DB / 10)))


def clipped_share(sound: np.ndarray) -> float:
    """Share of the samples of a sound (L, C) that lie at full scale, as does the sample on either side of them."""
    loud = np.abs(sound) >= FULL_SCALE
    if not loud.any():
        return 0.0
    return float(np.sum(loud[1:-1] & loud[:-2] & loud[2:])) / sound.size
