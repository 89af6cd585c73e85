"""Published weights of taggers: what is known of a file, and whether it holds the bytes that its authors published."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from avgan.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Published:
    """A file as its authors published it; what is known of it."""

    filename: str
    address: str
    bytes: int | None = None
    md5: str = ""


def check_published(path: Path, known: tuple[Published, ...]) -> str:
    """The sha256 of a file. One that bears a published name must hold the published bytes.

    Raises:
        DataError: it does not.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            for published in known:
                if path.name != published.filename:
                    continue
                file.seek(0)
                is_whole = published.bytes in (None, path.stat().st_size)
                if published.md5:
                    digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
                    is_whole = is_whole and digest.hexdigest() == published.md5
                if not is_whole:
                    raise DataError(
                        f"{path}: not the file published under this name; download it again from "
                        f"{published.address}, or rename it where the weights are your own"
                    )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return sha256
