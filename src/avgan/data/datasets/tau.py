"""TAU Urban Acoustic Scenes 2019 and TAU Urban Audio-Visual Scenes 2021 (development), of Tampere University.

Both are zips on Zenodo with tables of tabs: meta.csv, and evaluation_setup/fold1_{train,test,evaluate}.csv with the one
official fold. 2019 has audio/*.wav; 2021 has audio/*.wav and video/*.mp4 with one stem a clip, whose picture is the
frame at its middle.

A file is named SCENE-CITY-LOCATION-SEGMENT; the identifier CITY-LOCATION is the source: some minutes recorded at one
place, cut into clips of 10 s that sound alike. `fold` is the city, so that a run may hold cities out.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from avgan.data.datasets.declaration import Dataset, Remote, header_of, read_table
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.scenes import DCASE_SCENES, TAU_SCENE

CLIP_S = 10.0
META = "meta.csv"

Package = tuple[str, int, str]
"""Name within the record, bytes, md5."""
ClipOf = Callable[[dict[str, str], str], Clip]
"""Row of meta.csv, split -> clip."""


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


def is_there(root: Path, columns: tuple[str, ...]) -> bool:
    """Whether `root` holds a meta.csv that begins with these columns."""
    return header_of(root / META, delimiter="\t")[: len(columns)] == list(columns)


def read(declared: Dataset, root: Path, stem: str, columns: tuple[str, ...], clip_of: ClipOf) -> Manifest:
    """The clips of meta.csv with the official fold; the first of `columns` names the files.

    Raises:
        DataError: a table is missing.
    """
    if not is_there(root, columns):
        raise DataError(
            f"{root}: no {declared.title} here (no {META} with its columns); get it with: "
            f"avgan data get {declared.name} --data {root}"
        )
    splits: dict[str, str] = {}
    for split in ("train", "test"):
        table = root / "evaluation_setup" / f"fold1_{split}.csv"
        if not table.is_file():
            raise DataError(f"{table}: missing; unpack {stem}.meta.zip into {root}")
        rows = read_table(table, columns[:1], delimiter="\t")
        splits |= dict.fromkeys((row[columns[0]] for row in rows), split)
    rows = read_table(root / META, columns, delimiter="\t")
    clips = tuple(clip_of(row, splits.get(row[columns[0]], "unused")) for row in rows)
    return Manifest(declared.name, root, clips)


def city_of(identifier: str) -> str:
    """The city of CITY-LOCATION."""
    return identifier.rsplit("-", 1)[0]


def check_scene(label: str) -> str:
    """The label, if it is one of the ten scenes. Raises DataError."""
    if label not in DCASE_SCENES:
        raise DataError(f"{META}: {label!r} is no scene of TAU; get the table anew")
    return label


NUM_CLIPS = {"train": 9185, "test": 4185, "unused": 1030}

_2019_COLUMNS = ("filename", "scene_label", "identifier", "source_label")
_2019_STEM = "TAU-urban-acoustic-scenes-2019-development"
_2019_RECORD = "https://zenodo.org/record/2589280"

# What the record lists: package, bytes, md5.
_2019_PACKAGES = (
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


def _clip_2019(row: dict[str, str], split: str) -> Clip:
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


def _verify_2019(manifest: Manifest) -> list[str]:
    counts = Counter(clip.split for clip in manifest.clips)
    return [
        f"{counts[split]} clips in part {split!r}; TAU 2019 has {expected}"
        for split, expected in NUM_CLIPS.items()
        if counts[split] != expected
    ]


TAU2019: Dataset = Dataset(
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
    address=_2019_RECORD,
    remotes=remotes(_2019_RECORD, _2019_STEM, _2019_PACKAGES),
    matches=lambda root: is_there(root, _2019_COLUMNS),
    read=lambda root: read(TAU2019, root, _2019_STEM, _2019_COLUMNS, _clip_2019),
    verify=_verify_2019,
    places=TAU_SCENE,
)


NUM_TRAINING_CLIPS = 8646

_AV_COLUMNS = ("filename_audio", "filename_video", "scene_label")
_AV_STEM = "TAU-urban-audio-visual-scenes-2021-development"
_AV_RECORD = "https://zenodo.org/record/4477542"

# What the record lists: package, bytes, md5.
_AV_PACKAGES = (
    ("doc", 12_466, "26960140f453d31bbd315ed7e35675f8"),
    ("meta", 235_316, "76e3d7ed5291b118372e06379cb2b490"),
    ("examples", 128_196_071, "27aca1ec51f856f59604cf22e93ebf80"),
    ("audio.1", 4_349_202_707, "186f6273f8f69ed9dbdc18ad65ac234f"),
    ("audio.2", 4_490_960_726, "7fd6bb63127f5785874a55aba4e77aa5"),
    ("audio.3", 4_223_486_056, "61396bede29d7c8c89729a01a6f6b2e2"),
    ("audio.4", 4_172_854_493, "6ddac89717fcf9c92c451868eed77fe1"),
    ("audio.5", 4_185_568_337, "af4820756cdf1a7d4bd6037dc034d384"),
    ("audio.6", 4_215_402_064, "ebd11ec24411f2a17a64723bd4aa7fff"),
    ("audio.7", 4_407_222_915, "2be39a76aeed704d5929d020a2909efd"),
    ("audio.8", 345_864_456, "972d8afe0874720fc2f28086e7cb22a9"),
    ("video.1", 4_996_891_312, "f89b88f6ff44b109e842bff063612bf1"),
    ("video.2", 4_997_056_221, "433053f76ae028f6c4a86094b91af69c"),
    ("video.3", 4_995_965_420, "974c8e4f3741e065e5c2775f4b9e3ffc"),
    ("video.4", 4_991_033_216, "b558fe62fb8fd9b1864d256ead8a24d1"),
    ("video.5", 4_997_081_324, "fb3036c31e66be1caddb48834e0ea304"),
    ("video.6", 4_991_170_406, "140f331750406eaa16756b5cfdf0a336"),
    ("video.7", 4_996_594_150, "bac47d3da9bffb89318e662c6af68539"),
    ("video.8", 4_992_534_816, "95c231ee549c6e74ab8b57a27047ff71"),
    ("video.9", 4_998_329_385, "294daf6f7de15adcae3a97a8d176eb3a"),
    ("video.10", 4_993_017_199, "c6778f4ddbab163394f7cd26011f1452"),
    ("video.11", 4_993_425_875, "856ecd8fb1df96adcd2cc6928441bbe6"),
    ("video.12", 4_994_719_640, "57b898b19d991fde6df595fda85eb28d"),
    ("video.13", 4_996_976_020, "920562ed29a63abeabfb11b6c0a17a2c"),
    ("video.14", 4_999_888_160, "1febab0738a622dea95926e70d2fc7c4"),
    ("video.15", 4_995_886_583, "d6d57cc85f65b1a589a1d628ca936fc9"),
    ("video.16", 2_286_205_594, "4e1ab47f0d180b818491ef3c3f45ebc6"),
)


def _clip_av(row: dict[str, str], split: str) -> Clip:
    stem = Path(row["filename_audio"]).stem
    if Path(row["filename_video"]).stem != stem:
        raise DataError(
            f"{META}: {row['filename_audio']} and {row['filename_video']} are not one recording; get the table anew"
        )
    source = row.get("identifier") or "-".join(stem.split("-")[1:3])
    return Clip(
        id=stem,
        source_id=source,
        label=check_scene(row["scene_label"]),
        audio_path=row["filename_audio"],
        image_path=row["filename_video"],
        end_s=CLIP_S,
        frame_s=CLIP_S / 2,
        fold=city_of(source),
        split=split,
        place=city_of(source),
        address=TAU_AV_2021.address,
        licence=TAU_AV_2021.licence,
    )


def _verify_av(manifest: Manifest) -> list[str]:
    counts = Counter(clip.split for clip in manifest.clips)
    problems = []
    if counts["train"] != NUM_TRAINING_CLIPS:
        problems.append(f"{counts['train']} clips in part 'train'; TAU audio-visual 2021 has {NUM_TRAINING_CLIPS}")
    if counts["unused"]:
        problems.append(f"{counts['unused']} clips stand in no part of fold 1; all should")
    return problems


TAU_AV_2021: Dataset = Dataset(
    name="tau_av_2021",
    title="TAU Urban Audio-Visual Scenes 2021, development",
    story="""\
Clips of 10 s of the ten scenes of TAU 2019, with the sound in audio/ (binaural) and what a camera on
the same person saw meanwhile in video/: the one open data set of these scenes in which sound and
picture belong together. Fold 1 of the publisher trains on 8,646 clips and tests on the rest; the clips
of one location always stand in one part. 108 GB to download. Some locations are those of TAU 2019: a
run that has heard one of a test's locations in either set is refused.
""",
    citation="""\
@inproceedings{wang2021curated,
  title     = {A Curated Dataset of Urban Scenes for Audio-Visual Scene Analysis},
  author    = {Wang, Shanshan and Mesaros, Annamaria and Heittola, Toni and Virtanen, Tuomas},
  booktitle = {ICASSP 2021 - 2021 IEEE International Conference on Acoustics, Speech and Signal
               Processing (ICASSP)},
  pages     = {626--630},
  year      = {2021},
  doi       = {10.1109/ICASSP39728.2021.9415085}
}""",
    licence="Tampere University: free for non-commercial use; cite it.",
    address=_AV_RECORD,
    remotes=remotes(_AV_RECORD, _AV_STEM, _AV_PACKAGES),
    matches=lambda root: is_there(root, _AV_COLUMNS),
    read=lambda root: read(TAU_AV_2021, root, _AV_STEM, _AV_COLUMNS, _clip_av),
    verify=_verify_av,
    has_pictures=True,
    places=TAU_SCENE,
)
