"""Each ablation changes what it says and nothing else."""

import json

import pytest

from avgan.presets import ABLATIONS, preset


def leaves(tree: dict, path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{path}{name}.")
        else:
            found[path + name] = value
    return found


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_what_it_says_and_nothing_else(name: str) -> None:
    ablation = ABLATIONS[name]
    assert ablation.asks.endswith("?")
    before = leaves(preset(ablation.base).model_dump(mode="json"))
    after = leaves(ablation.recipe().model_dump(mode="json"))
    changed = {path: value for path, value in after.items() if before[path] != value}
    assert changed
    assert changed.keys() == ablation.settings.keys()
    for path, text in ablation.settings.items():
        assert changed[path] == (text if isinstance(before[path], str) else json.loads(text))
