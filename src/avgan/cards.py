"""The card of a bundle: what a user must know of a trained run."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from avgan import __version__
from avgan.checkpoint import Checkpoint
from avgan.data.datasets import declaration
from avgan.data.datasets.miniplaces import MINIPLACES, PHOTOGRAPHS
from avgan.networks.trunks import TrunkConfig
from avgan.networks.trunks.mn04 import tag_names
from avgan.scenes import groups_of
from avgan.training.recipe import recipe_of

TAG_THRESHOLD = 0.2
"""From which probability on a sound is reported. Of 400 clips of ESC-50 65 % then get their own sound and 11 % none,
and 61 % of the words are right; with 0.1 it is 74, 3 and 52 %, with 0.3 60, 21 and 71 % (`benchmarks/tags.py`)."""


def make_card(
    described: Checkpoint, name: str, fixed_length: bool, parity: dict[str, float], measured: dict
) -> dict[str, Any]:
    """What a reader must know of a bundle: labels, input, what was measured, data, licences."""
    data = list(data_cards(described))
    trunk = described.imagination.trunk
    return {
        "format": 2,
        "name": name,
        "version": __version__,
        "description": describe(described, data),
        "labels": list(described.labels),
        "label_kind": "sound" if described.scene_of_label else "scene",
        "scene_of_label": None,  # one place for a sound, wherever it is heard, is no answer
        "group_of_scene": None if described.scene_of_label else groups_of(described.labels),
        "sample_rate_hz": described.front_end.sample_rate_hz,
        "window_s": described.window_s,
        "fixed_length": fixed_length,
        "steps": describe_steps(trunk, described.window_s),
        "short_clip_fill": "repeat",
        "measured": measured,
        "parity": parity,
        "data": data,
        "licences": {
            "code": "Apache-2.0",
            "weights": f"bound by the terms of what they were trained on: {short_names(data)}",
        },
        "trained": {
            "front_end": described.front_end.model_dump(mode="json"),
            "recipe": recipe_of(described).model_dump(mode="json"),
            "provenance": {origin.config.stage.kind: origin.provenance for origin in described.lineage},
        },
    }


def describe_outputs(*, tags: bool, noise_size: int | None) -> dict[str, Any]:
    """The fields of a card for a graph that names sounds as well, or decodes with noise."""
    card: dict[str, Any] = {}
    if tags:
        card["tags"] = {"names": list(tag_names()), "thresholds": [TAG_THRESHOLD]}
    if noise_size is not None:
        # readers of format 2 would give the graph a waveform alone
        card |= {"format": 3, "noise_size": noise_size}
    return card


def describe_steps(trunk: TrunkConfig, window_s: float) -> dict[str, int] | None:
    """How windows can share what is computed (`runtime.bundle.Steps`): as many steps at once as fill a window."""
    if trunk.step_frames is None:
        return None
    front_end = trunk.front_end
    step = trunk.step_frames * front_end.hop_length
    return {"num_samples": step, "num": math.ceil(window_s * front_end.sample_rate_hz / step)}


def describe(described: Checkpoint, data: list[dict[str, str]]) -> str:
    """One sentence: what a bundle names and what it learnt from."""
    kind = "sounds" if described.scene_of_label else "scenes"
    names = f"{len(described.labels)} {kind}"
    preset = described.config.preset
    return f"Names {names} and draws them; learnt from {short_names(data)} (preset {preset})"


def short_names(data: list[dict[str, str]]) -> str:
    """The names of the sources without what they are: "ESC-50, MiniPlaces"."""
    return ", ".join(source["name"].split(",")[0] for source in data)


def data_cards(described: Checkpoint) -> Iterator[dict[str, str]]:
    """Name, licence and address of all that a run and its ancestors learnt from, the trunk's own training too."""
    stages = [origin.config.stage for origin in reversed(described.lineage)]
    names = [
        name
        for stage in stages
        for name, used in ((stage.data.sounds, stage.kind != "vqvae"), (stage.data.images, stage.kind != "classifier"))
        if used
    ]
    network = described.vqvae.network
    if network.kind == "residual" and network.pretrained:
        names.append(PHOTOGRAPHS.name)  # what the weights were taught that come with the package
    if PHOTOGRAPHS.name in names:  # which MiniPlaces is part of
        names = [name for name in names if name != MINIPLACES.name]
    for name in dict.fromkeys(names):
        declared = declaration(name)
        yield {"name": declared.title, "licence": declared.licence, "address": declared.address}
    pretrained = described.imagination.trunk.pretrained
    if pretrained is not None:
        yield asdict(pretrained)
