"""Real processes: killed without warning, and two sharing the work of one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import assert_same_weights, rows, weights

from avgan.config import Recipe
from avgan.training.recipe import train

pytestmark = pytest.mark.slow

TRAIN = """
import sys
from pathlib import Path
from avgan.config import Recipe, parse
from avgan.training.recipe import train
import json
train(parse(Recipe, json.loads(sys.argv[1])), data=Path(sys.argv[2]), out=Path(sys.argv[3]))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(TRAIN)
    return path


def num_lines(recipe: Path) -> int:
    """Of what has been logged so far by all runs."""
    return sum(path.read_bytes().count(b"\n") for path in recipe.glob("*/metrics.jsonl"))


def test_killed_in_every_stage_and_started_again_it_equals_an_unbroken_run(
    tmp_path: Path, script: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    config = tiny_config(
        {
            "vqvae.num_steps": "40",
            "imagination.num_steps": "40",
            "classifier.num_steps": "60",
            "loop.validate_every": "25",
            "loop.checkpoint_every": "3",
        }
    )
    whole = train(config, data=tiny_videos, out=tmp_path / "whole")
    broken = tmp_path / "broken"
    command = [sys.executable, script, config.model_dump_json(), tiny_videos, broken]
    rng = np.random.default_rng()
    kill_after = [int(rng.integers(low, low + 25)) for low in (5, 50, 95)]
    for num_rows in kill_after:
        process = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
        try:
            while num_lines(broken) < num_rows:
                assert process.poll() is None, f"ended by itself before row {num_rows}"
                time.sleep(0.002)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    train(config, data=tiny_videos, out=broken)
    assert rows(broken) == rows(whole), f"killed after rows {kill_after}"
    assert_same_weights(broken, whole)
    assert all(len(list(path.iterdir())) == 1 for path in broken.glob("*/checkpoint"))


def run_two(script: Path, config: Recipe, data: Path, out: Path) -> None:
    """Train with two processes on one machine, as torchrun starts them."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *(str(script), config.model_dump_json(), str(data), str(out)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCHELASTIC_ERROR_FILE": "/dev/null"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def assert_close(one: Path, two: Path) -> None:
    found, expected = rows(two), rows(one)
    assert [(row["stage"], row["step"]) for row in found] == [(row["stage"], row["step"]) for row in expected]
    for mine, theirs in zip(found, expected, strict=True):
        for name in COMPARED & theirs.keys():
            assert mine[name] == pytest.approx(theirs[name], rel=2e-4, abs=5e-6), (name, theirs)
    mine, theirs = weights(two), weights(one)
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-3, atol=1e-4, msg=name)


COMPARED = {
    *("loss", "reconstruction", "codebook", "commitment", "perplexity", "gradient_norm"),
    *("critic_gap", "penalty", "critic_gradient_norm", "generator", "verdict"),
    *("entropy", "accuracy"),
}
"""Metrics that are means over rows; those of a whole batch, such as its diversity, differ between halves."""


def test_two_processes_with_half_the_batch_equal_one_with_the_whole(
    tmp_path: Path, script: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    """All stages, with everything left out that looks at a whole batch: batch norm, minibatch discrimination."""
    config = tiny_config(
        {
            "imagination.critic.num_kernels": "0",
            "imagination.generator.batch_norm": "false",
            "imagination.generator.standardize": "false",
            "imagination.num_views": "2",
            "imagination.num_steps": "5",
            "vqvae.num_steps": "6",
            # Adam's first steps have a fixed length, whatever the gradient: rounding must not turn them around
            "vqvae.learning_rate": "1e-4",
            "imagination.learning_rate": "1e-4",
            "classifier.learning_rate": "1e-4",
        }
    )
    one = train(config, data=tiny_videos, out=tmp_path / "one")
    run_two(script, config, tiny_videos, tmp_path / "two")
    assert_close(one, tmp_path / "two")


def test_two_processes_can_be_resumed(
    tmp_path: Path, script: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    """The second start finds a finished run, and its log is left whole by both processes."""
    config = tiny_config({"vqvae.num_steps": "2", "imagination.num_steps": "1", "classifier.num_steps": "1"})
    run_two(script, config, tiny_videos, tmp_path / "run")
    before = rows(tmp_path / "run")
    run_two(script, config, tiny_videos, tmp_path / "run")
    assert rows(tmp_path / "run") == before
