"""What the documents name exists: functions, settings, commands, files, make targets.

Documents drift where nobody looks.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from avgan.cli import main

CHECKOUT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md")])
SECTIONS = ["data", "front_end", "networks", "vqvae", "imagination", "classifier", "rounds", "loop"]


def visible_text(document: Path) -> str:
    """The text without HTML comments, which hold what is still to come."""
    return re.sub(r"<!--.*?-->", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)


def found(pattern: str) -> Iterator[tuple[str, str]]:
    """(document, first group) for all matches in all documents."""
    for document in DOCUMENTS:
        for match in re.finditer(pattern, visible_text(document)):
            yield document.name, match[1]


def is_defined(name: str) -> bool:
    """Whether a dotted name such as `avgan.losses.critic_loss` is a module, or defined in one."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        base = CHECKOUT.joinpath("src", *parts[:split])
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if not path.is_file():
            continue
        body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
        for part in parts[split:]:
            nodes = [node for node in body if part in defined_by(node)]
            if not nodes:
                return False
            body = getattr(nodes[0], "body", [])
        return True
    return False


def defined_by(node: ast.stmt) -> set[str]:
    """The names that a statement at the top of a module or class defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def test_there_are_documents() -> None:
    assert {"README.md", "paper.md", "architecture.md"} <= {path.name for path in DOCUMENTS}


def test_functions_named_in_the_documents_exist() -> None:
    names = list(found(r"`(avgan\.[A-Za-z_][\w.]*)`"))
    assert len(names) > 20
    assert [name for name in names if not is_defined(name[1])] == []


def test_tests_named_in_the_documents_exist() -> None:
    names = list(found(r"`(tests/[\w/]+\.py(?:::\w+)?)`"))
    assert len(names) > 60
    for document, name in names:
        path, _, function = name.partition("::")
        text = (CHECKOUT / path).read_text(encoding="utf-8")
        assert f"def {function}(" in text or not function, f"{document}: {name}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("avgan.errors", True),
        ("avgan.errors.AudioError", True),
        ("avgan.errors.NoSuchError", False),
        ("avgan.no_such_module", False),
    ],
)
def test_a_name_that_does_not_exist_is_noticed(name: str, expected: bool) -> None:
    assert is_defined(name) is expected


def test_settings_named_in_the_documents_exist() -> None:
    pytest.importorskip("torch", reason="configurations need the [train] extra")
    from avgan.config import override
    from avgan.errors import ConfigError
    from avgan.presets import PRESETS, preset

    settings = list(found(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_0-9.]+)(?:=[^`]*)?`"))
    assert len(settings) > 20
    unknown = []
    for document, setting in settings:
        problems = []
        for name in PRESETS:
            try:
                override(preset(name), {setting: "[[]]"})  # fits no setting at all
            except ConfigError as error:
                problems.append(str(error))
        if all("no setting is called" in problem for problem in problems):
            unknown.append((document, setting))
    assert unknown == []


def test_links_between_documents_lead_somewhere() -> None:
    links = [
        (document, link)
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([^)#]+)\)", visible_text(document))
        if "://" not in link
    ]
    assert links
    assert [link for document, link in links if not (document.parent / link).exists()] == []


def test_make_targets_named_in_the_documents_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), flags=re.MULTILINE)
    named = {target for _, target in found(r"(?:`|^    )make ([a-z-]+)")}
    assert named
    assert named - {*targets} == set()


def test_commands_in_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    lines = re.findall(r"^    avgan (.+)$", visible_text(CHECKOUT / "README.md"), re.MULTILINE)
    options: dict[str, set[str]] = {}
    for line in lines:
        words = line.split("#")[0].split()
        verb = " ".join(words[:2]) if words[0] == "data" else words[0]
        options.setdefault(verb, set()).update(w for w in words if re.match(r"--?[a-z]", w))
    assert {"classify", "train"} <= set(options)
    for verb, wanted in options.items():
        assert main([*verb.split(), "--help"]) == 0, f"avgan {verb} --help"
        shown = capsys.readouterr().out
        missing = {option for option in wanted if option not in shown}
        assert not missing, f"avgan {verb} does not know {missing}"
