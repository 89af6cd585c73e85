"""TAU Urban Acoustic Scenes 2019, development: ten scenes in ten European cities.

Layout, as published: meta.csv (filename, scene_label, identifier, source_label; tabs), audio/, and
evaluation_setup/fold1_{train,test,evaluate}.csv. A source is a location (CITY-NUMBER); the split is the
publisher's fold 1; `fold` is the city, so that a run may hold cities out.
"""

from collections import Counter
from pathlib import Path

from avgan.data.datasets.declaration import Dataset, read_table
from avgan.data.datasets.tau import (
    CLIP_S,
    META,
    check_scene,
    city_of,
    has_table,
    remotes,
    split_of_files,
)
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.scenes import TAU_SCENE

NUM_CLIPS = {"train": 9185, "test": 4185, "unused": 1030}
UNSEEN_CITY = "milan"

_COLUMNS = ("filename", "scene_label", "identifier", "source_label")
_STEM = "TAU-urban-acoustic-scenes-2019-development"
_RECORD = "https://zenodo.org/record/2589280"

# What the record lists: package, bytes, md5.
_PACKAGES = (
    ("doc", 11_299, "1f6879544e80da70099a191613e7e51f"),
    ("meta", 156_863, "09782f2097e4735687af73c44919329c"),
    ("audio.1", 1_657_550_587, "aca4ebfd9ed03d5f747d6ba8c24bc728"),
    ("audio.2", 1_666_219_450, "c4f170408ce77c8c70c532bf268d7be0"),
    ("audio.3", 1_817_901_591, "c7214a07211f10f3250290d05e72c37e"),
    ("audio.4", 1_821_710_642, "a6a62110f6699cf4432072acb1dffda6"),
    ("audio.5", 1_803_118_466, "091a0b6d3c84b8e60e46940aa7d4a8a0"),
    ("audio.6", 1_789_566_029, "114f4ca13e074391b98a1cfd8140de65"),
    ("audio.7", 1_747_953_866, "5951dd2968f7a514e2afbe279c4f060d"),
    ("audio.8", 1_728_724_513, "b0b63dc95b327e1509857c8d8a663cc3"),
    ("audio.9", 1_667_106_209, "3c32a693a6b111ffb957be3c1dd22e9b"),
    ("audio.10", 1_632_636_175, "0ffbf60006da520cc761fb74c878b98b"),
    ("audio.11", 1_671_793_546, "599055d93b4c11057c29be2df54538d4"),
    ("audio.12", 1_672_592_150, "98b8d162ff3665695c4c910e6c372cc8"),
    ("audio.13", 1_673_481_614, "a356c08b1a5a21d433eba37ef87587f4"),
    ("audio.14", 1_666_137_450, "f8969771e7faf7dd471d1cf78b0cf011"),
    ("audio.15", 1_675_127_004, "4758c4b0fb7484faa632266e78850820"),
    ("audio.16", 1_648_240_966, "a18acad9ede8ea76574216feb887f0bc"),
    ("audio.17", 1_698_414_214, "1af7703484632f340da5c33662dc9632"),
    ("audio.18", 1_731_093_704, "b67402bf3e08f4da394a7c18756c0fd2"),
    ("audio.19", 1_745_153_640, "035db315f19106eb848b6f9b32bcc47c"),
    ("audio.20", 1_774_038_704, "9cb28c74911bf8a3eadcf53f50a5b5d6"),
    ("audio.21", 1_333_808_800, "0e44ed85c88ec036a9725b4dd1dfaea0"),
)


def _matches(root: Path) -> bool:
    return has_table(root, _COLUMNS)


def _read(root: Path) -> Manifest:
    if not _matches(root):
        raise DataError(
            f"{root}: no TAU 2019 development set here (no {META} with its columns); get it with: "
            f"avgan data get tau2019 --data {root}"
        )
    splits = split_of_files(root, _STEM, "filename")
    rows = read_table(root / META, _COLUMNS, delimiter="\t")
    clips = tuple(_clip(row, splits.get(row["filename"], "unused")) for row in rows)
    return Manifest(TAU2019.name, root, clips)


def _clip(row: dict[str, str], split: str) -> Clip:
    city = city_of(row["identifier"])
    return Clip(
        id=Path(row["filename"]).stem,
        source_id=row["identifier"],
        label=check_scene(row["scene_label"]),
        audio_path=row["filename"],
        end_s=CLIP_S,
        fold=city,
        split=split,
        place=city,
        device=row["source_label"],
        address=TAU2019.address,
        licence=TAU2019.licence,
    )


def _verify(manifest: Manifest) -> list[str]:
    counts = Counter(clip.split for clip in manifest.clips)
    return [
        f"{counts[split]} clips in part {split!r}; TAU 2019 has {expected}"
        for split, expected in NUM_CLIPS.items()
        if counts[split] != expected
    ]


TAU2019 = Dataset(
    name="tau2019",
    title="TAU Urban Acoustic Scenes 2019, development",
    story="""\
14,400 recordings of 10 s, 48 kHz, 24 bit, binaural: ten scenes in ten European cities, device A.
Fold 1 of the publisher trains on 9,185 clips of nine cities and tests on 4,185 of ten: Milan is
heard only in the test (410 clips), the unseen city. Milan's other 1,030 clips stand in neither
part (split "unused"): to train on them would give the unseen city away. The clips of one location
always stand in one part.
""",
    citation="""\
@inproceedings{mesaros2018multi,
  title     = {A Multi-Device Dataset for Urban Acoustic Scene Classification},
  author    = {Mesaros, Annamaria and Heittola, Toni and Virtanen, Tuomas},
  booktitle = {Proceedings of the Detection and Classification of Acoustic Scenes and Events 2018
               Workshop (DCASE2018)},
  pages     = {9--13},
  year      = {2018}
}""",
    licence=(
        "Tampere University: free for academic use; any commercial use, services with it included, "
        "is prohibited; cite it."
    ),
    address=_RECORD,
    remotes=remotes(_RECORD, _STEM, _PACKAGES),
    matches=_matches,
    read=_read,
    verify=_verify,
    places=TAU_SCENE,
)
