"""The taggers by name. One is opened from a line of text, so that a worker can open it for itself:

    mn04                     which comes with the package
    cnn14=FILE               from a file of one's own
    birds.onnx               any ONNX file with a list of labels

What each is made of is imported when it is opened: some need torch.
"""

from importlib import import_module
from pathlib import Path

from avgan.curation.taggers.tagger import NUM_TAGS, Tagger, first_tags, music_and_speech
from avgan.errors import DataError

__all__ = ["NUM_TAGS", "TAGGERS", "Tagger", "first_tags", "music_and_speech", "open_tagger"]

TAGGERS = {
    "mn04": "audioset.mn04",
    "cnn14": "audioset.cnn14",
    "cnn10": "audioset.cnn10",
    "vgg16-places365": "places365.vgg16",
    "squeezenet-places365": "places365.squeezenet",
    "onnx": "onnx_file.onnx_file",
}
"""By name, the function that opens it from a file of weights, or from a folder that holds one."""


def open_tagger(named: str, folder: str | Path = ".") -> Tagger:
    """A tagger by name, from `folder`; or `NAME=FILE`; or the path of an ONNX file.

    Raises DataError: there is no such tagger, or what it needs is missing or damaged.
    """
    name, _, path = named.partition("=")
    if name not in TAGGERS and named.lower().endswith(".onnx"):
        name, path = "onnx", named
    if name not in TAGGERS:
        raise DataError(f"{named}: no such tagger; known are {', '.join(TAGGERS)} (also as NAME=FILE), or an ONNX file")
    if name == "onnx" and not path:
        raise DataError("onnx: which file? say onnx=FILE")
    module, _, function = TAGGERS[name].partition(".")
    opened: Tagger = getattr(import_module(f"{__name__}.{module}"), function)(Path(path or folder))
    return opened
