"""The taggers by name. One is opened from a line of text, so that a worker can open it for itself:

    mn04                     which comes with the package
    cnn14=FILE               from a file of one's own
    birds.onnx               any ONNX file with a list of labels

What each is made of is imported when it is opened: some need torch.
"""

from collections.abc import Callable
from pathlib import Path

from avgan.curation.taggers.tagger import (
    NUM_TAGS,
    NetworkTagger,
    Tagger,
    first_tags,
    music_and_speech,
)
from avgan.errors import DataError

__all__ = [
    "NUM_TAGS",
    "TAGGERS",
    "NetworkTagger",
    "Tagger",
    "first_tags",
    "music_and_speech",
    "open_tagger",
]


def _mn04(named: Path) -> Tagger:
    from avgan.curation.taggers.mn04 import mn04

    return mn04(named)


def _cnn14(named: Path) -> Tagger:
    from avgan.curation.taggers.cnn14 import cnn14

    return cnn14(named)


def _cnn10(named: Path) -> Tagger:
    from avgan.curation.taggers.cnn14 import cnn10

    return cnn10(named)


def _vgg16(named: Path) -> Tagger:
    from avgan.curation.taggers.places365 import vgg16

    return vgg16(named)


def _squeezenet(named: Path) -> Tagger:
    from avgan.curation.taggers.places365 import squeezenet

    return squeezenet(named)


def _onnx_file(named: Path) -> Tagger:
    from avgan.curation.taggers.onnx_file import onnx_file

    return onnx_file(named)


TAGGERS: dict[str, Callable[[Path], Tagger]] = {
    "mn04": _mn04,
    "cnn14": _cnn14,
    "cnn10": _cnn10,
    "vgg16-places365": _vgg16,
    "squeezenet-places365": _squeezenet,
    "onnx": _onnx_file,
}
"""Each is opened from a file of weights, or from a folder that holds it under its published name."""


def open_tagger(named: str, folder: str | Path = ".") -> Tagger:
    """A tagger by name, from `folder`; or `NAME=FILE`; or the path of an ONNX file.

    Raises:
        DataError: there is no such tagger, or what it needs is missing or damaged.
    """
    name, _, path = named.partition("=")
    if name not in TAGGERS and named.lower().endswith(".onnx"):
        name, path = "onnx", named
    if name not in TAGGERS:
        raise DataError(
            f"{named}: no such tagger; known are {', '.join(TAGGERS)} (also as NAME=FILE), or an ONNX file"
        )
    if name == "onnx" and not path:
        raise DataError("onnx: which file? say onnx=FILE")
    return TAGGERS[name](Path(path) if path else Path(folder))
