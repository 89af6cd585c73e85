"""MiniPlaces: photographs of 100 scenes, a part of Places2; the pictures that avgan learns from.

Layout: index.csv with the columns path, scene, split (train or val), and the pictures it names.
Each photograph is a source of its own.
"""

from pathlib import Path

from avgan.data.datasets.declaration import Dataset, read_table
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError

_INDEX = "index.csv"

BY_HAND = (
    "ask for the MiniPlaces challenge data at http://places2.csail.mit.edu and unpack it, then "
    f"write {_INDEX} (path,scene,split) beside the pictures"
)


def _matches(root: Path) -> bool:
    index = root / _INDEX
    if not index.is_file():
        return False
    with index.open(encoding="utf-8-sig") as file:
        return file.readline().strip().split(",")[:3] == ["path", "scene", "split"]


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
