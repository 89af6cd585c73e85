"""A run is scored on what was never heard, refused otherwise, and summed up rightly."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from avgan import checkpoint
from avgan.checkpoint import Checkpoint
from avgan.config import Recipe
from avgan.data.manifest import Clip, Manifest
from avgan.errors import CheckpointError, ConfigError, DataError, LeakageError
from avgan.evaluation import evaluate as evaluating
from avgan.evaluation.comparison import ours
from avgan.evaluation.comparison.answers import Answers, answers_path, read_answers
from avgan.evaluation.evaluate import evaluate, last_without, right_scenes
from avgan.evaluation.protocols import held_out
from avgan.evaluation.protocols.protocol import Fold, Protocol, Scored, divide
from avgan.model import AVGAN

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


@pytest.fixture
def score(
    tmp_path: Path, trained: tuple[AVGAN, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """A function: score a run so described on these sounds by a protocol, into tmp_path/out."""
    networks, _ = trained

    def run(described: Checkpoint, sounds: Manifest, protocol: str = "holdout") -> dict[str, Any]:
        checkpoint.save(tmp_path / "run" / "checkpoint", described, networks, {})
        monkeypatch.setattr(held_out, "read_sounds", lambda *_: sounds)
        monkeypatch.setattr(evaluating, "find", lambda *_, **__: sounds)
        return evaluate(tmp_path / "run", protocol=protocol, data=sounds.root, out=tmp_path / "out")

    return run


def stored(tmp_path: Path, fold: str) -> Answers:
    answers = read_answers(tmp_path / "out", "run", fold)
    assert answers is not None
    return answers


def test_only_the_held_out_fold_is_scored(
    score: Callable, trained: tuple[AVGAN, Checkpoint], folded: Manifest, tmp_path: Path
) -> None:
    networks, described = trained
    report = score(described, folded)
    scored = stored(tmp_path, "3")
    assert scored.clip_ids == ["8.wav", "9.wav", "10.wav", "11.wav"]
    assert scored.sources == ["s8", "s9", "s10", "s11"]
    assert scored.targets == [0, 1, 0, 1]
    np.testing.assert_allclose(np.sum(scored.probabilities, axis=1), 1.0, atol=1e-6)
    waveform, _ = soundfile.read(folded.root / "9.wav", dtype="float32")
    with torch.no_grad():
        alone = torch.softmax(networks(torch.from_numpy(waveform)[None]).logits, 1)
    np.testing.assert_allclose(scored.probabilities[1], alone[0].numpy(), atol=1e-4)
    assert report["accuracy"] == scored.correct.mean()
    assert report["by_fold"] == {"3": report["accuracy"]}
    assert report["deviation_over_folds"] is None
    assert np.sum(report["confusion"]) == report["num_clips"] == 4
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.json", "report.html", "confusion.png", "per_class.md"} <= written
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == json.loads(json.dumps(report))


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_a_source_that_was_trained_on_is_refused(
    generation: int, score: Callable, trained: tuple[AVGAN, Checkpoint], folded: Manifest
) -> None:
    """Whichever of the runs learnt from it: pictures, imagination or the classifier."""
    _, described = trained
    lineage = list(described.lineage)
    lineage[generation] = replace(lineage[generation], sources=("s9",))
    with pytest.raises(LeakageError, match="'s9' stands in training and test"):
        score(replace(described, lineage=tuple(lineage)), folded)


def test_a_recording_that_stands_on_both_sides_under_two_names_is_refused(
    score: Callable, trained: tuple[AVGAN, Checkpoint], folded: Manifest
) -> None:
    twins = ("0.wav", "10.wav")
    clips = tuple(replace(clip, audio_sha256="ff" if clip.id in twins else "") for clip in folded.clips)
    with pytest.raises(LeakageError, match=r"10\.wav"):
        score(trained[1], replace(folded, clips=clips))


def test_a_run_without_folds_is_scored_on_what_it_was_watched_with(
    score: Callable, trained: tuple[AVGAN, Checkpoint], folded: Manifest, with_origin: Change
) -> None:
    sources = tuple(f"s{number}" for number in range(8))
    aside = with_origin(trained[1], data={"held_out_folds": ()}, validation_sources=("s8", "s11"), sources=sources)
    report = score(aside, folded)
    assert list(report["by_fold"]) == ["validation"]
    assert report["num_clips"] == 2
    assert report["chosen_on"] == ["validation"], "what training was watched with"


def test_a_fold_that_choices_of_a_preset_were_made_on_is_said(
    score: Callable, trained: tuple[AVGAN, Checkpoint], folded: Manifest, with_origin: Change
) -> None:
    config = trained[1].config.model_copy(update={"preset": "transfer"})
    origin = replace(trained[1].origin, config=config)
    described = replace(trained[1], lineage=(*trained[1].lineage[:-1], origin))
    assert score(described, folded)["chosen_on"] == []
    clips = tuple(replace(clip, fold={"3": "5"}.get(clip.fold, clip.fold)) for clip in folded.clips)
    fifth = with_origin(described, data={"held_out_folds": ("5",)})
    assert score(fifth, replace(folded, name="esc50", clips=clips))["chosen_on"] == ["5"]


def test_a_label_the_run_was_never_taught_is_named(
    score: Callable, trained: tuple[AVGAN, Checkpoint], folded: Manifest
) -> None:
    clips = tuple(replace(clip, label="owl") for clip in folded.clips)
    with pytest.raises(DataError, match="never taught 'owl'"):
        score(trained[1], replace(folded, clips=clips))


def test_what_a_data_set_leaves_for_a_test_is_scored_and_nothing_else(
    score: Callable, trained: tuple[AVGAN, Checkpoint], folded: Manifest, tmp_path: Path
) -> None:
    def parts(of_fold: dict[str, str]) -> Manifest:
        clips = tuple(replace(clip, split=of_fold.get(clip.fold, "train")) for clip in folded.clips)
        return replace(folded, clips=clips)

    score(trained[1], parts({"3": "test"}), "test")
    wanted = [clip.id for clip in folded.clips if clip.fold == "3"]
    assert stored(tmp_path, "test").clip_ids == wanted
    with pytest.raises(LeakageError):
        score(trained[1], parts({"2": "test"}), "test")
    with pytest.raises(DataError, match="holdout"):
        score(trained[1], parts({}), "test")


def test_stored_answers_serve_until_the_weights_are_others(
    score: Callable, trained: tuple[AVGAN, Checkpoint], folded: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, described = trained
    first = score(described, folded)
    predict, asked = ours.Trained.predict, []

    def counted(self: Any, clips: Any) -> np.ndarray:
        asked.append(len(clips))
        return predict(self, clips)

    monkeypatch.setattr(ours.Trained, "predict", counted)
    assert score(described, folded) == first
    assert asked == []
    with torch.no_grad():
        next(networks.classifier.parameters()).mul_(1.5)
    score(described, folded)
    assert asked == [4]


def test_a_checkpoint_remembers_what_it_was_trained_on(tiny_run: Path, tiny_videos: Path) -> None:
    _, described = checkpoint.load_networks(tiny_run)
    files = {path.relative_to(tiny_videos).as_posix() for path in tiny_videos.rglob("*.mp4")}
    assert set(described.sources) == files


def test_unknown_and_impossible_protocols_say_what_to_do(tmp_path: Path, tiny_run: Path, tiny_videos: Path) -> None:
    with pytest.raises(ConfigError, match="choose one of esc50, esc10"):
        evaluate(tiny_run, protocol="dcase", data=tiny_videos, out=tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        evaluate(tmp_path, protocol="holdout", data=tiny_videos, out=tmp_path)
    with pytest.raises(DataError, match="held nothing out; train with"):
        evaluate(tiny_run, protocol="holdout", data=tiny_videos, out=tmp_path)


def test_an_unfinished_run_is_not_scored(tmp_path: Path, trained: tuple[AVGAN, Checkpoint], tiny_videos: Path) -> None:
    networks, described = trained
    half = replace(described, finished=False)
    checkpoint.save(tmp_path / "checkpoint", half, networks, {})
    with pytest.raises(CheckpointError, match="unfinished"):
        evaluate(tmp_path, protocol="holdout", data=tiny_videos, out=tmp_path / "out")


@pytest.fixture
def five(folded: Manifest) -> Protocol:
    """Five folds of the twelve recordings; the data set has the name of what `tiny_run` learnt from."""
    clips = tuple(replace(clip, fold=str(index % 5 + 1)) for index, clip in enumerate(folded.clips))
    sounds = replace(folded, name="folder", clips=clips)
    return Protocol(name="esc50", title="", folds=divide(sounds, tuple("12345")), window_s=1.0)


@pytest.fixture
def train_by_copy(tiny_run: Path, with_origin: Change, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Recipe]]:
    """Training is replaced by a copy of `tiny_run`; the list says what was asked of it."""
    described = checkpoint.describe(tiny_run)
    asked: list[tuple[str, Recipe]] = []

    def train(recipe: Recipe, *, data: Path, out: Path, parent: Any, sounds: Manifest) -> Path:
        asked.append((out.name, recipe))
        assert parent == (tiny_run / "2-imagination").resolve(), "which learnt from none of these"
        assert {clip.split for clip in sounds.clips} == {"train"}
        heard = tuple(clip.source_id for clip in sounds.clips)
        trained = replace(with_origin(described, sources=heard), labels=("a", "b"))
        small = AVGAN([origin.config for origin in trained.lineage], 2)
        checkpoint.save(out / "checkpoint", trained, small, {})
        return out

    monkeypatch.setattr(ours, "train", train)
    return asked


def test_folds_are_trained_and_scored_once_and_an_interruption_resumed(
    tmp_path: Path,
    tiny_run: Path,
    five: Protocol,
    train_by_copy: list[tuple[str, Recipe]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluating, "read_protocol", lambda *_: five)
    sounds = replace(five.folds[0].train, clips=five.folds[0].train.clips + five.folds[0].test.clips)
    monkeypatch.setattr(evaluating, "find", lambda *_, **__: sounds)

    def ask() -> dict[str, Any]:
        return evaluate(tiny_run, protocol="esc50", data=sounds.root, out=tmp_path / "out")

    predict = ours.Trained.predict
    with monkeypatch.context() as patch:

        def stopped(self: ours.Trained, clips: Any) -> np.ndarray:
            if self.run.name == "fold-4":
                raise KeyboardInterrupt
            return predict(self, clips)

        patch.setattr(ours.Trained, "predict", stopped)
        with pytest.raises(KeyboardInterrupt):
            ask()
    report = ask()
    names = [name for name, _ in train_by_copy]
    assert names == ["fold-1", "fold-2", "fold-3", "fold-4", "fold-4", "fold-5"]
    for _, recipe in train_by_copy:
        for stage in (recipe.vqvae, recipe.imagination, recipe.classifier):
            assert stage.data.held_out_folds == ()
            assert stage.data.validation_fraction == 0
    assert list(report["by_fold"]) == ["1", "2", "3", "4", "5"]
    assert report["num_clips"] == 12
    assert report["accuracy"] == pytest.approx(np.mean(list(report["by_fold"].values())))
    assert report["interval_95"][0] <= report["accuracy"] <= report["interval_95"][1]
    assert report["deviation_over_folds"] == pytest.approx(np.std(list(report["by_fold"].values()), ddof=1))


def test_answers_of_another_recipe_are_not_taken_for_this_ones(
    tmp_path: Path, tiny_run: Path, five: Protocol, train_by_copy: list[tuple[str, Recipe]]
) -> None:
    described = checkpoint.describe(tiny_run)
    task = evaluating.Task(
        protocol=five,
        settings=evaluating.Settings(protocol="esc50", seed=0, budget_s=None),
        data=five.folds[0].test.root,
        out=tmp_path,
        sounds=evaluating.Sounds.of(five),
    )

    def ask(rate: float) -> dict[str, Any]:
        config = described.config
        stage = config.stage.model_copy(update={"learning_rate": rate})
        origin = replace(described.origin, config=config.model_copy(update={"stage": stage}))
        other = replace(described, lineage=(*described.lineage[:-1], origin))
        entry = evaluating.Scoring(tiny_run, other, five, tmp_path).entry
        evaluating.run_all([entry], five.folds[:1], task)
        row: dict[str, Any] = json.loads(answers_path(tmp_path, "run", "1").read_text())
        return row

    first = ask(0.1)
    assert ask(0.1) == first
    assert ask(0.2)["identity"] != first["identity"]
    assert [recipe.classifier.learning_rate for _, recipe in train_by_copy] == [0.1, 0.2]


def test_a_run_serves_as_the_fold_that_it_held_out(
    tiny_run: Path, five: Protocol, with_origin: Change, tmp_path: Path
) -> None:
    described = checkpoint.describe(tiny_run)
    held = five.folds[1]
    heard = tuple({clip.source_id for clip in held.train.clips})

    def served(described: Checkpoint) -> list[str]:
        scoring = evaluating.Scoring(tiny_run, described, five, tmp_path)
        return [fold.name for fold in five.folds if scoring.serves(fold)]

    assert served(with_origin(described, sources=heard)) == ["2"]
    assert served(with_origin(described, sources=heard[1:])) == []
    assert served(with_origin(described, sources=heard, validation_sources=heard[:1])) == []
    leaky = with_origin(described, sources=heard)
    (asked, *_) = held.test.clips
    first = replace(leaky.lineage[0], sources=(asked.source_id,))
    assert served(replace(leaky, lineage=(first, *leaky.lineage[1:]))) == []


def test_folds_begin_from_the_last_ancestor_that_learnt_from_none_of_them(tiny_run: Path, folded: Manifest) -> None:
    (fold,) = divide(folded, ("1",))
    assert last_without(tiny_run, fold) == (tiny_run / "2-imagination").resolve()
    (seen, *_) = checkpoint.describe(tiny_run).lineage[0].sources
    clips = (replace(folded.clips[0], source_id=seen), *folded.clips[1:])
    (fold,) = divide(replace(folded, clips=clips), ("1",))
    assert last_without(tiny_run, fold) is None


def test_a_run_of_another_data_set_is_not_trained_by_folds(
    tiny_run: Path, five: Protocol, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tuple(Fold(fold.name, fold.train, replace(fold.test, name="x")) for fold in five.folds)
    monkeypatch.setattr(evaluating, "read_protocol", lambda *_: replace(five, folds=other))
    with pytest.raises(ConfigError, match="trains runs like this one on x"):
        evaluate(tiny_run, protocol="esc50", data=tmp_path, out=tmp_path)


def test_a_place_is_the_scene_with_the_largest_sum() -> None:
    """Two sounds of the beach outvote the surest single sound."""
    clips = tuple(Clip(id=name, source_id=name) for name in "xy")
    probabilities = np.array([[0.3, 0.3, 0.4, 0.0], [0.6, 0.0, 0.2, 0.2]])
    scored = Scored(clips, np.array(["1", "1"]), np.array([0, 2]), probabilities)
    places = {"a": "beach", "b": "beach", "c": "road", "d": "road"}
    assert scored.correct.tolist() == [False, False]
    assert right_scenes(scored, tuple("abcd"), places).tolist() == [True, False]
