"""Photographs of scenes out of several folders, as if they were one: MiniPlaces and what lies beside it.

Layout: folders beside each other, each with an index.csv as MiniPlaces has one (path, scene, split). Scenes that
several folders have are pooled. What is added to MiniPlaces so stays apart from it on the disk and in its licence.
"""

from dataclasses import replace
from pathlib import Path

from avgan.data.datasets.declaration import Dataset
from avgan.data.datasets.miniplaces import BY_HAND, MINIPLACES
from avgan.data.manifest import Manifest
from avgan.errors import DataError


def _folders(root: Path) -> list[Path]:
    """The folders below `root` with an index of photographs, in an order that is always the same."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and MINIPLACES.matches(path))


def _read(root: Path) -> Manifest:
    folders = _folders(root)
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
    matches=lambda root: bool(_folders(root)),
    read=_read,
    verify=MINIPLACES.verify,
    has_sounds=False,
    has_pictures=True,
)
