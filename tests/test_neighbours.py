"""Which clips a bundle is given as neighbours: those that its run was trained on, heard as the bundle hears."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avgan import neighbours
from avgan.audio import read_audio
from avgan.checkpoint import Checkpoint, Origin
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.neighbours import find_own, training_clips


def described(labels: tuple[str, ...], sources: tuple[str, ...]) -> Checkpoint:
    from avgan.presets import preset

    return Checkpoint((Origin(preset("compact").run("classifier"), sources=sources),), labels)


def sounds(*clips: tuple[str, str, str]) -> Manifest:
    """Clips by id, source and label."""
    rows = (Clip(id=i, source_id=s, label=name, audio_path=f"{i}.wav") for i, s, name in clips)
    return Manifest("mine", Path(), tuple(rows))


def test_only_what_was_trained_on() -> None:
    manifest = sounds(("d", "one", "sea"), ("a", "two", "sea"), ("b", "kept", "sea"))
    manifest = Manifest("mine", Path(), (*manifest.clips, Clip(id="c", source_id="one", label="sea", image_path="c")))
    found = training_clips(manifest, described(("sea", "street"), ("one", "two")))
    assert [clip.id for clip in found] == ["a", "d"]


def test_of_too_many_all_labels_keep_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MAX_CLIPS", 6)
    many = [(f"{number:02}", "one", "sea") for number in range(20)]
    few = [(f"{number:02}", "one", "street") for number in range(20, 22)]
    found = training_clips(sounds(*many, *few), described(("sea", "street"), ("one",)))
    assert Counter(clip.label for clip in found) == {"sea": 4, "street": 2}


def test_other_data_are_refused(tiny_videos: Path, with_origin: Callable[..., Checkpoint]) -> None:
    run = with_origin(described(("a", "b"), ("someone else's",)), data={"sounds": "folder"})
    with pytest.raises(DataError, match="holds no recording that the run was trained on"):
        find_own(run, tiny_videos)


@pytest.mark.slow
def test_an_exported_clip_is_its_own_neighbour(tiny_run: Path, tiny_videos: Path, tmp_path: Path) -> None:
    from avgan.export import export_bundle
    from avgan.runtime import load

    model = load(export_bundle(tiny_run, tmp_path / "bundle", data=tiny_videos))
    known = model.neighbours
    assert known is not None
    assert sorted(known.labels) == list("aabbccdd")
    for path in sorted(tiny_videos.rglob("*.mp4")):
        explained = model.explain(read_audio(path)[:16_000], 16_000)
        same = {each.id for each in known.nearest(explained.codes, 8) if each.distance == 0}
        assert any(path.stem in each for each in same)
        # The trunk of this run hears a window as a whole: no patches.
        assert explained.saliency.shape == explained.log_mel.shape == (64, 32)
        assert np.abs(explained.saliency).max() in (pytest.approx(1), 0)
