"""What several tests ask of runs: what was logged, which weights, and how to break one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from avgan import checkpoint
from avgan.training.stage import Stage


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_at(monkeypatch: pytest.MonkeyPatch, stage: type[Stage[Any]], step: int) -> None:
    """Let a stage die at the beginning of a step."""
    own = stage.step

    def dying(self: Any, number: int) -> Any:
        if number == step:
            raise Killed
        return own(self, number)

    monkeypatch.setattr(stage, "step", dying)


def break_at(
    monkeypatch: pytest.MonkeyPatch, steps: list[tuple[type[Stage[Any]], int]], train: Callable[[], object]
) -> None:
    """Begin a training and kill it at each of the steps, then let it go on to its end."""
    for stage, step in steps:
        with monkeypatch.context() as patch:
            kill_at(patch, stage, step)
            with pytest.raises(Killed):
                train()
    train()


def rows(recipe: Path) -> list[dict[str, Any]]:
    """All that the runs of a recipe logged, or a run itself, in their order."""
    return [
        json.loads(line)
        for run in checkpoint.runs_of(recipe) or [recipe]
        for line in (run / "metrics.jsonl").read_text().splitlines()
    ]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load_networks(run)[0].state_dict())


def assert_same_weights(one: Path, other: Path, prefix: str = "") -> None:
    """Those of two runs whose names begin so, bit by bit."""
    found, expected = weights(one), weights(other)
    names = [name for name in found if name.startswith(prefix)]
    assert names
    assert names == [name for name in expected if name.startswith(prefix)]
    assert [name for name in names if not torch.equal(found[name], expected[name])] == []
