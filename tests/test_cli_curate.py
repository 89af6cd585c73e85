"""`avgan curate` as people meet it: a folder of clips from a phone, and what is wrong said in one line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avgan.data.manifest import Manifest

sys.path.insert(0, str(Path(__file__).parent / "curation"))

from films import drifting, film, hiss, hues
from video_site import Page, open_site

pytest.importorskip("pyarrow")

LABELS = ("kitchen", "street", "yard")
Avgan = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine films that move and sound; of a photograph, of silence, of noise that is no film, one each."""
    root = tmp_path_factory.mktemp("phone")
    for number in range(9):
        film(
            root / LABELS[number % 3] / f"{number}.mp4",
            seconds=4.0,
            fps=10.0,
            pictures=drifting(hues(number), pixels_per_s=40),
            sound=hiss(4.0, 32_000, seed=number),
            rate_hz=32_000,
        )
    shown = {"seconds": 4.0, "fps": 10.0, "rate_hz": 32_000}
    still = [hues(20)]
    film(root / "yard" / "still.mp4", pictures=still, sound=hiss(4.0, 32_000, seed=20), **shown)  # type: ignore[arg-type]
    mute = np.zeros(32_000, np.float32)
    film(root / "yard" / "mute.mp4", pictures=drifting(hues(21)), sound=mute, **shown)  # type: ignore[arg-type]
    (root / "yard" / "text.mp4").write_text("no film")
    return root


COMMON = ("--clip", 1, "--skip", 2, "--sounds", "none", "--jobs", 1)


def test_a_folder_becomes_a_data_set(avgan: Avgan, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    status, printed, said = avgan("curate", folder, "-o", out, *COMMON)
    assert status == 0, said
    assert printed == f"{out}\n"
    text = "\n".join(said)
    assert "22 clips of 12 videos" in text
    assert "dropped silent 2, still 2" in text
    assert "damaged" in text
    assert "text" in text
    assert f"next: avgan train --preset compact --data {out} -o RUN" in said[-1]
    manifest = Manifest.load(out / "manifest.parquet")
    kept = [clip for clip in manifest.clips if clip.status == "kept"]
    assert len(kept) == 18
    assert {clip.label for clip in kept} == set(LABELS)
    assert {clip.split for clip in kept} == {"train", "validation", "test"}
    made = json.loads((out / "card.json").read_text())["made"]
    assert made["settings"]["clip_s"] == 1.0
    assert str(tmp_path) not in (out / "card.json").read_text()
    before = (out / "list.json").read_bytes()
    assert avgan("curate", folder, "-o", out, *COMMON)[0] == 0
    assert (out / "list.json").read_bytes() == before

    tolerant = ("--tolerate", "still", "--limit", "min_level_db=-200", "--limit", "max_silent=1", "--shares", "1,0,1")
    status, _, said = avgan("curate", folder, "-o", out, *COMMON, *tolerant, "--per-class", 4)
    assert status == 0, said
    kept = [clip for clip in Manifest.load(out / "manifest.parquet").clips if clip.status == "kept"]
    assert {clip.split for clip in kept} == {"train", "test"}
    assert len(kept) == 12

    status, _, said = avgan("curate", folder, "-o", out, *COMMON, "--limit", "min_motion=1")
    assert (status, said[-1]) == (
        1,
        f"avgan: {out}: no clip was kept; see index.html there, and --limit and --tolerate",
    )
    status, _, said = avgan("curate", folder, "-o", out, "--clip", 2, *COMMON[2:])
    assert status == 1
    assert said == [f"avgan: {out}: was begun with clip_s 1.0, not 2.0; name another folder"]


def test_clips_that_were_cut_already_are_told_of_skip(avgan: Avgan, folder: Path, tmp_path: Path) -> None:
    options = ("--clip", 3.5, "--sounds", "none", "--jobs", 1, "--tolerate", "still")
    status, _, said = avgan("curate", folder, "-o", tmp_path / "none", *options)
    assert status == 1
    assert (
        "avgan: note: of 11 videos the first 5 s are left out as an intro, and no clip of 3.5 s remains: for clips "
        "that are cut already, --skip 0 into another folder" in said
    )
    status, _, said = avgan("curate", folder, "-o", tmp_path / "all", *options, "--skip", 0)
    assert status == 0
    assert not any("intro" in line for line in said)
    assert any("% of the clips are kept from training" in line for line in said)


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["-o", "x"], 2, "name a folder of videos, a pattern in quotes, or a list of addresses"),
        (["nowhere", "-o", "x"], 1, "nowhere: no such file or folder; name one of"),
        (["{}", "-o", "x", "--clip", "0"], 2, "Invalid value"),
        (["{}", "-o", "x", "--tolerate", "noise"], 2, "--tolerate noise: known are black, plain"),
        (["{}", "-o", "x", "--limit", "motion=1"], 2, "--limit motion: known are min_brightness"),
        (["{}", "-o", "x", "--limit", "min_motion=a"], 2, "--limit min_motion=a: 'a' is no number"),
        (["{}", "-o", "x", "--shares", "0,1,1"], 2, "train needs a share"),
        (["{}", "-o", "x", "--shares", "1,1,1,1"], 2, "at most three numbers"),
        (["{}", "-o", "x", "--labels", "table-1"], 2, "name taggers with --scenes and --sounds"),
        (["{}", "-o", "x", "--sounds", "bees"], 1, "bees: no such tagger; known are"),
        (["{}", "-o", "x", "--sounds", "cnn14", "--weights", "x"], 1, "no Cnn14_mAP=0.431.pth in"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    avgan: Avgan,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    got, printed, said = avgan("curate", *[text.format(folder) for text in arguments])
    assert (got, printed, len(said)) == (status, "", 1), said
    assert line in said[0]


def test_a_list_of_addresses_becomes_a_data_set(avgan: Avgan, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("yt_dlp")
    out = tmp_path / "set"
    with open_site() as site:
        lines = ["address,label,licence"]
        for number, label in enumerate(LABELS):
            page = Page((folder / label / f"{number}.mp4").read_bytes())
            lines.append(f"{site.put(f'/{number}.mp4', page)},{label},CC BY")
        lines.append(f"{site.address}/gone.mp4,yard,")
        (tmp_path / "list.csv").write_text("\n".join(lines))
        status, _, said = avgan("curate", tmp_path / "list.csv", "-o", out, *COMMON, "--per-hour", 0, "--tidy")
    assert status == 0, said
    losses = json.loads((out / "losses.json").read_text())
    assert [(loss["stage"], loss["reason"]) for loss in losses] == [("acquire", "gone")]
    kept = [clip for clip in Manifest.load(out / "manifest.parquet").clips if clip.status == "kept"]
    assert {(clip.label, clip.licence) for clip in kept} == {(label, "CC BY") for label in LABELS}
    assert all(clip.address.startswith("http://127.0.0.1") for clip in kept)
    assert list((out / "work" / "fetched").rglob("*.mp4")) == [], "what was cut is not kept"
    assert list((out / "work").rglob("media.tar")) == [], "nor a second time"
