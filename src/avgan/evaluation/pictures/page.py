"""The scores of imagined pictures as one HTML page: who recognises the scene, beside photographs and controls."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avgan.evaluation.parts import (
    THIN,
    assemble,
    group_row,
    picture_section,
    points,
    share_row,
    shares_table,
    sheet_section,
)
from avgan.files import write_whole

NAMES = {
    "photographs": "photographs",
    "reconstructed": "photographs through the codes",
    "imagined": "imagined",
    "shuffled": "imagined for another recording",
}


def write_picture_page(report: Mapping[str, Any], out: Path) -> Path:
    """Write report.html into `out`, with the figure and the contact sheet that lie there. Returns the path."""
    seen = {kind: exhibit["agreement"] for kind, exhibit in report["exhibits"].items()}
    eye = "The project's eye, which looks at pixels, does not know these scenes."
    if seen["imagined"] is not None:
        eye = (
            f"The project's eye, which looks at pixels, names {points(seen['imagined'])} of the imagined, "
            f"{points(seen['photographs'])} of photographs."
        )
    low, high = report["agreement_interval_95"]
    what = f"{report['preset']}, pictures, seed {report['seed']}"
    page = assemble(
        title=f"{points(report['agreement'])} show the scene: {what}",
        heading=f"{points(report['agreement'])} show the scene<small>between {100 * low:.1f} and "
        f"{points(high)} with 95{THIN}% certainty</small>",
        lead=f"<b>{html.escape(what)}</b>: pictures imagined for {report['num_pictures']:,} recordings "
        "that were never heard. A judge of their codes, taught with photographs, names so many rightly; "
        f"of photographs {points(report['judge_accuracy_on_photographs'])}, of pictures imagined for "
        f"another recording {points(report['shuffled'])}. {eye}",
        sections=[
            shares_section(report),
            likeness_section(report),
            picture_section(
                out / "figure8.png",
                title="Side by side",
                text="A column a scene: the first recording of each, not a chosen one.",
                alt="Photographs, their reconstructions and imagined pictures of each scene",
            ),
            sheet_section(out / "contact_sheet.jpg"),
        ],
        note="The pictures are imagined, not photographed. Intervals are bootstrapped over sources.",
    )
    return write_whole(out / "report.html", page)


def shares_section(report: Mapping[str, Any]) -> str:
    """How often the scene is recognised: by the eye, by the judge of code maps, by nearest photographs."""
    known = report["exhibits"]["imagined"]["agreement"] is not None
    rows = []
    if known:
        rows.append(
            group_row(f"the eye names the right one of {report['eye']['num_scenes']} scenes")
        )
    for kind, exhibit in ordered(report) if known else ():
        part = _part(exhibit["agreement"], exhibit["agreement_interval_95"], report)
        rows.append(share_row(NAMES.get(kind, exhibit["name"]), part, of_what="pictures"))
    rows.append(group_row(f"a judge of code maps names the right one of {report['num_scenes']}"))
    judged = {
        "photographs": (report["judge_accuracy_on_photographs"], None),
        "imagined": (report["agreement"], report["agreement_interval_95"]),
        "shuffled": (report["shuffled"], None),
    }
    for kind, (value, interval) in judged.items():
        rows.append(share_row(NAMES[kind], _part(value, interval, report), of_what="pictures"))
    for k, at in report["retrieval"]["at"].items():
        nearest = (
            "the nearest photograph is" if k == "1" else f"the {k} nearest photographs hold one"
        )
        rows.append(group_row(f"{nearest} of the right scene"))
        found = {
            NAMES["imagined"]: (at["share"], at["interval_95"]),
            NAMES["shuffled"]: (at["shuffled"], at["shuffled_interval_95"]),
            "by chance": (at["chance"], None),
        }
        rows += [
            share_row(name, _part(value, interval, report), of_what="pictures")
            for name, (value, interval) in found.items()
        ]
    return f"""<section><h2>How often the scene is seen</h2>
<p>Photographs are the most that can be reached; pictures imagined for another recording are what a model that
does not listen would get.</p>{shares_table(rows)}</section>"""


def ordered(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The exhibits in the order of NAMES, a rival's at the end."""
    places = {kind: place for place, kind in enumerate(NAMES)}
    return sorted(report["exhibits"].items(), key=lambda item: places.get(item[0], len(places)))


def _part(value: float, interval: Any, report: Mapping[str, Any]) -> dict[str, Any]:
    return {"accuracy": value, "interval_95": interval, "num_clips": report["num_pictures"]}


def likeness_section(report: Mapping[str, Any]) -> str:
    """How like photographs the pictures are as a whole, and how many kinds there are, as a sortable table."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(NAMES.get(kind, exhibit["name"]))}</th>'
        f'<td data-value="{exhibit["kid"]:.4f}">{exhibit["kid"]:.2f} ± {exhibit["kid_standard_error"]:.2f}</td>'
        f'<td data-value="{exhibit["fid"]:.4f}">{exhibit["fid"]:.1f}</td>'
        f'<td data-value="{exhibit["effective_number"]:.4f}">{exhibit["effective_number"]:.1f} '
        f"of {report['num_kinds']}</td><td>{points(exhibit['distinct'])}</td></tr>"
        for kind, exhibit in ordered(report)
    )
    heads = "".join(
        f'<th scope="col"><button>{name}</button></th>'
        for name in ("pictures", "KID", "FID", "kinds", "different ones")
    )
    return f"""<section><h2>How like photographs they are</h2>
<p>KID and FID are distances to photographs, smaller is nearer; they compare within this project only. Kinds: how
many groups of photographs the pictures fall into.</p>
<div class="card scroll"><table class="classes sortable"><thead><tr>{heads}</tr></thead>
<tbody>{rows}</tbody></table></div></section>"""
