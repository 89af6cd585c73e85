"""Recordings, and what is laid over them: espeak-ng speaks, where it is installed; chords are plucked here.

What is chosen, such as a limit, is chosen on one half of recordings, voices and sentences, and reported on the other.

Shapes: L samples at RATE_HZ, mono.
"""

import csv
import io
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from avgan.audio import read_audio
from avgan.curation.record import SOUND_RATE_HZ as RATE_HZ

FOLDS = {"choose": "123", "report": "45"}
"""Of ESC-50."""
VOICES = {
    "choose": ("en-gb", "en-gb-scotland", "en-us+f3", "en-us+m3"),
    "report": ("en-us", "en-029", "en-gb-x-rp+f5", "en-gb-x-gbclan+f1"),
}
"""Of espeak-ng, men and women (f)."""
SENTENCES = {
    "choose": (
        "Here we are on the old bridge, and over there you can see the tower that I told you about.",
        "Today I will show you how to find the way from the harbour to the market without a map.",
        "It was built in eighteen ninety two, and since then nobody has dared to paint it anew.",
        "Welcome back, everyone, this is the third part of our walk, and it is going to rain soon.",
        "If you look at the left side, there is a small door which most visitors never notice.",
    ),
    "report": (
        "My sister said that the train would come at four, but we have been waiting for an hour.",
        "Please remember to bring water, good shoes and a jacket, because the evenings are cold.",
        "The first thing that people ask me is how much it costs, and the answer is: nothing.",
        "We drove here from the coast this morning, the road was empty, and the light wonderful.",
        "Let me explain what happens now: the doors close, a bell rings, and everybody sits down.",
    ),
}


class Recording(NamedTuple):
    """One of ESC-50."""

    path: Path
    label: str
    fold: str


def recordings(data_root: Path, half: str) -> list[Recording]:
    folder = data_root / "esc50"
    with (folder / "esc50.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Recording(folder / "audio" / row["filename"], row["category"], row["fold"])
        for row in rows
        if row["fold"] in FOLDS[half]
    ]


def can_speak() -> bool:
    return shutil.which("espeak-ng") is not None


def needs_speech() -> None:
    """Skip the test where nobody can speak."""
    if not can_speak():
        pytest.skip("espeak-ng is not installed (apt-get install espeak-ng)")


def speech(text: str, voice: str, seconds: float) -> np.ndarray:
    """A sentence, again and again for so long: (L,) float32."""
    command = ["espeak-ng", "-v", voice, "-s", "170", "--stdout", text]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    return np.resize(read_audio(io.BytesIO(spoken), target_rate_hz=RATE_HZ), round(seconds * RATE_HZ))


def crowd(rng: np.random.Generator, seconds: float, half: str, *, num_voices: int = 16) -> np.ndarray:
    """Many who speak at a time, none louder than twice another: (L,) float32."""
    length = round(seconds * RATE_HZ)
    voices = [
        speech(str(rng.choice(SENTENCES[half])), str(rng.choice(VOICES[half])), seconds) for _ in range(num_voices)
    ]
    return sum(np.roll(voice, rng.integers(length)) * rng.uniform(0.5, 1) for voice in voices)


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


def over(sound: np.ndarray, laid: np.ndarray, level_db: float) -> np.ndarray:
    """Something (L,) laid over a sound (L,), louder than it by so much in root mean square, at half of full scale."""
    both = sound / _size(sound) + 10 ** (level_db / 20) * laid / _size(laid)
    return (0.5 * both / np.abs(both).max()).astype(np.float32)


def _size(sound: np.ndarray) -> float:
    return max(1e-6, float(np.sqrt(np.mean(np.square(sound)))))
