"""What the pages of evaluations share: the page around the sections, rows of shares with intervals, large pictures."""

import base64
import hashlib
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from avgan.images import FORMATS
from avgan.report import data_uri, page_file
from avgan.runtime.wording import percent

SHEET_PX = 1400
THIN = "\u202f"
"""A narrow space at which no line is broken."""


def assemble(
    *,
    title: str,
    heading: str,
    lead: str,
    sections: Sequence[str],
    note: str,
    look: str = "evaluation",
) -> str:
    """The page around its sections; all but `title` is HTML already. `look` names its style and its script."""
    script = page_file(f"{look}.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(page_file("sections.html")).substitute(
        style=page_file("report.css") + page_file(f"{look}.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        title=html.escape(title),
        heading=heading,
        lead=lead,
        sections="\n".join(filter(None, sections)),
        note=note,
    )


def shares_table(rows: Sequence[str]) -> str:
    """Rows of `share_row` and `group_row` in a card."""
    return f'<div class="card"><table class="shares">{"".join(rows)}</table></div>'


def group_row(title: str) -> str:
    """A heading between rows of shares."""
    text = html.escape(title)
    return f'<tr class="group"><th scope="colgroup" colspan="5">{text}</th></tr>'


def share_row(name: str, part: Mapping[str, Any], *, of_what: str = "clips") -> str:
    """A share (accuracy, interval_95 or None, num_clips) as a bar with its interval."""
    value, interval = part["accuracy"], part["interval_95"]
    line = between = ""
    if interval:
        low, high = interval
        line = f'<u style="--low:{100 * low:.1f}%;--high:{100 * high:.1f}%"></u>'
        between = f"{100 * low:.1f} to {points(high)}"
    return (
        f'<tr><th scope="row">{html.escape(name)}</th>'
        f'<td><span class="range"><i style="--share:{100 * value:.1f}%"></i>{line}</span></td>'
        f'<td>{points(value)}</td><td class="between">{between}</td>'
        f'<td class="between">{part["num_clips"]:,} {of_what}</td></tr>'
    )


def picture_section(path: Path | None, *, title: str, text: str, alt: str) -> str:
    """A large picture, such as a contact sheet; nothing where the file is missing."""
    if path is None or not path.is_file():
        return ""
    with Image.open(path, formats=FORMATS) as picture:
        small = picture.convert("RGB")
        small.thumbnail((SHEET_PX, 4 * SHEET_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    uri = data_uri(buffer.getvalue(), "image/jpeg")
    return f"""<section><h2>{html.escape(title)}</h2><p>{html.escape(text)}</p>
<div class="card sheet"><img src="{uri}" width="{small.width}" height="{small.height}" alt="{html.escape(alt)}"></div>
</section>"""


def sheet_section(path: Path | None) -> str:
    """The contact sheet of the protocol `pictures`."""
    return picture_section(
        path,
        title="What it imagines",
        text="A row a class: on the left what its recordings made the model imagine, on the right, as a "
        "control, what other recordings did.",
        alt="Contact sheet of imagined pictures",
    )


def points(share: float) -> str:
    """ "88.2 %"."""
    return f"{100 * share:.1f}{THIN}%"


def whole_percent(share: float) -> str:
    """ "88 %"."""
    return percent(share).replace(" ", THIN)
