"""Recordings: imagine, demo."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from avgan.cli.app import STDIN, Bundle, app, say
from avgan.cli.classify import Screen, Wish, run
from avgan.errors import printable


@app.command
def imagine(
    path: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    scale: Annotated[int, Parameter(validator=Number(gte=1, lte=32))] = 4,
    track: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    seed: Annotated[int | None, Parameter(validator=Number(gte=0, lte=2**32 - 1))] = None,
    model: Bundle = None,
) -> None:
    """Draw the place where a recording was made.

    Parameters
    ----------
    path
        Recording or video, or - for standard input.
    output
        The PNG file to write.
    scale
        The picture's size in units of 128 pixels.
    track
        Which sound track of a video is heard, from 1: the default one, unless given.
    seed
        Draw with this number instead of the recording's own: another number, another picture.
    model
        Model bundle, or the name of an installed one.
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
def demo(
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("demo-output"),
    model: Bundle = None,
) -> int:
    """Make a few recordings, classify them, and write a page to listen to and look at.

    Parameters
    ----------
    output
        Folder to write to.
    model
        Model bundle, or the name of an installed one.
    """
    from avgan.archive.formats import Layout, TableWriter, table_widths
    from avgan.archive.sources import Recording
    from avgan.demo import write_recordings
    from avgan.runtime import load

    heard = load(model, num_threads=1)
    paths = list(map(str, write_recordings(output / "sounds")))
    page = output / "report.html"
    layout = Layout(widths=table_widths(paths, heard.card))
    outcome = run(
        Wish(images=output / "pictures", report=page),
        heard,
        [Recording(path, path) for path in paths],
        [TableWriter(Screen.over(sys.stdout), layout)],
    )
    say(f"wrote {page}; open it in a browser")
    return 0 if outcome.is_good else 1
