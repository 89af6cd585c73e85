"""Worker processes: whoever dies is replaced and counted, whoever stalls meets a deadline, no frame is endless."""

import signal
import socket
from pathlib import Path

import pytest

from avgan.workers import FRAME, MAX_FRAME_BYTES, WorkerProcess, receive_frame, run_in_processes

MODULE = """
import os, time
from avgan.workers import receive_frame, send_frame

def double(line, argument):
    while True:
        _, number = receive_frame(line)
        if number == b"3" and not os.path.exists(argument):
            open(argument, "w").close()
            os._exit(7)
        send_frame(line, b"D", 2 * number)

def stall(line, argument):
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "at_work.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_process_that_dies_is_replaced_and_its_number_handed_out_again(tmp_path: Path) -> None:
    deaths: list[tuple[int, int, int]] = []
    answers = run_in_processes(
        lambda: WorkerProcess("at_work:double", str(tmp_path / "died")),
        range(6),
        num_processes=2,
        on_death=lambda *death: deaths.append(death),
    )
    assert sorted(answers) == [(n, b"D", 2 * str(n).encode()) for n in range(6)]
    assert deaths == [(3, 1, 7)]


def test_a_process_that_says_nothing_meets_the_deadline() -> None:
    process = WorkerProcess("at_work:stall")
    with pytest.raises(TimeoutError):
        process.receive(0.1)
    assert process.close() == -signal.SIGKILL
    process.start()  # another in its place
    assert process.process.poll() is None
    process.close()


def test_a_frame_beyond_all_measure_is_not_waited_for() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(FRAME.pack(b"X", MAX_FRAME_BYTES + 1))
        with pytest.raises(EOFError):
            receive_frame(here)
