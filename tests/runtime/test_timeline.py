"""Segments cover the recording without gaps, whatever the windows."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgan.runtime.prediction import WindowPrediction
from avgan.runtime.timeline import segments


def window(
    number: int, scene: str, hop_s: float = 1.0, probability: float = 0.5
) -> WindowPrediction:
    start_s = number * hop_s
    return WindowPrediction(start_s, start_s + 5.0, scene, None, probability)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.sampled_from([0.5, 1.0, 5.0]))
def test_segments_partition_the_recording(scenes: list[str], hop_s: float) -> None:
    windows = [window(i, scene, hop_s) for i, scene in enumerate(scenes)]
    found = list(segments(windows))
    assert found[0].start_s == 0
    assert found[-1].end_s == windows[-1].end_s
    for one, other in pairwise(found):
        assert one.end_s == other.start_s
        assert one.scene != other.scene
    assert sum(one.num_windows for one in found) == len(windows)


def test_probability_is_the_mean_and_codes_are_of_the_surest() -> None:
    (found,) = segments([window(0, "a", probability=0.2), window(1, "a", probability=0.6)])
    assert found.probability == pytest.approx(0.4)


def test_nothing_gives_nothing() -> None:
    assert list(segments([])) == []
