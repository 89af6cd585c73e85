"""The laws of the layout (docs/architecture.md), held by reading the source, not by running it.

Each law is a function from a source tree to the list of its violations. The tests below ask three things: that our own
tree has none, that a planted violation is found, and that an innocent neighbour of the violation is left alone.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]

PATH_ORDER = [
    "errors",
    "files",
    "workers",
    "download",
    "scenes",
    "media",
    "audio",
    "images",
    "runtime",
    "live",
    "archive",
    "pictures",
    "pages",
    "demo",
    "features",
    "data",
    "weights",
    "networks",
    "losses",
    "config",
    "presets",
    "model",
    "checkpoint",
    "training",
    "metrics",
    "calibration",
    "baselines",
    "evaluation",
    "curation",
    "neighbours",
    "cards",
    "export",
    "quantize",
    "recipes",
    "web",
    "cli",
    "__main__",
]
"""The path of a recording. A module imports only from what stands before it, or from its own package."""

LIGHT = {*PATH_ORDER[: PATH_ORDER.index("features")], "web"}
"""What a user without torch runs. `cli` belongs here too, but only for what it imports at the top."""

HEAVY = {
    "torch",
    "lightning",
    "lightning_fabric",
    "tensorboard",
    "sklearn",
    "matplotlib",
    "pyarrow",
    "safetensors",
    "onnx",
    "onnxscript",
    "librosa",
    "scipy",
    "yt_dlp",
    "cv2",
}
"""Packages of the extras; those in `data` may use pyarrow, see `data_stays_free_of_torch`."""

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 80
MAX_CONSTRUCTOR_PARAMETERS = 7


@dataclass(frozen=True)
class Import:
    """One import statement's target, absolute: `avgan.audio`, `torch.nn`."""

    target: str
    line: int
    at_top: bool
    """Runs when the module is imported; false inside functions and under TYPE_CHECKING."""

    @property
    def package(self) -> str:
        return self.target.split(".")[0]

    @property
    def layer(self) -> str:
        """Second part of a name of ours (`audio` of `avgan.audio`), else empty."""
        parts = self.target.split(".")
        return parts[1] if parts[0] == "avgan" and len(parts) > 1 else ""


@dataclass(frozen=True)
class Module:
    """One source file of the package, `name` relative to it: `networks.trunks.conv8`, "" for avgan itself."""

    path: Path
    name: str
    tree: ast.Module

    @property
    def layer(self) -> str:
        return self.name.split(".")[0]

    def at(self, line: int) -> str:
        return f"{self.path.name}:{line} ({self.name or 'avgan'})"


def modules(source: Path) -> Iterator[Module]:
    """All modules of `source`/avgan."""
    package = source / "avgan"
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield Module(path, name, parsed(path.read_text(encoding="utf-8")))


@cache
def parsed(text: str) -> ast.Module:
    """The tree of a source text; every law reads all of them."""
    return ast.parse(text)


@cache
def imports(module: Module) -> list[Import]:
    """All imports of a module, relative ones resolved, `from avgan import audio` read as `avgan.audio`."""
    package = ["avgan", *module.name.split(".")] if module.name else ["avgan"]
    if module.path.name != "__init__.py":
        package = package[:-1]
    found: list[Import] = []

    def visit(node: ast.AST, at_top: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(name.name, node.lineno, at_top) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            whole = base.startswith("avgan") or not base
            found.extend(Import(f"{base}.{name.name}" if whole else base, node.lineno, at_top) for name in node.names)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, at_top and not inside and not checking)

    visit(module.tree, True)
    return found


def arrows_go_one_way(source: Path) -> list[str]:
    """A module imports only what stands before it in the path, and every module has its place there."""
    problems = []
    for module in modules(source):
        if module.layer and module.layer not in PATH_ORDER:
            problems.append(f"{module.at(1)}: '{module.layer}' has no place in PATH_ORDER")
            continue
        place = PATH_ORDER.index(module.layer) if module.layer else len(PATH_ORDER)
        for item in imports(module):
            if item.layer not in PATH_ORDER or item.layer == module.layer:
                continue
            if PATH_ORDER.index(item.layer) > place:
                problems.append(f"{module.at(item.line)}: imports {item.target}, which stands after it")
    return problems


def no_circles(source: Path) -> list[str]:
    """No module imports one that imports it, by whatever way; imports inside functions and for types count, too."""
    of_name = {".".join(filter(None, ("avgan", module.name))): module for module in modules(source)}
    imported: dict[str, dict[str, int]] = {name: {} for name in of_name}
    for name, module in of_name.items():
        for item in imports(module):
            target = item.target
            while target and target not in of_name:
                target = target.rpartition(".")[0]
            if target and target != name:
                imported[name].setdefault(target, item.line)
    problems = []
    for name, module in of_name.items():
        for target, line in imported[name].items():
            if name in _reached(target, imported):
                problems.append(f"{module.at(line)}: imports {target}, which leads back to it")
    return problems


def _reached(start: str, imported: Mapping[str, Iterable[str]]) -> set[str]:
    """All modules that one imports, directly or through others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = set(imported[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def networks_know_nobody(source: Path) -> list[str]:
    """A network imports neither data nor another network; an `__init__` gathers its own package, and what a package
    declares of all its members, as `networks.trunks.trunk` does, they may import."""
    problems = []
    for module in modules(source):
        if module.layer != "networks":
            continue
        for item in imports(module):
            gathers = module.path.name == "__init__.py" and item.target.startswith(f"avgan.{module.name}.")
            parent = module.name.rpartition(".")[0]
            declared = item.target.startswith(f"avgan.{parent}.{parent.rpartition('.')[2][:-1]}.")
            own = gathers or (parent != "networks" and declared)
            if item.layer == "data" or (item.layer == "networks" and not own):
                problems.append(f"{module.at(item.line)}: a network imports {item.target}")
    return problems


def light_half_stays_light(source: Path) -> list[str]:
    """What runs without torch imports nothing of the extras; `cli` and the package itself not at the top."""
    problems = []
    for module in modules(source):
        for item in imports(module):
            bound = module.layer in LIGHT or (module.layer in {"cli", ""} and item.at_top)
            if bound and (item.package in HEAVY or item.layer == "training"):
                problems.append(f"{module.at(item.line)}: the light half imports {item.target}")
    return problems


def data_stays_free_of_torch(source: Path) -> list[str]:
    """Data is numpy and Parquet: reading a manifest needs no torch."""
    return [
        f"{module.at(item.line)}: data imports {item.target}"
        for module in modules(source)
        if module.layer == "data"
        for item in imports(module)
        if item.package in HEAVY - {"pyarrow"}
    ]


def sizes_stay_readable(source: Path) -> list[str]:
    """Files, functions and constructors stay small enough to be read in one go."""
    problems = []
    for module in modules(source):
        num_lines = len(module.path.read_text(encoding="utf-8").splitlines())
        if num_lines > MAX_FILE_LINES:
            problems.append(f"{module.at(1)}: {num_lines} lines")
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            num_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if num_lines > MAX_FUNCTION_LINES:
                problems.append(f"{module.at(node.lineno)}: {node.name} has {num_lines} lines")
            arguments = node.args
            num_parameters = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - 1
            if node.name == "__init__" and num_parameters > MAX_CONSTRUCTOR_PARAMETERS:
                problems.append(f"{module.at(node.lineno)}: constructor of {num_parameters} parameters")
    return problems


def nothing_is_pickled(source: Path) -> list[str]:
    """A file that is read can run no code: no pickle, `torch.load` only with weights_only=True."""
    problems = []
    for module in modules(source):
        for item in imports(module):
            if item.package in {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}:
                problems.append(f"{module.at(item.line)}: imports {item.target}")
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name == "torch.load" and options.get("weights_only") != "True":
                problems.append(f"{module.at(node.lineno)}: torch.load without weights_only=True")
            if options.get("allow_pickle", "False") != "False":
                problems.append(f"{module.at(node.lineno)}: {name} with allow_pickle")
    return problems


PLACE_ON_A_MACHINE = re.compile(r"(?<![\w.:/~$}-])/(?:work|home|root|Users|opt)/\w|(?<![\w.])\.{2}/shared\b")
"""An absolute path into somebody's machine, or a folder outside the checkout."""

READ_AS_TEXT = {
    "",
    ".cfg",
    ".cff",
    ".css",
    ".csv",
    ".html",
    ".js",
    ".json",
    ".jsonl",
    ".md",
    ".py",
    ".sh",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}


def project_speaks_of_itself(checkout: Path) -> list[str]:
    """No tracked file names a place on somebody's machine."""
    listed = subprocess.run(
        ["git", "-C", str(checkout), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    names = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    problems = []
    for path in (checkout / name for name in names if name.suffix in READ_AS_TEXT):
        if not path.is_file():
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            found = PLACE_ON_A_MACHINE.search(line)
            if found:
                problems.append(f"{path.relative_to(checkout)}:{number}: names a place: {found[0]}")
    return problems


Law = Callable[[Path], list[str]]
LAWS: tuple[Law, ...] = (
    arrows_go_one_way,
    no_circles,
    networks_know_nobody,
    light_half_stays_light,
    data_stays_free_of_torch,
    sizes_stay_readable,
    nothing_is_pickled,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_our_source_keeps_the_law(law: Law) -> None:
    assert list(modules(CHECKOUT / "src")), "found no source to check"
    assert law(CHECKOUT / "src") == []


LONG_FUNCTION = "def long() -> None:\n" + "    pass\n" * MAX_FUNCTION_LINES
WIDE_CONSTRUCTOR = "class A:\n    def __init__(self, a, b, c, d, e, f, g, h): ...\n"

PLANTED = [
    # law, file, code that breaks it, code that does not
    (arrows_go_one_way, "audio.py", "from avgan import runtime", "from avgan import scenes"),
    (arrows_go_one_way, "audio.py", "import avgan.runtime.model", "import avgan.errors"),
    (arrows_go_one_way, "runtime/model.py", "from ..training import run", "from ..audio import read"),
    (arrows_go_one_way, "losses.py", "def f():\n    from avgan.config import A", "import torch"),
    (arrows_go_one_way, "novelty.py", "A = 1", None),
    (networks_know_nobody, "networks/critic.py", "from avgan.networks.vqvae import A", "import torch"),
    (networks_know_nobody, "networks/critic.py", "from . import vqvae", "from avgan.errors import A"),
    (networks_know_nobody, "networks/critic.py", "from avgan.data import manifest", None),
    (
        networks_know_nobody,
        "networks/trunks/__init__.py",
        "from avgan.networks import critic",
        "from avgan.networks.trunks.conv8 import Conv8",
    ),
    (light_half_stays_light, "runtime/model.py", "def f():\n    import torch", "import onnxruntime"),
    (light_half_stays_light, "pages/report.py", "import matplotlib.pyplot as plt", "from PIL import Image"),
    (light_half_stays_light, "web/app.py", "def f():\n    from avgan import training", "import avgan"),
    (light_half_stays_light, "cli/app.py", "import torch", "def f():\n    import torch"),
    (
        light_half_stays_light,
        "__init__.py",
        "from torch import nn",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import nn",
    ),
    (data_stays_free_of_torch, "data/loading.py", "import torch.utils.data", "import pyarrow.parquet"),
    (sizes_stay_readable, "audio.py", "A = 1\n" * (MAX_FILE_LINES + 1), "A = 1\n" * MAX_FILE_LINES),
    (sizes_stay_readable, "audio.py", LONG_FUNCTION, LONG_FUNCTION.replace("    pass\n", "", 1)),
    (sizes_stay_readable, "audio.py", WIDE_CONSTRUCTOR, WIDE_CONSTRUCTOR.replace(", h", "")),
    (nothing_is_pickled, "checkpoint.py", "import pickle", "import json"),
    (nothing_is_pickled, "checkpoint.py", "torch.load(a)", "torch.load(a, weights_only=True)"),
    (nothing_is_pickled, "checkpoint.py", "torch.load(a, weights_only=False)", None),
    (nothing_is_pickled, "data/esc50.py", "np.load(a, allow_pickle=True)", "np.load(a)"),
]


@pytest.mark.parametrize(("law", "name", "broken", "kept"), PLANTED)
def test_a_planted_violation_is_found(tmp_path: Path, law: Law, name: str, broken: str, kept: str | None) -> None:
    path = tmp_path / "avgan" / name
    path.parent.mkdir(parents=True)
    path.write_text(broken)
    assert len(law(tmp_path)) == 1
    if kept is not None:
        path.write_text(kept)
        assert law(tmp_path) == []


@pytest.mark.parametrize(
    "back",
    [
        "from avgan.runtime.a import A",
        "def f():\n    from avgan.runtime.a import A",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from avgan.runtime.a import A",
        "from . import a",
    ],
)
def test_a_circle_is_found(tmp_path: Path, back: str) -> None:
    """Of three modules, each of which imports the next."""
    folder = tmp_path / "avgan" / "runtime"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from avgan.runtime.a import A")
    (folder / "a.py").write_text("from avgan.runtime.b import B")
    (folder / "b.py").write_text("from avgan.runtime.c import C")
    (folder / "c.py").write_text("import numpy")
    assert no_circles(tmp_path) == []
    (folder / "c.py").write_text(back)
    assert len(no_circles(tmp_path)) == 3


needs_git = pytest.mark.skipif(
    shutil.which("git") is None or not (CHECKOUT / ".git").exists(),
    reason="not a git checkout: which files are ours is unknown",
)


@needs_git
def test_our_files_name_no_place_on_a_machine() -> None:
    assert project_speaks_of_itself(CHECKOUT) == []


@needs_git
@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("see " + "/".join(["", "work", "main"]), True),
        ("path = '" + "/".join(["", "home", "someone", "x"]) + "'", True),
        ("look in " + "/".join(["..", "shared", "data"]), True),
        ("https://example.org/home/page", False),
        ("src/avgan/work/x", False),
        ("a folder shared/data beside the checkout", False),
    ],
)
def test_a_place_on_a_machine_is_recognised(tmp_path: Path, line: str, caught: bool) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "note.md").write_text(f"first line\n{line}\n")
    assert bool(project_speaks_of_itself(tmp_path)) is caught


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_package_is_silent_and_brings_nothing_heavy() -> None:
    heavy = sorted({*HEAVY, "numpy", "onnxruntime", "av", "PIL", "soundfile", "soxr", "cyclopts", "rich", "jinja2"})
    ran = run_python(f"import avgan, sys; assert avgan.__version__; print(sorted(set({heavy}) & set(sys.modules)))")
    assert ran.stdout.strip() == "[]", ran.stderr
    assert ran.stderr == ""


@pytest.mark.parametrize("name", sorted({*LIGHT, "cli"}))
def test_the_light_half_imports_where_no_extra_is_installed(name: str) -> None:
    ran = run_python(f"import sys\nfor name in {sorted(HEAVY)}: sys.modules[name] = None\nimport avgan.{name}")
    assert ran.returncode == 0, ran.stderr
    assert (ran.stdout, ran.stderr) == ("", "")
