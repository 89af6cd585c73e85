"""The paper's Fig. 8: what was photographed, reconstructed and imagined, a column a scene.

Shapes: S scenes, H W pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avgan.images import as_picture

CELL_PX = 128
GAP_PX = 4
FONT_PX = 15


def draw_figure8(
    rows: Sequence[tuple[str, np.ndarray]], columns: Sequence[str], path: Path
) -> None:
    """Write rows of pictures (S, 3, H, W) with their names on the left and the scenes above as one PNG."""
    font = ImageFont.load_default(size=FONT_PX)
    margin = round(max(font.getlength(name) for name, _ in rows)) + 4 * GAP_PX
    head = 2 * FONT_PX + 4 * GAP_PX
    step = CELL_PX + GAP_PX
    sheet = Image.new("RGB", (margin + len(columns) * step, head + len(rows) * step), "white")
    draw = ImageDraw.Draw(sheet)
    for number, scene in enumerate(columns):
        words = scene.replace("_", "\n")
        place = (margin + number * step + CELL_PX / 2, head - GAP_PX)
        draw.multiline_text(place, words, "black", font, anchor="md", align="center")
    for r, (name, pictures) in enumerate(rows):
        top = head + r * step
        draw.text((2 * GAP_PX, top + CELL_PX / 2), name, "black", font, anchor="lm")
        for c, picture in enumerate(pictures):
            cell = as_picture(picture).resize((CELL_PX, CELL_PX), Image.Resampling.BICUBIC)
            sheet.paste(cell, (margin + c * step, top))
    sheet.save(path)
