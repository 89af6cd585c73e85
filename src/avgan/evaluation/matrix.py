"""A confusion matrix as a drawing for a page: SVG that takes its colours from the page, light or dark.

Shapes: N labels.
"""

import html
from collections.abc import Container, Sequence

import numpy as np

from avgan.runtime.drawing import plain

CELL_PX = 13
LETTER_PX = 6.0
"""Width of a letter of a label, about."""


def matrix_svg(
    counts: np.ndarray, labels: Sequence[str], *, linked: Container[tuple[int, int]] = ()
) -> str:
    """Draw counts (N, N): rows are the truth, columns the answers, darker is a larger share of the row.

    What is on the diagonal is right and drawn quietly. A cell in `linked` leads to the element `pair-<row>-<column>`.
    """
    names = [html.escape(plain(label)) for label in labels]
    margin = round(12 + LETTER_PX * max(map(len, labels), default=0))
    cell = CELL_PX if len(labels) > 20 else 2 * CELL_PX
    side = margin + cell * len(labels)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shapes = []
    for row, column in zip(*counts.nonzero(), strict=True):
        share = shares[row, column]
        kind = "right" if row == column else "wrong"
        x, y = margin + cell * column, margin + cell * row
        said = "named rightly" if row == column else f"taken for {names[column]}"
        shape = (
            f'<rect class="{kind}" x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
            f'fill-opacity="{_strength(share):.2f}"><title>{names[row]}: {counts[row, column]} of '
            f"{counts[row].sum()} {said}</title></rect>"
        )
        if (int(row), int(column)) in linked:
            shape = f'<a href="#pair-{row}-{column}">{shape}</a>'
        shapes.append(shape)
    middle = cell / 2 + 3
    for place, name in enumerate(names):
        at = margin + cell * place + middle
        shapes.append(f'<text x="{margin - 5}" y="{at:.1f}" text-anchor="end">{name}</text>')
        shapes.append(
            f'<text transform="translate({at:.1f} {margin - 5}) rotate(-90)">{name}</text>'
        )
    extent = cell * len(labels)
    return (
        f'<svg class="matrix" viewBox="0 0 {side} {side}" style="--side:{side}px" role="img" '
        'aria-label="Confusion matrix: rows are the truth, columns the answers">'
        f'<rect class="field" x="{margin}" y="{margin}" width="{extent}" height="{extent}"/>'
        f"{''.join(shapes)}</svg>"
    )


def _strength(share: float) -> float:
    """A root makes single mistakes visible beside a full diagonal."""
    return 0.15 + 0.85 * float(share) ** 0.5
