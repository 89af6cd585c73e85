"""ESC-50: 2,000 recordings of 5 s, 50 classes of sound, five official folds.

Two layouts are read: the official one (meta/esc50.csv, audio/*.wav) and a compact one
(esc50.csv, audio/ with whatever files the table names).
"""

from collections import Counter
from pathlib import Path

from avgan.data.datasets.declaration import Dataset, Remote, read_table
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.scenes import ESC50_CLASSES, ESC50_SCENE

CLIP_S = 5.0
NUM_CLIPS = 2000
PER_CLASS_AND_FOLD = 8

_TABLES = ("meta/esc50.csv", "esc50.csv")
_COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file")


def _table(root: Path) -> Path | None:
    return next((root / name for name in _TABLES if (root / name).is_file()), None)


def _matches(root: Path) -> bool:
    return _table(root) is not None


def _read(root: Path) -> Manifest:
    table = _table(root)
    if table is None:
        raise DataError(
            f"{root}: no ESC-50 here (neither {_TABLES[0]} nor {_TABLES[1]}); get it with: "
            f"avgan data get esc50 --data {root}"
        )
    clips = tuple(_clip(row, table) for row in read_table(table, _COLUMNS))
    return Manifest(ESC50.name, root, clips)


def _clip(row: dict[str, str], table: Path) -> Clip:
    if row["category"] not in ESC50_CLASSES:
        raise DataError(f"{table}: {row['category']!r} is no class of ESC-50; get the table anew")
    is_esc10 = row["esc10"].lower() == "true"
    return Clip(
        id=Path(row["filename"]).stem,
        source_id=row["src_file"],
        label=row["category"],
        audio_path=f"audio/{row['filename']}",
        end_s=CLIP_S,
        fold=row["fold"],
        address=f"https://freesound.org/s/{row['src_file']}/",
        licence="CC BY 3.0" if is_esc10 else "CC BY-NC 3.0",
    )


def _verify(manifest: Manifest) -> list[str]:
    problems = []
    if len(manifest) != NUM_CLIPS:
        problems.append(f"{len(manifest)} clips; ESC-50 has {NUM_CLIPS}")
    counts = Counter((clip.fold, clip.label) for clip in manifest.clips)
    for fold in map(str, range(1, 6)):
        odd = [name for name in ESC50_CLASSES if counts[fold, name] != PER_CLASS_AND_FOLD]
        if odd:
            problems.append(
                f"fold {fold}: not {PER_CLASS_AND_FOLD} clips each of {len(odd)} classes "
                f"({', '.join(odd[:3])}{', ...' if len(odd) > 3 else ''})"
            )
    return problems


_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"

ESC50 = Dataset(
    name="esc50",
    title="ESC-50, environmental sound classification",
    story="""\
2,000 recordings from Freesound, 5 s each (shorter ones are padded with silence), 44.1 kHz, mono:
50 classes of 40 clips, in five folds of 8 clips a class. Clips cut from one Freesound file always
stand in one fold; scores are the mean over the five folds, each tested once. The archive is made
anew by GitHub, so its checksum moves: a commit is pinned, and the table and counts are checked.
""",
    citation="""\
@inproceedings{piczak2015esc,
  title     = {{ESC}: Dataset for Environmental Sound Classification},
  author    = {Piczak, Karol J.},
  booktitle = {Proceedings of the 23rd Annual ACM Conference on Multimedia},
  pages     = {1015--1018},
  year      = {2015},
  doi       = {10.1145/2733373.2806390}
}""",
    licence=("CC BY-NC 3.0: no commercial use; name the authors (the clips of ESC-10: CC BY 3.0)."),
    address="https://github.com/karolpiczak/ESC-50",
    remotes=(
        Remote(
            url=f"https://github.com/karolpiczak/ESC-50/archive/{_COMMIT}.zip",
            filename="ESC-50.zip",
            unpack=True,
            strip=1,
        ),
    ),
    matches=_matches,
    read=_read,
    verify=_verify,
    label_kind="sound",
    places=ESC50_SCENE,
)
