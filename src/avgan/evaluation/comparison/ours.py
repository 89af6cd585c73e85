"""AVGAN itself among the methods that are compared: its presets, trained on a fold's training side alone.

    OUT/runs/<method>/fold-<name>/    the run of each fold, as `avgan train` writes them

The VQ-VAE never hears a sound, so fits may share one: a given one, and where pictures have a data set of their own and
nobody looks at the clock, the first that is trained. With a budget what is left to be trained is shortened alike.
"""

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
from avgan.config import RunConfig, preset
from avgan.evaluation.comparison.clips import Sounds
from avgan.evaluation.comparison.folds import Fold, Protocol
from avgan.evaluation.protocols import BATCH, score
from avgan.model import AVGAN
from avgan.training.pace import shortened
from avgan.training.run import train

SOURCE = "Liu, Neophytou, Sengupta, Sommerlade: Acoustic Scene Classification with Imagined Images"
PUBLISHED = 83.7
TIMED_CLIPS = 64

PRESETS = {"avgan-transfer": "transfer", "avgan-compact": "compact"}
ABLATED = {f"{ablation.base}-{name}": ablation for name, ablation in ABLATIONS.items()}
"""With one thing taken away or changed."""
CARDS = {
    "avgan-transfer": Card(
        name="avgan-transfer",
        title="AVGAN, preset transfer",
        source=SOURCE,
        published=PUBLISHED,
        pretrained_on="AudioSet (YAMNet)",
        follows=(
            "VQ-VAE, generator, critic, classifier and both losses; the label is read from imagined features",
        ),
        differs=(
            "YAMNet hears in place of the paper's trunk; generator and classifier are trained jointly at the end",
            "pictures are MiniPlaces by label, or the user's own; the paper's AV-10 was never released",
        ),
    ),
    "avgan-compact": Card(
        name="avgan-compact",
        title="AVGAN, preset compact",
        source=SOURCE,
        published=PUBLISHED,
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


def configuration(name: str, protocol: Protocol, seed: int) -> RunConfig:
    """The preset on the sounds and pictures of a protocol, with nothing kept aside: the schedule is settled."""
    base = ABLATED[name].configuration() if name in ABLATED else preset(PRESETS[name])
    section = base.data.model_copy(
        update={
            "sounds": protocol.folds[0].train.name,
            "images": protocol.images,
            "window_s": protocol.window_s,
            "held_out_folds": (),
            "validation_fraction": 0.0,
        }
    )
    loop = base.loop.model_copy(update={"seed": seed})
    return base.model_copy(update={"data": section, "loop": loop})


def fit_and_answer(
    name: str,
    fold: Fold,
    protocol: Protocol,
    config: RunConfig,
    *,
    sounds: Sounds,
    data: Path,
    out: Path,
    budget_s: float | None,
    vqvae_from: Path | None,
    say: Callable[[str], None],
) -> Fitted:
    """Train on one side of a fold, or go on with the run in `out`, and answer the other.

    `vqvae_from` is a run whose VQ-VAE is taken over where this one's is to be trained alike.

    Raises LeakageError when a source of the test was trained on.
    """
    began = time.monotonic()
    run = out / "runs" / name / f"fold-{fold.name}"
    heard = replace(
        fold.train, clips=tuple(replace(clip, split="train") for clip in fold.train.clips)
    )
    wanted = config.classifier.num_steps
    resumed = checkpoint.newest(run) is not None
    shared = vqvae_from if vqvae_from and trains_vqvae_alike(vqvae_from, config) else None
    if resumed:
        path = checkpoint.newest(run)
        assert path is not None
        config = checkpoint.read(path).config if budget_s is not None else config
    elif budget_s is not None:
        finished = ("vqvae",) if shared else ()
        config = shortened(config, data=data, sounds=heard, seconds=budget_s, finished=finished)
        say(f"shortened to {config.classifier.num_steps} of {wanted} steps of the last stage")
    elif shared is None and protocol.images != heard.name:
        shared = other_run(run, config)
    train(config, data=data, out=run, vqvae_from=shared, sounds=heard)
    fitting_s = None if resumed else time.monotonic() - began
    networks, trained = checkpoint.load_networks(run)
    scored = score(networks, trained, fold.test, name=fold.name)
    measured, answering_s = measure(networks, config, fold, sounds)
    return Fitted(
        in_order(scored.probabilities, trained.labels, protocol.labels),
        fitting_s,
        answering_s,
        epochs(config, config.classifier.num_steps, fold),
        epochs(config, wanted, fold),
        measured,
    )


def measure(networks: AVGAN, config: RunConfig, fold: Fold, sounds: Sounds) -> tuple[Cost, float]:
    """What one answer costs, and in how many seconds all of the test side is answered, from some of its clips."""
    clip_ids = tuple(clip.id for clip in fold.test.clips)
    rows = sounds.rows(clip_ids[:TIMED_CLIPS])
    waveforms = torch.from_numpy(sounds.read(config.front_end.sample_rate_hz, rows))
    seconds = seconds_of_answering(networks, waveforms) * len(clip_ids) / len(rows)
    return cost(networks, waveforms[:1]), seconds


def epochs(config: RunConfig, num_steps: int, fold: Fold) -> int:
    """How often the last stage goes over a fold's recordings in so many steps."""
    num_clips = sum(bool(clip.audio_path) for clip in fold.train.clips)
    return round(num_steps * config.classifier.batch_size / num_clips)


def other_run(run: Path, config: RunConfig) -> Path | None:
    """A run beside this one, of whichever method and fold, whose VQ-VAE was trained as this one's would be."""
    others = (other for other in sorted(run.parents[1].glob("*/fold-*")) if other != run)
    return next((other for other in others if trains_vqvae_alike(other, config)), None)


def trains_vqvae_alike(run: Path, config: RunConfig) -> bool:
    """Whether a run has a finished VQ-VAE of the same kind, trained in the same way."""
    path = checkpoint.newest(run)
    if path is None:
        return False
    theirs = checkpoint.read(path)
    alike = theirs.config.networks.vqvae == config.networks.vqvae
    return alike and theirs.config.vqvae == config.vqvae and "vqvae" in theirs.position.finished


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
