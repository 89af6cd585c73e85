"""Photographs of scenes, the pictures that avgan learns from: MiniPlaces (100 scenes of Places2), alone or with others.

Layout: index.csv with the columns path, scene, split (train or val), and the pictures it names. Each photograph is a
source of its own. `photographs` is all folders beside each other that have such an index, scenes that several have
pooled: what is added to MiniPlaces stays apart from it on the disk and in its licence.
"""

from dataclasses import replace
from pathlib import Path

from avgan.data.datasets.declaration import Dataset, folders_in, header_of, read_table
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError

_INDEX = "index.csv"

BY_HAND = (
    "ask for the MiniPlaces challenge data at http://places2.csail.mit.edu and unpack it, then "
    f"write {_INDEX} (path,scene,split) beside the pictures"
)


def _matches(root: Path) -> bool:
    return header_of(root / _INDEX)[:3] == ["path", "scene", "split"]


def _read(root: Path) -> Manifest:
    if not _matches(root):
        raise DataError(f"{root}: no MiniPlaces here (no {_INDEX}); {BY_HAND}")
    rows = read_table(root / _INDEX, ("path", "scene", "split"))
    clips = tuple(
        Clip(
            id=row["path"],
            source_id=row["path"],
            label=row["scene"],
            image_path=row["path"],
            split="validation" if row["split"] == "val" else row["split"],
            address=MINIPLACES.address,
            licence=MINIPLACES.licence,
        )
        for row in rows
    )
    return Manifest(MINIPLACES.name, root, clips)


def _verify(manifest: Manifest) -> list[str]:
    odd = sorted({clip.split for clip in manifest.clips} - {"train", "validation", "test"})
    return [f"{_INDEX}: split {split!r} is none of train, val, test" for split in odd]


MINIPLACES = Dataset(
    name="miniplaces",
    title="MiniPlaces, scene photographs of 128 x 128 px",
    story="""\
A part of Places2 made for a course at MIT: 100 scenes, 100,000 training and 10,000 validation
photographs of 128 x 128 px. Any part of it that comes with an index of paths, scenes and splits
will do; avgan uses the scenes named in its map from sounds to scenes. The publisher states no
checksum that we know of, so none is declared.
""",
    citation="""\
@article{zhou2017places,
  title   = {Places: A 10 million Image Database for Scene Recognition},
  author  = {Zhou, Bolei and Lapedriza, Agata and Khosla, Aditya and Oliva, Aude and
             Torralba, Antonio},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  year    = {2017}
}""",
    licence="For research and education; the copyright of each picture stays with its photographer.",
    address="http://places2.csail.mit.edu",
    by_hand=BY_HAND,
    matches=_matches,
    read=_read,
    verify=_verify,
    has_sounds=False,
    has_pictures=True,
)


def _read_pooled(root: Path) -> Manifest:
    folders = folders_in(root, _matches)
    if not folders:
        raise DataError(f"{root}: no folder of photographs here; {BY_HAND}")
    clips = []
    for folder in folders:
        for clip in MINIPLACES.read(folder).clips:
            path = f"{folder.name}/{clip.image_path}"
            clips.append(replace(clip, id=path, source_id=path, image_path=path))
    return Manifest(PHOTOGRAPHS.name, root, tuple(clips))


PHOTOGRAPHS = Dataset(
    name="photographs",
    title="MiniPlaces and further photographs of scenes",
    story="""\
All folders beside each other that hold photographs of scenes with an index of paths, scenes and splits, as MiniPlaces
does: more scenes and more pictures of a scene than MiniPlaces alone. Where a folder comes from and under which terms is
for whoever puts it there to know; those of MiniPlaces hold for all of them unless theirs are stricter.
""",
    citation=MINIPLACES.citation,
    licence=MINIPLACES.licence,
    address=MINIPLACES.address,
    by_hand=BY_HAND,
    matches=lambda root: bool(folders_in(root, _matches)),
    read=_read_pooled,
    verify=MINIPLACES.verify,
    has_sounds=False,
    has_pictures=True,
)
