"""How much of a run there is time for.

Schedules need to know their length beforehand. So a few steps of each stage are timed before the run, on a small part
of its data and on networks that are thrown away, and all stages are shortened alike.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from avgan.config import RunConfig
from avgan.data.manifest import Manifest
from avgan.data.pairing import Pairing
from avgan.model import build
from avgan.training import data as training_data
from avgan.training.data import Recordings, TrainingData
from avgan.training.loop import seed_step
from avgan.training.run import STAGES, launch
from avgan.training.stage import Context, Stage

NUM_SOUNDS = 64
"""To time with; preparations take as many times longer as there are sounds."""
NUM_STEPS = 3
RESERVE = 0.9
"""Share of the time that is planned with: the rest is for reading, checkpoints and a machine that slows down."""


def shortened(
    config: RunConfig,
    *,
    data: Path,
    sounds: Manifest | None,
    seconds: float,
    finished: tuple[str, ...] = (),
) -> RunConfig:
    """The configuration with as many steps as there is time for, each stage with the same share of its own.

    At least one step a stage, and never more than it has; those of stages that are `finished` elsewhere stay. Measuring
    is part of the time.
    """
    began = time.monotonic()
    section = training_data.resolve(config.data, data)
    loaded = training_data.load(
        section,
        data,
        sample_rate_hz=config.front_end.sample_rate_hz,
        seed=config.loop.seed,
        sounds=sounds,
    )
    fixed_s, stages_s = measure(config, loaded, finished)
    left_s = seconds - (time.monotonic() - began)
    share = max(0.0, RESERVE * left_s - fixed_s) / max(sum(stages_s.values()), 1e-9)
    updates = {}
    for name in stages_s:
        stage = getattr(config, name)
        steps = min(stage.num_steps, max(1, int(share * stage.num_steps)))
        updates[name] = stage.model_copy(update={"num_steps": steps})
    return config.model_copy(update=updates)


def measure(
    config: RunConfig, data: TrainingData, finished: tuple[str, ...]
) -> tuple[float, dict[str, float]]:
    """Seconds that all preparations take, and those of all steps of each stage that is to be trained."""
    fabric = launch(config)
    part, factor = excerpt(data)
    networks = build(config, len(data.labels)).to(fabric.device)
    if config.loop.channels_last:
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    context = Context(config, networks, part, fabric)
    fixed_s, stages_s = 0.0, {}
    for stage_type in STAGES:
        stage = stage_type(context)
        if stage.name in finished or not stage.section.num_steps:
            continue
        began = time.monotonic()
        stage.prepare()
        stage.before_first_step()
        fixed_s += factor * (time.monotonic() - began)
        stages_s[stage.name] = seconds_a_step(stage) * stage.section.num_steps
        stage.finish()
    return fixed_s, stages_s


def seconds_a_step(stage: Stage) -> float:
    """The mean of a few steps after a first one, in which libraries choose their ways."""
    began = 0.0
    for step in range(NUM_STEPS + 1):
        if step == 1:
            began = time.monotonic()
        seed_step(stage, step)
        with stage.context.fabric.autocast():
            metrics = stage.step(step)
        [value.item() for value in metrics.values()]  # waits for an accelerator
    return (time.monotonic() - began) / NUM_STEPS


def excerpt(data: TrainingData) -> tuple[TrainingData, float]:
    """A part of the sounds and pictures, spread over the labels, and how many times larger the whole is."""
    factor = max(1.0, len(data.train) / NUM_SOUNDS)
    heard = spread(len(data.train), factor)
    seen = set(spread(len(data.images), factor).tolist())
    choices = []
    for sound in heard:
        all_of_it = data.pairing.image_choices[sound]
        few = [image for image in all_of_it.tolist() if image in seen]
        choices.append(few or all_of_it[:1].tolist())
    images = sorted({image for few in choices for image in few})
    row = {image: index for index, image in enumerate(images)}
    pairing = Pairing(
        data.pairing.kind,
        tuple(data.pairing.sounds[sound] for sound in heard),
        tuple(data.pairing.images[image] for image in images),
        tuple(np.array([row[image] for image in few]) for few in choices),
    )
    train = Recordings(pairing.sounds, data.train.waveforms.part(heard), data.train.targets[heard])
    small = replace(data, train=train, pairing=pairing, images=data.images.part(images))
    return small, factor


def spread(num_items: int, factor: float) -> np.ndarray:
    """Numbers of one item in `factor`, at even distances."""
    return np.unique((np.arange(int(np.ceil(num_items / factor))) * factor).astype(int))
