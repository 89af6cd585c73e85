"""A new user's way with own scenes: train, score, export, listen; and what they are told when they stumble."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

Outcome = tuple[int, str, list[str]]
"""Exit status, standard output, lines of standard error."""


def settings(run: Path) -> Iterator[str]:
    """The --set options that turn the preset of a run into its configuration."""
    from avgan.presets import preset

    def changes(ours: dict[str, Any], base: dict[str, Any], prefix: str) -> Iterator[str]:
        for name, value in ours.items():
            if isinstance(value, dict):
                yield from changes(value, base[name], f"{prefix}{name}.")
            elif value != base[name]:
                yield from ("--set", f"{prefix}{name}={json.dumps(value)}")

    config = json.loads((run / "recipe.json").read_text())
    yield from changes(config, preset(config["preset"]).model_dump(mode="json"), "")


@pytest.mark.slow
def test_from_videos_to_an_answer(tiny_run: Path, tiny_videos: Path, tmp_path: Path) -> None:
    """Real processes: interrupted, started again, scored, exported, heard; and nobody else's lines on the way."""

    def command(*arguments: object) -> list[str]:
        return [sys.executable, "-m", "avgan", *map(str, arguments)]

    def run(*arguments: object) -> tuple[str, list[str]]:
        done = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=tmp_path, check=True)
        return done.stdout, done.stderr.splitlines()

    train = [
        "train",
        "--preset",
        "paper_esc50",
        "--data",
        tiny_videos,
        "-o",
        "mine",
        *settings(tiny_run),
        "--set",
        "data.validation_fraction=0.5",
        "--set",
        "loop.precision=bf16-mixed",
        "--set",
        "vqvae.num_steps=300",
    ]
    with subprocess.Popen(
        command(*train),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        # a job started in the background ignores Ctrl-C, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        folder = tmp_path / "mine" / "1-vqvae"
        until = time.monotonic() + 60
        while not (folder / "metrics.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert out == ""
        assert err.splitlines()[-1].startswith("avgan: interrupted; the same command goes on")
    out, lines = run(*train)
    assert out == "mine\n"
    assert lines[0] == "vqvae: 4 pictures"
    assert "going on at step" in lines[1], "before any checkpoint was due"
    assert "next: avgan evaluate mine" in lines[-1]
    stages = ("vqvae", "imagination", "classifier")
    assert all(line.startswith(stages) for line in lines[2:-1])
    out, lines = run("evaluate", "mine", "--protocol", "holdout", "--data", tiny_videos)
    assert "4 clips" in out
    assert lines == []
    out, lines = run("export", "mine", "--data", tiny_videos, "-o", "mine.bundle")
    assert out == "mine.bundle\n"
    assert len(lines) == 1
    card = json.loads((tmp_path / "mine.bundle" / "card.json").read_text())
    assert card["calibration"]["num_sources"] == 4
    out, lines = run("classify", tiny_videos, "--model", "mine.bundle", "--format", "jsonl")
    assert {json.loads(line)["scene"] for line in out.splitlines()} <= set("abcd")
    assert lines == []


def test_a_finished_run_says_what_comes_next(avgan: Callable[..., Outcome], tiny_run: Path, tiny_videos: Path) -> None:
    before = sorted(path.name for path in tiny_run.glob("*/tensorboard/*"))
    command = ["train", "--preset", "paper_esc50", "--data", tiny_videos, "-o", tiny_run]
    status, out, lines = avgan(*command, *settings(tiny_run))
    assert status == 0
    assert out == f"{tiny_run}\n"
    assert "finished already" in lines[0]
    assert "next: avgan evaluate" in lines[1]
    assert sorted(path.name for path in tiny_run.glob("*/tensorboard/*")) == before
    status, out, (line,) = avgan(*command, *settings(tiny_run), "--set", "imagination.gamma=7")
    assert (status, out) == (2, "")
    assert "imagination.gamma is 1.0 there and 7.0 here" in line


def test_a_first_start_that_failed_leaves_the_folder_free(
    avgan: Callable[..., Outcome], tiny_run: Path, tiny_videos: Path, tmp_path: Path
) -> None:
    command = ["train", "--preset", "paper_esc50", "--data", tiny_videos, "-o", "new"]
    command += settings(tiny_run)
    assert avgan(*command, "--parent", "nowhere")[0] == 1
    parent = tiny_run / "2-imagination"
    status, _, lines = avgan(*command, "--set", "classifier.num_steps=1", "--parent", parent)
    assert status == 0
    assert lines[0].startswith("classifier: 4 labels (a, b, c, d)")
    recipe = json.loads((tmp_path / "new" / "recipe.json").read_text())
    assert recipe["classifier"]["num_steps"] == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--preset", "compcat"], "choose one of"),
        (["--set", "imagination.gama=0"], "did you mean imagination.gamma"),
        (["--set", "gamma=0"], "did you mean imagination.gamma?"),
        (["--set", "qwertz=0"], "first word must be one of"),
        (["--set", "vqvae=3"], "such as vqvae.kind"),
        (["--set", "vqvae.num_steps=many"], "vqvae.num_steps"),
        (["--set", "data.window_s=0.01"], "too short"),
    ],
)
def test_wrong_settings_are_wrong_usage(
    avgan: Callable[..., Outcome], tiny_videos: Path, options: list[str], expected: str
) -> None:
    preset = [] if "--preset" in options else ["--preset", "compact"]
    status, out, (line,) = avgan("train", *preset, "--data", tiny_videos, "-o", "r", *options)
    assert (status, out) == (2, "")
    assert expected in line
    assert not Path("r").exists()


def test_a_score_is_a_few_lines_and_the_whole_on_demand(
    avgan: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = {
        "protocol": "esc50",
        "preset": "transfer",
        "classifier": "joint",
        "seed": 0,
        "accuracy": 0.5,
        "interval_95": [0.4, 0.6],
        "deviation_over_folds": 0.1,
        "by_fold": {"1": 0.4, "2": 0.6},
        "num_clips": 20,
        "scene_accuracy": 0.75,
        "chosen_on": ["2"],
    }
    monkeypatch.setattr("avgan.evaluation.evaluate.evaluate", lambda *_, **__: report)
    command = ["evaluate", "run", "--protocol", "esc50", "--data", "."]
    status, out, lines = avgan(*command)
    assert (status, lines) == (0, [])
    shown = [" ".join(line.split()) for line in out.splitlines()]
    assert shown[0] == "transfer (joint), esc50: 50.0 % +- 10.0 over folds [40.0, 60.0], seed 0"
    assert shown[1:4] == ["1 40.0 %", "2 60.0 %", "scenes 75.0 %"]
    assert shown[4].startswith("of 20 clips this says little: anything from 40 to 60 % may be true")
    assert shown[5].startswith("Choices about this preset were made with fold 2 in sight")
    assert shown[6].startswith("20 clips")
    assert shown[6].endswith(str(Path("run") / "esc50"))
    assert json.loads(avgan(*command, "--format", "json")[1]) == report


def test_scores_of_other_data_are_refused(
    avgan: Callable[..., Outcome], tiny_run: Path, tiny_videos: Path, tmp_path: Path
) -> None:
    """Recordings that were held out and are not there would flatter or shame the run silently."""
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (description,) = run.glob("3-*/checkpoint/*/checkpoint.json")
    told = json.loads(description.read_text())
    told["lineage"][-1]["validation_sources"] = ["a/0.mp4", "e/9.mp4"]
    description.write_text(json.dumps(told))
    command = ["evaluate", run, "--data", tiny_videos, "--protocol"]
    status, out, (line,) = avgan(*command, "holdout")
    assert (status, out) == (1, "")
    assert "'e/9.mp4'" in line
    assert "--data" in line
    status, out, (line,) = avgan(*command, "esc50")
    assert (status, out) == (1, "")
    assert "no ESC-50 here" in line
    assert not (run / "esc50").exists()


def test_a_bundle_replaces_nothing_but_a_bundle(avgan: Callable[..., Outcome], tiny_run: Path, tmp_path: Path) -> None:
    scenes = tmp_path / "my-scenes"
    scenes.mkdir()
    (scenes / "recording.wav").write_bytes(b"dear")
    for place in (scenes, scenes / "recording.wav", tiny_run):
        status, out, (line,) = avgan("export", tiny_run, "-o", place)
        assert (status, out) == (1, "")
        assert "choose another -o" in line
    assert (scenes / "recording.wav").read_bytes() == b"dear"


def test_a_run_in_place_of_a_bundle(avgan: Callable[..., Outcome], tiny_run: Path) -> None:
    status, _, (line,) = avgan("classify", "x.wav", "--model", tiny_run)
    assert status == 1
    assert f"avgan export {tiny_run}" in line


def test_a_place_that_cannot_be_written_is_one_line(
    avgan: Callable[..., Outcome], tiny_run: Path, tiny_videos: Path
) -> None:
    Path("file").touch()
    command = ["train", "--preset", "paper_esc50", "--data", tiny_videos, "-o", "file"]
    status, out, (line,) = avgan(*command, *settings(tiny_run))
    assert (status, out) == (1, "")
    assert line.startswith("avgan: file")
    status, out, (line,) = avgan("export", tiny_run, "-o", "file/bundle")
    assert (status, out) == (1, "")
    assert line.endswith("choose another place")


def test_one_stage_alone_is_trained_and_says_what_may_follow(
    avgan: Callable[..., Outcome], tiny_run: Path, tiny_videos: Path
) -> None:
    command = ["train", "--preset", "paper_esc50", "--data", tiny_videos, *settings(tiny_run)]
    status, out, lines = avgan(*command, "--stage", "vqvae", "-o", "pictures")
    assert (status, out) == (0, "pictures\n")
    assert "avgan train --parent pictures" in lines[-1]
    status, _, (line,) = avgan(*command, "--stage", "imagination", "-o", "alone")
    assert status == 2
    assert "name one with --parent" in line
    chain = [*command, "--stage", "imagination", "-o", "sounds", "--parent", "pictures"]
    assert avgan(*chain)[0] == 0
