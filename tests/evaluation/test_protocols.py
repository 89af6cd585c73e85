"""Protocols: scored on what was never heard, refused otherwise, and summed up rightly."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from avgan import checkpoint
from avgan.checkpoint import Checkpoint
from avgan.config import Recipe
from avgan.data.manifest import Clip, Manifest
from avgan.errors import CheckpointError, ConfigError, DataError, LeakageError
from avgan.evaluation import protocols
from avgan.evaluation.protocols import (
    Scored,
    evaluate,
    fold_recipe,
    held_out,
    last_without,
    score,
    score_fold,
    summarise,
)
from avgan.model import AVGAN
from avgan.training.recipe import recipe_of

Change = Callable[..., Checkpoint]


@pytest.fixture
def folded(tmp_path: Path, rng: np.random.Generator) -> Manifest:
    """Twelve recordings of 1 s, two labels, three folds, each recording a source of its own."""
    clips = []
    for number in range(12):
        name = f"{number}.wav"
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(16_000), 16_000)
        label, fold = "ab"[number % 2], str(number // 4 + 1)
        clips.append(Clip(id=name, source_id=f"s{number}", label=label, audio_path=name, fold=fold))
    return Manifest("folded", tmp_path, tuple(clips))


@pytest.fixture
def trained(tiny_run: Path, folded: Manifest, with_origin: Change) -> tuple[AVGAN, Checkpoint]:
    """Networks that were trained on folds 1 and 2 and on nothing of fold 3."""
    networks, described = checkpoint.load_networks(tiny_run)
    sources = tuple(clip.source_id for clip in folded.clips if clip.fold != "3")
    return networks, with_origin(described, data={"held_out_folds": ("3",)}, sources=sources)


def test_only_the_held_out_fold_is_scored(
    trained: tuple[AVGAN, Checkpoint], folded: Manifest
) -> None:
    networks, described = trained
    scored = score(networks, described, held_out(folded, ("3",)), name="3")
    assert scored.fold == "3"
    assert scored.clip_ids == ["8.wav", "9.wav", "10.wav", "11.wav"]
    assert scored.sources == ["s8", "s9", "s10", "s11"]
    assert scored.targets == [0, 1, 0, 1]
    np.testing.assert_allclose(np.sum(scored.probabilities, axis=1), 1.0)
    waveform, _ = soundfile.read(folded.root / "9.wav", dtype="float32")
    with torch.no_grad():
        alone = torch.softmax(networks(torch.from_numpy(waveform)[None]).logits, 1)
    np.testing.assert_allclose(scored.probabilities[1], alone[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_a_source_that_was_trained_on_is_refused(
    generation: int, trained: tuple[AVGAN, Checkpoint], folded: Manifest
) -> None:
    """Whichever of the runs learnt from it: pictures, imagination or the classifier."""
    networks, described = trained
    lineage = list(described.lineage)
    lineage[generation] = replace(lineage[generation], sources=("s9",))
    leaky = replace(described, lineage=tuple(lineage))
    with pytest.raises(LeakageError, match="'s9' stands in training and test"):
        score(networks, leaky, held_out(folded, ("3",)), name="3")


def test_a_recording_that_stands_on_both_sides_under_two_names_is_refused(
    folded: Manifest,
) -> None:
    twins = ("0.wav", "10.wav")
    clips = tuple(
        replace(clip, audio_sha256="ff" if clip.id in twins else "") for clip in folded.clips
    )
    with pytest.raises(LeakageError, match=r"10\.wav"):
        held_out(replace(folded, clips=clips), ("3",))


def test_a_run_without_folds_is_scored_on_what_it_kept_aside(
    tmp_path: Path,
    trained: tuple[AVGAN, Checkpoint],
    folded: Manifest,
    with_origin: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks, described = trained
    aside = with_origin(described, data={"held_out_folds": ()}, kept_aside=("s8", "s11"))
    checkpoint.save(tmp_path / "checkpoint", aside, networks, {})
    monkeypatch.setattr(protocols, "read_sounds", lambda *_: folded)
    report = evaluate(tmp_path, protocol="holdout", data=tmp_path)
    assert list(report["by_fold"]) == ["validation"]
    assert report["num_clips"] == 2


def test_a_label_the_run_was_never_taught_is_named(
    trained: tuple[AVGAN, Checkpoint], folded: Manifest
) -> None:
    networks, described = trained
    clips = tuple(replace(clip, label="owl") for clip in folded.clips)
    with pytest.raises(DataError, match="never taught 'owl'"):
        score(networks, described, held_out(replace(folded, clips=clips), ("3",)), name="3")


def test_what_a_data_set_leaves_for_a_test_is_scored_and_nothing_else(
    trained: tuple[AVGAN, Checkpoint], folded: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, described = trained
    monkeypatch.setattr(checkpoint, "load_finished", lambda run: (networks, described))

    def parts(of_fold: dict[str, str]) -> Manifest:
        clips = tuple(replace(clip, split=of_fold.get(clip.fold, "train")) for clip in folded.clips)
        return replace(folded, clips=clips)

    scored = protocols.score_test(Path("run"), parts({"3": "test"}))
    assert scored.clip_ids == [clip.id for clip in folded.clips if clip.fold == "3"]
    with pytest.raises(LeakageError):
        protocols.score_test(Path("run"), parts({"2": "test"}))
    with pytest.raises(DataError, match="holdout"):
        protocols.score_test(Path("run"), parts({}))


def test_a_checkpoint_remembers_what_it_was_trained_on(tiny_run: Path, tiny_videos: Path) -> None:
    _, described = checkpoint.load_networks(tiny_run)
    files = {path.relative_to(tiny_videos).as_posix() for path in tiny_videos.rglob("*.mp4")}
    assert set(described.sources) == files


def test_unknown_and_impossible_protocols_say_what_to_do(
    tmp_path: Path, tiny_run: Path, tiny_videos: Path
) -> None:
    with pytest.raises(ConfigError, match="choose one of esc50, holdout"):
        evaluate(tiny_run, protocol="dcase", data=tiny_videos, out=tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        evaluate(tmp_path, protocol="holdout", data=tiny_videos, out=tmp_path)
    with pytest.raises(DataError, match="kept nothing aside; train with"):
        evaluate(tiny_run, protocol="holdout", data=tiny_videos, out=tmp_path)


def test_an_unfinished_run_is_not_scored(
    tmp_path: Path, trained: tuple[AVGAN, Checkpoint], tiny_videos: Path
) -> None:
    networks, described = trained
    half = replace(described, finished=False)
    checkpoint.save(tmp_path / "checkpoint", half, networks, {})
    with pytest.raises(CheckpointError, match="unfinished"):
        evaluate(tmp_path, protocol="holdout", data=tiny_videos, out=tmp_path / "out")


def test_a_held_out_run_is_reported_and_the_report_is_its_answers(
    tmp_path: Path,
    trained: tuple[AVGAN, Checkpoint],
    folded: Manifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks, described = trained
    run = tmp_path / "run"
    checkpoint.save(run / "checkpoint", described, networks, {})
    monkeypatch.setattr(protocols, "read_sounds", lambda *_: folded)
    report = evaluate(run, protocol="holdout", data=tmp_path)
    scored = score(networks, described, held_out(folded, ("3",)), name="3")
    assert report["accuracy"] == np.mean(scored.answers == scored.targets)
    assert report["by_fold"] == {"3": report["accuracy"]}
    assert report["deviation_over_folds"] is None
    assert np.sum(report["confusion"]) == report["num_clips"] == 4
    written = {path.name for path in (run / "holdout").iterdir()}
    assert {"report.json", "confusion.png", "per_class.md"} <= written
    stored = json.loads((run / "holdout" / "report.json").read_text())
    assert stored == json.loads(json.dumps(report))


def test_folds_are_trained_and_scored_once_and_an_interruption_resumed(
    tmp_path: Path,
    tiny_run: Path,
    folded: Manifest,
    tiny_videos: Path,
    with_origin: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The five folds with training replaced by a copy: what is asked of it, and how often."""
    networks, described = checkpoint.load_networks(tiny_run)
    clips = tuple(replace(clip, fold=str(index % 5 + 1)) for index, clip in enumerate(folded.clips))
    sounds = replace(folded, clips=clips)
    asked: list[str] = []

    def train(recipe: Recipe, *, data: Path, out: Path, parent: Path | None) -> Path:
        (fold,) = recipe.classifier.data.held_out_folds
        asked.append(fold)
        if fold == "4" and asked.count("4") == 1:
            raise KeyboardInterrupt
        assert recipe.classifier.data.validation_fraction == 0
        assert parent == (tiny_run / "2-imagination").resolve(), "which learnt from none of these"
        heard = tuple(clip.source_id for clip in clips if clip.fold != fold)
        trained = with_origin(described, data={"held_out_folds": (fold,)}, sources=heard)
        checkpoint.save(out / "checkpoint", trained, networks, {})
        return out

    monkeypatch.setattr(protocols, "train", train)
    sounds = replace(sounds, name="folder")  # what the run learnt from is called so
    monkeypatch.setattr(protocols, "read_sounds", lambda *_: sounds)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tiny_run, protocol="esc50", data=tiny_videos, out=tmp_path / "out")
    report = evaluate(tiny_run, protocol="esc50", data=tiny_videos, out=tmp_path / "out")
    assert asked == ["1", "2", "3", "4", "4", "5"]
    assert list(report["by_fold"]) == ["1", "2", "3", "4", "5"]
    assert report["num_clips"] == len(clips)
    assert report["accuracy"] == pytest.approx(np.mean(list(report["by_fold"].values())))
    assert report["deviation_over_folds"] == pytest.approx(
        np.std(list(report["by_fold"].values()), ddof=1)
    )


def test_answers_of_another_recipe_are_not_taken_for_this_ones(
    tmp_path: Path,
    tiny_run: Path,
    folded: Manifest,
    with_origin: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks, described = checkpoint.load_networks(tiny_run)
    asked: list[float] = []

    def train(recipe: Recipe, *, data: Path, out: Path, parent: Path | None) -> Path:
        asked.append(recipe.classifier.learning_rate)
        heard = tuple(clip.source_id for clip in folded.clips if clip.fold != "3")
        checkpoint.save(out / "checkpoint", with_origin(described, sources=heard), networks, {})
        return out

    sounds = replace(folded, name="folder")  # what the run learnt from is called so
    monkeypatch.setattr(protocols, "train", train)

    def scored(rate: float) -> Scored:
        config = described.config
        stage = config.stage.model_copy(update={"learning_rate": rate})
        origin = replace(described.origin, config=config.model_copy(update={"stage": stage}))
        other = replace(described, lineage=(*described.lineage[:-1], origin))
        return score_fold(tiny_run, other, "3", sounds, data=tmp_path, out=tmp_path)

    first = scored(0.1)
    assert scored(0.1) == first
    assert asked == [0.1]
    scored(0.2)
    assert asked == [0.1, 0.2]
    answers = tmp_path / "fold-3.json"
    stored = json.loads(answers.read_text())
    assert len(stored.pop("config_sha256")) == 64
    assert stored == first.__dict__


def test_a_fold_is_held_out_where_it_would_be_learnt_and_nothing_else_kept_aside(
    tiny_run: Path, folded: Manifest
) -> None:
    described = checkpoint.describe(tiny_run)
    recipe = recipe_of(described)
    fold = fold_recipe(described, "2", replace(folded, name="folder"))
    for stage in (fold.vqvae, fold.imagination, fold.classifier):
        assert stage.data.held_out_folds == ("2",)
        assert stage.data.validation_fraction == 0.0
    assert fold_recipe(described, "2", folded) == recipe, "it learnt from another data set"


def test_folds_begin_from_the_last_ancestor_that_learnt_from_none_of_them(
    tiny_run: Path, folded: Manifest
) -> None:
    assert last_without(tiny_run, folded) == (tiny_run / "2-imagination").resolve()
    (seen, *_) = checkpoint.describe(tiny_run).lineage[0].sources
    clips = (replace(folded.clips[0], source_id=seen), *folded.clips[1:])
    assert last_without(tiny_run, replace(folded, clips=clips)) is None


def test_a_place_is_the_scene_with_the_largest_sum(tiny_run: Path, folded: Manifest) -> None:
    """Two sounds of the beach outvote the surest single sound."""
    _, described = checkpoint.load_networks(tiny_run)
    places = {"a": "beach", "b": "beach", "c": "road", "d": "road"}
    described = replace(described, scene_of_label=places)
    scored = Scored(
        fold="1",
        clip_ids=["x", "y"],
        sources=["x", "y"],
        targets=[0, 2],
        probabilities=[[0.3, 0.3, 0.4, 0.0], [0.6, 0.0, 0.2, 0.2]],
    )
    report = summarise("holdout", described, [scored], folded)
    assert report["accuracy"] == 0.0
    assert report["scene_accuracy"] == 0.5
