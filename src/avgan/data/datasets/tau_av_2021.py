"""TAU Urban Audio-Visual Scenes 2021, development: sound and picture of ten scenes, recorded together.

Layout, as published: meta.csv (filename_audio, filename_video, scene_label, identifier; tabs), audio/*.wav and
video/*.mp4 with one stem a clip, and evaluation_setup/fold1_{train,test,evaluate}.csv. A source is a location
(CITY-NUMBER), written as in TAU 2019, of which this shares some; the picture of a clip is the frame at its middle.
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

NUM_TRAINING_CLIPS = 8646

_COLUMNS = ("filename_audio", "filename_video", "scene_label")
_STEM = "TAU-urban-audio-visual-scenes-2021-development"
_RECORD = "https://zenodo.org/record/4477542"

# What the record lists: package, bytes, md5.
_PACKAGES = (
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


def _matches(root: Path) -> bool:
    return has_table(root, _COLUMNS)


def _read(root: Path) -> Manifest:
    if not _matches(root):
        raise DataError(
            f"{root}: no TAU audio-visual 2021 development set here (no {META} with its columns); "
            f"get it with: avgan data get tau_av_2021 --data {root}"
        )
    splits = split_of_files(root, _STEM, "filename_audio")
    rows = read_table(root / META, _COLUMNS, delimiter="\t")
    clips = tuple(_clip(row, splits.get(row["filename_audio"], "unused")) for row in rows)
    return Manifest(TAU_AV_2021.name, root, clips)


def _clip(row: dict[str, str], split: str) -> Clip:
    stem = Path(row["filename_audio"]).stem
    if Path(row["filename_video"]).stem != stem:
        raise DataError(
            f"{META}: {row['filename_audio']} and {row['filename_video']} are not one recording; "
            "get the table anew"
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


def _verify(manifest: Manifest) -> list[str]:
    counts = Counter(clip.split for clip in manifest.clips)
    problems = []
    if counts["train"] != NUM_TRAINING_CLIPS:
        problems.append(
            f"{counts['train']} clips in part 'train'; TAU audio-visual 2021 has {NUM_TRAINING_CLIPS}"
        )
    if counts["unused"]:
        problems.append(f"{counts['unused']} clips stand in no part of fold 1; all should")
    return problems


TAU_AV_2021 = Dataset(
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
    address=_RECORD,
    remotes=remotes(_RECORD, _STEM, _PACKAGES),
    matches=_matches,
    read=_read,
    verify=_verify,
    has_pictures=True,
    places=TAU_SCENE,
)
