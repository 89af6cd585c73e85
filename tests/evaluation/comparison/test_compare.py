"""Methods compared: stopped and resumed anywhere, never shown what they are asked, summed up rightly."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import avgan.baselines
from avgan.baselines import METHODS
from avgan.cli import main
from avgan.errors import ConfigError, DataError
from avgan.evaluation.comparison import compare as comparing
from avgan.evaluation.comparison.answers import answers_path, read_answers
from avgan.evaluation.comparison.compare import compare
from avgan.evaluation.comparison.identity import identity_of

TOYS = ("nearest", "guess")


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """METHODS are the rivals of toy.py alone, and their module."""
    folder = str(Path(__file__).parent)
    monkeypatch.setattr(avgan.baselines, "__path__", [*avgan.baselines.__path__, folder])
    for name in list(METHODS):
        monkeypatch.delitem(METHODS, name)
    module = importlib.import_module("avgan.baselines.toy")
    for method in (module.Nearest, module.Guess, module.NeedsPictures):
        monkeypatch.setitem(METHODS, method.card.name, method)
    yield module
    del sys.modules["avgan.baselines.toy"], avgan.baselines.toy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings of 1 s under each of two labels, which loudness tells apart five times in six."""
    root = tmp_path_factory.mktemp("folder")
    rng = np.random.default_rng(0)
    for label, loudness in (("loud", 0.3), ("quiet", 0.03)):
        (root / label).mkdir()
        for number in range(6):
            odd = number == 5
            size = (0.33 - loudness) if odd else loudness * rng.uniform(0.8, 1.2)
            waveform = size * rng.uniform(-1, 1, 8_000)
            soundfile.write(root / label / f"{number}.wav", waveform, 8_000)
    return root


@pytest.fixture
def ask(folder: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`compare` on the folder, into the same place each time."""

    def run(*methods: str, **options: Any) -> dict[str, Any]:
        options = {"data": folder, "out": tmp_path / "out"} | options
        return compare(protocol="folder", methods=methods, **options)

    return run


def rows(report: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row for row in report["methods"]}


def test_the_better_method_stands_first_with_its_numbers(ask: Callable, tmp_path: Path) -> None:
    report = ask(*TOYS)
    nearest, guess = report["methods"]
    assert (nearest["name"], guess["name"]) == TOYS
    assert nearest["num_clips"] == 12
    assert len(nearest["by_fold"]) == 5
    assert nearest["accuracy"] == np.mean(list(nearest["by_fold"].values()))
    assert nearest["accuracy"] == pytest.approx(10 / 12, abs=0.05)
    low, high = nearest["interval_95"]
    assert low < nearest["accuracy"] < high <= 1
    assert nearest["num_parameters"] == nearest["num_macs"] == 4
    assert nearest["num_epochs"] == nearest["num_epochs_wanted"] == 3
    assert nearest["fitting_s"] > 0
    assert nearest["answering_ms"] >= 0
    assert nearest["published"] is None, "the figure is of ESC-50"
    assert nearest["paired_test"] is None
    assert report["against"] == "nearest"
    test = guess["paired_test"]
    assert test["only_that_right"] - test["only_this_right"] == 10 - 6
    assert test["num_clips"] == 12
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == report


def test_a_second_call_trains_nothing(ask: Callable, toys: Any, monkeypatch: Any) -> None:
    first = ask(*TOYS)
    monkeypatch.setattr(toys.Nearest, "fit", None)
    assert ask(*TOYS) == first


@pytest.mark.parametrize("killed_at", [1, 4, 9])
def test_a_killed_comparison_loses_one_fold_and_ends_in_the_same_table(
    ask: Callable, toys: Any, monkeypatch: Any, tmp_path: Path, killed_at: int
) -> None:
    whole = ask(*TOYS, out=tmp_path / "whole")
    fit, fits = toys.Nearest.fit, []

    def killed(self: Any, *arguments: Any, **options: Any) -> None:
        fits.append(self.card.name)
        fit(self, *arguments, **options)
        if len(fits) == killed_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(toys.Nearest, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        ask(*TOYS)
    assert len(list((tmp_path / "out" / "answers").rglob("*.json"))) == killed_at - 1
    assert (tmp_path / "out" / "compare.md").exists()
    assert untimed(ask(*TOYS)) == untimed(whole)
    assert len(fits) == len(TOYS) * 5 + 1


def untimed(report: dict[str, Any]) -> dict[str, Any]:
    """The report without wall times, which no two runs share."""
    times = {"fitting_s", "answering_ms"}
    kept = [{k: v for k, v in row.items() if k not in times} for row in report["methods"]]
    return report | {"methods": kept}


def test_calls_for_single_methods_and_folds_add_up_to_one_table(ask: Callable, tmp_path: Path) -> None:
    together = ask(*TOYS, out=tmp_path / "whole")
    ask("guess", folds=("4", "2"))
    part = ask("nearest", folds=("2",))
    assert list(rows(part)["guess"]["by_fold"]) == ["2", "4"]
    assert list(rows(part)["nearest"]["by_fold"]) == ["2"]
    assert rows(part)["guess"]["paired_test"] is None or part["against"] == "nearest"
    assert untimed(ask(*TOYS)) == untimed(together)


def test_answers_are_whole_and_say_what_they_are_of(ask: Callable, tmp_path: Path) -> None:
    ask("nearest", seeds=(3,), budget_s=60)
    stored = read_answers(tmp_path / "out", "nearest", "1")
    assert stored is not None
    assert stored.labels == ["loud", "quiet"]
    np.testing.assert_allclose(np.sum(stored.probabilities, axis=1), 1.0, atol=1e-6)
    assert len(stored.clip_ids) == len(stored.sources) == len(stored.targets)
    assert (stored.seed, stored.budget_s, stored.num_epochs) == (3, 60, 3)
    assert len(stored.identity) == len(stored.data_sha256) == 64
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_another_seed_or_budget_does_not_mix_with_what_lies_there(ask: Callable) -> None:
    ask("guess")
    with pytest.raises(ConfigError, match="seed is 0 there and 1 here"):
        ask("guess", seeds=(1,))
    with pytest.raises(ConfigError, match=r"budget_s is None there and 60 here"):
        ask("guess", budget_s=60)


def test_changed_recordings_and_changed_code_are_learnt_anew(ask: Callable, tmp_path: Path, monkeypatch: Any) -> None:
    ask(*TOYS)
    path = answers_path(tmp_path / "out", "nearest", "1")
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"identity": "another"}))
    said: list[str] = []
    report = ask("guess", say=said.append)
    assert rows(report)["nearest"]["remark"] == comparing.OLDER
    report = ask("nearest", say=said.append)
    assert rows(report)["nearest"]["remark"] == ""
    assert "nearest, fold 1: the method has changed; learns anew" in said
    path.write_text(json.dumps(stored | {"data_sha256": "another"}))
    assert "1" not in rows(ask("guess"))["nearest"]["by_fold"]
    assert "1" in rows(ask("nearest", say=said.append))["nearest"]["by_fold"]
    assert "nearest, fold 1: the recordings have changed; learns anew" in said


def test_wording_does_not_make_a_method_another(tmp_path: Path, monkeypatch: Any) -> None:
    from avgan.baselines.method import Card

    (tmp_path / "alpha.py").write_text('"""A."""\nfrom avgan.baselines import beta\nX = 1\n')
    (tmp_path / "beta.py").write_text('CARD = Card(title="B")\ndef f():\n    return 1\n')
    monkeypatch.setattr(avgan.baselines, "__path__", [str(tmp_path)])
    card = Card(name="a", title="A", source="")

    def identity(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return identity_of(card, "avgan.baselines.alpha")

    first = identity_of(card, "avgan.baselines.alpha")
    reworded = 'CARD = Card(title="Better")\n\n# why\ndef f():\n    """What."""\n    return 1\n'
    assert identity("beta", reworded) == first
    assert identity("beta", reworded.replace("return 1", "return 2")) != first
    assert identity("beta", reworded) == first
    assert identity("alpha", '"""A."""\nfrom avgan.baselines import beta\nX = 2\n') != first


def test_who_cannot_be_run_is_left_out_and_named(ask: Callable, folder: Path, tmp_path: Path) -> None:
    report = ask("needs-pictures", "nearest")
    assert list(rows(report)) == ["nearest"]
    assert "learns from pictures" in report["failed"]["needs-pictures"]
    assert "learns from pictures" in (tmp_path / "out" / "compare.md").read_text()


def test_pictures_of_the_labels_are_there_to_learn_from(ask: Callable, folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for path in folder.rglob("*.wav"):
        (data / path.parent.name).mkdir(parents=True, exist_ok=True)
        (data / path.parent.name / path.name).write_bytes(path.read_bytes())
    for label in ("loud", "quiet"):
        Image.new("RGB", (128, 128), (9, 9, 9)).save(data / label / "a.png")
    assert "needs-pictures" in rows(ask("needs-pictures", data=data))


def test_names_and_places_that_are_not_there_are_said_in_a_line(ask: Callable, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no method is called 'nobody': choose among"):
        ask("nobody")
    with pytest.raises(ConfigError, match="no method to compare"):
        ask()
    with pytest.raises(ConfigError, match="no figure for people"):
        ask("human")
    with pytest.raises(ConfigError, match="has no fold '9'"):
        ask("guess", folds=("9",))
    with pytest.raises(ConfigError, match="--against nobody"):
        ask("guess", against="nobody")
    with pytest.raises(DataError, match="no answers for fold 1"):
        ask("guess", given={"mine": tmp_path})
    with pytest.raises(ConfigError, match="letters, digits"):
        ask("guess", given={"../mine": tmp_path})
    with pytest.raises(DataError, match="no such folder"):
        ask("guess", data=tmp_path / "nowhere")
    assert not (tmp_path / "out" / "answers").exists()


def test_answers_from_elsewhere_are_taken_and_not_trained_again(
    ask: Callable, tmp_path: Path, monkeypatch: Any
) -> None:
    first = ask("nearest", out=tmp_path / "first")
    report = ask("guess", given={"avgan-transfer": tmp_path / "first"}, against="guess")
    row = rows(report)["avgan-transfer"]
    for kept in ("by_fold", "interval_95", "num_parameters", "fitting_s"):
        assert row[kept] == rows(first)["nearest"][kept]
    assert row["title"] == "AVGAN, preset transfer"
    assert row["paired_test"]["only_this_right"] > 0
    assert rows(report)["guess"]["paired_test"] is None
    monkeypatch.setattr(comparing.ours, "Ours", None)
    assert "avgan-transfer" in rows(ask("guess", "avgan-transfer", seeds=(0,)))


def test_answers_to_other_clips_are_refused(ask: Callable, tmp_path: Path) -> None:
    ask("nearest", out=tmp_path / "first")
    path = answers_path(tmp_path / "first", "nearest", "2")
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row | {"labels": ["quiet", "loud"]}))
    with pytest.raises(DataError, match="its labels are not those of folder"):
        ask("guess", given={"mine": tmp_path / "first"})
    path.write_text(json.dumps(row | {"clip_ids": ["x", *row["clip_ids"][1:]]}))
    with pytest.raises(DataError, match="fold 2: answers other clips"):
        ask("guess", given={"mine": tmp_path / "first"})


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    basic = ["compare", "--protocol", "folder", "--data", str(folder), "-o", str(out)]
    assert main([*basic, "--methods", "nearest, guess", "--folds", "1,2", "--budget", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].split() == ["method", "published,", "%", "here,", "%", "95", "%"]
    assert "Nearest mean | toy" in printed.out
    assert "(2 of 5 folds)" in printed.out
    assert "fit 1 of 4: nearest, fold 1; about 4 min left" in printed.err
    assert (out / "compare.html").exists()
    assert main([*basic, "--methods", "needs-pictures", "--budget", "1"]) == 1
    assert main([*basic, "--methods", "nobody"]) == 2
    assert main([*basic, "--seed", "a"]) == 2
    assert main([*basic, "--budget", "0"]) == 2
    assert main([*basic, "--answers", "here"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "avgan: " not in line] == []
    assert "no method is called 'nobody'" in lines[-4]
    assert "above 0" in lines[-2]
    assert "write it as NAME=FOLDER" in lines[-1]
    (tmp_path / "empty").mkdir()
    wrong = ["compare", "--protocol", "esc50", "--data", str(tmp_path / "empty"), "-o", str(out)]
    assert main(wrong) == 1
    assert "no ESC-50 here" in capsys.readouterr().err
