"""A disk that is full while a run is trained: one line, nothing half-written taken for whole, and the run goes on."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from avgan import checkpoint
from avgan.config import Recipe
from avgan.errors import AvganError
from avgan.training.log import RunLog

FULL = Path("/dev/full")
NO_ROOM = os.strerror(errno.ENOSPC)
ROOM_FOR = {"nothing": 0.5, "one checkpoint": 1.5}

TRAIN = """
import json, sys
from pathlib import Path
from avgan.cli.app import say
from avgan.config import Recipe
from avgan.errors import AvganError
from avgan.training.recipe import train

try:
    recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
    train(recipe, data=Path(sys.argv[2]), out=Path(sys.argv[3]))
except AvganError as error:
    say(str(error))
    sys.exit(1)
"""

SCRIPT = """
mount -t tmpfs -o size=$1 tmpfs $2 || exit 99
shift 2
"$@" && exit 98
find run -type f
mount -o remount,size=64m run/.. && "$@"
"""


def can_mount() -> bool:
    command = ["unshare", "-rm", "true"]
    return (
        shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_line_of_metrics_that_finds_no_room_says_so(tmp_path: Path) -> None:
    log = RunLog(tmp_path, step=0)
    log.metrics("vqvae", 1, {"loss": 1.0})
    log.file.close()
    log.file = FULL.open("a")
    with pytest.raises(AvganError, match=rf"metrics\.jsonl: cannot be written \({NO_ROOM}\); make"):
        log.metrics("vqvae", 2, {"loss": 1.0})
    with pytest.raises(AvganError, match="make room, then the same command goes on"):
        log.close()
    again = RunLog(tmp_path, step=2)
    again.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="no small disk can be mounted here")
@pytest.mark.parametrize("room", ROOM_FOR)
def test_a_run_on_a_full_disk_stops_in_one_line_and_goes_on_when_there_is_room(
    tmp_path: Path, tiny_run: Path, tiny_videos: Path, tiny_config: Callable[..., Recipe], room: str
) -> None:
    newest = checkpoint.newest(tiny_run / "1-vqvae")
    assert newest is not None
    # With the state of the optimiser, which a finished run has no more, it is three times as large.
    num_bytes = 3 * sum(path.stat().st_size for path in newest.iterdir())
    recipe = tmp_path / "recipe.json"
    recipe.write_text(tiny_config().model_dump_json())
    disk = tmp_path / "disk"
    disk.mkdir()
    size = f"{round(ROOM_FOR[room] * num_bytes)}"
    command = [sys.executable, "-c", TRAIN, str(recipe), str(tiny_videos), str(disk / "run")]
    script = SCRIPT.replace("find run", f"find {disk}/run").replace("run/..", str(disk))
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", size, str(disk), *command],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    problems = [line for line in done.stderr.splitlines() if line.startswith("avgan: ")]
    assert len(problems) == 1
    assert NO_ROOM in problems[0]
    left = [Path(line) for line in done.stdout.splitlines()]
    assert not any(".writing-" in str(path) or path.suffix == ".tmp" for path in left)
    checkpoints = {path.parent for path in left if "checkpoint" in path.parts}
    files = {"networks.safetensors", "state.safetensors", "checkpoint.json"}
    for folder in checkpoints:
        assert {path.name for path in left if path.parent == folder} == files
    assert bool(checkpoints) == (room != "nothing")
