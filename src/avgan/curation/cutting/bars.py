"""Black bars at the edges of a picture, as films on other screens and phones held upright have them.

Shapes: H W pixels.
"""

from typing import NamedTuple

import numpy as np

BLACK = 20  # of 255: bars are 0, and what a codec makes of 0
OUTLIERS = (
    0.01  # share of a row that may be brighter, where a codec smears the picture into the bar
)
MIN_BALANCE = (
    0.5  # bars come in pairs: a black edge without a counterpart is a night sky, or a wall
)


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
    (lit,) = np.nonzero((luma > BLACK).mean(1) > OUTLIERS)
    if not len(lit):
        return 0, 0
    first, last = int(lit[0]), len(luma) - 1 - int(lit[-1])
    balanced = min(first, last) >= MIN_BALANCE * max(first, last)
    return (first, last) if balanced else (0, 0)
