"""Writing respects what is there: devices, pipes, links, modes, the umask; and leaves nothing behind."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avgan.errors import AvganError
from avgan.files import whole, write_whole

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, links and pipes as Unix has them")


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o027])
def test_a_new_file_gets_what_the_umask_leaves(tmp_path: Path, umask: Callable[[int], int], mask: int) -> None:
    umask(mask)
    assert mode(write_whole(tmp_path / "a", "x")) == 0o666 & ~mask
    assert os.umask(mask) == mask


@pytest.mark.parametrize("rights", [0o600, 0o640, 0o664, 0o400])
def test_a_file_keeps_its_mode(tmp_path: Path, rights: int) -> None:
    path = tmp_path / "a"
    path.write_text("before")
    path.chmod(rights)
    write_whole(path, "after")
    assert path.read_text() == "after"
    assert mode(path) == rights


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link, second = tmp_path / "there" / "target", tmp_path / "link", tmp_path / "second"
    link.symlink_to(target)
    second.symlink_to("link")
    write_whole(second, "new")  # the target is not there yet
    assert target.read_text() == "new"
    target.chmod(0o600)
    write_whole(link, "newer")
    assert (target.read_text(), mode(target)) == ("newer", 0o600)
    assert link.is_symlink()
    assert second.is_symlink()
    assert not list(tmp_path.rglob(".*"))


def test_links_in_a_circle_are_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(AvganError, match="choose another place"):
        write_whole(tmp_path / "a", "x")


def test_a_device_is_written_to_and_stays() -> None:
    before = os.stat("/dev/null")
    write_whole("/dev/null", "x")
    after = os.stat("/dev/null")
    assert stat.S_ISCHR(after.st_mode)
    assert (before.st_rdev, before.st_mode) == (after.st_rdev, after.st_mode)


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, "through")
    reader.join(10)
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_can_be_named(tone_wav: Path, toy_bundle: Path) -> None:
    command = [sys.executable, "-m", "avgan", "imagine", str(tone_wav), "-o", "/dev/stdout", "--model", str(toy_bundle)]
    ran = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert ran.stdout.startswith(b"\x89PNG")


def test_a_folder_in_the_way_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(AvganError, match="cannot be written"):
        write_whole(tmp_path, "x")


def test_what_was_killed_is_removed_and_what_is_written_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom avgan.files import whole\n"
        "with whole(sys.argv[1]) as path:\n    path.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], stdout=subprocess.PIPE)
        for name in ("killed", "alive")
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    assert len(list(tmp_path.glob(".*.tmp"))) == 2
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    time.sleep(1.1)
    (tmp_path / ".others.tmp").touch()
    write_whole(tmp_path / "a", "x")
    left = sorted(path.name for path in tmp_path.glob(".*.tmp"))
    processes[1].terminate()
    processes[1].wait()
    assert len(left) == 2
    assert ".others.tmp" in left


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a", "before")

    def fail() -> None:
        with whole(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "before"
    assert [item.name for item in tmp_path.iterdir()] == ["a"]
