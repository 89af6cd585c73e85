"""Writing a file whole or not at all."""

import os
import tempfile
from pathlib import Path

from avgan.errors import AvganError


def write_whole(path: str | Path, data: bytes | str) -> Path:
    """Write `data` to a temporary sibling and move it into place, so that no reader sees half a file.

    Folders that are missing are made. Raises AvganError where the place cannot be written.
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(
                temporary, 0o644
            )  # mkstemp makes private files; results are meant to be shared
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = f"{path.parent} is no folder"
        raise AvganError(f"{path}: cannot be written ({reason}); choose another place") from None
    return path
