"""The problems a user can mend. Each carries one line that says what is wrong and what to do next."""


class AvganError(Exception):
    """Base of all errors meant for the user; the command line prints its text and no traceback."""


class AudioError(AvganError):
    """A recording that cannot be read, decoded or used."""


class ImageError(AvganError):
    """A picture or a video frame that cannot be read."""


class DataError(AvganError):
    """A data set that is missing, incomplete or not in its official layout."""


class LeakageError(DataError):
    """A source (recording, video, place) that stands on both sides of a split."""


class ConfigError(AvganError):
    """A run configuration with an unknown field or a value out of range."""


class CheckpointError(AvganError):
    """A run folder or checkpoint that is missing, incomplete or of another version."""


class BundleError(AvganError):
    """A model bundle that is missing, damaged or made for another version."""


def printable(text: str) -> str:
    """Text of anybody (a file's name, a label, a server's answer) without what a terminal would obey, on one line.

    Lone surrogates stay: they stand for the bytes of a name that is no UTF-8, and are written as `\\udc80`.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or "\ud800" <= sign <= "\udfff" else "?" for sign in text)
