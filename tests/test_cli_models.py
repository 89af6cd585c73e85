"""`avgan models` as people meet it, in a home of their own."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home."""
    monkeypatch.setenv("AVGAN_HOME", str(tmp_path / "home"))


def test_a_model_from_coming_to_going(run: Run, toy_bundle: Path, tone_wav: Path) -> None:
    result = run("models", "add", toy_bundle)
    assert result.returncode == 0
    assert "toy 1 (added): Loudness and roughness." in result.stdout
    assert "licence   weights: Apache-2.0" in result.stdout
    assert "--model toy" in result.stderr
    assert "the same" in run("models", "add", toy_bundle).stderr
    listed = run("models").stdout.splitlines()
    assert [line.split()[0] for line in listed if not line.startswith(" ")][-1] == "toy"
    cards = json.loads(run("models", "--json").stdout)
    assert [card["origin"] for card in cards if card["name"] == "toy"] == ["added"]
    assert run("classify", tone_wav, "--model", "toy").returncode == 0
    assert run("models", "remove", "toy").returncode == 0
    result = run("models", "remove", "toy")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "toy" not in [card["name"] for card in json.loads(run("models", "--json").stdout)]


def test_terms_are_said_plainly(run: Run, toy_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(toy_bundle, tmp_path / "bound"))
    card = json.loads((folder / "card.json").read_text())
    card["data"] = [
        {"name": "ESC-50, sounds", "licence": "CC BY-NC 3.0: no commercial use"},
        {"name": "YAMNet", "licence": "Apache-2.0"},
    ]
    card["description"] = "red \x1b[31m and a bell \x07"
    (folder / "card.json").write_text(json.dumps(card))
    shown = run("models", "add", folder).stdout
    assert "terms     the weights are not free for commercial use: ESC-50\n" in shown
    assert "YAMNet: Apache-2.0" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["add"], 2, "source"),
        (["add", "a.zip", "--sha256", "abc"], 2, "64 hexadecimal digits"),
        (["add", "a.zip"], 1, "No such file"),
        (["add", "http://example.org/a.zip"], 1, "https"),
        (["remove", "../home"], 1, "no such model"),
    ],
)
def test_what_cannot_be(run: Run, arguments: list[str], status: int, expected: str) -> None:
    result = run("models", *arguments)
    assert result.returncode == status
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert expected.lower() in result.stderr.lower()
