"""Defects planted in films of photographs and recordings: how many each rule finds, and what it takes wrongly."""

import csv
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import drifting, film
from PIL import Image

from avgan.audio import read_audio
from avgan.curation.engines import Work, Worker
from avgan.curation.pipeline import Choice, curate
from avgan.curation.record import Video
from avgan.curation.tools import Settings, open_tools
from avgan.data.manifest import Manifest

RATE_HZ = 32_000
CLIP_S, SKIP_S = 5.0, 1.0
NUM_EACH = 8
ASKED = ("duplicate", "still", "silent", "music", "black", "bars")
LOUD = {"engine", "rain", "sea_waves", "train", "airplane", "vacuum_cleaner", "wind", "crackling_fire", "helicopter",
        "chirping_birds", "crickets", "washing_machine"}  # fmt: skip
"""Sounds that last: of a bark of half a second most of a clip is silent, and rightly dropped."""


def music(seed: int, seconds: float) -> np.ndarray:
    """Chords of plucked strings: (L,) float32."""
    rng = np.random.default_rng(seed)
    times = np.arange(RATE_HZ // 2) / RATE_HZ
    beats = []
    for _ in range(int(seconds * 2)):
        root = 220 * 2 ** (rng.integers(12) / 12)
        partials = [(root * step * k, 1 / k) for step in (1, 1.26, 1.5) for k in range(1, 6)]
        beats.append(sum(level * np.sin(2 * np.pi * hz * times) for hz, level in partials))
    chords = np.concatenate([beat * np.exp(-3 * times) for beat in beats])
    return (0.5 * chords / np.abs(chords).max()).astype(np.float32)


def planted(data_root: Path, folder: Path) -> Iterator[tuple[Video, str]]:
    """Films, and what is wrong with each."""
    with (data_root / "esc50" / "esc50.csv").open(newline="") as file:
        names = [row["filename"] for row in csv.DictReader(file) if row["category"] in LOUD]
    photographs = sorted((data_root / "miniplaces" / "train").glob("*/*.jpg"))
    rng = np.random.default_rng(0)
    names = [names[place] for place in rng.permutation(len(names))]
    photographs = [photographs[place] for place in rng.permutation(len(photographs))]
    seconds = CLIP_S + SKIP_S + 0.5
    kinds = ["", "", "", *ASKED]  # a third of them good
    for number, wrong in enumerate(kinds * NUM_EACH):
        # A copy is of the first good film of its turn, and has a later name: the first by name is kept.
        source = number - number % len(kinds) if wrong == "duplicate" else number
        with Image.open(photographs[source]) as image:
            picture = np.asarray(image.convert("RGB").resize((256, 192)))
        sound = read_audio(data_root / "esc50" / "audio" / names[source], target_rate_hz=RATE_HZ)
        sound = np.resize(sound / max(0.1, np.abs(sound).max()) * 0.5, int(seconds * RATE_HZ))
        options: dict[str, Any] = {"pictures": drifting(picture, pixels_per_s=16), "sound": sound}
        if wrong == "duplicate":
            options |= {"codec": "mpeg4", "size": (256, 192), "stream_options": {"b": "400k"}}
        elif wrong == "still":
            options["pictures"] = [picture]
        elif wrong == "silent":
            options["sound"] = np.zeros_like(sound)
        elif wrong == "music":
            options["sound"] = (
                music(number, seconds) + 0.5 * sound[: int(seconds * 2) * RATE_HZ // 2]
            )
        elif wrong == "black":
            options["pictures"] = drifting(picture // 64)
        elif wrong == "bars":
            options["bars"] = (0.15, 0.15, 0.0, 0.0)
        id = f"{'z' if wrong == 'duplicate' else 'a'}{number:03}"
        path = film(folder / f"{id}.mp4", seconds=seconds, fps=12.0, rate_hz=RATE_HZ, **options)
        yield Video(id=id, path=str(path), label=photographs[source].parent.name), wrong


def make_here(work: Work, numbers: Any) -> Any:
    worker = Worker(work)
    yield from map(worker.make, numbers)


@pytest.mark.slow
def test_each_rule_finds_what_was_planted(data_root: Path, tmp_path: Path) -> None:
    truth = dict(planted(data_root, tmp_path / "films"))
    settings = Settings(clip_s=CLIP_S, skip_s=SKIP_S, hears="yamnet")
    outcome = curate(
        list(truth),
        tmp_path / "set",
        settings=settings,
        choice=Choice(),
        open_tools=partial(open_tools, settings, data_root),
        engine=make_here,
    )
    assert not outcome.losses
    wrong_of = {video.id: wrong for video, wrong in truth.items()}
    pairs: Counter[tuple[str, str]] = Counter()
    for clip in Manifest.load(tmp_path / "set" / "manifest.parquet").clips:
        said = clip.reason.partition(":")[0]
        pairs[wrong_of[clip.source_id], said] += 1
        if wrong_of[clip.source_id] != said:
            print(clip.id, "planted:", wrong_of[clip.source_id] or "nothing", "found:", clip.reason)
    for wrong in ("", *ASKED):
        found = sum(count for (_, said), count in pairs.items() if said == wrong)
        there = sum(count for (was, _), count in pairs.items() if was == wrong)
        right = pairs[wrong, wrong]
        print(f"{wrong or 'kept':10} precision {right}/{found}  recall {right}/{there}")
        assert right >= 0.8 * found, pairs
        assert right >= 0.8 * there, pairs
    spent_s = sum(outcome.seconds.values())
    print(f"{outcome.num_clips / spent_s:.3g} clips a second", dict(outcome.seconds))
