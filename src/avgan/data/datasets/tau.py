"""What the data sets of Tampere University share: zips on Zenodo, tables with tabs, one official fold.

A file is named SCENE-CITY-LOCATION-SEGMENT; the identifier CITY-LOCATION is the source: some minutes
recorded at one place, cut into clips of 10 s that sound alike.
"""

from collections.abc import Iterable
from pathlib import Path

from avgan.data.datasets.declaration import Remote, read_table
from avgan.errors import DataError
from avgan.scenes import DCASE_SCENES

CLIP_S = 10.0
META = "meta.csv"

Package = tuple[str, int, str]
"""Name within the record, bytes, md5."""


def remotes(record: str, stem: str, packages: Iterable[Package]) -> tuple[Remote, ...]:
    """The zips of a Zenodo record; each holds one outer folder, which is dropped."""
    return tuple(
        Remote(
            url=f"{record}/files/{stem}.{package}.zip?download=1",
            filename=f"{stem}.{package}.zip",
            bytes=num_bytes,
            md5=md5,
            unpack=True,
            strip=1,
        )
        for package, num_bytes, md5 in packages
    )


def has_table(root: Path, columns: tuple[str, ...]) -> bool:
    """Whether `root` holds a meta.csv that begins with these columns."""
    meta = root / META
    if not meta.is_file():
        return False
    with meta.open(encoding="utf-8-sig") as file:
        return tuple(file.readline().strip().split("\t")[: len(columns)]) == columns


def split_of_files(root: Path, stem: str, column: str) -> dict[str, str]:
    """{file: train or test} of the official fold; `column` is that of the files.

    Raises:
        DataError: a table of the fold is missing.
    """
    splits: dict[str, str] = {}
    for split in ("train", "test"):
        table = root / "evaluation_setup" / f"fold1_{split}.csv"
        if not table.is_file():
            raise DataError(f"{table}: missing; unpack {stem}.meta.zip into {root}")
        rows = read_table(table, (column,), delimiter="\t")
        splits |= dict.fromkeys((row[column] for row in rows), split)
    return splits


def city_of(identifier: str) -> str:
    """The city of CITY-LOCATION."""
    return identifier.rsplit("-", 1)[0]


def check_scene(label: str) -> str:
    """The label, if it is one of the ten scenes. Raises DataError."""
    if label not in DCASE_SCENES:
        raise DataError(f"{META}: {label!r} is no scene of TAU; get the table anew")
    return label
