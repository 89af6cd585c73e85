"""A clip -> the numbers that the rules of `select` decide on: does it move, is it lit, does it sound, what is it like.

The perceptual hash of a picture is the signs of its lowest 64 cosine coefficients. That of a sound is, for 16
neighbouring pairs of bands and 16 steps in time, whether the difference of their energies grows (Haitsma and Kalker, "A
highly robust audio fingerprinting system", ISMIR 2002), a clip as one block. What looks or sounds alike shares most
bits, whatever its size, codec, rate or loudness; two that have nothing in common share half.

Shapes: H W pixels, h w pixels of a thumbnail, L samples, T frames of a spectrum.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image

from avgan.curation.record import SOUND_RATE_HZ, Cut, Measures

BLACK = 20  # of 255: bars are 0, and what a codec makes of 0
MAX_BRIGHT = 0.01  # share of a row that may be brighter: a codec smears the picture into the bar
MIN_BALANCE = 0.5  # bars come in pairs: a black edge without a counterpart is a night sky, or a wall
PICTURE_BITS = 64
SOUND_BITS = 256
SIDE_PX = 32  # four times the 8 x 8 coefficients that are kept
NUM_STEPS = 17
"""In time, and of bands: 16 differences of each."""
LOWEST_HZ, HIGHEST_HZ = 150.0, 3500.0  # what a telephone keeps, too
FFT_S = 0.064
FLOOR = 1e-8  # -80 dB: noise of a codec in silence makes no bits
SILENT_DB = -70.0
"""Below it a tenth of a second is silent: microphones in a quiet room make about -60, a muted track less than -90."""
FLOOR_DB = -120.0  # below the last step of 16 bits (-96) by far: digital silence has no logarithm
FULL_SCALE = 0.9
"""Of a plateau. A lossy codec and another rate leave ripples on what was cut off at 1, and less of it than there was:
of 15 to 35 % of cut off samples 2 to 20 % are counted, of those of whole recordings at full scale 0.03 % at most."""
TENTH = SOUND_RATE_HZ // 10
PATCH_PX = 8  # a block of JPEG and MPEG, over which a codec keeps the mean
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class Bars(NamedTuple):
    """How many rows and columns are black at each edge."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def inside(self, picture: np.ndarray) -> np.ndarray:
        """The part of a picture (H, W, ...) between the bars."""
        height, width = picture.shape[:2]
        return picture[self.top : height - self.bottom, self.left : width - self.right]

    def scaled(self, rows: float, columns: float) -> "Bars":
        """The bars of the same picture in another size, rather a pixel too wide than too narrow."""
        return Bars(
            int(np.ceil(self.top * rows)),
            int(np.ceil(self.bottom * rows)),
            int(np.ceil(self.left * columns)),
            int(np.ceil(self.right * columns)),
        )


def find_bars(luma: np.ndarray) -> Bars:
    """The bars of a picture (H, W) of luminance, 0 to 255; none where it is black altogether.

    Give it the brightest that each pixel was over a while: what is black only now is no bar.
    """
    top, bottom = _pair(luma)
    left, right = _pair(luma[top : len(luma) - bottom].T)
    return Bars(top, bottom, left, right)


def bar_share(bars: Bars, shape: tuple[int, ...]) -> float:
    """The share of a picture (H, W, ...) that its bars take up, in [0, 1]."""
    height, width = shape[:2]
    inner = (height - bars.top - bars.bottom) * (width - bars.left - bars.right)
    return 1.0 - inner / (height * width)


def _pair(luma: np.ndarray) -> tuple[int, int]:
    """The black rows at the first and at the last edge; none where only one edge has some."""
    if not luma.size:
        return 0, 0
    (lit,) = np.nonzero((luma > BLACK).mean(1) > MAX_BRIGHT)
    if not len(lit):
        return 0, 0
    first, last = int(lit[0]), len(luma) - 1 - int(lit[-1])
    balanced = min(first, last) >= MIN_BALANCE * max(first, last)
    return (first, last) if balanced else (0, 0)


def picture_hash(luma: np.ndarray) -> str:
    """Of a picture (H, W) of luminance, 0 to 255: 16 hexadecimal digits."""
    small = Image.fromarray(luma.astype(np.float32)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX, reducing_gap=None)
    cosines = _cosines(SIDE_PX)
    coefficients = cosines[:9] @ np.asarray(small, np.float64) @ cosines[:9].T
    low = np.append(coefficients[:8, :8].ravel()[1:], coefficients[8, 0])  # without the mean
    return _hex(low > 0)


def sound_hash(sound: np.ndarray, *, rate_hz: int) -> str:
    """Of a sound (L,): 64 hexadecimal digits, all 0 for silence."""
    energies = np.log(_band_energies(sound, rate_hz) + FLOOR)
    edges = np.linspace(0, len(energies), NUM_STEPS + 2)
    # Steps overlap by half: a clip that begins a little later still has about the same ones.
    steps = np.array(
        [energies[int(a) : max(int(b), int(a) + 1)].mean(0) for a, b in zip(edges, edges[2:])]  # noqa: B905
    )
    slopes = np.diff(steps, axis=1)
    return _hex((np.diff(slopes, axis=0) > 1e-6).ravel())


def _band_energies(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    """(T, 17) mean power of logarithmic bands in overlapping windows; at least as many as there are steps."""
    size = int(FFT_S * rate_hz)
    hop = max(1, min(size // 2, (len(sound) - size) // (2 * NUM_STEPS)))
    sound = np.pad(sound, (0, max(0, size + 2 * NUM_STEPS * hop - len(sound))))
    windows = np.lib.stride_tricks.sliding_window_view(sound, size)[::hop]
    spectrum = np.fft.rfft(windows * np.hanning(size).astype(np.float32), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2) / size
    bins = np.geomspace(LOWEST_HZ, HIGHEST_HZ, NUM_STEPS + 1) * size / rate_hz
    edges = np.round(bins).astype(int)
    sums = np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)
    return sums / np.diff(edges)


@cache
def _cosines(size: int) -> np.ndarray:
    """(size, size) rows of the orthonormal discrete cosine transform (type II)."""
    k, n = np.arange(size)[:, None], np.arange(size)[None]
    rows = np.cos(np.pi * k * (n + 0.5) / size) * np.sqrt(2 / size)
    rows[0] /= np.sqrt(2)
    return rows


def _hex(bits: np.ndarray) -> str:
    return np.packbits(bits).tobytes().hex()


def measure(cut: Cut) -> Measures:
    """The measures of a clip; a few milliseconds for one of 10 s.

    What lies between black bars is what counts for brightness, contrast, motion and the hash: a film and the same film
    in a letterbox look alike.
    """
    picture = luminance(cut.frames[0])
    bars = find_bars(np.max(cut.thumbnails, 0))
    height, width = cut.thumbnails[0].shape
    rows, columns = picture.shape[0] / height, picture.shape[1] / width
    inner = bars.scaled(rows, columns).inside(picture)
    return Measures(
        motion=motion([bars.inside(thumbnail) for thumbnail in cut.thumbnails]),
        brightness=float(inner.mean()) / 255,
        contrast=float(inner.std()) / 255,
        bars=bar_share(bars, (height, width)),
        level_db=level_db(cut.sound),
        silent=silent_share(cut.sound),
        clipped=clipped_share(cut.sound),
        look=picture_hash(inner),
        voice=sound_hash(cut.sound.mean(1), rate_hz=SOUND_RATE_HZ),
    )


def luminance(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) float32, 0 to 255."""
    return picture.astype(np.float32) @ _LUMA


def motion(thumbnails: Sequence[np.ndarray]) -> float:
    """Mean absolute change from one thumbnail (h, w) uint8 to the next, of full scale; 0 of a single one.

    Patches of 8 x 8 are compared: their means hardly show what a codec makes of a photograph, which changes every
    pixel a little with each key frame (0.0004, at the worst 0.0016; pixel by pixel 0.002 and 0.006).
    """
    patches = [_patch_means(thumbnail) for thumbnail in thumbnails]
    changes = [np.abs(b - a).mean() for a, b in pairwise(patches)]
    return float(np.mean(changes)) / 255 if changes else 0.0


def _patch_means(thumbnail: np.ndarray) -> np.ndarray:
    """(h, w) -> (h // 8, w // 8); what is left at the edges is left out, unless there is nothing else."""
    height, width = thumbnail.shape
    rows, columns = max(1, height // PATCH_PX), max(1, width // PATCH_PX)
    down, across = min(PATCH_PX, height), min(PATCH_PX, width)
    patches = thumbnail[: rows * down, : columns * across].reshape(rows, down, columns, across)
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
