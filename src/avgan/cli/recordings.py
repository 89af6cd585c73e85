"""Recordings: classify, imagine, demo."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from avgan.cli.app import STDIN, Bundle, UsageError, app, say, show_progress

if TYPE_CHECKING:
    from avgan.runtime import Model
    from avgan.runtime.batch import Sink


def classify_paths(
    model: "Model", paths: Sequence[str], sinks: Sequence["Sink"], *, hop_s: float | None = None
) -> int:
    """Classify files, folders and standard input; returns the exit status."""
    from avgan.runtime.batch import classify_all, find_sources

    sources, num_failed = find_sources(paths, stdin=STDIN, complain=say)
    num_failed += classify_all(
        model, sources, sinks, complain=say, progress=show_progress, hop_s=hop_s
    )
    return 1 if num_failed else 0


@app.command
def classify(
    *path: str,
    format: Literal["table", "json", "jsonl", "csv"] = "table",
    top: Annotated[int, Parameter(validator=Number(gte=1))] = 3,
    hop: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    images: Path | None = None,
    report: Path | None = None,
    model: Bundle = None,
) -> int:
    """Say which scene each recording is.

    Parameters
    ----------
    path
        Recordings or videos, folders of them, or - for one on standard input.
    format
        How the answers are written.
    top
        How many scenes and sounds are named for each recording.
    hop
        Seconds from one window of a long recording to the next; answers are then given by window.
    images
        Folder for the pictures that the model imagines, one PNG for each recording.
    report
        HTML page with sounds, pictures and answers, to be opened in any browser.
    model
        Model bundle, or the name of an installed one.
    """
    if not path:
        raise UsageError("name a recording, a folder of recordings, or - for standard input")
    from avgan.report import Report
    from avgan.runtime import load
    from avgan.runtime.batch import PictureFolder
    from avgan.runtime.formats import WRITERS

    heard = load(model)
    sinks: list[Sink] = [WRITERS[format](sys.stdout, top=top, by_window=hop is not None)]
    if images is not None:
        sinks.append(PictureFolder(images))
    if report is not None:
        sinks.append(Report(report, heard.card))
    return classify_paths(heard, path, sinks, hop_s=hop)


@app.command
def imagine(
    path: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    scale: Annotated[int, Parameter(validator=Number(gte=1, lte=32))] = 4,
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
    model
        Model bundle, or the name of an installed one.
    """
    from avgan.runtime import load
    from avgan.runtime.formats import percent

    prediction = load(model).classify(sys.stdin.buffer.read() if path == STDIN else path)
    prediction.save_picture(output, scale)
    print(f"{output}: {prediction.scene} ({percent(prediction.probability)})")
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
    from avgan.demo import write_recordings
    from avgan.report import Report
    from avgan.runtime import load
    from avgan.runtime.batch import PictureFolder
    from avgan.runtime.formats import TableWriter

    heard = load(model)
    paths = [str(path) for path in write_recordings(output / "sounds")]
    page = output / "report.html"
    sinks: list[Sink] = [
        TableWriter(sys.stdout, top=3, by_window=False),
        PictureFolder(output / "pictures"),
        Report(page, heard.card),
    ]
    status = classify_paths(heard, paths, sinks)
    say(f"wrote {page}; open it in a browser")
    return status
