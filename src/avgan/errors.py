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
