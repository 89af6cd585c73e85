"""Lists of labels as they are published: a CSV of AudioSet, the list of Places365, plain text or JSON.

None of them comes with this package: they lie beside the weights.
"""

import csv
import json
import re
from pathlib import Path

from avgan.errors import DataError

MAX_BYTES = 4 << 20  # ten thousand times the longest name there is
_PLACE = re.compile(r"(?:/[a-z]/)?(\S+)(?: \d+)?")  # `/a/airport_terminal 2`


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file, in their order.

    `.csv`: the column `display_name` (AudioSet), or else the last; `.json`: a list of names; else one a line.

    Raises:
        DataError: it cannot be read, or holds no labels, or one of them twice.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: too large for a list of labels; name another file")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise DataError(f"{path}: the list of labels cannot be read ({reason})") from None
    readers = {".csv": _of_csv, ".json": _of_json}
    labels = readers.get(path.suffix.lower(), _of_lines)(text, path)
    if not labels:
        raise DataError(f"{path}: holds no labels; one a line is what is needed")
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: names {twice!r} twice; give each label a name of its own")
    return tuple(labels)


def read_places(path: Path) -> tuple[str, ...]:
    """Labels of the list that Places365 publishes, without the letter before them and the number behind.

    Raises DataError as `read_labels` does.
    """
    found = (_PLACE.fullmatch(line) for line in read_labels(path))
    return tuple(match[1] for match in found if match)


def beside(weights: Path, names: tuple[str, ...], address: str) -> Path:
    """The first file of `names` in the folder of the weights. Raises DataError, which says where to get it."""
    for name in names:
        if (weights.parent / name).is_file():
            return weights.parent / name
    raise DataError(f"{weights.parent}: no {names[0]} beside the weights; get it from {address}")


def check_count(labels: tuple[str, ...], num_outputs: int, path: Path) -> None:
    """Raises DataError where a list of labels has not as many as a network has outputs."""
    if len(labels) != num_outputs:
        raise DataError(
            f"{path}: {len(labels)} labels for a network of {num_outputs} outputs; name its own list"
        )


def _of_lines(text: str, path: Path) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _of_csv(text: str, path: Path) -> list[str]:
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise DataError(f"{path}: not a table that can be read ({error})") from None
    if not rows:
        return []
    has_header = "display_name" in rows[0]
    column = rows[0].index("display_name") if has_header else -1
    try:
        return [row[column].strip() for row in rows[has_header:] if row]
    except IndexError:
        raise DataError(f"{path}: a row is too short; the column display_name is needed") from None


def _of_json(text: str, path: Path) -> list[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{path}: not JSON; a list of names is needed") from None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise DataError(f"{path}: not a list of names")
    return found
