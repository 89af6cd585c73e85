"""Recordings: imagine, demo, explain."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from avgan.cli.app import STDIN, app, say
from avgan.cli.classify import Request, Screen, run
from avgan.cli.options import Bundle, Output, Seed, Track
from avgan.errors import printable

if TYPE_CHECKING:
    from avgan.runtime.explanation import Explanation


@app.command
def imagine(
    path: str,
    /,
    *,
    output: Output,
    scale: Annotated[int, Parameter(validator=Number(gte=1, lte=32))] = 4,
    track: Track = None,
    seed: Seed = None,
    model: Bundle = None,
) -> None:
    """Draw the place where a recording was made.

    Args:
        path: Recording or video, or - for standard input.
        output: The PNG file to write.
        scale: The picture's size in units of 128 pixels.
        seed: Draw with this number instead of the recording's own: another number, another picture.
    """
    from avgan.runtime import load
    from avgan.runtime.wording import answered, percent

    source = sys.stdin.buffer.read() if path == STDIN else path
    prediction = load(model, seed=seed).classify(source, track=track)
    prediction.save_picture(output, scale)
    # Of what is unknown the probability is of a guess, which is not told here.
    said = prediction.reason or percent(prediction.probability)
    print(f"{output}: {printable(answered(prediction.answer, prediction.within))} ({said})")
    for warning in prediction.warnings:
        say(f"{path}: note: {warning}")


@app.command
def demo(*, output: Output = Path("demo-output"), model: Bundle = None) -> int:
    """Make a few recordings, classify them, and write a page to listen to and look at.

    Args:
        output: Folder to write to.
    """
    from avgan.archive.formats import Layout, TableWriter, table_widths
    from avgan.archive.sources import Recording
    from avgan.demo import write_recordings
    from avgan.runtime import load

    # what is made here are single sounds, of which the default model rightly says that they are no place
    loaded = load(model or "esc50", num_threads=1)
    paths = list(map(str, write_recordings(output / "sounds")))
    page = output / "report.html"
    layout = Layout(widths=table_widths(paths, loaded.card))
    outcome = run(
        Request(images=output / "pictures", report=page),
        loaded,
        [Recording(path, path) for path in paths],
        [TableWriter(Screen.over(sys.stdout), layout)],
    )
    say(f"wrote {page}; open it in a browser")
    return 0 if outcome.is_good else 1


@app.command
def explain(
    path: str,
    /,
    *,
    output: Output | None = None,
    start: Annotated[float | None, Parameter(validator=Number(gte=0))] = None,
    format: Literal["text", "json"] = "text",
    track: Track = None,
    model: Bundle = None,
) -> None:
    """Say why a recording was answered as it was: what in the sound made the answer, what it looks like.

    Args:
        path: Recording or video, or - for standard input.
        output: A PNG file for the spectrogram, with what made the answer drawn over it.
        start: Where the part of a long recording begins that is explained, in seconds; the surest unless given.
        format: A few lines, or everything as JSON.
    """
    from avgan.runtime import load

    explained = load(model).explain(sys.stdin.buffer.read() if path == STDIN else path, start_s=start, track=track)
    if output is not None:
        explained.save_picture(output)
    if format == "json":
        print(json.dumps(explained.to_dict() | {"path": path}))
    else:
        print("\n".join(map(printable, lines(path, explained))))
        for warning in explained.warnings:
            say(f"{path}: note: {warning}")


def lines(name: str, explained: "Explanation") -> list[str]:
    """An explanation in a few lines."""
    from avgan.runtime.wording import clock, percent

    sure = percent(explained.probability)
    scene = f"{explained.scene}: " if explained.scene else ""
    answer = f"{scene}{explained.label} {sure}"
    if explained.reason:
        answer = f"unknown ({explained.reason}); best guess {explained.label} {sure}"
    found = [
        f"{name} {clock(explained.start_s)}-{clock(explained.end_s)}  {answer}",
        f"  strongest   {explained.words}",
    ]
    if explained.stretch is not None:
        found[1] += f"; without it {percent(explained.stretch.probability_without)}"
    for index, each in enumerate(explained.neighbours):
        title = "looks like" if index == 0 else ""
        place = f", {each.scene}" if each.scene else ""
        found.append(f"  {title:<10}  {each.id}  {each.label}{place}")
    return found
