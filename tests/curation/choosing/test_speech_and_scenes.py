"""How many clips the rules of speech and of labels find, and take wrongly, on recordings and photographs themselves."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from clips import clip
from PIL import Image
from planting import ELSEWHERE, SCENES
from voices import RATE_HZ, SENTENCES, VOICES, crowd, music, needs_speech, over, recordings, speech

from avgan.audio import read_audio
from avgan.curation.record import Candidate
from avgan.curation.select import Limits, Rules, judge
from avgan.curation.taggers import Tagger, first_tags, music_and_speech, open_tagger
from avgan.scenes import TABLE_1

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SECONDS = 5.0
LEVELS_DB = (0.0, 6.0, 12.0)
NUM_MIXED = 100
LIMITS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
LIMIT = Limits().max_speech


@pytest.fixture(scope="module")
def sound_tagger(data_root: Path) -> Tagger:
    return open_tagger("mn04", data_root)


def music_and_speech_in(sound_tagger: Tagger, sounds: Iterable[np.ndarray]) -> np.ndarray:
    """Weights of music and of speech in each sound (L,): (B, 2)."""
    weights = (sound_tagger.tag([np.stack([sound, sound], 1)])[0] for sound in sounds)
    return np.array([music_and_speech(sound_tagger.labels, row) for row in weights])


def speech_in(sound_tagger: Tagger, sounds: Iterable[np.ndarray]) -> np.ndarray:
    """Weight of speech in each sound (L,): (B,)."""
    return music_and_speech_in(sound_tagger, sounds)[:, 1]


def above(weights: np.ndarray, what: str, limit: float = LIMIT) -> float:
    """The share above the limit; prints it for other limits too."""
    shares = ", ".join(f"{other}: {(weights > other).mean():.1%}" for other in LIMITS)
    print(f"{what} ({len(weights)}) above {shares}")
    return float((weights > limit).mean())


@pytest.mark.parametrize("half", ["choose", "report"])
def test_speech_is_found_over_recordings(sound_tagger: Tagger, data_root: Path, half: str) -> None:
    needs_speech()
    rng = np.random.default_rng(0)
    rows = recordings(data_root, half)
    sounds = [
        np.resize(read_audio(rows[place].path, target_rate_hz=RATE_HZ), round(SECONDS * RATE_HZ))
        for place in rng.permutation(len(rows))[:NUM_MIXED]
    ]
    said = [speech(str(rng.choice(SENTENCES[half])), str(rng.choice(VOICES[half])), SECONDS) for _ in sounds]
    found = [
        above(
            speech_in(sound_tagger, (over(*pair, level_db) for pair in zip(sounds, said, strict=True))),
            f"{half}: speech at {level_db:+g} dB",
        )
        for level_db in LEVELS_DB
    ]
    assert found == sorted(found)
    assert found[0] >= 0.8
    assert found[1] >= 0.9
    assert found[2] >= 0.9
    # Many voices are speech too: what the limit costs where a place is full of people.
    many = [crowd(rng, SECONDS, half) for _ in range(5)]
    mixed = (over(sound, many[place % 5], -6.0) for place, sound in enumerate(sounds))
    # With four voices and five crowds a half it differs much between halves: 30 and 61 %.
    assert above(speech_in(sound_tagger, mixed), f"{half}: a crowd at -6 dB") <= 0.7
    assert above(speech_in(sound_tagger, many), f"{half}: a crowd alone") >= 0.2


@pytest.mark.parametrize("half", ["choose", "report"])
def test_music_is_found_over_recordings(sound_tagger: Tagger, data_root: Path, half: str) -> None:
    """Also where it is softer than what it is laid over."""
    rng = np.random.default_rng(0)
    rows = recordings(data_root, half)
    first_seed = {"choose": 1000, "report": 2000}[half]
    found = []
    for level_db in (-6.0, 0.0, 6.0):
        mixed = [
            over(
                np.resize(read_audio(rows[place].path, target_rate_hz=RATE_HZ), round(SECONDS * RATE_HZ)),
                music(first_seed + number, SECONDS),
                level_db,
            )
            for number, place in enumerate(rng.permutation(len(rows))[:NUM_MIXED])
        ]
        weights = music_and_speech_in(sound_tagger, mixed)[:, 0]
        found.append(above(weights, f"{half}: music at {level_db:+g} dB", Limits().max_music))
    assert found == sorted(found)
    assert found[0] >= 0.8
    assert found[1] >= 0.9
    assert found[2] >= 0.95


def test_few_recordings_are_called_speech_or_music(sound_tagger: Tagger, data_root: Path) -> None:
    """Of ESC-50, in which nobody plays and nobody speaks, though some laugh."""
    for half in ("choose", "report"):
        rows = recordings(data_root, half)
        sounds = (read_audio(row.path, target_rate_hz=RATE_HZ) for row in rows)
        of_music, of_speech = music_and_speech_in(sound_tagger, sounds).T
        called = {"music": of_music > Limits().max_music, "speech": of_speech > LIMIT}
        labels = {name: Counter(rows[place].label for place in np.flatnonzero(is_)) for name, is_ in called.items()}
        print(f"{half}: of {len(rows)} called", labels)
        above(of_speech, f"{half}: speech")
        above(of_music, f"{half}: music", Limits().max_music)
        # folds 4 and 5, where nothing was chosen: 3.0 and 2.8 %
        assert called["music"].mean() <= 0.035
        assert called["speech"].mean() <= 0.035
        voices = {"laughing", "clapping"}  # people, and what they do together
        assert {label for label, _ in labels["speech"].most_common(3)} & voices == voices


def photographs(data_root: Path, scene: str) -> Sequence[np.ndarray]:
    with (data_root / "miniplaces" / "index.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["scene"], r["split"]) == (scene, "val")]
    return [np.asarray(Image.open(data_root / "miniplaces" / row["path"]).convert("RGB")) for row in rows]


def test_table_1_tells_photographs_of_other_scenes(data_root: Path) -> None:
    """The sound agrees; the picture, of 128 px, is of the label's scene or of one of the five others."""
    picture_tagger = open_tagger("squeezenet-places365", data_root)
    right, wrong = [], []
    for shown, (scene, _) in SCENES.items():
        seen = [first_tags(picture_tagger.labels, row) for row in picture_tagger.tag(photographs(data_root, scene))]
        for label in SCENES:
            sound_tags = ((TABLE_1[label].audioset[0], 1.0),)
            dropped = [is_dropped(clip(label=label, scenes=tags, sounds=sound_tags)) for tags in seen]
            if label == shown:
                print(f"{label}: {sum(dropped)} of {len(dropped)} dropped")
                right += dropped
            else:
                wrong += dropped
    print(f"{np.mean(wrong):.1%} of {len(wrong)} wrong, {np.mean(right):.1%} of {len(right)} right")
    assert np.mean(wrong) >= 0.8
    assert 0.2 <= np.mean(right) <= 0.5  # photographs that are not recognised


def test_table_1_tells_recordings_of_elsewhere(sound_tagger: Tagger, data_root: Path) -> None:
    """The picture agrees; the recording is one that fits the label, or one that fits no row."""
    right, wrong = [], []
    for row in recordings(data_root, "report"):
        labels = [label for label, (_, sounds) in SCENES.items() if row.label in sounds]
        if not labels and row.label not in ELSEWHERE:
            continue
        sound = read_audio(row.path, target_rate_hz=RATE_HZ)
        sound_tags = first_tags(sound_tagger.labels, sound_tagger.tag([np.stack([sound, sound], 1)])[0])
        for label in labels or SCENES:
            seen = ((TABLE_1[label].places365[0], 1.0),)
            dropped = is_dropped(clip(label=label, scenes=seen, sounds=sound_tags))
            (right if labels else wrong).append(dropped)
    print(f"{np.mean(wrong):.1%} of {len(wrong)} wrong, {np.mean(right):.1%} of {len(right)} right")
    assert np.mean(wrong) >= 0.5
    assert np.mean(right) <= 0.25


def is_dropped(candidate: Candidate) -> bool:
    return not judge(candidate, Rules(labels="table_1")).is_kept
