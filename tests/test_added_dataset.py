"""A data set is one file and a line: one that the package has never heard of is trained on, scored and compared.

What CONTRIBUTING says of a new data set is done here from outside: two declarations, each named in `DATASETS`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from avgan import checkpoint
from avgan.data.datasets import DATASETS, Dataset
from avgan.data.manifest import Clip, Manifest
from avgan.evaluation.comparison.compare import compare
from avgan.evaluation.evaluate import evaluate
from avgan.scenes import Place
from avgan.training.recipe import train

TONES_HZ = {"hum": 200, "beep": 900, "hiss": 0}
SCENES = {"hum": "cellar", "beep": "office", "hiss": "cellar"}
NUM_RECORDINGS = 14


def read_tones(root: Path) -> Manifest:
    """tones/LABEL-NUMBER.wav; even numbers are the official training part, odd ones the test."""
    clips = []
    for path in sorted(root.glob("*.wav")):
        label, number = path.stem.split("-")
        split = ("train", "test")[int(number) % 2]
        clips.append(Clip(id=path.stem, source_id=path.stem, label=label, audio_path=path.name, split=split))
    return Manifest("tones", root, tuple(clips))


def read_rooms(root: Path) -> Manifest:
    """rooms/SCENE-NUMBER.png; the last are kept for validation."""
    clips = []
    for path in sorted(root.glob("*.png")):
        scene, number = path.stem.split("-")
        split = "train" if int(number) < 8 else "validation"
        clips.append(Clip(id=path.stem, source_id=path.stem, label=scene, image_path=path.name, split=split))
    return Manifest("rooms", root, tuple(clips))


def declared(name: str, **more: Any) -> Dataset:
    return Dataset(
        name=name,
        title=f"Made {name}",
        story="Made in a test.",
        citation="@misc{made}",
        licence="Nobody's.",
        address="https://example.org",
        **more,
    )


TONES = declared(
    "tones",
    matches=lambda root: any(root.glob("hum-*.wav")),
    read=read_tones,
    label_kind="sound",
    places={label: Place(scene, "strong") for label, scene in SCENES.items()},
)
ROOMS = declared(
    "rooms", matches=lambda root: any(root.glob("cellar-*.png")), read=read_rooms, has_sounds=False, has_pictures=True
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (root / "tones").mkdir()
    (root / "rooms").mkdir()
    times = np.arange(16_000) / 16_000
    for label, tone_hz in TONES_HZ.items():
        for number in range(NUM_RECORDINGS):
            waveform = 0.02 * rng.standard_normal(16_000) + 0.3 * np.sin(2 * np.pi * tone_hz * times)
            soundfile.write(root / "tones" / f"{label}-{number}.wav", waveform, 16_000)
    for scene, colour in (("cellar", (20, 20, 60)), ("office", (240, 230, 200))):
        for number in range(16):
            pixels = np.clip(np.array(colour) + rng.integers(-20, 20, (128, 128, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / "rooms" / f"{scene}-{number}.png")
    return root


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line: both are named."""
    monkeypatch.setitem(DATASETS, "tones", TONES)
    monkeypatch.setitem(DATASETS, "rooms", ROOMS)


@pytest.mark.usefixtures("added")
def test_a_data_set_from_outside_is_trained_on_scored_pictured_and_compared(
    data: Path, tmp_path: Path, tiny_config: Callable[..., Any]
) -> None:
    recipe = tiny_config({"data.sounds": "auto", "data.images": "rooms"})
    run = train(recipe, data=data, out=tmp_path / "run")
    described = checkpoint.describe(run)
    assert described.config.stage.data.sounds == "tones", "found by itself"
    assert described.labels == ("beep", "hiss", "hum")
    assert described.scene_of_label == SCENES
    assert not {source for source in described.sources if source.endswith(("-1", "-3"))}

    report = evaluate(run, protocol="test", data=data)
    assert report["num_clips"] == 3 * NUM_RECORDINGS / 2
    assert report["data"] == {"tones": TONES.read(data / "tones").sha256()}
    assert report["scene_accuracy"] >= report["accuracy"], "two of the sounds are of one place"
    assert (run / "test" / "report.html").exists()

    seen = evaluate(run, protocol="pictures", data=data)
    assert seen["num_scenes"] == 2
    assert seen["num_pictures"] == 3 * NUM_RECORDINGS / 2
    assert seen["num_without_pictures"] == 0
    assert (run / "pictures" / "figure8.png").exists()

    table = compare(
        protocol="test", methods=("svm-mfcc",), data=data, out=tmp_path / "table", given={"mine": run / "test"}
    )
    rows = {row["name"]: row for row in table["methods"]}
    assert rows["svm-mfcc"]["accuracy"] > 0.9
    assert rows["mine"]["accuracy"] == report["accuracy"]
    assert rows["mine"]["num_parameters"] > 0
