"""However long a recording, what is kept of its windows is bounded, in order, and says what most of them said."""

import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avgan.pictures.thinning import Thinning, spans, whole_segments
from avgan.runtime.prediction import UNKNOWN, WindowPrediction
from avgan.runtime.timeline import segments


def window(number: int, scene: str = "a", probability: float = 0.5) -> WindowPrediction:
    """A window of 5 s every second, with codes of its own."""
    reason = "silent" if scene == UNKNOWN else ""
    codes = np.full((16, 16), number % 512, np.uint16)
    return WindowPrediction(float(number), number + 5.0, scene, None, probability, reason, codes=codes)


def thinned(windows: Sequence[WindowPrediction], most: int) -> Thinning:
    thinning = Thinning(most)
    for each in windows:
        thinning.add(each)
    return thinning


def test_few_are_kept_as_they_are() -> None:
    windows = [window(number, "ab"[number % 2], number / 10) for number in range(10)]
    kept = thinned(windows, 10).windows()
    assert kept == windows
    assert [each.codes is not None and int(each.codes[0, 0]) for each in kept] == list(range(10))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=200), st.integers(2, 12))
def test_what_is_kept_covers_all_in_order(scenes: list[str], most: int) -> None:
    windows = [window(number, scene) for number, scene in enumerate(scenes)]
    for kept in (thinned(windows, most).windows(), thinned(windows, 200).windows(most)):
        assert 1 <= len(kept) <= most + most % 2
        assert (kept[0].start_s, kept[-1].end_s) == (0.0, windows[-1].end_s)
        # Side by side as the windows were: each starts a second after the last window of that before it.
        assert all(b.start_s == a.end_s - 5 + 1 for a, b in pairwise(kept))


def test_most_windows_speak_for_a_stretch_and_the_surest_of_them_is_shown() -> None:
    said = [("a", 0.3), ("b", 0.9), ("a", 0.8), ("a", 0.4)]
    (kept,) = thinned([window(i, *each) for i, each in enumerate(said)], 4).windows(1)
    assert kept.scene == "a"
    assert kept.probability == pytest.approx(0.5)
    assert kept.codes is not None
    assert kept.codes[0, 0] == 2


def test_the_second_of_several_stretches_can_be_the_first_of_all() -> None:
    said = "aaabbcccbb"
    (kept,) = thinned([window(i, scene) for i, scene in enumerate(said)], 10).windows(1)
    assert kept.scene == "b"


def test_the_unknown_is_no_answer_among_others() -> None:
    windows = [window(i, UNKNOWN if i % 4 else "a", 0.9) for i in range(8)]
    (kept,) = thinned(windows, 8).windows(1)
    assert (kept.scene, kept.reason) == (UNKNOWN, "silent")


def test_a_merged_stretch_is_not_changed_by_asking_for_fewer() -> None:
    thinning = thinned([window(i, "ab"[i // 3 % 2]) for i in range(12)], 12)
    before = thinning.windows()
    thinning.windows(2)
    assert thinning.windows() == before


def changing(num_windows: int) -> Iterator[WindowPrediction]:
    for number in range(num_windows):
        scene = f"scene {number // 70 % 20}" if number % 5 else f"scene {number % 17}"
        yield window(number, scene, number % 7 / 7)


def test_four_times_as_long_needs_no_more_memory() -> None:
    peaks = []
    for num_windows in (4_000, 16_000):
        tracemalloc.start()
        thinning = Thinning(100)
        for each in changing(num_windows):
            thinning.add(each)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert 50 <= len(thinning.windows()) <= 100
    assert peaks[1] < 1.2 * peaks[0]


def test_stretches_lie_side_by_side_over_the_whole_recording() -> None:
    windows = [window(number, "aab"[number % 3]) for number in range(9)]
    edges = spans(windows, 14.5)
    assert edges[0] == (0.0, 3.0)  # half-way between the middles of two windows of 5 s
    assert edges[-1][1] == 14.5
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    found = whole_segments(windows, 14.5)
    assert (found[0].start_s, found[-1].end_s) == (0.0, 14.5)
    assert [each.scene for each in found] == [each.scene for each in segments(windows)]


def test_a_single_window_speaks_for_all() -> None:
    assert spans([window(0)], 3.0) == [(0.0, 3.0)]
    assert whole_segments([window(0)], 3.0)[0].end_s == 3.0
