"""A run from data to trained networks: the three stages in turn, resumed where they were left.

RUN/config.json  metrics.jsonl  tensorboard/  samples/*.png  checkpoint/<stage>-<step>/
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from avgan import __version__, checkpoint
from avgan.checkpoint import Checkpoint, Position
from avgan.config import RunConfig, from_tree
from avgan.data.datasets import find_file
from avgan.data.manifest import Manifest
from avgan.errors import CheckpointError, ConfigError
from avgan.features import LogMel
from avgan.files import write_whole
from avgan.model import AVGAN, build
from avgan.networks.trunks.yamnet import PATCH, YAMNet
from avgan.training import data as training_data
from avgan.training import distributed
from avgan.training.classifier import ClassifierStage
from avgan.training.imagination import ImaginationStage
from avgan.training.log import RunLog, tell
from avgan.training.loop import run_stage
from avgan.training.stage import Context, Stage
from avgan.training.vqvae import VQVAEStage

STAGES: tuple[type[Stage], ...] = (VQVAEStage, ImaginationStage, ClassifierStage)
NAMES = tuple(stage.name for stage in STAGES)


def train(
    config: RunConfig,
    *,
    data: Path,
    out: Path,
    start_from: Path | None = None,
    vqvae_from: Path | None = None,
    sounds: Manifest | None = None,
) -> Path:
    """Train a run, or go on with the one in `out`. Returns `out`.

    `start_from` is another run whose finished stages and weights are taken over where their sizes agree, so that many
    runs can share one VQ-VAE; of `vqvae_from` nothing but the VQ-VAE is, which heard no sound. `sounds`, where given,
    are all it may hear of the data. Under torchrun each process takes its share of every batch.
    """
    section = training_data.resolve(config.data, data)
    config = config.model_copy(update={"data": section})
    fabric = launch(config)
    loaded = training_data.load(
        config.data,
        data,
        sample_rate_hz=config.front_end.sample_rate_hz,
        seed=config.loop.seed,
        sounds=sounds,
    )
    check_window(config)
    check_pairing(config, loaded)
    write_config(config, out)
    networks = build(config, len(loaded.labels))
    position, state = restore(
        networks,
        config,
        out=out,
        start_from=start_from,
        vqvae_from=vqvae_from,
        data=data,
        sources=loaded.sources,
    )
    if distributed.is_first():
        tell(loaded.describe())
        tell(describe_position(position, config))
    if position.finished == NAMES:
        return out
    networks.to(fabric.device)
    if config.loop.channels_last:
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    context = Context(config, networks, loaded, fabric)
    log = open_log(out, position) if distributed.is_first() else None
    try:
        run_stages(context, position, state, log, out)
    finally:
        if log:
            log.close()
    return out


def describe_position(position: Position, config: RunConfig) -> str:
    """Where a run goes on, for who starts it."""
    if position.finished == NAMES:
        return "all stages are finished already"
    if position == Position(NAMES[0], 0):
        return f"starting with {NAMES[0]}; stages: {', '.join(NAMES)}"
    stages = [name for name in NAMES if name not in position.finished]
    step = position.step if position.stage == stages[0] else 0
    return f"going on with {stages[0]} at step {step} of {getattr(config, stages[0]).num_steps}"


def check_window(config: RunConfig) -> None:
    """Raise ConfigError where the trunk would get too few time steps out of so short a sound."""
    num_samples = round(config.data.window_s * config.front_end.sample_rate_hz)
    try:
        num_time_steps = LogMel(config.front_end)(torch.zeros(1, num_samples)).shape[-1]
    except (ValueError, RuntimeError):  # torch's own complaint about a short signal runs over pages
        num_time_steps = 0
    if num_time_steps < (PATCH if config.networks.trunk.kind == "yamnet" else 1):
        raise ConfigError(
            f"data.window_s: {config.data.window_s:g} s are too short for this front end; set it higher"
        )


def check_pairing(config: RunConfig, loaded: training_data.TrainingData) -> None:
    """Raise ConfigError for settings that choose among pictures where each sound has its own."""
    chooses = config.imagination.typical < 1 or config.imagination.num_looks
    if chooses and loaded.pairing.kind == "synchronous":
        raise ConfigError(
            "each sound of these videos has a picture of its own, there is nothing to choose from: "
            "set imagination.typical=1 and imagination.num_looks=0"
        )


def open_log(out: Path, position: Position) -> RunLog:
    """The log of a run that stands at a position."""
    return RunLog(out, stage=position.stage, step=position.step, finished=position.finished)


def run_stages(
    context: Context, position: Position, state: dict | None, log: RunLog | None, out: Path
) -> None:
    """The stages that are not finished yet, each from where it stands."""
    finished = position.finished
    for stage_type in STAGES:
        if stage_type.name in finished:
            continue
        stage = stage_type(context)
        start = position.step if position.stage == stage.name else 0
        if start and state:
            stage.load_state_dict(state)

        def save(step: int, stage: Stage = stage, finished: tuple[str, ...] = finished) -> None:
            write(context, out, Position(stage.name, step, finished), stage.state_dict())

        run_stage(stage, start=start, log=log, save=save)
        finished = (*finished, stage.name)
        write(context, out, Position(stage.name, stage.section.num_steps, finished), {})


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
        precision=config.loop.precision,
    )
    fabric.launch()
    # decayed averages and moments fade into denormal numbers, which CPUs compute 100 times slower:
    # without this a step of stage 2 took twice as long after the first hundred
    torch.set_flush_denormal(True)
    return fabric


def write(context: Context, out: Path, position: Position, state: dict) -> None:
    """A checkpoint by the first process; the others wait until it is whole."""
    if distributed.is_first():
        description = Checkpoint(
            config=context.config,
            labels=context.data.labels,
            scene_of_label=context.data.scene_of_label,
            position=position,
            provenance={"avgan": __version__, **context.data.provenance},
            sources=context.data.sources,
            kept_aside=context.data.kept_aside,
        )
        checkpoint.save(out / "checkpoint", description, context.networks, state)
    distributed.barrier()


def write_config(config: RunConfig, out: Path) -> None:
    """RUN/config.json, or the check that the run to go on with has the same one.

    A run that never came to a checkpoint is none yet: a first start that failed leaves the folder free.
    """
    path = out / "config.json"
    ours = config.model_dump(mode="json")
    if path.exists() and checkpoint.newest(out) is not None:
        try:
            theirs = from_tree(json.loads(path.read_text())).model_dump(mode="json")
        except ValueError as error:
            raise ConfigError(f"{path}: not JSON ({error}); choose another -o") from None
        if differing := first_difference(theirs, ours):
            raise ConfigError(
                f"{out} holds a run with another configuration ({differing}): choose another -o, or the same settings"
            )
    elif distributed.is_first():
        write_whole(path, json.dumps(ours, indent=2) + "\n")
    distributed.barrier()


def first_difference(theirs: Mapping[str, Any], ours: Mapping[str, Any], prefix: str = "") -> str:
    """Such as "imagination.gamma is 1.0 there and 0.0 here", or nothing. Both configurations have the same fields."""
    for name, value in ours.items():
        if isinstance(value, Mapping):
            if found := first_difference(theirs[name], value, f"{prefix}{name}."):
                return found
        elif theirs[name] != value:
            return f"{prefix}{name} is {theirs[name]!r} there and {value!r} here"
    return ""


def restore(
    networks: AVGAN,
    config: RunConfig,
    *,
    out: Path,
    start_from: Path | None,
    vqvae_from: Path | None = None,
    data: Path,
    sources: tuple[str, ...],
) -> tuple[Position, dict | None]:
    """Weights and position: of this run, else of `start_from`, else fresh ones. `sources` are what it may hear."""
    own = checkpoint.newest(out)
    if own is not None:
        checkpoint.load_weights(own, networks)
        return checkpoint.read(own).position, checkpoint.load_state(own)
    if isinstance(networks.generator.trunk, YAMNet):
        networks.generator.trunk.load_pretrained(find_file(data, "yamnet"))
    if start_from is not None:
        return take_over(networks, config, start_from, sources=sources), None
    if vqvae_from is not None:
        take_over_vqvae(networks, config, vqvae_from)
        return Position(NAMES[1], 0, NAMES[:1]), None
    return Position(NAMES[0], 0), None


def take_over(
    networks: AVGAN, config: RunConfig, source: Path, *, sources: tuple[str, ...]
) -> Position:
    """Take over the stages of another run that this one would train alike: the VQ-VAE at least.

    The VQ-VAE counts as alike when it has the same sizes, whatever it was trained with; imagination when everything it
    depends on is the same, it heard nothing that this run may not (`sources`), and no joint stage has changed the
    generator since. Where imagination is to be trained anew, a trunk that a joint stage taught on the same recordings
    is taken over: what it learnt to hear is worth keeping.

    Raises CheckpointError when not even the VQ-VAE fits.
    """
    theirs, other = take_over_vqvae(networks, config, source)
    finished = other.position.finished
    ours, same = config, other.config
    alike = (
        "imagination" in finished
        and heard_alike(config, other, sources)
        and ours.front_end == same.front_end
        and ours.networks.trunk == same.networks.trunk
        and ours.networks.generator == same.networks.generator
        and ours.networks.critic == same.networks.critic
        and ours.imagination == same.imagination
        and (same.classifier.mode == "frozen" or "classifier" not in finished)
        and (same.classifier.mode == "frozen" or other.position.stage != "classifier")
    )
    if not alike:
        if taught_alike(config, other, sources):
            networks.generator.trunk.load_state_dict(theirs.generator.trunk.state_dict())
        return Position(NAMES[1], 0, NAMES[:1])
    networks.generator.load_state_dict(theirs.generator.state_dict())
    networks.critic.load_state_dict(theirs.critic.state_dict())
    return Position(NAMES[2], 0, NAMES[:2])


def take_over_vqvae(networks: AVGAN, config: RunConfig, source: Path) -> tuple[AVGAN, Checkpoint]:
    """Take over the VQ-VAE of another run, whose networks and description are returned.

    Raises CheckpointError where it does not fit.
    """
    theirs, other = checkpoint.load_networks(source)
    fits = other.config.networks.vqvae == config.networks.vqvae
    if "vqvae" not in other.position.finished or not fits:
        raise CheckpointError(
            f"{source}: its VQ-VAE is unfinished or of another size; start from another run or from none"
        )
    networks.vqvae.load_state_dict(theirs.vqvae.state_dict())
    return theirs, other


def heard_alike(config: RunConfig, other: Checkpoint, sources: tuple[str, ...]) -> bool:
    """Whether another run drew on the same data, and on no recording this one keeps away.

    The same settings do not suffice: another seed keeps other recordings aside, another folder holds other ones.
    """
    return other.config.data == config.data and set(other.sources) <= set(sources)


def taught_alike(config: RunConfig, other: Checkpoint, sources: tuple[str, ...]) -> bool:
    """Whether another run's trunk was fine-tuned on the very recordings this run may hear, and is of the same kind."""
    return (
        "classifier" in other.position.finished
        and other.config.classifier.mode == "joint"
        and heard_alike(config, other, sources)
        and other.config.front_end == config.front_end
        and other.config.networks.trunk == config.networks.trunk
    )
