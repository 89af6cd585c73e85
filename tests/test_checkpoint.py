"""Checkpoints: whole or not at all, back as they were, and never able to run code."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import nn

from avgan import checkpoint
from avgan.checkpoint import Checkpoint, Origin, pack, unpack
from avgan.config import STAGES, Recipe, override
from avgan.errors import AvganError, CheckpointError
from avgan.model import AVGAN
from avgan.presets import preset

RECIPE = override(
    preset("compact"),
    {
        "vqvae.network.width": "4",
        "imagination.trunk.widths": "[2, 2, 2, 2]",
        "imagination.generator.hidden": "4",
        "imagination.critic.width": "2",
    },
)
LABELS = ("dog", "rain", "train")


def make(recipe: Recipe) -> AVGAN:
    return AVGAN([recipe.run(kind) for kind in STAGES], len(LABELS))


def describe(step: int = 2, *, finished: bool = False) -> Checkpoint:
    """Of a classifier run with its two ancestors, which learnt from a source each."""
    lineage = tuple(
        Origin(RECIPE.run(kind), {"sounds": "esc50 abc"}, (f"source of {kind}",), ("aside",)) for kind in STAGES
    )
    places = {"dog": "yard", "rain": "field/wild", "train": "train_station/platform"}
    return Checkpoint(lineage, LABELS, places, step, finished, {"accuracy": 0.5})


@pytest.fixture(scope="module")
def networks() -> AVGAN:
    return make(RECIPE)


def same(one: Any, other: Any) -> bool:
    """Equality of nested trees, tuples counting as lists."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and type(one) is type(other)


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.builds(torch.tensor, st.lists(st.floats(-1, 1, width=32), max_size=3))
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees)
def test_any_tree_comes_back(tree: Any) -> None:
    tensors, skeleton = pack(tree)
    assert same(unpack(tensors, json.loads(json.dumps(skeleton))), tree)


def test_an_optimisers_state_comes_back_and_goes_on_alike() -> None:
    torch.manual_seed(0)

    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Linear(3, 2)
        return network, torch.optim.AdamW(network.parameters(), 0.1, betas=(0.5, 0.9))

    def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        network(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    network, optimizer = make()
    step(network, optimizer)
    step(network, optimizer)
    tensors, skeleton = pack(optimizer.state_dict())
    again, resumed = make()
    again.load_state_dict(network.state_dict())
    resumed.load_state_dict(unpack(tensors, json.loads(json.dumps(skeleton))))
    step(network, optimizer)
    step(again, resumed)
    assert torch.equal(network.weight, again.weight)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path, networks: AVGAN) -> None:
    state = {"optimizers": {"vqvae": {"step": torch.tensor(3.0)}}, "betas": (0.5, 0.9)}
    path = checkpoint.save(tmp_path / "checkpoint", describe(), networks, state)
    assert path == checkpoint.newest(tmp_path)
    assert checkpoint.read(path) == describe()
    assert same(checkpoint.load_state(path), state)
    loaded, described = checkpoint.load_networks(tmp_path)
    assert described == describe()
    assert not loaded.training
    assert same(dict(loaded.state_dict()), dict(networks.state_dict()))


def test_only_safetensors_and_json_are_written(tmp_path: Path, networks: AVGAN) -> None:
    path = checkpoint.save(tmp_path, describe(), networks, {})
    names = sorted(file.name for file in path.iterdir())
    assert names == ["checkpoint.json", "networks.safetensors", "state.safetensors"]


def test_a_run_keeps_the_newest_alone(tmp_path: Path, networks: AVGAN) -> None:
    folder = tmp_path / "checkpoint"
    for step, finished in ((2, False), (4, False), (4, True)):
        checkpoint.save(folder, describe(step, finished=finished), networks, {})
    assert [path.name for path in folder.iterdir()] == ["000004-finished"]


NO_ROOM = "no space left on device"


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        ("save_file", SafetensorError(f"I/O error: {NO_ROOM} (os error 28)")),
        ("save_file", OSError(errno.ENOSPC, NO_ROOM)),
        ("to_disk", OSError(errno.ENOSPC, NO_ROOM)),
        ("os.replace", OSError(errno.ENOSPC, NO_ROOM)),
    ],
)
def test_a_failure_while_writing_leaves_the_older_one(
    tmp_path: Path, networks: AVGAN, monkeypatch: pytest.MonkeyPatch, failing: str, error: Exception
) -> None:
    folder = tmp_path / "checkpoint"
    older = checkpoint.save(folder, describe(step=2), networks, {"x": torch.ones(2)})
    before = {path.name: path.read_bytes() for path in older.iterdir()}

    def fail(_: object, path: Path | None = None) -> None:
        if failing == "save_file" and path is not None:
            path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(f"avgan.checkpoint.{failing}", fail)
    step = 2 if failing == "save_file" else 4
    with pytest.raises(AvganError, match=rf"cannot be written \({NO_ROOM}\); make room"):
        checkpoint.save(folder, describe(step=step), networks, {})
    monkeypatch.undo()
    assert list(folder.iterdir()) == [older]
    assert {path.name: path.read_bytes() for path in older.iterdir()} == before
    assert checkpoint.newest(tmp_path) == older


def test_what_a_killed_process_left_is_ignored_and_cleared(tmp_path: Path, networks: AVGAN) -> None:
    folder = tmp_path / "checkpoint"
    older = checkpoint.save(folder, describe(step=2), networks, {})
    half = folder / ".writing-x"
    half.mkdir()
    (half / "checkpoint.json").write_text("{}")
    (folder / "000009").mkdir()  # no checkpoint.json: it was being removed
    assert checkpoint.newest(tmp_path) == older
    newer = checkpoint.save(folder, describe(step=4), networks, {})
    assert list(folder.iterdir()) == [newer]


def test_a_run_without_checkpoint_has_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "nowhere") is None
    with pytest.raises(CheckpointError, match="no checkpoint here; train one"):
        checkpoint.load_networks(tmp_path)


@pytest.mark.parametrize("name", ["networks.safetensors", "state.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "noise"])
def test_damage_is_said_in_one_line(tmp_path: Path, networks: AVGAN, name: str, damage: str) -> None:
    path = checkpoint.save(tmp_path / "checkpoint", describe(), networks, {"x": torch.ones(9)})
    file = path / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"\xff" * 200)

    def read_all() -> None:
        checkpoint.read(path)
        checkpoint.load_weights(path, networks)
        checkpoint.load_state(path)

    with pytest.raises(CheckpointError) as caught:
        read_all()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_weights_that_do_not_fit_the_configuration_are_refused(tmp_path: Path, networks: AVGAN) -> None:
    path = checkpoint.save(tmp_path, describe(), networks, {})
    other = make(override(RECIPE, {"vqvae.network.width": "8"}))
    with pytest.raises(CheckpointError, match="do not fit the configuration"):
        checkpoint.load_weights(path, other)


def test_another_format_is_refused(tmp_path: Path, networks: AVGAN) -> None:
    path = checkpoint.save(tmp_path, describe(), networks, {})
    file = path / "checkpoint.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        checkpoint.read(path)


def test_a_description_names_what_all_ancestors_learnt_from_and_the_newest_of_each_stage() -> None:
    described = describe()
    assert described.sources == {f"source of {kind}" for kind in STAGES}
    assert described.origin.config.stage.kind == "classifier"
    assert described.imagination == RECIPE.imagination
    assert described.front_end == RECIPE.imagination.trunk.front_end
    pictures = Checkpoint(described.lineage[:1])
    with pytest.raises(CheckpointError, match="this run of vqvae has no imagination"):
        _ = pictures.front_end


def test_a_parents_weights_go_to_the_networks_that_it_has(tmp_path: Path, networks: AVGAN) -> None:
    """The rest keep their own, and so does the one that is said to be new."""
    path = checkpoint.save(tmp_path, describe(), networks, {})
    child = AVGAN([RECIPE.run(kind) for kind in STAGES], num_labels=5, seed=1)
    own = {name: value.clone() for name, value in child.state_dict().items()}
    checkpoint.load_weights(path, child, new="classifier")
    for name, value in child.state_dict().items():
        expected = own if name.startswith("classifier.") else networks.state_dict()
        assert torch.equal(value, expected[name]), name
    with pytest.raises(CheckpointError, match="do not fit"):
        checkpoint.load_weights(path, child, new="")
