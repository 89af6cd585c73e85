"""Field recordings of places, in one or several folders: each with an index of where every clip is from.

Layout: folders beside each other, or one by itself, each with an index.csv (file, scene, source_id, start_s, repo,
licence, note). A clip's fold is the name of its folder, so that a whole world can be held out, and so is its device:
the recordings of a folder have recorders and hands in common. Its origin is the collection that its recording was found
in.

Labels are the scenes of the tree (`avgan.scenes`). A scene with too few recordings is merged into its like where
`MERGED` names one, else its clips have no label; nor has a clip that the index places elsewhere. Labels that the index
only doubts ("ride or platform not stated", 130 clips) count in full: with half their weight a linear probe was right in
3.5 points less of the clips, with none in 10 less.
"""

from pathlib import Path

from avgan.data.datasets.declaration import Dataset, folders_in, header_of, read_table
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.scenes import PLACES_SCENE, SCENES

CLIP_S = 10.0
MERGED = {"bar": "restaurant", "food_court": "restaurant"}
"""Scenes of fewer than eight recordings, and where they sound the same."""
ELSEWHERE = ("heard at the stop",)
"""In a note: it was recorded somewhere else than the label says."""
_INDEX = "index.csv"
_COLUMNS = ("file", "scene", "source_id", "start_s", "repo", "licence", "note")
_BY_HAND = f"write {_INDEX} ({','.join(_COLUMNS)}) beside the recordings"


def _has_index(folder: Path) -> bool:
    return set(_COLUMNS) <= set(header_of(folder / _INDEX))


def _folders(root: Path) -> list[Path]:
    """`root` itself, or the folders in it that have an index."""
    return [root] if _has_index(root) else folders_in(root, _has_index)


def _read(root: Path) -> Manifest:
    folders = _folders(root)
    if not folders:
        raise DataError(f"{root}: no recordings of places here; {_BY_HAND}")
    clips = []
    for folder in folders:
        where = "" if folder == root else f"{folder.name}/"
        for row in read_table(folder / _INDEX, _COLUMNS):
            clips.append(_clip(row, where, folder.name))
    return Manifest(PLACES.name, root, tuple(clips))


def _clip(row: dict[str, str], where: str, fold: str) -> Clip:
    scene = MERGED.get(row["scene"], row["scene"])
    is_elsewhere = any(words in row["note"] for words in ELSEWHERE)
    return Clip(
        id=f"{fold}/{row['file']}",
        source_id=row["source_id"],
        label=scene if scene in SCENES and not is_elsewhere else "",
        labels=((row["scene"], 1.0),),
        audio_path=f"{where}{row['file']}",
        fold=fold,
        device=fold,
        origin=row["repo"],
        address="/".join(part for part in (row["repo"], row.get("path", "")) if part),
        licence=row["licence"],
    )


PLACES = Dataset(
    name="places",
    title="Field recordings of places",
    story="""\
Clips of 10 s and shorter, cut from field recordings of real places: streets, stations, vehicles, cafes, parks. Each
says which recording it was cut from, in which collection that was found, under which terms, and what is doubtful about
its label. Folders beside each other are read as one set and are its folds; splits go by recording, or by collection.
""",
    citation="@misc{places, title = {Field recordings of places}, note = {Credits: index.csv of each folder}}",
    licence=(
        "Mixed: that of each recording, in its index; often none is stated, so train and measure, but do not pass on "
        "(TUT Acoustic Scenes 2017: non-commercial, with acknowledgement)."
    ),
    address="docs/data.md",
    by_hand=_BY_HAND,
    folders=(".",),
    matches=lambda root: bool(_folders(root)),
    read=_read,
    places=PLACES_SCENE,
)
