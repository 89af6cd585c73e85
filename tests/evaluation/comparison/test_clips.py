"""What a rival is given: the right waveforms at any rate, pictures only to learn with, and no more memory than said."""

import weakref
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avgan.data.loading import WaveformStore
from avgan.evaluation.comparison import clips
from avgan.evaluation.comparison.clips import NUM_RATES, Pictures, Sounds, clips_to_answer, clips_to_learn_from
from avgan.evaluation.protocols import Protocol, read_protocol


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings and a picture of one colour under each of two labels."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for label, colour in (("a", (200, 0, 0)), ("b", (0, 0, 200))):
        (root / label).mkdir()
        for number in range(3):
            soundfile.write(root / label / f"{number}.wav", rng.uniform(-1, 1, 8_000), 8_000)
        Image.new("RGB", (128, 128), colour).save(root / label / "picture.png")
    return root


@pytest.fixture(scope="module")
def protocol(data: Path) -> Protocol:
    return read_protocol("folder", data)


def test_a_fold_becomes_clips(data: Path, protocol: Protocol) -> None:
    fold, sounds = protocol.folds[0], Sounds.of(protocol)
    known = clips_to_learn_from(fold, protocol, sounds, data=data, pictures=None)
    assert known.ids == tuple(clip.id for clip in fold.train.clips if clip.audio_path)
    assert known.targets.tolist() == [protocol.labels.index(i[0]) for i in known.ids]
    assert (known.labels, known.window_s, known.folder) == (("a", "b"), 5.0, data)
    assert known.sample_pictures is None
    for rate_hz in (8_000, 16_000):
        expected = WaveformStore(
            fold.train.select(lambda clip: bool(clip.audio_path)), rate_hz=rate_hz, window_s=5.0
        ).get(range(len(known)))
        np.testing.assert_array_equal(known.read(rate_hz), expected)
        assert expected.dtype == np.float32


def test_a_selection_of_a_selection_reads_its_own_rows_and_no_others(
    data: Path, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = Sounds.of(protocol)
    known = clips_to_learn_from(protocol.folds[0], protocol, sounds, data=data, pictures=None)
    whole = known.read(8_000)
    read: list[int] = []
    original = WaveformStore.get

    def get(self: WaveformStore, rows: np.ndarray) -> np.ndarray:
        read.append(len(rows))
        return original(self, rows)

    monkeypatch.setattr(WaveformStore, "get", get)
    some = known.select(np.array([3, 1, 2])).select(np.array([2, 0]))
    np.testing.assert_array_equal(some.read(8_000), whole[[2, 3]])
    assert some.ids == (known.ids[2], known.ids[3])
    assert read == [2]


def test_who_answers_sees_neither_targets_nor_pictures(data: Path, protocol: Protocol) -> None:
    asked = clips_to_answer(protocol.folds[0], protocol, Sounds.of(protocol), data=data)
    assert set(asked.targets) == {clips.UNKNOWN}
    assert asked.sample_pictures is None
    assert asked.manifest is not None
    assert set(asked.manifest.labels) == set()
    assert asked.ids == tuple(clip.id for clip in protocol.folds[0].test.clips)


def test_pictures_are_those_of_each_clips_label(data: Path, protocol: Protocol) -> None:
    known = clips_to_learn_from(
        protocol.folds[0], protocol, Sounds.of(protocol), data=data, pictures=Pictures(protocol, data)
    )
    assert known.sample_pictures is not None
    pictures = known.sample_pictures(np.random.default_rng(0))
    assert pictures.shape == (len(known), 3, 128, 128)
    red_or_blue = np.where(known.targets == 0, 0, 2)
    assert (pictures[np.arange(len(known)), red_or_blue] > 150).all()
    some = known.select(np.array([1, 0]))
    assert some.sample_pictures is not None
    assert some.sample_pictures(np.random.default_rng(0)).shape == (2, 3, 128, 128)


def test_photographs_of_another_data_set_are_sampled_by_the_place_of_a_sound(data_root: Path) -> None:
    esc10 = read_protocol("esc10", data_root)
    pictures = Pictures(esc10, data_root)
    fold = esc10.folds[0]
    known = clips_to_learn_from(fold, esc10, Sounds.of(esc10), data=data_root, pictures=pictures)
    assert known.sample_pictures is not None
    few = known.sample_pictures(np.random.default_rng(1))
    assert few.shape == (320, 3, 128, 128)
    assert few.std() > 30


def test_memory_holds_so_many_rates_as_integers_and_no_more(data: Path, protocol: Protocol) -> None:
    sounds = Sounds.of(protocol, cache_bytes=1 << 20)
    rows = np.arange(6)
    for rate_hz in (8_000, 16_000, 22_050, 16_000):
        sounds.read(rate_hz, rows)
        if rate_hz == 8_000:
            first = weakref.ref(sounds._stores[8_000])
    assert first() is None
    assert list(sounds._stores) == [22_050, 16_000]
    assert len(sounds._stores) == NUM_RATES
    kept = sounds._stores[16_000]._rows
    assert {row.dtype for row in kept.values()} == {np.dtype(np.int16)}
    assert sounds.seconds > 0
    small = Sounds.of(protocol, cache_bytes=0)
    np.testing.assert_array_equal(small.read(8_000, rows), sounds.read(8_000, rows))
    assert not small._stores[8_000]._rows
