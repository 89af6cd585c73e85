"""`avgan classify`: one recording, one of a day, or an archive of them."""

import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO, cast

from cyclopts import Parameter
from cyclopts.validators import Number

from avgan import __version__
from avgan.cli.app import STDIN, UsageError, app, extra, say, show_progress, terminable
from avgan.cli.options import Bundle, Flag, Output, Positive, Seed, Track
from avgan.errors import AvganError, DataError

if TYPE_CHECKING:
    from avgan.archive.batch import Outcome, Sink
    from avgan.archive.engines import Engine, Options
    from avgan.archive.formats import Unit
    from avgan.archive.sources import Recording
    from avgan.runtime import Model

WITH_CHECKSUMS = {"json", "jsonl", "ndjson", "csv"}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted of recordings, and how."""

    listed: Annotated[str | None, Parameter(name="--list")] = None
    """A file of paths, by line or NUL (- for standard input); or a .csv, .jsonl, .parquet with a column named path."""
    format: Literal["table", "json", "jsonl", "ndjson", "csv", "audacity"] | None = None
    """How the answers are written: as a table, unless --output says otherwise."""
    top: Positive = 3
    """How many scenes and sounds are named for each recording."""
    hop: Annotated[float | None, Parameter(validator=Number(gt=0))] = None
    """Answer over time: a window every so many seconds, neighbours of the same scene merged to segments."""
    windows: Flag = False
    """Answer over time with a row for each window."""
    output: Output | None = None
    """A .csv or .jsonl file for the answers. Where there is one already, only what it lacks is done."""
    retry: Flag = False
    """With --output: try again what failed before."""
    summary: Path | None = None
    """A JSON file that counts what was found, classified, failed and passed over, by reason."""
    images: Path | None = None
    """Folder for the imagined pictures; over time also of each segment, with a strip and a film of each recording."""
    pictures: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 1
    """With --images: so many pictures of each recording, all of the same place and no two alike."""
    seed: Seed = None
    """Draw with this number instead of each recording's own: another number, other pictures."""
    report: Path | None = None
    """HTML page with sounds, pictures and answers, to be opened in any browser."""
    jobs: Positive | None = None
    """How many recordings are classified at a time: as many as there are cores, unless given."""
    engine: Literal["local", "ray"] = "local"
    """Who classifies them: this machine, or the Ray cluster at RAY_ADDRESS."""
    track: Track = None
    model: Bundle = None

    @property
    def unit(self) -> "Unit":
        if self.windows:
            return "window"
        over_time = self.hop is not None or self.format == "audacity"
        return "segment" if over_time else "recording"


@app.command
def classify(*path: str, request: Request = Request()) -> int:
    """Say which scene each recording is, or which scenes it has over time.

    Args:
        path: Recordings or videos, folders of them, patterns in quotes ("night/**/*.wav"), or - for one on standard
            input.
    """
    check(path, request)
    from avgan.archive import sources
    from avgan.runtime import load

    passed_over: Counter[str] = Counter()
    recordings, num_missing = find(path, request.listed, passed_over)
    recordings = [replace(recording, track=request.track) for recording in recordings]
    # Either recordings are classified side by side, or parts of the only one.
    num_threads = request.jobs if len(recordings) == 1 else 1
    model = load(request.model, num_threads=num_threads, seed=request.seed)
    check_pictures(request, model)
    try:
        done = show(request, model, recordings) if request.output is None else resume(request, model, recordings)
    finally:
        if passed_over:
            say(sources.summary(passed_over))
    if request.summary is not None:
        from avgan.files import write_whole

        content = done.counts() | {"passed_over": dict(passed_over.most_common()), "without_recordings": num_missing}
        write_whole(request.summary, json.dumps(content, indent=1) + "\n")
    return 0 if done.outcome.is_good and not num_missing and not done.num_failed_before else 1


@dataclass(frozen=True)
class Done:
    """What became of the recordings that were found."""

    outcome: "Outcome"
    num_found: int
    num_done_before: int = 0
    num_failed_before: int = 0

    def counts(self) -> dict[str, Any]:
        """What a program wants to know of it."""
        failed = self.outcome.failed
        return {
            "found": self.num_found,
            "done_before": self.num_done_before,
            "heard": self.num_found - self.num_done_before - failed.total(),
            "failed": dict(failed.most_common()),
            "failed_before": self.num_failed_before,
        }


def check(paths: Sequence[str], request: Request) -> None:
    """Refuse what does not go together, before anything heavy is loaded."""
    if not paths and request.listed is None:
        raise UsageError("name a recording, a folder of recordings, or - for standard input")
    if STDIN in paths and request.listed == STDIN:
        raise UsageError("standard input can be a recording or a list, not both")
    if request.pictures > 1 and request.images is None:
        raise UsageError("--pictures needs a folder to write them to: --images DIR")
    if request.output is None:
        if request.retry:
            raise UsageError("--retry goes on with a file: name it with --output")
        return
    from avgan.archive.output import FORMATS

    written = FORMATS.get(request.output.suffix.lower())
    if written is None:
        raise UsageError(f"--output {request.output}: name a .csv or a .jsonl file")
    if request.format not in (None, written) and (request.format, written) != ("ndjson", "jsonl"):
        raise UsageError(f"--output {request.output} is written as {written}: leave --format out")


def check_pictures(request: Request, model: "Model") -> None:
    """Refuse to draw several pictures with a model that knows one of each sound."""
    if model.card.noise_size is None and (request.pictures > 1 or request.seed is not None):
        raise UsageError(f"the model {model.card.name} draws one picture of a sound: leave --pictures and --seed out")


def find(paths: Sequence[str], listed: str | None, passed_over: Counter[str]) -> tuple[list["Recording"], int]:
    """The recordings that are named and listed, and how many folders hold none; counts what is passed over."""
    from avgan.archive.sources import Recording, find_all

    recordings: list[Recording] = []
    num_missing = 0
    for path in [*paths, *(read_listed(listed) if listed is not None else ())]:
        if path == STDIN:
            recordings.append(Recording(STDIN, sys.stdin.buffer.read()))
        else:
            found, num_empty = find_all([path], on_error=say, passed_over=passed_over)
            recordings += found
            num_missing += num_empty
    return recordings, num_missing


def read_listed(name: str) -> list[str]:
    """The paths in a list or a manifest."""
    from avgan.archive import sources

    if name == STDIN:
        return sources.read_list(sys.stdin.buffer.read())
    path = Path(name)
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            with extra("train"):
                import pyarrow.parquet as pq
            rows = pq.ParquetFile(path).iter_batches()
            return sources.paths_of(path, (row for batch in rows for row in batch.to_pylist()))
        if kind in (".csv", ".jsonl", ".ndjson"):
            return sources.read_manifest(path)
        return sources.read_list(path.read_bytes())
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"{path}: no list that can be read ({reason}); check the path") from None


def run(
    request: Request,
    model: "Model",
    recordings: Sequence["Recording"],
    writers: Sequence["Sink"],
    *,
    names: Iterable[str] = (),
) -> "Outcome":
    """Classify the recordings; the answers go to the writers, and to pictures and page where they are wanted.

    `names`: those of the whole archive, of which the recordings may be the rest.
    """
    from avgan.archive.batch import FileNames, PictureFolder, Progress, classify_all
    from avgan.archive.engines import Options

    sinks = [Progress(len(recordings), show_progress), *writers]
    if request.images is not None and request.unit == "recording":
        sinks.append(PictureFolder(request.images, FileNames(names), num_pictures=request.pictures))
    elif request.images is not None:
        from avgan.pictures.album import Album

        sinks.append(Album(request.images, FileNames(names), num_pictures=request.pictures))
    if request.report is not None:
        from avgan.pages.report import Report

        sinks.append(Report(request.report, model.card))
    checksum = request.output is not None or request.format in WITH_CHECKSUMS
    engine = choose_engine(request, model, Options(request.hop, checksum), len(recordings))
    # A table holds the notes, and so does a file, where ten thousand lines of them would hide what failed.
    note = say if request.output is None and request.format not in (None, "table") else lambda line: None
    with terminable():
        return classify_all(engine, recordings, sinks, on_error=say, on_warning=note)


def choose_engine(request: Request, model: "Model", options: "Options", num_recordings: int) -> "Engine":
    """Who classifies so many recordings."""
    from avgan.archive.engines import classify_in_threads, classify_in_turn, classify_on_cluster
    from avgan.runtime.network import num_cores

    if request.engine == "ray":
        with extra("cluster"):
            import ray  # noqa: F401 (is it installed?)
        return partial(classify_on_cluster, model, options, num_jobs=request.jobs)
    num_jobs = request.jobs or num_cores()
    if num_jobs == 1 or num_recordings == 1:
        return partial(classify_in_turn, model, options)
    return partial(classify_in_threads, model, options, num_threads=min(num_jobs, num_recordings))


def show(request: Request, model: "Model", recordings: Sequence["Recording"]) -> Done:
    """Write the answers to standard output."""
    from avgan.archive.formats import WRITERS, Layout, table_widths

    if request.format == "audacity" and len(recordings) > 1:
        raise UsageError(f"a label track is of one recording, not of {len(recordings)}: name one")
    widths = table_widths((recording.name for recording in recordings), model.card)
    layout = Layout(request.unit, request.top, made_with(model, request), widths)
    outcome = run(request, model, recordings, [WRITERS[request.format or "table"](Screen.over(sys.stdout), layout)])
    if outcome.failed and len(recordings) > 1:
        say(summary(outcome.failed, len(recordings)))
    return Done(outcome, len(recordings))


def resume(request: Request, model: "Model", recordings: Sequence["Recording"]) -> Done:
    """Write the rows that a file lacks, and say what it holds in the end."""
    from avgan.archive.formats import CSVWriter, JSONLinesWriter, Layout
    from avgan.archive.output import Output

    assert request.output is not None
    layout = Layout(request.unit, request.top, made_with(model, request))
    with full_disk_is_said(request.output), Output(request.output, layout.made_with, retry=request.retry) as output:
        # A file is the same by another path to it; a link beside it is a recording of its own.
        unique = {os.path.abspath(recording.name): recording for recording in recordings}
        left = [recording for recording in unique.values() if recording.name == STDIN or not output.has(recording.name)]
        if output.done:
            say(f"{request.output}: holds {len(output.done):,} recordings, {len(left):,} are left")
        writer: Sink
        if output.format == "csv":
            writer = CSVWriter(output.file, layout, header=output.is_new)
        else:
            writer = JSONLinesWriter(output.file, layout)
        outcome = run(request, model, left, [writer], names=[recording.name for recording in unique.values()])
    if outcome.failed:
        say(summary(outcome.failed, len(left)))
    if output.num_failed:
        say(f"{output.num_failed:,} failed in earlier runs; --retry tries them again")
    say(f"wrote {request.output}")
    return Done(outcome, len(unique), len(unique) - len(left), output.num_failed)


@contextmanager
def full_disk_is_said(path: Path) -> Iterator[None]:
    """Name the file in what the system says of a disk that is full or gone."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise AvganError(
            f"{path}: cannot be written ({error.strerror}); make room and run this again, what was finished is kept"
        ) from None


def made_with(model: "Model", request: Request) -> str:
    """What rows depend on, in a line that each recording's last row carries."""
    card = model.card
    checksum = next(iter(card.sha256.values()), "")[:12]
    hop = "" if request.hop is None else f", hop {request.hop:g} s"
    track = "" if request.track is None else f", track {request.track}"
    return (
        f"avgan {__version__}, {card.name} {card.version} {checksum}, by {request.unit}{hop}{track}, top {request.top}"
    )


def summary(failed: Counter[str], num_recordings: int) -> str:
    """One line: how many failed, and why."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in failed.most_common())
    return f"{failed.total():,} of {num_recordings:,} failed: {reasons}"


class Screen(io.TextIOBase):
    """A terminal on which progress may stand in the line where text is to follow."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    @classmethod
    def over(cls, file: TextIO) -> TextIO:
        return cast(TextIO, cls(file)) if file.isatty() else file

    def write(self, text: str) -> int:
        show_progress("")
        return self._file.write(text)

    def flush(self) -> None:
        self._file.flush()

    def isatty(self) -> bool:
        return True
