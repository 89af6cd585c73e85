"""Whose turn it is at a host, among processes that know nothing of each other but a folder."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from avgan.curation.fetch import hold, host_of, take_turn
from avgan.errors import AvganError


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_turns_of_one_are_spread_over_the_hour(tmp_path: Path) -> None:
    clock = Clock()
    starts = []
    for _ in range(20):
        take_turn(tmp_path, "a", per_hour=360, sleep=clock.sleep, clock=clock)
        starts.append(clock())
    assert starts == [1_000_000.0 + 10 * n for n in range(20)]
    assert len(list((tmp_path / "a").glob("*.slot"))) <= 12, "what is over is forgotten"


def test_turns_of_many_are_no_more_than_those_of_one(tmp_path: Path) -> None:
    clocks = [Clock() for _ in range(40)]

    def take(clock: Clock) -> None:
        take_turn(tmp_path, "a", per_hour=360, sleep=clock.sleep, clock=clock)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, clocks))
    assert sorted(clock() for clock in clocks) == [1_000_000.0 + 10 * n for n in range(40)]


def test_hosts_do_not_wait_for_each_other(tmp_path: Path) -> None:
    clock = Clock()
    for host in ("a", "b", "c"):
        take_turn(tmp_path, host, per_hour=1, sleep=clock.sleep, clock=clock)
    assert clock() == 1_000_000.0


def test_no_pace_is_no_waiting_but_where_a_host_asked_for_it(tmp_path: Path) -> None:
    clock = Clock()
    take_turn(tmp_path, "a", per_hour=0, sleep=clock.sleep, clock=clock)
    assert clock() == 1_000_000.0
    hold(tmp_path, "a", 30.0, clock=clock)
    hold(tmp_path, "a", 10.0, clock=clock)
    take_turn(tmp_path, "a", per_hour=0, sleep=clock.sleep, clock=clock)
    assert clock() == 1_000_030.0, "the longer one holds"


def test_who_waits_when_the_host_asks_all_to_wait_waits_on(tmp_path: Path) -> None:
    clock = Clock()

    def sleep(seconds: float) -> None:
        if clock() < 1_000_001.0:
            hold(tmp_path, "a", 500.0, clock=clock)  # by somebody else
        clock.sleep(seconds)

    for _ in range(2):
        take_turn(tmp_path, "a", per_hour=360, sleep=sleep, clock=clock)
    assert clock() >= 1_000_500.0


def test_a_damaged_note_holds_nobody(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "held-until").write_text("soon")
    started = time.monotonic()
    take_turn(tmp_path, "a", per_hour=0)
    assert time.monotonic() - started < 1.0


def test_a_folder_that_cannot_be_written_is_told_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(AvganError, match="cannot be written"):
        take_turn(tmp_path, "a", per_hour=1)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://www.youtube.com/watch?v=x", "youtube.com"),
        ("https://youtu.be/x", "youtube.com"),
        ("http://me:secret@Example.org:8080/x", "example.org_8080"),
        ("http://[::1]/x", "___1_"),
        ("http://../x", "nowhere"),
    ],
)
def test_a_host_is_fit_for_a_folder(address: str, host: str) -> None:
    assert host_of(address) == host


def test_a_clock_that_was_set_back_makes_nobody_wait_for_a_year(tmp_path: Path) -> None:
    year_s = 365 * 86_400.0
    now_s = [1e9 + year_s]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now_s[0] += seconds

    def clock() -> float:
        return now_s[0]

    hold(tmp_path, "host", 600, clock=clock)
    for _ in range(3):
        take_turn(tmp_path, "host", per_hour=300, sleep=sleep, clock=clock)
    now_s[0] -= year_s
    waits.clear()
    for _ in range(3):
        take_turn(tmp_path, "host", per_hour=300, sleep=sleep, clock=clock)
    assert sum(waits) < 60
    hold(tmp_path, "host", 600, clock=clock)
    take_turn(tmp_path, "host", per_hour=0, sleep=sleep, clock=clock)
    assert 600 <= sum(waits) < 700
