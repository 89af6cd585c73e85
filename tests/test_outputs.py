"""One recording, heard by a model of places with groups and sounds, through every output that a command has."""

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avgan.cli.models import _described
from avgan.live.stream import LiveSource, listen_live
from avgan.runtime import load
from avgan.runtime.bundle import open_bundle

RATE_HZ = 16_000
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def walk(walk_samples: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "walk_20240501_043000.wav"
    soundfile.write(path, walk_samples, RATE_HZ, subtype="PCM_16")
    return path


def test_the_table(run: Run, walk: Path, toy_places: Path) -> None:
    heading, line = run("classify", walk.name, "--model", toy_places).stdout.splitlines()
    assert heading.split() == ["recording", "scene", "sound", "remarks"]
    assert "outdoor: road or beach" in line  # in all: no place of it for as much as half of the time
    assert "traffic, dog" in line or "dog, traffic" in line
    assert "note: holds several scenes: " in line
    assert "33 % of the time" in line


def test_the_timeline(run: Run, walk: Path, toy_places: Path) -> None:
    lines = run("classify", walk.name, "--hop", 1, "--model", toy_places).stdout.splitlines()
    assert lines[0].endswith("recorded 2024-05-01 04:30:00")
    found = [" ".join(line.split()) for line in lines[2:5]]
    assert found[0].startswith("0:00-0:04 04:30:00 road 99 % traffic")
    assert found[1].startswith("0:04-0:08 04:30:04 outdoor: likely road 60 %")
    assert found[2].startswith("0:08-0:12 04:30:08 beach 100 % dog")


def test_json_and_csv(run: Run, walk: Path, toy_places: Path) -> None:
    command = ("classify", walk.name, "--hop", 1, "--model", toy_places, "--format")
    rows = json.loads(run(*command, "json").stdout)
    assert [(row["scene"], row["group"], row["within"]) for row in rows] == [
        ("road", "outdoor", []),
        ("outdoor", "outdoor", ["road"]),
        ("beach", "outdoor", []),
    ]
    assert [list(row["sounds"]) for row in rows] == [["traffic"], [], ["dog"]]
    cells = list(csv.DictReader(io.StringIO(run(*command, "csv").stdout)))
    assert [(row["scene"], row["within"]) for row in cells][1] == ("outdoor", "road")
    assert cells[0]["sounds"].startswith("traffic 0.98")


def test_labels_for_audacity(run: Run, walk: Path, toy_places: Path) -> None:
    text = run("classify", walk.name, "--model", toy_places, "--format", "audacity").stdout
    assert [line.split("\t")[2] for line in text.splitlines()] == ["road: traffic", "outdoor (road)", "beach: dog"]


def test_page_and_pictures(run: Run, walk: Path, toy_places: Path, tmp_path: Path) -> None:
    options = ("--hop", 1, "--model", toy_places, "--report", "page.html", "--images", "seen")
    run("classify", walk.name, *options)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'class="beside">with ' in text
    assert "outdoor: likely road" in text
    assert "<caption>Sounds</caption>" in text
    assert "In all: road 4 s, outdoor 4 s, beach 4 s" in text
    assert "Sounds: traffic 4 s, dog 4 s" in text
    assert "04:30:08 · " in text
    assert "<td>04:30:04</td>" in text
    folder = tmp_path / "seen" / walk.stem
    assert {path.name.split(" ")[-1] for path in folder.glob("0*.png")} == {"road.png", "outdoor.png", "beach.png"}
    with Image.open(folder / "strip.png") as strip:
        assert strip.width > 600


def test_one_picture_and_an_explanation(run: Run, walk: Path, toy_places: Path) -> None:
    said = run("imagine", walk.name, "-o", "x.png", "--model", toy_places).stdout
    assert said == "x.png: outdoor: road or beach (87 %)\n"
    why = run("explain", walk.name, "--start", 5, "-o", "why.png", "--model", toy_places).stdout
    assert "outdoor: road 5" in why


def test_the_card(toy_places: Path, toy_sounds: Path) -> None:
    known = _described(open_bundle(toy_places))[1]
    assert "knows     4 scenes, 2 groups, 4 sounds beside them;" in known
    assert "knows     4 sounds;" in _described(open_bundle(toy_sounds))[1]


def test_a_model_of_sounds_names_no_place(run: Run, walk: Path, toy_sounds: Path) -> None:
    line = run("classify", walk.name, "--model", toy_sounds).stdout.splitlines()[1]
    assert line.split()[1] == "rumble"
    rows = json.loads(run("classify", walk.name, "--hop", 1, "--format", "json", "--model", toy_sounds).stdout)
    assert {row["scene"] for row in rows} == {""}
    assert [row["sound"] for row in rows] == ["rumble", "hiss"]


def test_live(walk_samples: np.ndarray, toy_places: Path, toy_sounds: Path) -> None:
    for path, are_sounds in ((toy_places, False), (toy_sounds, True)):
        source = LiveSource(RATE_HZ, waits=True, max_waiting_s=60)
        source.put(walk_samples[:, None])
        source.close()
        answers = list(listen_live(load(path), source, hop_s=1.0))
        assert {answer.are_sounds for answer in answers} == {are_sounds}
        last = answers[-1]
        rankings = last.rankings(2)
        if are_sounds:
            assert (last.window.scene, last.window.answer) == ("", "hiss")
            assert rankings["scenes"] == {}
            assert next(iter(rankings["sounds"])) == "hiss"
        else:
            assert (last.window.scene, last.window.group) == ("beach", "outdoor")
            assert list(last.window.sounds) == ["dog"]
            assert answers[5].window.within == ("road",)
            assert list(rankings) == ["scenes"]
