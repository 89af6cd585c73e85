"""Real weights on real sounds and photographs: the labels mean what they say. Skipped where there are none."""

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image
from voices import recordings

from avgan.audio import read_audio
from avgan.curation.record import SOUND_RATE_HZ
from avgan.curation.taggers import Tagger, first_tags, music_and_speech
from avgan.curation.taggers.audioset import mn04
from avgan.curation.taggers.places365 import squeezenet

EXPECTED = {
    "dog": {"Dog", "Animal"},
    "cat": {"Cat", "Animal"},
    "chirping_birds": {"Bird"},
    "church_bells": {"Church bell", "Bell"},
    "clapping": {"Applause", "Clapping"},
    "rain": {"Rain", "Rain on surface"},
    "siren": {"Siren"},
    "snoring": {"Snoring"},
    "train": {"Rail transport", "Train"},
    "pouring_water": {"Water", "Liquid"},
}
"""What is among the first five of most clips of an ESC-50 class."""


@pytest.fixture(scope="module")
def sound_tagger(data_root: Path) -> Tagger:
    return mn04(data_root)


@pytest.fixture(scope="module")
def picture_tagger(data_root: Path) -> Tagger:
    if not (data_root / "weights" / "squeezenet_places365.safetensors").is_file():
        pytest.skip("the SqueezeNet's weights are not in the data folder")
    return squeezenet(data_root)


@pytest.mark.parametrize("label", list(EXPECTED))
def test_mn04_hears_what_there_is(label: str, sound_tagger: Tagger, data_root: Path) -> None:
    paths = [row.path for row in recordings(data_root, "choose") if row.label == label][:3]
    sounds = [read_audio(path, target_rate_hz=SOUND_RATE_HZ) for path in paths]
    weights = sound_tagger.tag([np.stack([sound, sound], 1) for sound in sounds])
    first = [{name for name, _ in first_tags(sound_tagger.labels, row)} for row in weights]
    assert sum(EXPECTED[label] <= names for names in first) >= 2
    # none of it is music or speech, though a bell and a siren are melodious
    assert all(max(music_and_speech(sound_tagger.labels, row)) < 0.5 for row in weights)


def test_mn04_on_sounds_whose_truth_is_a_formula(sound_tagger: Tagger) -> None:
    times = np.arange(5 * SOUND_RATE_HZ) / SOUND_RATE_HZ
    chords = sum(
        np.sin(2 * np.pi * 220 * 2 ** (step / 12) * times) * np.exp(-4 * (times % 0.5)) for step in (0, 4, 7, 12)
    )
    sounds = {
        "tone": 0.3 * np.sin(2 * np.pi * 1000 * times),
        "silence": np.zeros_like(times),
        "noise": 0.2 * np.random.default_rng(0).standard_normal(len(times)),
        "chords": 0.1 * chords,
    }
    batch = [np.stack([s, s], 1).astype(np.float32) for s in sounds.values()]
    weights = dict(zip(sounds, sound_tagger.tag(batch), strict=True))
    first = {name: [tag for tag, _ in first_tags(sound_tagger.labels, w)] for name, w in weights.items()}
    assert first["tone"][:2] == ["Beep, bleep", "Sine wave"]
    assert first["silence"][0] == "Silence"
    assert {"White noise", "Noise", "Static"} <= set(first["noise"])
    assert music_and_speech(sound_tagger.labels, weights["chords"])[0] > 0.5
    assert max(music_and_speech(sound_tagger.labels, weights["noise"])) < 0.1


def photographs(data_root: Path, labels: tuple[str, ...], num_each: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Of the scenes that Places365 has too, which are written with another separator there; and their places there."""
    place_of = {label.replace("/", "_"): place for place, label in enumerate(labels)}
    with (data_root / "miniplaces" / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    kept, count = [], dict.fromkeys(place_of, 0)
    for row in rows:
        if count.get(row["scene"], num_each) < num_each:
            count[row["scene"]] += 1
            kept.append(row)
    pictures = []
    for row in kept:
        with Image.open(data_root / "miniplaces" / row["path"]) as image:
            pictures.append(np.asarray(image.convert("RGB")))
    return pictures, np.array([place_of[row["scene"]] for row in kept])


def shares(weights: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """How often the truth is the first, and among the first five."""
    first = np.argsort(-weights, 1)[:, :5] == truth[:, None]
    return float(first[:, 0].mean()), float(first.any(1).mean())


def test_the_squeezenet_sees_what_there_is(picture_tagger: Tagger, data_root: Path) -> None:
    pictures, truth = photographs(data_root, picture_tagger.labels, 1)
    assert len(set(truth)) >= 40
    weights = picture_tagger.tag(pictures)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    first, five = shares(weights, truth)
    assert first > 0.1  # chance is 1 of 365
    assert five > 0.3
    # among the scenes of the photographs alone
    scenes, place = np.unique(truth, return_inverse=True)
    first, five = shares(weights[:, scenes], place)
    assert first > 0.3
    assert five > 0.6


@pytest.mark.slow
def test_the_squeezenet_is_as_good_as_these_weights_are(picture_tagger: Tagger, data_root: Path) -> None:
    """29 % and 59 % among the 100 scenes of MiniPlaces are known of them; these are about 47 of the 100."""
    pictures, truth = photographs(data_root, picture_tagger.labels, 8)
    scenes, place = np.unique(truth, return_inverse=True)
    first, five = shares(picture_tagger.tag(pictures)[:, scenes], place)
    assert 0.29 < first < 0.6
    assert 0.59 < five < 0.9
