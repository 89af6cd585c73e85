"""Films of six scenes of Table 1, of photographs and recordings that agree, with one defect planted in each.

Shapes: L samples, H W pixels.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from films import drifting, film
from PIL import Image
from voices import RATE_HZ, SENTENCES, VOICES, can_speak, music, over, recordings, speech

from avgan.audio import read_audio
from avgan.curation.record import Video

CLIP_S, SKIP_S = 5.0, 1.0
SECONDS = CLIP_S + SKIP_S + 0.5
NUM_GOOD, NUM_EACH = 24, 8
SPEECH_DB, MUSIC_DB = 6.0, 6.0

SCENES: dict[str, tuple[str, tuple[str, ...]]] = {
    "airport": ("airport_terminal", ("airplane", "helicopter")),
    "bus": ("bus_interior", ("engine",)),
    "metro_station": ("subway_station_platform", ("train",)),
    "park": ("botanical_garden", ("chirping_birds", "crickets")),
    "street_traffic": ("highway", ("engine",)),
    "tram": ("railroad_track", ("train",)),
}
"""What each looks like in MiniPlaces and sounds like in ESC-50. All these sounds last: of a bark of half a second most
of a clip is silent, and rightly dropped."""
ELSEWHERE = ("rain", "sea_waves", "crackling_fire", "washing_machine", "vacuum_cleaner", "wind")
"""Sounds that last too, of no row of Table 1."""

DEFECTS = ("duplicate", "still", "silent", "music", "speech", "black", "bars")
DISAGREEING = ("wrong label", "wrong picture", "wrong sound")
"""What is of another scene than the other two."""


class Material:
    """Photographs, each given once, and recordings of folds 4 and 5, on which no limit was chosen, in turns."""

    def __init__(self, data_root: Path) -> None:
        rng = np.random.default_rng(0)
        self._photographs: dict[str, Iterator[Path]] = {}
        for label, (scene, _) in SCENES.items():
            paths = sorted((data_root / "miniplaces" / "train" / scene).glob("*.jpg"))
            self._photographs[label] = iter([paths[place] for place in rng.permutation(len(paths))])
        rows = recordings(data_root, "report")
        self._recordings = [rows[place] for place in rng.permutation(len(rows))]

    def photograph(self, label: str) -> np.ndarray:
        """(192, 256, 3)"""
        with Image.open(next(self._photographs[label])) as image:
            return np.asarray(image.convert("RGB").resize((256, 192)))

    def recording(self, sounds: Sequence[str]) -> np.ndarray:
        """(L,) of the length of a film."""
        found = next(row for row in self._recordings if row.label in sounds)
        self._recordings.remove(found)
        self._recordings.append(found)
        sound = read_audio(found.path, target_rate_hz=RATE_HZ)
        return np.resize(sound / max(0.1, np.abs(sound).max()) * 0.5, round(SECONDS * RATE_HZ))


def planted(data_root: Path, folder: Path) -> Iterator[tuple[Video, str]]:
    """Films, and what is wrong with each: nothing with NUM_GOOD; each defect with NUM_EACH, if speech can be had."""
    material = Material(data_root)
    labels = tuple(SCENES)
    made: list[tuple[str, np.ndarray, np.ndarray]] = []
    turn = ("",) * (NUM_GOOD // NUM_EACH) + DEFECTS + DISAGREEING
    for number, wrong in enumerate(turn * NUM_EACH):
        label = labels[number % len(labels)]
        other = labels[(number + 1 + number % (len(labels) - 1)) % len(labels)]
        if wrong == "duplicate":  # of the first good one of this turn
            label, picture, sound = made[number - number % len(turn)]
        else:
            picture = material.photograph(other if wrong == "wrong picture" else label)
            sound = material.recording(ELSEWHERE if wrong == "wrong sound" else SCENES[label][1])
        made.append((label, picture, sound))
        if wrong == "speech" and not can_speak():
            continue
        options: dict[str, Any] = {"pictures": drifting(picture, pixels_per_s=16), "sound": sound}
        options |= _defect(wrong, number, picture, sound)
        # A copy has a later name: the first by name is kept.
        id = f"{'z' if wrong == 'duplicate' else 'a'}{number:03}"
        path = film(folder / f"{id}.mp4", seconds=SECONDS, fps=12.0, rate_hz=RATE_HZ, **options)
        said = other if wrong == "wrong label" else label
        yield Video(id=id, path=str(path), label=said), wrong


def _defect(wrong: str, number: int, picture: np.ndarray, sound: np.ndarray) -> dict[str, Any]:
    """What a film with a defect is given instead."""
    match wrong:
        case "duplicate":
            return {"codec": "mpeg4", "size": (256, 192), "stream_options": {"b": "400k"}}
        case "still":
            return {"pictures": [picture]}
        case "silent":
            return {"sound": np.zeros_like(sound)}
        case "music":
            chords = np.resize(music(number, SECONDS), len(sound))
            return {"sound": over(sound, chords, MUSIC_DB)}
        case "speech":
            text, voice = SENTENCES["report"][number % 5], VOICES["report"][number % 4]
            return {"sound": over(sound, speech(text, voice, SECONDS), SPEECH_DB)}
        case "black":
            return {"pictures": drifting(picture // 64)}
        case "bars":
            return {"bars": (0.15, 0.15, 0.0, 0.0)}
    return {}
