"""What a tagger is: sounds or pictures in, a weight for each of its labels out; and the files that it is read from.

Shapes: B sounds or pictures of a batch, N labels, L samples, C channels, H W pixels.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avgan.curation.record import Tags
from avgan.download import Remote
from avgan.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

NUM_TAGS = 5
"""The paper looks at the first five (Sec. 4)."""

NUM_DIGITS = 4
"""Of a weight that is written down: single precision differs in the seventh from one machine to the next."""

MUSIC = ("Music", "Singing", "Song", "Background music")
"""Without "Musical instrument", which church bells are too."""
SPEECH = (
    "Speech",
    "Male speech, man speaking",
    "Female speech, woman speaking",
    "Conversation",
    "Narration, monologue",
)
MAX_BYTES = 4 << 20  # ten thousand times the longest name there is
_PLACE = re.compile(r"(?:/[a-z]/)?(\S+)(?: \d+)?")  # `/a/airport_terminal 2`


@dataclass(frozen=True, kw_only=True, eq=False)
class Tagger:
    """Names what is in sounds, or in pictures: `prepare` makes an item an input, `run` is the network on a block."""

    name: str
    takes_sounds: bool
    """Otherwise it is for pictures."""
    labels: tuple[str, ...]
    """The N names, in the spelling of those who published them."""
    licence: str
    """Of the weights, in one sentence."""
    sha256: str
    """Of the file of weights, for the data card."""
    prepare: Callable[[np.ndarray], np.ndarray]
    """A sound (L, C) or a picture (H, W, 3) -> the input of the network, float32."""
    run: Callable[[np.ndarray], np.ndarray]
    """Inputs (b, ...) of one shape -> weights (b, N) in [0, 1]."""
    block: int
    """How many inputs the network is given at once: more cost memory, and on a processor save no time."""

    def tag(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Weights (B, N) float32 in [0, 1].

        `batch`: sounds (L, C) float32 at `record.SOUND_RATE_HZ`, or pictures (H, W, 3) uint8 RGB; lengths and sizes may
        differ within a batch, and what else is in a batch does not matter for an answer.
        """
        inputs = [self.prepare(item) for item in batch]
        weights = np.zeros((len(inputs), len(self.labels)), np.float32)
        for places in _blocks_of_one_shape(inputs, self.block):
            weights[places] = self.run(np.stack([inputs[place] for place in places]))
        return weights


def _blocks_of_one_shape(inputs: Sequence[np.ndarray], size: int) -> Iterator[list[int]]:
    """Positions of at most `size` arrays that can be stacked, in the order of their first."""
    of_shape: dict[tuple[int, ...], list[int]] = {}
    for place, item in enumerate(inputs):
        of_shape.setdefault(item.shape, []).append(place)
    for places in of_shape.values():
        yield from (places[start : start + size] for start in range(0, len(places), size))


def first_tags(labels: Sequence[str], weights: np.ndarray) -> Tags:
    """The heaviest of N labels with their weights (N,), rounded; of equal ones the first of the list."""
    order = np.argsort(-weights, kind="stable")[:NUM_TAGS]
    return tuple((labels[place], round(float(weights[place]), NUM_DIGITS)) for place in order)


def music_and_speech(labels: Sequence[str], weights: np.ndarray) -> tuple[float, float]:
    """How much music and how much speech is in a sound, in [0, 1], from its weights (N,); 0 where no label says so."""
    music, speech = (
        max((float(weights[labels.index(name)]) for name in names if name in labels), default=0.0)
        for names in (MUSIC, SPEECH)
    )
    return round(music, NUM_DIGITS), round(speech, NUM_DIGITS)


def on_one_thread(network: "Callable[[Tensor], Tensor]") -> Callable[[np.ndarray], np.ndarray]:
    """A function of tensors as one of arrays, for `Tagger.run`.

    The cores belong to processes, and results must not depend on how many there are.
    """
    import torch

    @torch.inference_mode()
    def run(inputs: np.ndarray) -> np.ndarray:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            weights: np.ndarray = network(torch.from_numpy(inputs)).numpy()
        finally:
            torch.set_num_threads(before)
        return weights

    return run


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file, in their order.

    `.csv`: the column `display_name` (AudioSet), or else the last; any other file: one a line.

    Raises DataError: it cannot be read, or holds no labels, or one of them twice.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: too large for a list of labels; name another file")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise DataError(f"{path}: the list of labels cannot be read ({reason})") from None
    lines = (line.strip() for line in text.splitlines())
    labels = _of_csv(text, path) if path.suffix.lower() == ".csv" else [line for line in lines if line]
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
        raise DataError(f"{path}: {len(labels)} labels for a network of {num_outputs} outputs; name its own list")


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


def check_published(path: Path, published: Remote | None = None) -> str:
    """The sha256 of a file of weights. One that bears a published name must hold the published bytes.

    Raises DataError: it does not.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if published is None or path.name != published.filename:
                return sha256
            file.seek(0)
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if published.bytes not in (None, path.stat().st_size) or published.md5 not in ("", md5):
        raise DataError(
            f"{path}: not the file published under this name; download it again from {published.url}, or rename it "
            "where the weights are your own"
        )
    return sha256
