"""What we ask for is above published flaws, and so is what was tested together."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parents[1]
FLOORS = {floor["package"]: floor for floor in tomllib.loads((CHECKOUT / "tests" / "floors.toml").read_text())["floor"]}


def asked_for() -> list[Requirement]:
    """All that pyproject.toml asks for, our own extras left aside."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        lines += extra
    return [found for line in lines if (found := Requirement(line)).name != "avgan"]


def lowest(requirement: Requirement) -> Version:
    bounds = [Version(part.version) for part in requirement.specifier if part.operator in (">=", "==")]
    assert bounds, f"{requirement}: says no lowest version"
    return max(bounds)


@pytest.mark.parametrize("package", sorted(FLOORS))
def test_nothing_below_a_published_flaw_is_asked_for(package: str) -> None:
    found = [requirement for requirement in asked_for() if requirement.name == package]
    assert found, f"{package}: in floors.toml and not in pyproject.toml"
    for requirement in found:
        assert lowest(requirement) >= Version(FLOORS[package]["version"]), FLOORS[package]["flaw"]


def test_what_was_tested_together_is_above_the_floors() -> None:
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+?)\.?\*?$", (CHECKOUT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    for package, floor in FLOORS.items():
        assert Version(pinned[package]) >= Version(floor["version"]), package
    for requirement in asked_for():
        name = requirement.name.lower().replace("_", "-")
        if name in pinned:
            assert requirement.specifier.contains(pinned[name]), requirement
