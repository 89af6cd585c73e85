"""A run: one stage, trained on one data set from fresh networks or from those of a parent, resumed where it was left.

RUN/config.json            the configuration, and the parent with the hash of its weights
    metrics.jsonl          one line a logged step
    tensorboard/           the same as curves
    samples/*.png          what the stage shows of itself
    checkpoint/<step>/     weights of this stage's networks and of all its ancestors'
    encoded/               of a VQ-VAE: pictures as it encodes them, for all that begin from it; may be removed
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric

from avgan import __version__, checkpoint
from avgan.checkpoint import Checkpoint, Origin
from avgan.config import ClassifierSection, ImaginationSection, RunConfig, StageSection, VQVAESection
from avgan.data.manifest import Manifest
from avgan.errors import CheckpointError, ConfigError, LeakageError
from avgan.features import LogMel
from avgan.files import write_whole
from avgan.model import AVGAN
from avgan.networks.precision import bf16_is_fast
from avgan.networks.trunks import TrunkConfig
from avgan.training import data as training_data
from avgan.training import distributed
from avgan.training.classifier import ClassifierStage
from avgan.training.data import TrainingData
from avgan.training.imagination import ImaginationStage
from avgan.training.log import RunLog
from avgan.training.loop import run_stage
from avgan.training.progress import say, say_once
from avgan.training.sampler import SamplerStage
from avgan.training.stage import Stage
from avgan.training.vqvae import VQVAEStage, named_scenes

STAGE_TYPES: dict[str, type[Stage[Any]]] = {
    "vqvae": VQVAEStage,
    "imagination": ImaginationStage,
    "classifier": ClassifierStage,
    "sampler": SamplerStage,
}
PARENTS = {"vqvae": None, "imagination": "vqvae", "classifier": "imagination", "sampler": "classifier"}
"""The stage that each must have behind it."""
NETWORKS = ("network", "trunk", "generator", "critic")
"""The settings of a stage that are sizes of networks."""


def train_run(
    config: RunConfig, *, data: Path, out: Path, parent: Path | None = None, sounds: Manifest | None = None
) -> Path:
    """Train a run, or go on with the one in `out`. Returns `out`.

    `parent` is a finished run whose networks this one goes on with. `sounds`, where given, are all it may learn from of
    the data's sounds. Under torchrun each process takes its share of every batch.

    Raises ConfigError where `out` holds another run or the parent does not fit, CheckpointError for an unfinished
    parent, DataError, and LeakageError where an ancestor learnt from what this run validates on.
    """
    config = config.changed(stage=config.stage.changed(data=training_data.resolve(config.stage.data, data)))
    kind, num_steps = config.stage.kind, config.stage.num_steps
    lineage = (*(() if parent is None else finished_parent(parent).lineage), Origin(config))
    check_lineage(lineage)
    stored, own = stored_config(config, out, parent), checkpoint.newest(out)
    if own is not None:
        check_same(out / "config.json", stored, "a run with another configuration")
        if checkpoint.read(own).finished:
            return out
    fabric = launch(config)
    loaded = load_data(lineage, data, sounds)
    if distributed.is_first() and own is None:
        write_whole(out / "config.json", json.dumps(stored, indent=2) + "\n")
    described = describe(lineage, loaded, parent)
    networks = AVGAN([origin.config for origin in described.lineage], len(described.labels), config.loop.seed)
    state = restore(networks, config, own, parent)
    networks.to(fabric.device)
    if config.loop.channels_last:
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = 0 if own is None else checkpoint.read(own).step
    say(f"{kind}: {loaded.describe()}")
    if step:
        say(f"going on at step {step} of {num_steps}")
    stage = STAGE_TYPES[kind](config, networks, loaded, fabric)
    stage.beside_vqvae = beside_vqvae(parent)
    if state is not None:
        stage.load_state_dict(state)
    train_stage(stage, described, step, out)
    return out


def train_stage(stage: Stage[Any], described: Checkpoint, start: int, out: Path) -> None:
    """The steps from `start` to the end, with checkpoints and a log in `out`."""
    log = RunLog(out, step=start) if distributed.is_first() else None

    def save(step: int, **end: Any) -> None:
        """By the first process; the others wait until it is whole. A run at its end has no more state."""
        if distributed.is_first():
            state = {} if end else stage.state_dict()
            checkpoint.save(out / "checkpoint", replace(described, step=step, **end), stage.networks, state)
        distributed.barrier()

    try:
        measured = run_stage(stage, start=start, log=log, save=save)
    finally:
        if log:
            log.close()
    save(stage.section.num_steps, finished=True, measured=measured)


def finished_parent(parent: Path) -> Checkpoint:
    """The description of a parent. Raises CheckpointError where there is none or its training is not finished."""
    described = checkpoint.describe(parent)
    if not described.finished:
        raise CheckpointError(
            f"{parent}: its training is unfinished, so nothing can begin from it; go on with the command that began it"
        )
    return described


def ancestors(run: Path) -> list[Path]:
    """The folders of a run's ancestors, the first of them first. Raises CheckpointError where one is gone."""
    folder = checkpoint.folder_of(run)
    parent = json.loads((folder / "config.json").read_text()).get("parent")
    if parent is None:
        return []
    path = (folder / parent["path"]).resolve()
    if checkpoint.newest(path) is None:
        raise CheckpointError(f"{run}: its parent {path} is gone; put it back, or train the recipe anew")
    return [*ancestors(path), path]


def beside_vqvae(parent: Path | None) -> Path | None:
    """Folder beside the VQ-VAE that a child of `parent` goes on with; None where there is none, or it is gone."""
    if parent is None:
        return None
    try:
        line = [*ancestors(parent), checkpoint.folder_of(parent)]
    except CheckpointError:
        return None
    found = [run for run in line if isinstance(checkpoint.describe(run).config.stage, VQVAESection)]
    return found[-1] / "encoded" if found else None


def check_lineage(lineage: tuple[Origin, ...]) -> None:
    """Raise ConfigError where a stage lacks the one before it, or does not fit the networks that it goes on with."""
    stages: dict[str, StageSection] = {}
    for origin in lineage:
        stage = origin.config.stage
        needed = PARENTS[stage.kind]
        if needed and needed not in stages:
            raise ConfigError(
                f"{stage.kind} goes on from a run of {needed}: name one with --parent, or train the whole recipe"
            )
        if "sampler" in stages and stage.kind != "sampler":
            raise ConfigError(
                f"{stage.kind} would move what the sampler was taught with: name the sampler's own parent with --parent"
            )
        if stage.kind in stages and stage.kind != "classifier":
            before, now = (
                {name: value for name, value in each.model_dump(mode="json").items() if name in NETWORKS}
                for each in (stages[stage.kind], stage)
            )
            if differing := first_difference(before, now):
                raise ConfigError(
                    f"{stage.kind} goes on with its parent's networks, which are others ({differing}): give them the "
                    "same sizes"
                )
        stages[stage.kind] = stage
    imagination = stages.get("imagination")
    newest = lineage[-1].config.stage
    if isinstance(imagination, ImaginationSection) and newest.kind != "vqvae":
        check_window(newest, imagination.trunk)


def check_window(stage: StageSection, trunk: TrunkConfig) -> None:
    """Raise ConfigError where the trunk would get too few time steps out of so short a sound."""
    front_end = trunk.front_end
    num_samples = round(stage.data.window_s * front_end.sample_rate_hz)
    try:
        num_time_steps = LogMel(front_end)(torch.zeros(1, num_samples)).shape[-1]
    except (ValueError, RuntimeError):  # torch's own complaint about a short signal runs over pages
        num_time_steps = 0
    if num_time_steps < trunk.min_time_steps:
        raise ConfigError(f"data.window_s: {stage.data.window_s:g} s are too short for this front end; set it higher")


def load_data(lineage: tuple[Origin, ...], data: Path, sounds: Manifest | None) -> TrainingData:
    """The data of the newest run.

    Raises LeakageError where an ancestor learnt from what this run validates on, and DataError as `check_scenes`.
    """
    config = lineage[-1].config
    trunks = [origin.config.stage.trunk for origin in lineage if isinstance(origin.config.stage, ImaginationSection)]
    rate_hz = trunks[-1].front_end.sample_rate_hz if trunks else 16_000
    loaded = training_data.load(config.stage, data, sample_rate_hz=rate_hz, seed=config.loop.seed, sounds=sounds)
    for origin in lineage[:-1]:
        if shared := set(origin.sources) & set(loaded.validation_sources):
            raise LeakageError(
                f"{origin.config.stage.kind} learnt from {min(shared)!r} ({len(shared)} such sources), which "
                f"{config.stage.kind} validates on; give both the same data.validation_fraction and loop.seed"
            )
    check_scenes(config.stage, loaded)
    say_once(loaded.left_out)
    return loaded


def check_scenes(stage: StageSection, loaded: TrainingData) -> None:
    """Raise DataError where stage 1 is to learn scenes, and the pictures name none."""
    if isinstance(stage, VQVAESection) and stage.perceptual_weight:
        named_scenes(loaded)


def describe(lineage: tuple[Origin, ...], loaded: TrainingData, parent: Path | None) -> Checkpoint:
    """What is known of a run before its first step."""
    provenance = {"avgan": __version__, **loaded.provenance}
    named: TrainingData | Checkpoint = loaded
    if parent is not None:
        provenance["parent"] = weights_sha256(parent)
        if not isinstance(lineage[-1].config.stage, ClassifierSection):  # which has the labels of its own data
            named = checkpoint.describe(parent)
    origin = replace(
        lineage[-1], provenance=provenance, sources=loaded.sources, validation_sources=loaded.validation_sources
    )
    return Checkpoint((*lineage[:-1], origin), named.labels, named.scene_of_label)


def restore(networks: AVGAN, config: RunConfig, own: Path | None, parent: Path | None) -> dict[str, Any] | None:
    """Give networks their weights: this run's, else the parent's. Returns the loop's state where there is one."""
    if own is not None:
        checkpoint.load_weights(own, networks)
        return checkpoint.load_state(own)
    if parent is not None:
        # a classifier has the labels of its own data and always starts anew
        new = "classifier" if isinstance(config.stage, ClassifierSection) else ""
        checkpoint.load_weights(checkpoint.locate(parent), networks, new=new)
    return None


def launch(config: RunConfig) -> Fabric:
    """Fabric for this process: one device, or the place torchrun gives it in a group."""
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    # it announces precision and devices, which config.json and the user know
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator="auto",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=num_processes // int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        strategy="ddp" if num_processes > 1 else "auto",
        precision=precision(config),
    )
    fabric.launch()
    # decayed averages and moments fade into denormal numbers, which CPUs compute 100 times slower:
    # without this a step of stage 2 took twice as long after the first hundred
    torch.set_flush_denormal(True)
    return fabric


def precision(config: RunConfig) -> Literal["32-true", "bf16-mixed"]:
    """The precision that a run is computed in on this machine."""
    asked = config.stage.precision or config.loop.precision
    if asked != "auto":
        return asked
    return "bf16-mixed" if bf16_is_fast("cuda" if torch.cuda.is_available() else "cpu") else "32-true"


def weights_sha256(run: Path) -> str:
    """Hash of the weights of a run's newest checkpoint."""
    with (checkpoint.locate(run) / "networks.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stored_config(config: RunConfig, out: Path, parent: Path | None) -> dict[str, Any]:
    """What RUN/config.json says: the configuration, and the parent by its path and the hash of its weights."""
    tree = config.model_dump(mode="json")
    if parent is not None:
        where = os.path.relpath(parent.resolve(), out.resolve())
        tree["parent"] = {"path": where, "weights_sha256": weights_sha256(parent)}
    return tree


def check_same(path: Path, ours: Mapping[str, Any], other: str) -> None:
    """Raise ConfigError where what is stored is not ours but that of `other`."""
    try:
        theirs = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); choose another -o") from None
    if "parent" in theirs and "parent" in ours:  # which may have been moved
        theirs["parent"]["path"] = ours["parent"]["path"]
    if differing := first_difference(theirs, ours):
        raise ConfigError(f"{path.parent} holds {other} ({differing}): choose another -o, or the same settings")


def first_difference(theirs: Mapping[str, Any], ours: Mapping[str, Any], prefix: str = "") -> str:
    """Such as "imagination.gamma is 1.0 there and 0.0 here", or nothing."""
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        there, here = theirs.get(name), ours.get(name)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            if found := first_difference(there, here, f"{prefix}{name}."):
                return found
        elif there != here:
            return f"{prefix}{name} is {there!r} there and {here!r} here"
    return ""
