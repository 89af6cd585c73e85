"""What every declared data set promises, looped over all of them."""

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from avgan.data.acquire import check_media
from avgan.data.datasets import DATASETS, Dataset, curated, declaration, find, locate
from avgan.data.loading import ImageStore, WaveformStore
from avgan.data.manifest import Clip, Manifest
from avgan.data.pairing import pair_within
from avgan.errors import DataError

Maker = Callable[..., Path]


class Makers(NamedTuple):
    """Of small files, and of a whole tree of TAU's."""

    tone: Maker
    picture: Maker
    video: Maker
    tau: Maker


Tree = Callable[[Path, Makers], None]


@pytest.fixture
def make(tone: Maker, picture: Maker, video: Maker, tau_tree: Maker) -> Makers:
    return Makers(tone, picture, video, tau_tree)


def make_esc50(root: Path, make: Makers) -> None:
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for source, category in ((100, "dog"), (200, "hand_saw")):
            name = f"{fold}-{source + fold}-A-{0 if category == 'dog' else 49}.wav"
            make.tone(root / "audio" / name)
            rows.append(f"{name},{fold},0,{category},True,{source + fold},A")
    (root / "meta").mkdir()
    (root / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")


def make_miniplaces(root: Path, make: Makers) -> None:
    rows = ["path,scene,split"]
    for split in ("train", "val"):
        for scene in ("yard", "coast"):
            make.picture(root / split / scene / "1.jpg")
            rows.append(f"{split}/{scene}/1.jpg,{scene},{split}")
    (root / "index.csv").write_text("\n".join(rows) + "\n")


def make_photographs(root: Path, make: Makers) -> None:
    for folder in ("miniplaces", "more"):
        (root / folder).mkdir()
        make_miniplaces(root / folder, make)


def make_places(root: Path, make: Makers) -> None:
    for folder, scene in (("one", "tram"), ("two", "park")):
        make.tone(root / folder / "audio" / "a.wav")
        (root / folder / "index.csv").write_text(
            f"file,scene,source_id,start_s,repo,licence,note\naudio/a.wav,{scene},{folder}-a,0,ann/sounds,CC0,\n"
        )


def make_tau2019(root: Path, make: Makers) -> None:
    make.tau(
        root, "tau2019", {"train": ["airport-lisbon-0"], "test": ["bus-milan-1"], "": ["tram-milan-2"]}, num_clips=1
    )


def make_tau_av_2021(root: Path, make: Makers) -> None:
    """Training in Lisbon and Milan, test in another place of Milan."""
    places = {"train": ["airport-lisbon-1175", "bus-milan-1040"], "test": ["tram-milan-1041"]}
    make.tau(root, "tau_av_2021", places, num_clips=1)


def make_folder(root: Path, make: Makers) -> None:
    for label in ("bus", "tram"):
        make.tone(root / label / "1.wav")
        make.picture(root / label / "1.jpg")


def make_curated(root: Path, make: Makers) -> None:
    """A shard of two clips, one dropped before; written here by hand, as the layout says."""
    (root / "shards").mkdir()
    clips = []
    with tarfile.open(root / "shards" / "train-00000.tar", "w") as tar:
        for name, label in (("a.1-5000", "bus"), ("b-5000", "tram")):
            paths = (make.tone(root / "media" / f"{name}.flac"), make.picture(root / "media" / f"{name}.jpg"))
            sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
            members = [path.name.replace(".", "~", path.name.count(".") - 1) for path in paths]
            for path, member in zip(paths, members, strict=True):
                tar.add(path, member)
                path.unlink()
            sound, image = (f"shards/train-00000.tar/{member}" for member in members)
            clips.append(
                Clip(
                    id=name,
                    source_id=name,
                    label=label,
                    audio_path=sound,
                    image_path=image,
                    end_s=1.0,
                    fold="lisbon",
                    place="lisbon",
                    licence="CC BY 4.0",
                    audio_sha256=sums[0],
                    image_sha256=sums[1],
                )
            )
    (root / "media").rmdir()
    dropped = Clip(id="c-5000", source_id="c", split="unused", status="dropped", reason="still")
    Manifest("curated", root, (*clips, dropped)).save(root / "manifest.parquet")
    rows = [
        {name: getattr(clip, name) for name in ("id", "label", "split", "audio_sha256", "image_sha256")}
        for clip in clips
    ]
    sums_of = {
        path: hashlib.sha256((root / path).read_bytes()).hexdigest()
        for path in ("manifest.parquet", "shards/train-00000.tar")
    }
    tree = {
        "format": 1,
        "hash": curated.hash_of(rows),
        "clips": rows,
        "shards": [{"name": "train-00000.tar", "sha256": sums_of["shards/train-00000.tar"], "num_clips": 2}],
        "files": {"manifest.parquet": sums_of["manifest.parquet"]},
    }
    tree["seal"] = curated.seal_of(tree)
    (root / "list.json").write_text(curated.canonical(tree))


TREES: dict[str, Tree] = {
    "esc50": make_esc50,
    "miniplaces": make_miniplaces,
    "photographs": make_photographs,
    "places": make_places,
    "tau2019": make_tau2019,
    "tau_av_2021": make_tau_av_2021,
    "curated": make_curated,
    "folder": make_folder,
}
FOLDS = {
    "esc50": set("12345"),
    "places": {"one", "two"},
    "tau2019": {"lisbon", "milan"},
    "tau_av_2021": {"lisbon", "milan"},
    "curated": {"lisbon"},
}
SPLITS = {
    "miniplaces": {"train", "validation"},
    "photographs": {"train", "validation"},
    "tau2019": {"train", "test", "unused"},
    "tau_av_2021": {"train", "test"},
}

every_dataset = pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))
every_declaration = pytest.mark.parametrize("declared", DATASETS.values(), ids=DATASETS)


def test_every_data_set_has_a_tree_here() -> None:
    assert set(TREES) == set(DATASETS)


@every_declaration
def test_it_says_what_a_lawyer_and_a_reviewer_ask(declared: Dataset) -> None:
    assert declaration(declared.name) is declared
    assert declared.title
    assert "\n" not in declared.title
    assert len(declared.story) > 100
    assert declared.citation.startswith("@")
    assert declared.citation.count("{") == declared.citation.count("}")
    assert declared.licence.endswith(".")
    assert "\n" not in declared.licence
    assert declared.address
    assert declared.remotes or declared.by_hand


@every_declaration
def test_its_files_can_be_verified(declared: Dataset) -> None:
    remotes = declared.remotes
    names = [remote.filename for remote in remotes]
    assert len(names) == len(set(names))
    for remote in remotes:
        assert remote.url.startswith("https://")
        assert "/" not in remote.filename
        assert all(digit in "0123456789abcdef" for digit in remote.sha256 + remote.md5)
        assert len(remote.sha256) in (0, 64)
        assert len(remote.md5) in (0, 32)


@every_declaration
def test_an_empty_folder_is_not_it(declared: Dataset, tmp_path: Path) -> None:
    assert not declared.matches(tmp_path)
    assert not declared.matches(tmp_path / "absent")


@every_dataset
def test_reading_an_empty_folder_says_what_to_do(dataset: Dataset, tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError) as caught:
            find(root, dataset.name)
        text = str(caught.value)
        assert str(root) in text
        assert "\n" not in text
        assert "avgan data get" in text or dataset.by_hand in text


@every_dataset
def test_it_reads_its_official_layout(dataset: Dataset, tmp_path: Path, make: Makers) -> None:
    root = tmp_path / (dataset.folders or (dataset.name,))[0]
    root.mkdir(exist_ok=True)
    TREES[dataset.name](root, make)
    assert dataset.matches(root)
    assert locate(tmp_path, dataset.name) == root == locate(root, dataset.name)
    manifest = find(tmp_path, dataset.name)
    assert manifest.name == dataset.name
    assert len(manifest) > 0
    assert len({clip.id for clip in manifest.clips}) == len(manifest)
    assert {clip.fold for clip in manifest.clips} == FOLDS.get(dataset.name, {""})
    assert {clip.split for clip in manifest.clips} == SPLITS.get(dataset.name, {"train"})
    assert check_media(manifest) == []
    assert dataset.name != "curated" or dataset.verify(manifest) == []
    for clip in manifest.clips:
        assert clip.source_id
        assert clip.label
        assert clip.audio_path or clip.image_path
        assert clip.licence or dataset.name == "folder"
    assert find(root, dataset.name).sha256() == manifest.sha256()


@every_dataset
def test_real_data_is_complete(dataset: Dataset, data_root: Path) -> None:
    folder = locate(data_root, dataset.name)
    if not dataset.matches(folder):
        pytest.skip(f"{dataset.name} is not in {data_root}")
    assert dataset.verify(dataset.read(folder)) == []


def test_photographs_of_several_folders_are_one_set_and_a_folder_of_sounds_is_none(
    tmp_path: Path, make: Makers
) -> None:
    make_photographs(tmp_path, make)
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "index.csv").write_text("path,label\n1.wav,bus\n")
    manifest = find(tmp_path, "photographs")
    assert len(manifest) == 8
    assert manifest.labels == ("coast", "yard")
    assert {clip.image_path.split("/")[0] for clip in manifest.clips} == {"miniplaces", "more"}


def test_tau_2019_knows_place_source_and_device(tmp_path: Path, make: Makers) -> None:
    make_tau2019(tmp_path, make)
    clip = find(tmp_path, "tau2019").clips[1]
    assert (clip.place, clip.source_id, clip.device) == ("milan", "milan-1", "a")
    assert len(DATASETS["tau2019"].verify(find(tmp_path, "tau2019"))) == 3


@pytest.mark.parametrize("name", ["tau2019", "tau_av_2021"])
def test_tau_without_its_set_up_says_what_is_missing(tmp_path: Path, make: Makers, name: str) -> None:
    TREES[name](tmp_path, make)
    (tmp_path / "evaluation_setup" / "fold1_test.csv").unlink()
    with pytest.raises(DataError, match=r"fold1_test.csv: missing; unpack .*meta\.zip"):
        find(tmp_path, name)


def test_tau_has_parts_of_the_published_sizes() -> None:
    """As the records on Zenodo list them: number of zips, bytes in all."""
    published = {"tau2019": (23, 35_622_537_482), "tau_av_2021": (27, 107_735_780_928)}
    for name, (num_parts, num_bytes) in published.items():
        remotes = DATASETS[name].remotes
        assert len(remotes) == num_parts
        assert sum(remote.bytes or 0 for remote in remotes) == num_bytes
        assert all(remote.md5 and remote.unpack and remote.strip == 1 for remote in remotes)


def test_an_audio_visual_clip_has_the_frame_at_its_middle_and_is_one_recording(tmp_path: Path, make: Makers) -> None:
    make_tau_av_2021(tmp_path, make)
    make.video(tmp_path / "video" / "airport-lisbon-1175-0.mp4")
    manifest = find(tmp_path, "tau_av_2021")
    clip = manifest.clips[0]
    assert (clip.audio_path, clip.image_path) == ("audio/airport-lisbon-1175-0.wav", "video/airport-lisbon-1175-0.mp4")
    assert (clip.source_id, clip.place, clip.frame_s, clip.end_s) == ("lisbon-1175", "lisbon", 5.0, 10.0)
    assert pair_within(manifest).kind == "synchronous"
    frames = ImageStore(manifest).get([0])
    assert frames[0, 2].mean() > 200  # the third of the video's colours, blue, shows from 4 s on
    assert "2 clips in part 'train'" in DATASETS["tau_av_2021"].verify(manifest)[0]
    table = (tmp_path / "meta.csv").read_text()
    (tmp_path / "meta.csv").write_text(table.replace("video/bus-milan", "video/bus-paris"))
    with pytest.raises(DataError, match="are not one recording"):
        find(tmp_path, "tau_av_2021")


def test_real_recordings_of_tau_are_read_by_their_official_names(tmp_path: Path, data_root: Path) -> None:
    """The few recordings at hand, with the tables that would name them."""
    folder = data_root / "tau_samples" / "audio"
    if not folder.is_dir():
        pytest.skip(f"no tau_samples in {data_root}")
    rows, parts = [], {"train": [], "test": []}  # type: ignore[var-annotated]
    for path in sorted(folder.glob("*.wav")):
        scene, city, place, _, device = path.stem.split("-")
        rows.append(f"audio/{path.name}\t{scene}\t{city}-{place}\t{device}")
        parts["test" if city == "milan" else "train"].append(f"audio/{path.name}")
    (tmp_path / "audio").symlink_to(folder)
    (tmp_path / "meta.csv").write_text("\n".join(["filename\tscene_label\tidentifier\tsource_label", *rows]))
    (tmp_path / "evaluation_setup").mkdir()
    for part, names in parts.items():
        table = tmp_path / "evaluation_setup" / f"fold1_{part}.csv"
        table.write_text("\n".join(["filename", *names]))
    manifest = find(tmp_path, "tau2019")
    assert check_media(manifest) == []
    assert {clip.split for clip in manifest.clips if clip.place == "milan"} == {"test"}
    store = WaveformStore(manifest, rate_hz=16_000, window_s=10.0)
    waveforms = store.get(range(len(manifest)))
    assert waveforms.shape == (len(manifest), 160_000)
    assert (waveforms.std(1) > 1e-4).all()
    assert (np.abs(waveforms[:, -1600:]).max(1) > 0).all()  # whole 10 s, none padded


def test_esc50_names_its_freesound_page_and_the_licence_of_each_clip(tmp_path: Path, make: Makers) -> None:
    make_esc50(tmp_path, make)
    clip = find(tmp_path, "esc50").clips[0]
    assert (clip.source_id, clip.licence) == ("101", "CC BY 3.0")
    assert clip.address == "https://freesound.org/s/101/"
    problems = DATASETS["esc50"].verify(find(tmp_path, "esc50"))
    assert problems[0] == "10 clips; ESC-50 has 2000"
    assert len(problems) == 6


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("filename,fold\na.wav,1\n", "line 2 has no 'target'"),
        ("", "line 2 has no 'filename'"),
        ("filename,fold,target,category,esc10,src_file\na.wav,1,0,lion,True,7\n", "'lion' is no"),
    ],
)
def test_a_damaged_table_is_a_clear_error(tmp_path: Path, table: str, problem: str) -> None:
    (tmp_path / "esc50.csv").write_text(table)
    with pytest.raises(DataError, match=problem):
        find(tmp_path, "esc50")


def test_names_that_are_none() -> None:
    with pytest.raises(DataError, match="esc51: no such data set; known are: esc50"):
        find(".", "esc51")
