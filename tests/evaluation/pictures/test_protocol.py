"""The judge of imagined pictures, and the score with its shuffled control."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from avgan import checkpoint
from avgan.data.manifest import Clip, Manifest
from avgan.errors import DataError
from avgan.evaluation.evaluate import evaluate
from avgan.evaluation.pictures.judge import Judge, imagine, train_judge
from avgan.evaluation.pictures.protocol import Gallery, evaluate_pictures, imagine_held_out, only_of, score_pictures
from avgan.scenes import ESC50_SCENE
from avgan.training.recipe import train


class Bright(nn.Module):
    """Names the scene whose band of rows is brightest: 16 scenes for 16 rows."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return 20.0 * vectors.mean((1, 3))


LABELS = tuple(label for label, place in ESC50_SCENE.items() if place.strength == "strong")


@pytest.fixture
def gallery_of(tiny_run: Path) -> Callable[..., tuple[Any, Gallery, Judge]]:
    """A function that gives networks, maps bright in the row of their scene (or of one fixed scene) and a judge."""

    def make(*, heeds_the_sound: bool) -> tuple[Any, Gallery, Judge]:
        networks, _ = checkpoint.load_networks(tiny_run)
        with torch.no_grad():
            networks.vqvae.quantizer.codebook.copy_(torch.linspace(-0.9, 0.9, 16)[:, None])
        known = tuple(dict.fromkeys(ESC50_SCENE[label].scene for label in LABELS))[:16]
        labels = [label for label in LABELS if ESC50_SCENE[label].scene in known]
        clips, rows = [], []
        for number in range(160):
            label = labels[number % len(labels)]
            clips.append(Clip(id=str(number), source_id=f"s{number}", label=label))
            rows.append(known.index(ESC50_SCENE[label].scene) if heeds_the_sound else 3)
        features = torch.full((160, 1, 16, 16), -0.9)
        features[torch.arange(160), :, torch.tensor(rows)] = 0.9
        scenes = tuple(ESC50_SCENE[clip.label].scene for clip in clips)
        gallery = Gallery(Manifest("esc50", Path("."), tuple(clips)), scenes, features)
        padded = known + tuple(f"none {n}" for n in range(16 - len(known)))
        return networks, gallery, Judge(Bright(), padded, 0.5)

    return make


def test_pictures_of_the_right_scene_score_one_and_shuffled_ones_chance(gallery_of: Callable[..., Any]) -> None:
    networks, gallery, judge = gallery_of(heeds_the_sound=True)
    report = score_pictures(networks, gallery, judge)
    assert report["agreement"] == report["agreement_top5"] == 1.0
    assert report["agreement_interval_95"] == (1.0, 1.0)
    assert report["agreement_strong_pairs"] == 1.0
    assert report["shuffled"] < 0.4
    low, high = report["gain_over_shuffled_interval_95"]
    assert 0.5 < low < high <= 1.0
    assert report["codes_used"] == 2
    assert report["num_pictures"] == 160


def test_a_generator_that_ignores_the_sound_gains_nothing(gallery_of: Callable[..., Any]) -> None:
    networks, gallery, judge = gallery_of(heeds_the_sound=False)
    report = score_pictures(networks, gallery, judge)
    assert report["agreement"] == pytest.approx(report["shuffled"])
    low, high = report["gain_over_shuffled_interval_95"]
    assert low <= 0.0 <= high
    assert report["diversity"] == pytest.approx(0.0, abs=1e-5)


def test_recordings_of_scenes_without_pictures_are_left_out_and_counted(gallery_of: Callable[..., Any]) -> None:
    _, gallery, _ = gallery_of(heeds_the_sound=True)
    scenes = tuple(sorted(set(gallery.scenes))[:3])
    kept, num_without = only_of(gallery, scenes)
    assert set(kept.scenes) == set(scenes)
    assert len(kept.scenes) + num_without == 160
    for row, clip in enumerate(kept.clips.clips):
        assert ESC50_SCENE[clip.label].scene == kept.scenes[row]
        torch.testing.assert_close(kept.features[row], gallery.features[int(clip.id)])


def test_what_is_scored_of_a_run_with_a_sampler_is_its_first_sample(
    tmp_path: Path, tiny_videos: Path, tiny_sampled: Callable[..., Any]
) -> None:
    """The gallery holds what the sampler makes of each recording, with noise by the recording's id."""
    changes = {"data.validation_fraction": "0.5"}
    run = train(tiny_sampled(changes), data=tiny_videos, out=tmp_path / "run")
    networks, described = checkpoint.load_networks(run)
    gallery = imagine_held_out(networks, described, tiny_videos)
    again = imagine_held_out(networks, described, tiny_videos)
    assert torch.equal(gallery.features, again.features)
    assert networks.sampler is not None
    imagined = imagine(networks, described, gallery.clips)
    assert not torch.allclose(gallery.features, imagined)
    seed = zlib.crc32(gallery.clips.clips[1].id.encode())
    with torch.no_grad():
        picture = networks.render(networks.vqvae.quantizer.encode(imagined[1:2]), networks.noise(seed))
        shown = networks.vqvae.decode(gallery.features[1:2])
    torch.testing.assert_close(shown, picture, atol=1e-4, rtol=0)


def test_a_judge_is_trained_on_one_side_and_measured_on_the_other() -> None:
    rng = np.random.default_rng(0)

    def side(count: int) -> tuple[torch.Tensor, np.ndarray]:
        targets = np.arange(count) % 2
        maps = 0.3 * rng.standard_normal((count, 1, 4, 16, 16)) + targets[:, None, None, None, None]
        return torch.from_numpy(maps.astype(np.float32)).half(), targets

    judge = train_judge(side(256), side(40), ("road", "wood"), seed=0)
    assert judge.accuracy > 0.9
    probabilities = judge.probabilities(side(10)[0][:, 0].float())
    assert probabilities.shape == (10, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-5)


def test_a_run_that_held_nothing_out_has_no_pictures_to_score(
    tmp_path: Path, tiny_run: Path, tiny_videos: Path
) -> None:
    networks, described = checkpoint.load_networks(tiny_run)
    with pytest.raises(DataError, match="held-out"):
        imagine_held_out(networks, described, tiny_videos)
    with pytest.raises(DataError, match="held-out"):
        evaluate_pictures(tiny_run, data=tiny_videos, out=tmp_path)


def test_pictures_of_videos_of_ones_own_are_scored_by_their_own_frames(
    tmp_path: Path, tiny_videos: Path, tiny_config: Callable[..., Any]
) -> None:
    """Labels that the scene classifier does not know: the judge learns them from the frames that were learnt from."""
    recipe = tiny_config({"data.validation_fraction": "0.5"})
    run = train(recipe, data=tiny_videos, out=tmp_path / "run")
    with pytest.raises(DataError, match="4 held-out recordings with pictures of their scene are too few"):
        evaluate(run, protocol="pictures", data=tiny_videos)
    twice = tmp_path / "twice"
    for path in tiny_videos.rglob("*.mp4"):
        for copy in range(8):
            target = twice / path.parent.name / f"{path.stem}-{copy}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    run = train(recipe, data=twice, out=tmp_path / "second")
    report = evaluate(run, protocol="pictures", data=twice)
    assert report["held_out"] == "held-out recordings"
    assert report["num_pictures"] == 32
    assert report["num_scenes"] == 4
    assert report["exhibits"]["imagined"]["agreement"] is None
    assert report["exhibits"]["imagined"]["kid"] is not None
    written = {path.name for path in (run / "pictures").iterdir()}
    assert {"figure8.png", "contact_sheet.jpg", "pictures.md", "report.html"} <= written
    page = (run / "pictures" / "report.html").read_text(encoding="utf-8")
    assert "does not know these scenes" in page
