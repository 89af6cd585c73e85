"""The command line as people meet it: wrong usage, what is missing, what takes time."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avgan import cli
from avgan.errors import AvganError
from avgan.images import read_image

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_imagine(run: Run, tone_wav: Path, tmp_path: Path) -> None:
    result = run("imagine", tone_wav, "-o", "a b.png", "--scale", "3", model=True)
    assert result.returncode == 0
    assert result.stdout.startswith("a b.png: ")
    assert read_image(tmp_path / "a b.png", size_px=384).shape == (3, 384, 384)


def test_imagine_says_why_there_is_no_answer(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), 16_000)
    result = run("imagine", tmp_path / "silent.wav", "-o", "a.png", model=True)
    assert result.stdout == "a.png: unknown (silent)\n"  # and no probability of a guess


def test_a_track_is_chosen_in_every_command(run: Run, tone_wav: Path, tmp_path: Path) -> None:
    for command in (["classify"], ["imagine", "-o", "a.png"], ["explain"]):
        assert run(*command, tone_wav, "--track", "1", model=True).returncode == 0
        result = run(*command, tone_wav, "--track", "2", model=True)
        assert result.returncode == 1
        assert "has no sound track 2" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["clasify", "x.wav"], 'Did you mean "classify"'),
        (["classify", "x.wav", "--fromat", "json"], "Did you mean --format"),
        (["classify", "x.wav", "--format", "jsn"], "table"),
        (["classify", "x.wav", "--top", "0"], "--top"),
        (["classify", "x.wav", "--hop", "-1"], "--hop"),
        (["classify", "x.wav", "--top", "many"], "--top"),
        (["classify"], "name a recording"),
        (["imagine", "x.wav"], "--output"),
        (["data", "gett"], 'Did you mean "get"'),
        (["train", "--preset", "x", "--data", ".", "-o", "r", "--set", "gamma"], "name=value"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], expected: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert expected in result.stderr


def test_a_bundle_that_is_none(run: Run, tone_wav: Path) -> None:
    result = run("classify", tone_wav, "--model", "nowhere")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "no such bundle" in result.stderr


def test_models(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from avgan.runtime.bundle import open_bundle

    monkeypatch.setattr("avgan.runtime.bundle.installed", lambda: [open_bundle(toy_bundle)])
    assert cli.main(["models"]) == 0
    shown = capsys.readouterr().out
    for fact in ("toy 1", "4 sounds, 4 scenes", "accuracy 0.75 [0.7, 0.8]", "Apache-2.0"):
        assert fact in shown
    assert cli.main(["models", "--json"]) == 0
    (card,) = json.loads(capsys.readouterr().out)
    assert card["name"] == "toy"


def test_help_is_light() -> None:
    program = (
        "import sys; from avgan.cli import main; main(sys.argv[1:])\n"
        "heavy = {'torch', 'onnxruntime', 'numpy', 'av', 'soundfile', 'PIL', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    for arguments in (["--help"], ["classify", "--help"], ["data", "--help"], ["--version"]):
        result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        assert result.stderr.strip() == "[]"
        assert result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--preset", "compact", "--data", ".", "-o", "run"],
        ["evaluate", "run", "--protocol", "esc50", "--data", "."],
        ["export", "run", "-o", "bundle"],
    ],
)
def test_without_torch_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    import sklearn.metrics  # noqa: F401  scipy, which it loads, stumbles over a torch that is None

    monkeypatch.setitem(sys.modules, "torch", None)
    heavy = {"training", "evaluation", "export", "model", "features", "networks"}
    loaded = dict(sys.modules)
    for name, module in loaded.items():
        if name.startswith("avgan.") and name.split(".")[1] in heavy:
            package, _, last = name.rpartition(".")
            # a failed import leaves another module in the package: this puts the old one back
            monkeypatch.setattr(loaded[package], last, module)
            monkeypatch.delitem(sys.modules, name)
    assert cli.main(arguments) == 1
    for name in set(sys.modules) - set(loaded):  # begun before torch was missed: nobody's now
        if name.startswith("avgan."):
            del sys.modules[name]
            package, _, last = name.rpartition(".")
            vars(loaded.get(package, cli)).pop(last, None)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "torch" in line
    assert 'pip install "avgan[' in line


def test_verbs_hand_their_options_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    called: dict[str, tuple[tuple[object, ...], dict[str, object]]] = {}

    def note(name: str, result: object) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            called[name] = (arguments, options)
            return result

        return call

    monkeypatch.setattr("avgan.training.recipe.train", note("train", tmp_path))
    monkeypatch.setattr("avgan.evaluation.evaluate.evaluate", note("evaluate", {"accuracy": 0.5}))
    monkeypatch.setattr("avgan.export.export_bundle", note("export", tmp_path))
    monkeypatch.setattr("avgan.data.acquire.get", note("get", tmp_path))
    monkeypatch.setattr("avgan.data.acquire.check", note("check", ["a.wav: damaged"]))
    train = ["train", "--preset", "compact", "--data", "d", "-o", "r", "--parent", "s"]
    assert cli.main([*train, "--set", "loop.seed=3"]) == 0
    (config,), options = called["train"]
    assert config.loop.seed == 3  # type: ignore[attr-defined]
    assert options == {"data": Path("d"), "videos": None, "out": Path("r"), "parent": Path("s")}
    evaluate = ["evaluate", "r", "--protocol", "esc50", "--data", "d", "--format", "json"]
    assert cli.main(evaluate) == 0
    assert called["evaluate"][0] == (Path("r"),)
    assert cli.main(["export", "r", "-o", "b"]) == 0
    assert called["export"][0] == (Path("r"), Path("b"))
    assert cli.main(["data", "get", "esc50", "--data", "d"]) == 0
    assert called["get"][0] == ("esc50", Path("d"))
    assert cli.main(["data", "check", "esc50", "--data", "d"]) == 1
    assert "a.wav: damaged" in capsys.readouterr().err


def test_data_list_names_licences(run: Run) -> None:
    pytest.importorskip("pyarrow")
    result = run("data", "list")
    assert result.returncode == 0
    assert "esc50" in result.stdout
    assert "CC BY-NC 3.0" in result.stdout


def test_errors_meant_for_the_user_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise AvganError("this is wrong; do that")

    monkeypatch.setattr("avgan.runtime.bundle.installed", fail)
    assert cli.main(["models"]) == 1
    assert capsys.readouterr().err == "avgan: this is wrong; do that\n"


def test_demo(run: Run, tmp_path: Path) -> None:
    result = run("demo", "-o", "out here", model=True)
    assert result.returncode == 0
    sounds = {path.stem for path in (tmp_path / "out here" / "sounds").iterdir()}
    pictures = {path.stem for path in (tmp_path / "out here" / "pictures").iterdir()}
    assert len(sounds) >= 8
    assert pictures == sounds
    page = (tmp_path / "out here" / "report.html").read_text()
    assert page.count("<article>") == len(sounds)
    assert len(page) < 8_000_000
    assert "report.html" in result.stderr
