"""How many steps of a recipe fit into a budget of time.

Schedules need to know their length beforehand. So a few steps of each stage are timed before the run, on a small part
of its data and on networks that are thrown away, and all stages are shortened alike.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avgan.config import Recipe
from avgan.data.manifest import Manifest
from avgan.data.pairing import Pairing
from avgan.model import AVGAN
from avgan.training import data as training_data
from avgan.training.data import Recordings, TrainingData
from avgan.training.loop import do_step
from avgan.training.recipe import resolve
from avgan.training.run import STAGE_TYPES, launch
from avgan.training.stage import Stage

NUM_ITEMS = 64
"""Sounds or pictures to time with; preparations take as many times longer as there are more of them."""
NUM_STEPS = 3
RESERVE = 0.9
"""Share of the time that is planned with: the rest is for reading, checkpoints and a machine that slows down."""


def shortened(recipe: Recipe, *, data: Path, sounds: Manifest | None, seconds: float) -> Recipe:
    """The recipe with as many steps as there is time for, each stage with the same share of its own.

    At least one step a stage that has any, and never more than it has. Measuring is part of the time.
    """
    began = time.monotonic()
    recipe = resolve(recipe, dict.fromkeys(recipe.kinds, data))
    kinds = tuple(kind for kind in recipe.kinds if getattr(recipe, kind).num_steps)
    fixed_s, stages_s = measure(recipe, kinds, data=data, sounds=sounds)
    left_s = seconds - (time.monotonic() - began)
    share = max(0.0, RESERVE * left_s - fixed_s) / max(sum(stages_s.values()), 1e-9)
    for kind in stages_s:
        stage = getattr(recipe, kind)
        num_steps = min(stage.num_steps, max(1, int(share * stage.num_steps)))
        recipe = recipe.changed(**{kind: stage.changed(num_steps=num_steps)})
    return recipe


def measure(
    recipe: Recipe, kinds: tuple[str, ...], *, data: Path, sounds: Manifest | None
) -> tuple[float, dict[str, float]]:
    """Seconds that all preparations take, and those of all steps of each of these stages."""
    rate_hz, seed = recipe.imagination.trunk.front_end.sample_rate_hz, recipe.loop.seed
    loaded = {
        kind: training_data.load(getattr(recipe, kind), data, sample_rate_hz=rate_hz, seed=seed, sounds=sounds)
        for kind in kinds
    }
    num_labels = max((len(part.labels) for part in loaded.values()), default=0)
    networks = AVGAN([recipe.run(kind) for kind in recipe.kinds], num_labels)
    if recipe.loop.channels_last:
        networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fixed_s, stages_s = 0.0, {}
    for kind, whole in loaded.items():
        part, factor = excerpt(whole)
        fabric = launch(recipe.run(kind))
        networks.to(fabric.device)
        stage = STAGE_TYPES[kind](recipe.run(kind), networks, part, fabric)
        began = time.monotonic()
        stage.prepare()
        stage.before_first_step()
        fixed_s += factor * (time.monotonic() - began)
        num_rounds = recipe.rounds.num if kind in ("vqvae", "imagination") else 1
        stages_s[kind] = seconds_a_step(stage) * stage.section.num_steps * num_rounds
        stage.finish()
    return fixed_s, stages_s


def seconds_a_step(stage: Stage[Any]) -> float:
    """The mean of a few steps after a first one, in which libraries choose their ways."""
    began = 0.0
    for step in range(NUM_STEPS + 1):
        if step == 1:
            began = time.monotonic()
        [value.item() for value in do_step(stage, step).values()]  # waits for an accelerator
    return (time.monotonic() - began) / NUM_STEPS


def excerpt(data: TrainingData) -> tuple[TrainingData, float]:
    """A part of the sounds and pictures, spread over the labels, and how many times larger the whole is."""
    factor = max(1.0, max(len(data.train), len(data.images)) / NUM_ITEMS)
    sounds, images, pairing = spread(len(data.train), factor), spread(len(data.images), factor), data.pairing
    if pairing.sounds:
        choices = []
        for all_of_it in (pairing.image_choices[sound] for sound in sounds):
            few = np.intersect1d(all_of_it, images)
            choices.append(few if len(few) else all_of_it[:1])
        images = np.unique(np.concatenate(choices))
        pairing = Pairing(
            pairing.kind,
            tuple(pairing.sounds[sound] for sound in sounds),
            tuple(pairing.images[image] for image in images),
            tuple(np.searchsorted(images, few) for few in choices),
        )
    clips = tuple(data.train.clips[sound] for sound in sounds)
    part = replace(
        data,
        train=Recordings(clips, data.train.waveforms.part(sounds), data.train.targets[sounds]),
        pairing=pairing,
        images=data.images.part(images),
        image_scenes=tuple(data.image_scenes[image] for image in images),
    )
    return part, factor


def spread(num_items: int, factor: float) -> np.ndarray:
    """Numbers of one item in `factor`, at even distances."""
    return np.unique((np.arange(int(np.ceil(num_items / factor))) * factor).astype(int))
