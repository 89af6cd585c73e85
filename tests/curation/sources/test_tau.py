"""TAU Urban Audio-Visual Scenes 2021 as a source of videos."""

from collections.abc import Callable
from pathlib import Path

from avgan.curation.sources import find_videos


def test_clips_come_with_their_own_sound_place_and_no_intro(tmp_path: Path, tau_tree: Callable[..., Path]) -> None:
    root = tau_tree(tmp_path, "tau_av_2021", {"train": ["bus-lisbon-1"], "test": ["tram-milan-2"]})
    videos = find_videos(str(root))
    assert [video.id for video in videos] == ["bus-lisbon-1-0", "bus-lisbon-1-1", "tram-milan-2-0", "tram-milan-2-1"]
    first = videos[0]
    assert (first.label, first.place, first.source_id) == ("bus", "lisbon", "lisbon-1")
    assert (first.start_s, first.end_s) == (0.0, 10.0)
    assert first.path == str(root / "video" / "bus-lisbon-1-0.mp4")
    assert first.sound_path == str(root / "audio" / "bus-lisbon-1-0.wav")
    assert "non-commercial" in first.licence
    assert first.address
