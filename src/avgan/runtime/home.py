"""Where a user's models lie: a folder of their own, by the convention of each system."""

import os
import re
import sys
from pathlib import Path

from avgan.errors import BundleError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What an added model may be called; its folder has the same name."""


def home() -> Path:
    """The folder for what a user adds: `$AVGAN_HOME`, or what the system keeps for a program's data.

    Raises BundleError for a user without a home.
    """
    try:
        return _home()
    except RuntimeError:  # neither $HOME nor an entry among the system's users
        raise BundleError(
            "this user has no home folder; set AVGAN_HOME to the folder for added models"
        ) from None


def _home() -> Path:
    named = os.environ.get("AVGAN_HOME")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME", "")
        if not Path(base).is_absolute():  # as the convention has it: otherwise to be ignored
            base = "~/.local/share"
    return Path(base).expanduser() / "avgan"


def model_folder(name: str) -> Path | None:
    """The folder of an added model of that name, there or not; None where none can be called so."""
    return home() / "models" / name if NAME.fullmatch(name) else None
