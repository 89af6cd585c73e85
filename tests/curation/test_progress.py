"""The line of progress: true, and gone at the end."""

import pytest

from avgan.curation import pipeline as progress
from avgan.curation.pipeline import Progress


def test_rate_and_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    said: list[str] = []
    reporter = Progress(1_200, said.append)
    now_s[0] += 60.0
    reporter.done(8, 120)
    now_s[0] += 60.0
    reporter.done(392, 5_880)
    reporter.close()
    assert said == [
        "0/1,200 videos",
        "8/1,200 videos  120 clips, 2 a second  2:29:00 left",
        "400/1,200 videos  6,000 clips, 50 a second  4:00 left",
        "",
    ]


def test_where_all_is_done_nothing_is_said() -> None:
    said: list[str] = []
    Progress(0, said.append).close()
    assert said == [""]
