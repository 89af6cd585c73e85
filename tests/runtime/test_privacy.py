"""Running a model tells nobody and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux what is open")
def test_a_model_keeps_no_diary_and_opens_no_connection(tmp_path: Path, toy_bundle: Path, tone_wav: Path) -> None:
    """onnxruntime (seen with 1.32) would do both from the moment that it is imported."""
    code = (
        "import os, sys, avgan\n"
        "avgan.load(sys.argv[1]).classify(sys.argv[2])\n"
        "for name in os.listdir('/proc/self/fd'):\n"
        "    try: print(os.readlink('/proc/self/fd/' + name))\n"
        "    except OSError: pass\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    ran = subprocess.run(
        [sys.executable, "-c", code, str(toy_bundle), str(tone_wav)],
        env=environment | {"HOME": str(home), "XDG_CACHE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(home.iterdir()) == []
    assert not [name for name in ran.stdout.splitlines() if name.startswith(("socket", str(home)))]
