"""The command line: one thin verb per job. What is heavy is imported inside the verb that needs it.

Results go to standard output, progress and problems to standard error. Exit status: 0 all done; 1
some inputs failed, each named in a line of its own, the others done; 2 wrong usage; 130 Ctrl-C.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from avgan import __version__
from avgan.errors import AvganError, ConfigError

if TYPE_CHECKING:
    from avgan.runtime import Model
    from avgan.runtime.batch import Sink

STDIN = "<standard input>"

app = App(
    name="avgan",
    help="Hears a place and pictures it: says which scene a recording is, and draws it.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
data = App(name="data", help="Public data sets: list, download, verify.", help_format="plaintext")
app.command(data)

Bundle = Annotated[str | None, Parameter(name="--model")]
Root = Annotated[Path, Parameter(name="--data")]


class UsageError(Exception):
    """Wrong usage that the parser cannot see."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    tokens = sys.argv[1:] if argv is None else argv
    # The parser would take a lone hyphen for an option.
    tokens = [STDIN if token == "-" else token for token in tokens]
    try:
        status = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return int(status or 0)
    except (CycloptsError, UsageError) as error:
        say(" ".join(str(error).split()).rstrip(".") + "; `avgan --help` shows the usage")
        return 2
    except AvganError as error:
        say(str(error))
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        say("interrupted; what was finished before is kept")
        return 130
    except BrokenPipeError:  # avgan ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a place that is read-only, full or gone
        say(f"{error.filename or 'disk'}: {error.strerror or error}; choose another place")
        return 1


def say(line: str) -> None:
    """One line on standard error, in place of the progress that may stand there."""
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{clear}avgan: {line}", file=sys.stderr, flush=True)


def show_progress(line: str) -> None:
    """Overwrite the last progress, on a terminal only; an empty line takes it away."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say how to install what the light installation leaves out."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing == "avgan":
            raise
        raise AvganError(
            f'this needs {missing}, which is not installed: pip install "avgan[{name}]"'
        ) from None


def key_value(setting: str) -> tuple[str, str]:
    """The two sides of "imagination.gamma=0"."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise UsageError(f"--set {setting}: write it as name=value")
    return key, value


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
def models(*, json: bool = False) -> None:
    """List the installed models: what they know, how well they do, what they may be used for.

    Parameters
    ----------
    json
        Write the whole cards, as JSON.
    """
    from avgan.runtime.bundle import installed
    from avgan.runtime.formats import write_cards

    found = installed()
    write_cards(sys.stdout, found, as_json=json)
    if not found:
        say("no model is installed; any bundle can be named with --model")


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


@data.command(name="list")
def list_data() -> None:
    """List the data sets and weights that avgan knows, with their licences."""
    with extra("train"):
        from avgan.data.datasets import DATASETS, WEIGHTS

    for declared in (*DATASETS.values(), *WEIGHTS.values()):
        print(f"{declared.name}\n  {declared.title}\n  licence: {declared.licence}")
        if declared.address:
            print(f"  {declared.address}")


@data.command
def get(name: str, /, *, root: Root = Path("data")) -> None:
    """Download a data set, unless it is there, and compare it with its checksums.

    Parameters
    ----------
    name
        Its name in `avgan data list`.
    root
        The folder that holds all data sets.
    """
    with extra("train"):
        from avgan.data import acquire

    print(acquire.get(name, root))


@data.command
def check(name: str, /, *, root: Root = Path("data")) -> int:
    """Verify a data set: every file there, whole and readable.

    Parameters
    ----------
    name
        Its name in `avgan data list`.
    root
        The folder that holds all data sets.
    """
    with extra("train"):
        from avgan.data import acquire

    problems = acquire.check(name, root)
    for problem in problems:
        say(problem)
    if not problems:
        print(f"{name}: complete")
    return 1 if problems else 0


@app.command
def train(
    *,
    preset: str,
    data: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    setting: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    start_from: Path | None = None,
) -> int:
    """Train a run, or go on with it where it was left.

    Parameters
    ----------
    preset
        A complete configuration: compact (from nothing), transfer (from YAMNet, needs fewer
        recordings), shipped (as the shipped model), paper_esc50 or paper_dcase (the paper's sizes).
    data
        A folder for each label, or the folder that holds the data sets.
    output
        Folder of the run.
    setting
        A change to the preset, such as --set imagination.gamma=0; may be given several times.
    start_from
        Another run, whose finished stages are taken over.
    """
    changes = dict(key_value(text) for text in setting)
    with extra("train"):
        from avgan import config
        from avgan.training.distributed import is_first
        from avgan.training.run import train

    chosen = config.override(config.preset(preset), changes)
    try:
        train(chosen, data=data, out=output, start_from=start_from)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from the last checkpoint")
        return 130
    if is_first():
        print(output)
        score = f"avgan evaluate {output} --protocol holdout --data {data}"
        say(f"next: {score}; avgan export {output} -o {output.name}.bundle")
    return 0


@app.command
def evaluate(
    run: Path,
    /,
    *,
    protocol: str,
    data: Path,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    start_from: Path | None = None,
    format: Literal["table", "json"] = "table",
) -> None:
    """Score a run by a protocol, and print how well it did.

    Parameters
    ----------
    run
        Folder of a run made by `avgan train`.
    protocol
        What is scored: holdout (what the run kept away), esc50 (trains and scores the five official
        folds) or pictures (what it imagines).
    data
        The folder that it was trained on.
    output
        Folder for report.json, tables and plots, if not in the run.
    start_from
        Output folder of another run's evaluation, whose finished stages are taken over.
    format
        A few lines, or the whole report.
    """
    with extra("train"):
        from avgan.evaluation.protocols import evaluate
        from avgan.evaluation.report import summary

    report = evaluate(run, protocol=protocol, data=data, out=output, start_from=start_from)
    whole = json.dumps(report, indent=2)
    print(whole if format == "json" else summary(report, output or run / protocol))


@app.command
def export(run: Path, /, *, output: Annotated[Path, Parameter(name=["--output", "-o"])]) -> None:
    """Turn a run into one bundle that needs no torch.

    Parameters
    ----------
    run
        Folder of a run made by `avgan train`.
    output
        Folder of the bundle.
    """
    with extra("export"):
        from avgan.export import export_bundle

    print(export_bundle(run, output))
    say(f"next: avgan classify RECORDING --model {output}")
