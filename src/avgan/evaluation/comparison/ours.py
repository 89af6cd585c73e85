"""AVGAN itself among the methods that are compared: its presets, trained on a fold's training side alone.

    OUT/runs/<method>/fold-<name>/    the recipe of each fold, as `avgan train` writes them
    OUT/runs/vqvae-<hash>/            a VQ-VAE of photographs, which learns from no sound: all fits begin from it

With a budget each fit trains its own VQ-VAE, unless it is given a parent, and all stages are shortened alike.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from avgan import checkpoint
from avgan.ablations import ABLATIONS
from avgan.baselines.rival import Card, Cost
from avgan.config import DataSection, Recipe, parse
from avgan.evaluation.comparison.clips import Sounds
from avgan.evaluation.comparison.folds import Fold, Protocol
from avgan.evaluation.protocols import BATCH, config_sha256, score
from avgan.model import AVGAN
from avgan.presets import preset
from avgan.training.pace import shortened
from avgan.training.recipe import train
from avgan.training.run import train_run

SOURCE = "Liu, Neophytou, Sengupta, Sommerlade: Acoustic Scene Classification with Imagined Images"
TIMED_CLIPS = 64

PRESETS = {
    "avgan-transfer": "transfer",
    "avgan-compact": "compact",
    "avgan-paper": "paper_esc50",
}
ABLATED = {f"{ablation.base}-{name}": ablation for name, ablation in ABLATIONS.items()}
"""With one thing taken away or changed."""
CARDS = {
    "avgan-transfer": Card(
        name="avgan-transfer",
        title="AVGAN, preset transfer",
        source=SOURCE,
        pretrained_on="AudioSet (EfficientAT mn04)",
        follows=(
            "VQ-VAE, generator, critic, classifier and both losses; the label is read from imagined features",
        ),
        differs=(
            "mn04 embeds in place of the paper's trunk; its head and the classifier learn together at the end",
            "pictures are MiniPlaces by label, or the user's own; the paper's AV-10 was never released",
        ),
    ),
    "avgan-paper": Card(
        name="avgan-paper",
        title="AVGAN, the paper's own configuration",
        source=SOURCE,
        published=83.7,
        follows=(
            "sizes, losses and schedule; the generator is frozen when the classifier learns (docs/paper.md)",
        ),
        differs=(
            "pictures are MiniPlaces by label, or the user's own; the paper's AV-10 was never released",
            "thousands of steps where the paper has 9,000 epochs on four cards",
        ),
    ),
    "avgan-compact": Card(
        name="avgan-compact",
        title="AVGAN, preset compact",
        source=SOURCE,
        follows=(
            "VQ-VAE, generator, critic, classifier and both losses; the label is read from imagined features",
            "nothing is pretrained on other sounds",
        ),
        differs=(
            "smaller networks and far fewer steps; generator and classifier are trained jointly at the end",
            "pictures are MiniPlaces by label, or the user's own; the paper's AV-10 was never released",
        ),
    ),
}


@dataclass(frozen=True)
class Fitted:
    """A trained run's answers and what they took."""

    probabilities: list[list[float]]
    fitting_s: float | None
    """None where the run was begun earlier."""
    answering_s: float
    num_epochs: int
    num_epochs_wanted: int
    """Of the last stage."""
    cost: Cost


def is_ours(name: str) -> bool:
    """Whether a method is AVGAN, whole or with something taken away."""
    return name in PRESETS or name in ABLATED


def card_of(name: str) -> Card:
    """What is to be said of one of ours."""
    if name in CARDS:
        return CARDS[name]
    ablation = ABLATED[name]
    settings = ", ".join(f"{field}={value}" for field, value in ablation.settings.items())
    whole = CARDS[f"avgan-{ablation.base}"]
    return replace(
        whole,
        name=name,
        title=f"{whole.title}, {name.removeprefix(ablation.base + '-')}",
        published=None,
        differs=(f"{settings}: {ablation.asks}", *whole.differs),
    )


def recipe_of_method(name: str, protocol: Protocol, seed: int) -> Recipe:
    """The recipe on the sounds and pictures of a protocol, with nothing kept aside: the schedule is settled."""
    recipe = ABLATED[name].recipe() if name in ABLATED else preset(PRESETS[name])
    loop = recipe.loop.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"loop": loop}).with_data(
        sounds=protocol.folds[0].train.name,
        images=protocol.images,
        window_s=protocol.window_s,
        held_out_folds=(),
        validation_fraction=0.0,
    )


def fit_and_answer(
    name: str,
    fold: Fold,
    protocol: Protocol,
    recipe: Recipe,
    *,
    sounds: Sounds,
    data: Path,
    out: Path,
    budget_s: float | None,
    parent: Path | None,
    say: Callable[[str], None],
) -> Fitted:
    """Train on one side of a fold, or go on with the recipe in `out`, and answer the other.

    `parent` is a run of pictures that those fits begin from that have a VQ-VAE of its size.

    Raises LeakageError when a source of the test was trained on.
    """
    began = time.monotonic()
    run = out / "runs" / name / f"fold-{fold.name}"
    heard = replace(
        fold.train, clips=tuple(replace(clip, split="train") for clip in fold.train.clips)
    )
    wanted = recipe.classifier.num_steps
    resumed = checkpoint.newest(run) is not None
    if parent is not None and checkpoint.describe(parent).vqvae.network != recipe.vqvae.network:
        parent = None
    if resumed and budget_s is not None:
        recipe = parse(Recipe, json.loads((run / checkpoint.RECIPE).read_text()))
    elif budget_s is not None:
        finished = () if parent is None else ("vqvae",)
        recipe = shortened(recipe, data=data, sounds=heard, seconds=budget_s, finished=finished)
        say(f"shortened to {recipe.classifier.num_steps} of {wanted} steps of the last stage")
    elif parent is None and protocol.images != heard.name:
        parent = of_photographs(recipe, data=data, out=out)
    train(recipe, data=data, out=run, parent=parent, sounds=heard)
    fitting_s = None if resumed else time.monotonic() - began
    networks, trained = checkpoint.load_finished(run)
    scored = score(networks, trained, fold.test, name=fold.name)
    measured, answering_s = measure(networks, recipe, fold, sounds)
    return Fitted(
        in_order(scored.probabilities, trained.labels, protocol.labels),
        fitting_s,
        answering_s,
        epochs(recipe, recipe.classifier.num_steps, fold),
        epochs(recipe, wanted, fold),
        measured,
    )


def of_photographs(recipe: Recipe, *, data: Path, out: Path) -> Path:
    """The run of pictures of a recipe, trained once for all methods and folds that have the same."""
    # photographs are the same whatever is said of the sounds
    data_section = DataSection(images=recipe.vqvae.data.images)
    config = recipe.run("vqvae")
    config = config.model_copy(
        update={"stage": config.stage.model_copy(update={"data": data_section})}
    )
    digest = config_sha256(config.model_copy(update={"preset": ""}))[:12]
    return train_run(config, data=data, out=out / "runs" / f"vqvae-{digest}")


def measure(networks: AVGAN, recipe: Recipe, fold: Fold, sounds: Sounds) -> tuple[Cost, float]:
    """What one answer costs, and in how many seconds all of the test side is answered, from some of its clips."""
    clip_ids = tuple(clip.id for clip in fold.test.clips)
    rows = sounds.rows(clip_ids[:TIMED_CLIPS])
    waveforms = torch.from_numpy(
        sounds.read(recipe.imagination.trunk.front_end.sample_rate_hz, rows)
    )
    seconds = seconds_of_answering(networks, waveforms) * len(clip_ids) / len(rows)
    return cost(networks, waveforms[:1]), seconds


def epochs(recipe: Recipe, num_steps: int, fold: Fold) -> int:
    """How often the last stage goes over a fold's recordings in so many steps."""
    num_clips = sum(bool(clip.audio_path) for clip in fold.train.clips)
    return round(num_steps * recipe.classifier.batch_size / num_clips)


def in_order(
    probabilities: list[list[float]], theirs: tuple[str, ...], ours: tuple[str, ...]
) -> list[list[float]]:
    """Probabilities (M, N) of their labels as those of ours; a label that only we have has none."""
    found = np.zeros((len(probabilities), len(ours)))
    found[:, [ours.index(label) for label in theirs]] = probabilities
    rows: list[list[float]] = found.tolist()
    return rows


@torch.inference_mode()
def seconds_of_answering(networks: AVGAN, waveforms: torch.Tensor) -> float:
    """Wall time from waveforms (M, L) to labels; no picture is drawn."""
    began = time.monotonic()
    for batch in waveforms.split(BATCH):
        networks.classifier(networks.generator(networks.log_mel(batch)))
    return time.monotonic() - began


def cost(networks: AVGAN, waveform: torch.Tensor) -> Cost:
    """Of what it takes to answer one waveform (1, L): generator and classifier."""
    log_mel = networks.log_mel(waveform)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        networks.classifier(networks.generator(log_mel))
    parameters = [*networks.generator.parameters(), *networks.classifier.parameters()]
    return Cost(sum(p.numel() for p in parameters), counter.get_total_flops() // 2)
