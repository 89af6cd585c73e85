"""Data sets: list, get, check."""

from pathlib import Path

from avgan.cli.app import Root, data, extra, say


@data.command(name="list")
def list_data() -> None:
    """List the data sets that avgan knows, with their licences."""
    with extra("train"):
        from avgan.data.datasets import DATASETS

    for declared in DATASETS.values():
        print(f"{declared.name}\n  {declared.title}\n  licence: {declared.licence}")
        if declared.address:
            print(f"  {declared.address}")


@data.command
def get(name: str, /, *, root: Root = Path("data")) -> None:
    """Download a data set, unless it is there, and compare it with its checksums.

    Parameters
    ----------
    name
        Its name in `avgan data list`.
    root
        The folder that holds all data sets.
    """
    with extra("train"):
        from avgan.data import acquire

    print(acquire.get(name, root))


@data.command
def check(name: str, /, *, root: Root = Path("data")) -> int:
    """Verify a data set: every file there, whole and readable.

    Parameters
    ----------
    name
        Its name in `avgan data list`.
    root
        The folder that holds all data sets.
    """
    with extra("train"):
        from avgan.data import acquire

    problems = acquire.check(name, root)
    for problem in problems:
        say(problem)
    if not problems:
        print(f"{name}: complete")
    return 1 if problems else 0
