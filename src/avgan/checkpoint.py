"""Checkpoints: weights, the configurations of a run and its ancestors, the loop's state; safetensors and JSON.

    RUN/checkpoint/<step>/
        networks.safetensors   the weights of all networks, those of the ancestors too
        state.safetensors      optimisers and moving averages
        checkpoint.json        lineage, labels, where the loop stands, the state's shape

A checkpoint is written beside its place and renamed; the rename is what makes it exist. A run keeps the newest one. The
folder of a recipe holds its runs, numbered in their order; whoever reads a run may name either.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avgan.config import ClassifierSection, ImaginationSection, RunConfig, StageSection, VQVAESection
from avgan.errors import CheckpointError
from avgan.features import FrontEndConfig
from avgan.files import resumable, to_disk
from avgan.model import AVGAN

FORMAT = 3
TENSOR_MARK = "__tensor__"
RECIPE = "recipe.json"
"""Marks the folder of a recipe."""

Section = TypeVar("Section", bound=StageSection)


@dataclass(frozen=True)
class Origin:
    """A run as its descendants know it: what it was and what it learnt from."""

    config: RunConfig
    provenance: dict[str, Any] = field(default_factory=dict)
    """Names and hashes of the data, version, hash of the parent's weights."""
    sources: tuple[str, ...] = ()
    """Source ids of the recordings and videos it was trained on; the leakage guard goes by them."""
    validation_sources: tuple[str, ...] = ()
    """Source ids of the recordings that it was validated on."""


@dataclass(frozen=True)
class Checkpoint:
    """All that a run is, but for its data and weights."""

    lineage: tuple[Origin, ...]
    """The run and its ancestors, the first of them first."""
    labels: tuple[str, ...] = ()
    scene_of_label: dict[str, str] | None = None
    step: int = 0
    """So many steps are done."""
    finished: bool = False
    measured: dict[str, float] = field(default_factory=dict)
    """What the stage says of itself at its end."""

    @property
    def origin(self) -> Origin:
        """The run itself."""
        return self.lineage[-1]

    @property
    def config(self) -> RunConfig:
        return self.origin.config

    @property
    def sources(self) -> frozenset[str]:
        """What the run or any of its ancestors was trained on."""
        return frozenset(source for origin in self.lineage for source in origin.sources)

    @property
    def imagination(self) -> ImaginationSection:
        """The settings that the generator was last taught to imagine with."""
        return self._stage(ImaginationSection)

    @property
    def vqvae(self) -> VQVAESection:
        return self._stage(VQVAESection)

    @property
    def classifier(self) -> ClassifierSection:
        return self._stage(ClassifierSection)

    @property
    def front_end(self) -> FrontEndConfig:
        return self.imagination.trunk.front_end

    @property
    def window_s(self) -> float:
        """Length of sound that the run takes."""
        return self.config.stage.data.window_s

    def _stage(self, kind: type[Section]) -> Section:
        for origin in reversed(self.lineage):
            if isinstance(origin.config.stage, kind):
                return origin.config.stage
        wanted = kind.model_fields["kind"].default
        raise CheckpointError(
            f"this run of {self.config.stage.kind} has no {wanted} in it; train one with it as --parent"
        )


DESCRIPTION = TypeAdapter(Checkpoint)
"""To JSON and back."""


def save(folder: Path, checkpoint: Checkpoint, networks: nn.Module, state: dict[str, Any]) -> Path:
    """Write a checkpoint under `folder` and remove the older ones. Returns its path.

    Raises AvganError where there is no room for it beside the older ones, which then stay.
    """
    final = folder / f"{checkpoint.step:06d}{'-finished' if checkpoint.finished else ''}"
    weights = {name: value.contiguous() for name, value in networks.state_dict().items()}
    tensors, skeleton = pack(state)
    described = DESCRIPTION.dump_python(checkpoint, mode="json")
    text = json.dumps({"format": FORMAT, "torch": torch.__version__, **described, "state": skeleton})
    with resumable(final):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
        try:
            _save_tensors(weights, temporary / "networks.safetensors")
            _save_tensors(tensors, temporary / "state.safetensors")
            (temporary / "checkpoint.json").write_text(text)
            for path in temporary.iterdir():
                to_disk(path)  # the rename that follows must not come before them
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


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Raises OSError, for which the library has an error of its own."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while serializing: ").removeprefix("I/O error: ")
        raise OSError(reason.split(" (os error")[0]) from None


def runs_of(recipe: Path) -> list[Path]:
    """The runs in the folder of a recipe, in the order of their numbers."""
    numbered = [path for path in recipe.glob("[0-9]*-*") if path.is_dir()]
    return sorted(numbered, key=lambda path: int(path.name.split("-")[0]))


def folder_of(run: Path) -> Path:
    """The folder of a run itself: of a recipe, that of its last run with a checkpoint."""
    if (run / RECIPE).exists():
        begun = [path for path in runs_of(run) if newest(path) is not None]
        return begun[-1] if begun else run
    return run


def newest(run: Path) -> Path | None:
    """The newest complete checkpoint of a run, or of the last run of a recipe that has one; else None."""
    folder = folder_of(run) / "checkpoint"
    complete = [path for path in folder.glob("[!.]*") if (path / "checkpoint.json").exists()]
    return max(complete, key=lambda path: (path / "checkpoint.json").stat().st_mtime_ns, default=None)


def locate(run: Path) -> Path:
    """The same. Raises CheckpointError where there is none."""
    path = newest(run)
    if path is None:
        raise CheckpointError(f"{run}: no checkpoint here; train one with `avgan train -o {run}`")
    return path


def read(path: Path) -> Checkpoint:
    """The description of a checkpoint folder, without its weights. Raises CheckpointError."""
    tree = _read_json(path)
    if tree.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {tree.get('format')!r} is not {FORMAT}; train again with this version"
        )
    try:
        return DESCRIPTION.validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{path}: {place}: {first['msg']}; train again with this version") from None


def describe(run: Path) -> Checkpoint:
    """The description of a run folder's newest checkpoint. Raises CheckpointError."""
    return read(locate(run))


def describe_finished(run: Path) -> Checkpoint:
    """The same of a run that can name labels. Raises CheckpointError where its training is not finished."""
    described = describe(run)
    names = any(isinstance(origin.config.stage, ClassifierSection) for origin in described.lineage)
    if not described.finished or not names:
        raise CheckpointError(
            f"{run}: its training is unfinished; go on with the command that began it (avgan train ... -o {run})"
        )
    return described


def load_state(path: Path) -> dict[str, Any]:
    """The loop's state of a checkpoint folder, as it was given to `save`."""
    state: dict[str, Any] = unpack(_load(path / "state.safetensors"), _read_json(path)["state"])
    return state


def load_weights(path: Path, networks: nn.Module, *, new: str | None = None) -> None:
    """Put the weights of a checkpoint folder into networks of the same sizes.

    `new`: the networks are a child's; what the parent lacks keeps its own weights, as does the network of this name.
    """
    weights = _load(path / "networks.safetensors")
    if new is not None:
        kept = {name: value for name, value in weights.items() if not name.startswith(f"{new}.")}
        weights = {**networks.state_dict(), **kept}
    try:
        networks.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"{path}: the weights do not fit the configuration ({reason}); give networks the sizes they have there"
        ) from None


def load_networks(run: Path) -> tuple[AVGAN, Checkpoint]:
    """The networks of a run folder, in evaluation mode, and what is known of them. Raises CheckpointError."""
    path = locate(run)
    checkpoint = read(path)
    networks = AVGAN([origin.config for origin in checkpoint.lineage], len(checkpoint.labels))
    load_weights(path, networks)
    return networks.eval(), checkpoint


def load_finished(run: Path) -> tuple[AVGAN, Checkpoint]:
    """The same of a run that can name labels. Raises CheckpointError where its training is not finished."""
    describe_finished(run)
    return load_networks(run)


def pack(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Split nested dicts and lists into named tensors and a JSON skeleton that says where each belongs."""
    tensors: dict[str, Tensor] = {}

    def visit(node: Any, name: str) -> Any:
        if isinstance(node, Tensor):
            tensors[name] = node.detach().clone().contiguous()
            return {TENSOR_MARK: name}
        if isinstance(node, dict):
            return {"__dict__": [[key, visit(value, f"{name}.{key}")] for key, value in node.items()]}
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
