"""What a run is given: nothing held out, pictures and sounds paired, folders of one's own read."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avgan.config import ClassifierSection, DataSection, ImaginationSection, VQVAESection
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError, LeakageError
from avgan.training.data import TrainingData, divide, resolve
from avgan.training.data import load as load_stage


@pytest.fixture
def mixed_folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Recordings and pictures under the same three labels: six sounds and four pictures each."""
    for label in ("brook", "road", "wood"):
        folder = tmp_path / label
        folder.mkdir()
        for number in range(6):
            soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(16_000), 16_000)
        for number in range(4):
            pixels = rng.integers(0, 255, (128, 128, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


def load(section: DataSection, root: Path) -> TrainingData:
    """What the stage that needs both sounds and pictures is given."""
    return load_stage(ImaginationSection(data=section), root, seed=0)


def own(**fields: object) -> DataSection:
    return DataSection(sounds="folder", images="folder", window_s=1.0, **fields)


def test_recordings_and_pictures_of_one_folder_are_paired_by_label(mixed_folder: Path) -> None:
    loaded = load(own(validation_fraction=0), mixed_folder)
    assert loaded.labels == ("brook", "road", "wood")
    assert loaded.scene_of_label is None
    assert len(loaded.train) == 18
    assert len(loaded.images) == 12
    assert loaded.pairing.kind == "by_label"
    rng = np.random.default_rng(0)
    for index, clip in enumerate(loaded.train.clips):
        assert loaded.labels[loaded.train.targets[index]] == clip.label
        for _ in range(5):
            picture = loaded.pairing.images[loaded.pairing.draw(index, rng)]
            assert picture.label == clip.label
    assert loaded.train.waveforms.get([0, 17]).shape == (2, 16_000)
    assert loaded.images.get(range(12)).shape == (12, 3, 128, 128)


def test_validation_shares_no_source_with_training(mixed_folder: Path) -> None:
    loaded = load(own(validation_fraction=0.3), mixed_folder)
    train = {clip.source_id for clip in loaded.train.clips}
    validation = {clip.source_id for clip in loaded.validation.clips}
    assert train
    assert validation
    assert not train & validation
    assert train <= set(loaded.sources)
    assert validation <= set(loaded.validation_sources)
    assert not set(loaded.sources) & set(loaded.validation_sources)
    assert {clip.label for clip in loaded.validation.clips} == set(loaded.labels)
    again = load(own(validation_fraction=0.3), mixed_folder)
    assert again.validation_sources == loaded.validation_sources


def folded() -> Manifest:
    """Five folds; source `shared` stands in folds 4 and 5; one test clip, one unlabelled."""
    clips = [
        Clip(
            id=f"{number}",
            source_id=f"s{number}",
            label="ab"[number % 2],
            audio_path=f"{number}.wav",
            fold=str(number % 5 + 1),
        )
        for number in range(40)
    ]
    extra = [
        Clip(id="x", source_id="shared", label="a", audio_path="x.wav", fold="4"),
        Clip(id="y", source_id="shared", label="a", audio_path="y.wav", fold="5"),
        Clip(id="t", source_id="t", label="a", audio_path="t.wav", fold="1", split="test"),
        Clip(id="u", source_id="u", label="", audio_path="u.wav", fold="1"),
    ]
    return Manifest("folded", Path("."), (*clips, *extra))


@pytest.mark.parametrize("fraction", [0.0, 0.2])
def test_held_out_folds_their_sources_and_test_clips_are_never_heard(fraction: float) -> None:
    section = DataSection(held_out_folds=("5",), validation_fraction=fraction)
    train, validation = divide(folded(), section, seed=0)
    heard = train.clips + validation.clips
    assert {clip.fold for clip in heard} == {"1", "2", "3", "4"}
    assert {clip.id for clip in heard}.isdisjoint({"x", "y", "t", "u"})
    assert len(heard) == 32
    assert bool(validation.clips) is (fraction > 0)


def test_a_validation_part_of_its_own_is_the_one_that_is_used() -> None:
    parts = ("train", "validation", "test")
    clips = tuple(
        Clip(id=f"{n}", source_id=f"{n}", label="ab"[n % 2], split=parts[n % 3], fold=f"{n % 4}") for n in range(24)
    )
    manifest = Manifest("curated", Path(), clips)
    train, validation = divide(manifest, DataSection(validation_fraction=0.1), 0)
    assert {clip.split for clip in train.clips} == {"train"}
    assert [clip.split for clip in validation.clips] == ["validation"] * 8
    held = DataSection(validation_fraction=0.1, held_out_folds=("1",))
    assert {clip.fold for clip in divide(manifest, held, 0)[1].clips} == {"0", "2", "3"}
    assert not divide(manifest, DataSection(validation_fraction=0), 0)[1].clips
    shared = Clip(id="x", source_id="1", label="a", split="train")  # 1 is in the validation part
    with pytest.raises(LeakageError, match="source '1'"):
        divide(Manifest("curated", Path(), (*clips, shared)), DataSection(), 0)


def test_nothing_left_to_hear_is_said() -> None:
    section = DataSection(held_out_folds=("1", "2", "3", "4", "5"))
    with pytest.raises(DataError, match="no labelled recording is left"):
        divide(folded(), section, seed=0)


def test_auto_takes_a_folder_of_ones_own_and_says_when_there_is_nothing(
    mixed_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    resolved = resolve(DataSection(), mixed_folder)
    assert (resolved.sounds, resolved.images) == ("folder", "folder")
    assert resolve(own(), mixed_folder) == own()
    with pytest.raises(DataError, match="no data set here; put recordings"):
        resolve(DataSection(), tmp_path_factory.mktemp("empty"))


def test_real_esc50_is_found_paired_and_held_out(data_root: Path) -> None:
    section = resolve(DataSection(held_out_folds=("1",)), data_root)
    assert section.sounds == "esc50"
    loaded = load(section, data_root)
    assert len(loaded.labels) == 50
    assert loaded.pairing.kind == "by_label"
    assert {clip.fold for clip in loaded.train.clips} == {"2", "3", "4", "5"}
    assert loaded.scene_of_label is not None
    rng = np.random.default_rng(0)
    for index in range(0, len(loaded.train), 97):
        picture = loaded.pairing.images[loaded.pairing.draw(index, rng)]
        clip = loaded.train.clips[index]
        assert picture.label == loaded.scene_of_label[clip.label] == loaded.scene_of_clip[clip.id]
        assert picture.split == "train"


def test_each_stage_is_given_what_it_needs_and_no_more(mixed_folder: Path) -> None:
    """Stage 1 hears nothing, stage 3 sees nothing; what validates is the same for all."""
    section = own(validation_fraction=0.3)
    pictures = load_stage(VQVAESection(data=section), mixed_folder, seed=0)
    both = load_stage(ImaginationSection(data=section), mixed_folder, seed=0)
    sounds = load_stage(ClassifierSection(data=section), mixed_folder, seed=0)
    assert (len(pictures.train), len(pictures.pairing.sounds)) == (0, 0)
    assert len(pictures.images) == len(both.images) > 0
    assert (len(sounds.images), len(sounds.pairing.sounds)) == (0, 0)
    assert sounds.train.clips == both.train.clips
    assert sounds.validation.clips == both.validation.clips
    assert sounds.labels == both.labels == ("brook", "road", "wood")
    assert pictures.labels == ()
    assert set(pictures.sources) == {clip.source_id for clip in both.pairing.images}


def test_photographs_are_no_recordings_to_be_guarded(data_root: Path) -> None:
    section = resolve(DataSection(), data_root)
    assert (section.sounds, section.images) == ("esc50", "miniplaces")
    loaded = load_stage(VQVAESection(data=section), data_root, seed=0)
    assert len(loaded.images) > 10_000
    assert loaded.sources == ()
    assert list(loaded.provenance) == ["images"]


def test_recordings_and_pictures_are_each_divided(mixed_folder: Path) -> None:
    """A label's share of both together could be pictures alone, and nothing would be left to score."""
    data = load(own(validation_fraction=0.1), mixed_folder)
    assert sorted(clip.label for clip in data.validation.clips) == ["brook", "road", "wood"]
    assert sorted(data.validation_scenes) == ["brook", "road", "wood"]
    assert data.describe() == (
        "3 labels (brook, road, wood); 15 clips to learn from, 3 to validate on; 9 pictures; paired by label"
    )


def test_a_label_that_nothing_is_left_of_is_named(mixed_folder: Path) -> None:
    for path in (mixed_folder / "road").glob("*.wav"):
        path.unlink()
    with pytest.raises(DataError, match="no recording of 'road' is left"):
        load_stage(ClassifierSection(data=own(validation_fraction=0.1)), mixed_folder, seed=0)


def test_shuffled_pairs_show_the_same_pictures_to_other_sounds(mixed_folder: Path) -> None:
    config = own()
    matching, control = (load(config.changed(pairs=pairs), mixed_folder) for pairs in ("matching", "shuffled"))
    assert control.pairing.sounds == matching.pairing.sounds
    choices = [[c.tolist() for c in each.pairing.image_choices] for each in (matching, control)]
    for index, clip in enumerate(control.pairing.sounds):
        shown = {control.pairing.images[image].label for image in choices[1][index]}
        assert clip.label not in shown
    assert "shuffled" in control.provenance["pairing"]
    assert "shuffled" not in matching.provenance["pairing"]


def test_strong_pairs_need_a_map_that_says_which_they_are(mixed_folder: Path) -> None:
    config = own(validation_fraction=0.1, pairs="strong")
    with pytest.raises(DataError, match="every label is a place"):
        load(config, mixed_folder)
