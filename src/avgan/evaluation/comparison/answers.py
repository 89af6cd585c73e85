"""What a method answered on one fold, as a file that is whole or is not there.

    OUT/settings.json                              what all answers below have in common
        answers/<method>/fold-<name>.json          of the first seed
        answers/<method>/fold-<name>.seed-<n>.json of the others

Shapes: M clips, N labels.
"""

import ast
import glob
import hashlib
import importlib.util
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from avgan.baselines.method import Card
from avgan.errors import ConfigError, DataError
from avgan.evaluation.protocols import Fold
from avgan.files import write_whole

FORMAT = 1
DIGITS = 7
GIVEN = "given: "
"""How the identity of answers from elsewhere begins."""
INTERFACE = "avgan.baselines.method"
"""How methods are asked is no part of what they are."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What makes the answers of one comparison comparable."""

    protocol: str
    seed: int
    budget_s: float | None
    """Of each fit; None: as long as it takes."""
    parent: str | None = None
    """The run of pictures that ours begin from, whose time is not counted."""
    extra: str | None = None
    """The further recordings of methods that learn from some: name and hash."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One method on one fold: what it answered, what that took, and what it is the answer of."""

    method: str
    fold: str
    labels: list[str]
    clip_ids: list[str]
    sources: list[str]
    targets: list[int]
    probabilities: list[list[float]]
    fitting_s: float | None = None
    """Wall time; None where the fit was begun earlier. What follows is None or 0 where nobody knows."""
    answering_s: float | None = None
    """Without reading the recordings."""
    num_epochs: int = 0
    num_epochs_wanted: int = 0
    """0 where the method knows no epochs."""
    num_parameters: int | None = None
    num_macs: int | None = None
    seed: int | None = None
    budget_s: float | None = None
    identity: str
    """Hash of what the method is."""
    data_sha256: str
    """Hash of both sides of the fold."""
    device: str = ""
    """What it ran on."""

    @property
    def correct(self) -> np.ndarray:
        """(M,) bool."""
        return np.asarray(self.probabilities).argmax(1) == np.asarray(self.targets)

    @property
    def is_given(self) -> bool:
        """Whether they were taken from elsewhere."""
        return self.identity.startswith(GIVEN)


def answers_path(out: Path, method: str, fold: str, *, seed: int | None = None) -> Path:
    """Where the answers of a method on a fold lie; `seed` where it is not that of the comparison."""
    again = "" if seed is None else f".seed-{seed}"
    return out / "answers" / method / f"fold-{fold}{again}.json"


def write_answers(answers: Answers, out: Path, *, seed: int | None = None) -> None:
    """Store answers, whole or not at all."""
    row = {"format": FORMAT} | asdict(answers)
    row["probabilities"] = np.round(answers.probabilities, DIGITS).tolist()
    path = answers_path(out, answers.method, answers.fold, seed=seed)
    write_whole(path, json.dumps(row) + "\n")


def read_answers(out: Path, method: str, fold: str, *, seed: int | None = None) -> Answers | None:
    """Stored answers, or None where there are none of this format. Raises DataError for a damaged file."""
    return _read(answers_path(out, method, fold, seed=seed))


def all_answers(out: Path, method: str, fold: str) -> list[Answers]:
    """Those of all seeds, that of the comparison first."""
    first = answers_path(out, method, fold)
    others = first.parent.glob(f"{glob.escape(first.stem)}.seed-*.json")
    found = (_read(path) for path in (first, *sorted(others)))
    return [answers for answers in found if answers is not None]


def stored_methods(out: Path) -> list[str]:
    """The methods that have answers."""
    return sorted(path.name for path in (out / "answers").glob("*") if path.is_dir())


def _read(path: Path) -> Answers | None:
    if not path.exists():
        return None
    row = read_object(path)
    if row.pop("format", None) != FORMAT:
        return None
    try:
        return Answers(**row)
    except TypeError as error:
        raise DataError(f"{path}: {error}; remove this file, and it is made anew") from None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises DataError where the file holds something else."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove it and start again") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}: holds no answers; remove it and start again")
    return row


def settle(settings: Settings, out: Path) -> None:
    """Keep the settings, or check that they are those under which the answers that lie here were given.

    Raises ConfigError naming what differs.
    """
    path = out / "settings.json"
    if path.exists() and (out / "answers").exists():
        theirs = read_object(path)
        for name in (field.name for field in fields(settings)):
            ours = getattr(settings, name)
            if theirs.get(name) != ours:
                raise ConfigError(
                    f"{out} holds a comparison with another setting ({name} is {theirs.get(name)} there "
                    f"and {ours} here): choose another -o, or the same settings"
                )
        return
    write_whole(path, json.dumps(asdict(settings), indent=2) + "\n")


def data_sha256(fold: Fold) -> str:
    """Hash of what was to be learnt and what was asked; the place of the files does not change it."""
    sides = fold.train.sha256() + fold.test.sha256()
    return hashlib.sha256(sides.encode()).hexdigest()


def identity_of(card: Card, module: str, extra: str | None = None) -> str:
    """Hash of what a rival is: its name, what it was pretrained on, its further recordings if any, and its code.

    Of the code counts what runs: that of its module and of the modules beside it that it imports, without comments,
    docstrings and the words of cards, so that a better wording does not call for a new training.
    """
    learns = f"{card.name}\n{card.pretrained_on}\n" + (f"{extra}\n" if extra else "")
    digest = hashlib.sha256(learns.encode())
    for name in sorted(_with_imports(module, set()) - {INTERFACE}):
        digest.update(f"{name}\n{ast.unparse(_Bare().visit(_parse(name)))}\n".encode())
    return digest.hexdigest()


def _with_imports(module: str, found: set[str]) -> set[str]:
    """The names of a module and of all modules of its package that it imports, directly or not."""
    if module in found or importlib.util.find_spec(module) is None:
        return found
    found.add(module)
    package = module.rpartition(".")[0]
    for node in ast.walk(_parse(module)):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            names = [f"{package}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            _with_imports(name, found)
    return found


def _parse(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


class _Bare(ast.NodeTransformer):
    """Leaves out what has no effect on answers."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "Card":
            node.args, node.keywords = [], []
        return self.generic_visit(node)
