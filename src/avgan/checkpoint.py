"""Checkpoints: weights, configuration, labels and the loop's whole state, in safetensors and JSON, never half-written.

    RUN/checkpoint/<stage>-<step>/
        networks.safetensors   the weights of all networks
        state.safetensors      optimisers and moving averages
        checkpoint.json        configuration, labels, where the loop stands, the state's shape

A checkpoint is written beside its place and renamed; the rename is what makes it exist. A run keeps the newest one.
"""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avgan.config import RunConfig, from_tree
from avgan.errors import CheckpointError
from avgan.model import AVGAN, build

FORMAT = 1
TENSOR_MARK = "__tensor__"


@dataclass(frozen=True)
class Position:
    """Where a run stands: `step` steps of `stage` are done; stages in `finished` are done altogether."""

    stage: str
    step: int
    finished: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """All that a run is, but for its data."""

    config: RunConfig
    labels: tuple[str, ...]
    scene_of_label: dict[str, str] | None
    position: Position
    provenance: dict[str, Any] = field(default_factory=dict)
    """Hashes of the data, versions, seed."""
    sources: tuple[str, ...] = ()
    """Source ids of the recordings it was trained on; the leakage guard goes by them."""
    kept_aside: tuple[str, ...] = ()
    """Source ids of the recordings training was watched with."""


def save(folder: Path, checkpoint: Checkpoint, networks: nn.Module, state: dict[str, Any]) -> Path:
    """Write a checkpoint under `folder` and remove the older ones. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    position = checkpoint.position
    final = folder / f"{position.stage}-{position.step:06d}"
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        weights = {name: value.contiguous() for name, value in networks.state_dict().items()}
        save_file(weights, temporary / "networks.safetensors")
        tensors, skeleton = pack(state)
        save_file(tensors, temporary / "state.safetensors")
        text = json.dumps(_to_json(checkpoint) | {"state": skeleton})
        (temporary / "checkpoint.json").write_text(text)
        _flush(temporary)
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for other in folder.iterdir():
        if other != final:
            shutil.rmtree(other, ignore_errors=True)
    return final


def newest(run: Path) -> Path | None:
    """The newest complete checkpoint of a run, or None."""
    folder = run / "checkpoint"
    complete = [path for path in folder.glob("[!.]*") if (path / "checkpoint.json").exists()]
    return max(
        complete, key=lambda path: (path / "checkpoint.json").stat().st_mtime_ns, default=None
    )


def read(path: Path) -> Checkpoint:
    """The description of a checkpoint folder, without its weights. Raises CheckpointError."""
    return _from_json(_read_json(path), path)


def load_state(path: Path) -> dict[str, Any]:
    """The loop's state of a checkpoint folder, as it was given to `save`."""
    state: dict[str, Any] = unpack(_load(path / "state.safetensors"), _read_json(path)["state"])
    return state


def load_weights(path: Path, networks: nn.Module) -> None:
    """Put the weights of a checkpoint folder into networks of the same sizes."""
    try:
        networks.load_state_dict(_load(path / "networks.safetensors"))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"{path}: the weights do not fit the configuration ({reason}); was config.json edited?"
        ) from None


def load_networks(run: Path) -> tuple[AVGAN, Checkpoint]:
    """The networks of a run folder, in evaluation mode, and what is known of them. Raises CheckpointError."""
    path = newest(run)
    if path is None:
        raise CheckpointError(f"{run}: no checkpoint here; train one with `avgan train -o {run}`")
    checkpoint = read(path)
    networks = build(checkpoint.config, len(checkpoint.labels))
    load_weights(path, networks)
    return networks.eval(), checkpoint


def pack(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Split nested dicts and lists into named tensors and a JSON skeleton that says where each belongs."""
    tensors: dict[str, Tensor] = {}

    def visit(node: Any, name: str) -> Any:
        if isinstance(node, Tensor):
            tensors[name] = node.detach().clone().contiguous()
            return {TENSOR_MARK: name}
        if isinstance(node, dict):
            return {
                "__dict__": [[key, visit(value, f"{name}.{key}")] for key, value in node.items()]
            }
        if isinstance(node, list | tuple):
            return [visit(value, f"{name}.{index}") for index, value in enumerate(node)]
        return node

    return tensors, visit(tree, "state")


def unpack(tensors: dict[str, Tensor], skeleton: Any) -> Any:
    """Inverse of `pack`; tuples come back as lists."""
    if isinstance(skeleton, list):
        return [unpack(tensors, value) for value in skeleton]
    if isinstance(skeleton, dict):
        if TENSOR_MARK in skeleton:
            return tensors[skeleton[TENSOR_MARK]]
        return {key: unpack(tensors, value) for key, value in skeleton["__dict__"]}
    return skeleton


def _to_json(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "config": checkpoint.config.model_dump(mode="json"),
        "labels": list(checkpoint.labels),
        "scene_of_label": checkpoint.scene_of_label,
        "position": asdict(checkpoint.position),
        "provenance": checkpoint.provenance,
        "sources": list(checkpoint.sources),
        "kept_aside": list(checkpoint.kept_aside),
        "torch": torch.__version__,
    }


def _from_json(tree: dict[str, Any], path: Path) -> Checkpoint:
    if tree.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {tree.get('format')!r} is not {FORMAT}; train again with this version"
        )
    position = tree["position"]
    return Checkpoint(
        config=from_tree(tree["config"]),
        labels=tuple(tree["labels"]),
        scene_of_label=tree["scene_of_label"],
        position=Position(position["stage"], position["step"], tuple(position["finished"])),
        provenance=tree["provenance"],
        sources=tuple(tree["sources"]),
        kept_aside=tuple(tree["kept_aside"]),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = json.loads((path / "checkpoint.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a checkpoint ({error}); give the run folder") from None
    return tree


def _load(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); remove its folder and resume") from None
    return tensors


def _flush(folder: Path) -> None:
    """Force the files to disk, so that the rename that follows cannot come before them."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
