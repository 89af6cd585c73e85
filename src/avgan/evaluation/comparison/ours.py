"""AVGAN itself as a method: a recipe that is trained on a fold's training side alone, or a run that has been trained.

    OUT/runs/<method>/fold-<name>/    the recipe of each fold, as `avgan train` writes them
    OUT/runs/vqvae-<hash>/            a VQ-VAE of photographs, which learns from no sound: all fits begin from it

With a budget each fit trains its own VQ-VAE, and all stages are shortened alike.

Shapes: M clips, L samples, N labels.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel

from avgan import checkpoint
from avgan.baselines import fitting
from avgan.baselines.method import Budget, Card, Clips, Cost
from avgan.baselines.probes import spread
from avgan.config import DataSection, Recipe, parse
from avgan.data.splits import check_leakage
from avgan.errors import DataError
from avgan.evaluation.protocols import Protocol
from avgan.model import AVGAN
from avgan.presets import ABLATIONS, preset
from avgan.training.budget import shortened
from avgan.training.recipe import train
from avgan.training.run import train_run

SOURCE = "Liu, Neophytou, Sengupta, Sommerlade: Acoustic Scene Classification with Imagined Images"

PRESETS = {
    "avgan-transfer": "transfer",
    "avgan-compact": "compact",
    "avgan-paper": "paper_esc50",
    "avgan-places": "places",
}
ABLATED = {f"{ablation.base}-{name}": ablation for name, ablation in ABLATIONS.items()}
"""With one thing taken away or changed."""
PARTS = "VQ-VAE, generator, critic, classifier and both losses; the label is read from imagined features"
PICTURES = "pictures are MiniPlaces by label, or the user's own; the paper's AV-10 was never released"
CARDS = {
    "avgan-transfer": Card(
        name="avgan-transfer",
        title="AVGAN, preset transfer",
        source=SOURCE,
        pretrained_on="AudioSet (EfficientAT mn04)",
        chosen_on={"esc50": ("1", "5")},
        follows=(PARTS,),
        differs=(
            "mn04 embeds in place of the paper's trunk; its head and the classifier learn together at the end",
            PICTURES,
        ),
    ),
    "avgan-places": Card(
        name="avgan-places",
        title="AVGAN, preset places",
        source=SOURCE,
        pretrained_on="AudioSet (EfficientAT mn04)",
        # its teacher was chosen by probes on these very folds, those of all three protocols
        chosen_on={"places": ("1", "2", "3", "4", "5", "places", "places_more", "tut2017")},
        follows=(PARTS,),
        differs=(
            "mn04 embeds in place of the paper's trunk; head and classifier are taught by a logistic regression",
            PICTURES,
        ),
    ),
    "avgan-paper": Card(
        name="avgan-paper",
        title="AVGAN, the paper's own configuration",
        source=SOURCE,
        published=83.7,
        follows=("sizes, losses and schedule; the generator is frozen when the classifier learns (docs/paper.md)",),
        differs=(PICTURES, "thousands of steps where the paper has 9,000 epochs on four cards"),
    ),
    "avgan-compact": Card(
        name="avgan-compact",
        title="AVGAN, preset compact",
        source=SOURCE,
        follows=(PARTS, "nothing is pretrained on other sounds"),
        differs=(
            "smaller networks and far fewer steps; generator and classifier are trained jointly at the end",
            PICTURES,
        ),
    ),
}


@dataclass
class Trained:
    """A finished run, which has learnt already what it answers with."""

    card: Card
    run: Path
    _cost: Cost = field(init=False, repr=False)

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        """Learn nothing."""
        budget.resumed = True

    def predict(self, clips: Clips) -> np.ndarray:
        """Probabilities read from the imagined features. Raises LeakageError when a source was trained on."""
        networks, trained = checkpoint.load_finished(self.run)
        asked, rate_hz = clips.manifest, trained.front_end.sample_rate_hz
        assert asked is not None
        check_leakage(asked.select(lambda clip: clip.source_id in trained.sources), asked)
        networks.to(fitting.device())
        self._cost = cost(networks, torch.zeros(1, round(clips.window_s * rate_hz), device=fitting.device()))

        def answer(waveforms: np.ndarray) -> np.ndarray:
            return fitting.embed(
                lambda batch: networks.classifier(networks.generator(networks.log_mel(batch))).double().softmax(1),
                [torch.from_numpy(waveforms)],
            )

        # labels that only the clips have get nothing
        numbers = np.array([clips.labels.index(label) for label in trained.labels])
        return spread(clips.in_blocks(rate_hz, answer, size=fitting.BATCH), numbers, len(clips.labels))

    def cost(self) -> Cost:
        """Of generator and classifier, for one clip; known when it has answered."""
        return self._cost


def cost(networks: AVGAN, waveform: torch.Tensor) -> Cost:
    """Of what it takes to answer one waveform (1, L): generator and classifier."""
    with torch.no_grad():
        log_mel = networks.log_mel(waveform)
    return fitting.cost_of(torch.nn.Sequential(networks.generator, networks.classifier), log_mel)


@dataclass
class Ours(Trained):
    """A recipe that is trained into `run`, or goes on where it was stopped there; `rng` is its own, `recipe.loop.seed`.

    `parent` is a run of pictures of the same recipe to begin from.
    """

    recipe: Recipe = field(kw_only=True)
    shared: Path = field(kw_only=True)
    """Folder of what several fits begin from."""
    parent: Path | None = None

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        """Train on the rows of the clips, which are all that may be learnt from.

        Raises DataError where the run in `run` was begun with other ones.
        """
        assert clips.manifest is not None
        assert clips.folder is not None
        data, recipe, parent = clips.folder, self.recipe, self.parent
        rows = tuple(replace(clip, split="train") for clip in clips.manifest.clips)
        sounds = replace(clips.manifest, clips=rows)
        budget.resumed = checkpoint.newest(self.run) is not None
        if budget.resumed and budget.seconds is not None:
            recipe = parse(Recipe, json.loads((self.run / checkpoint.RECIPE).read_text()))
        elif budget.seconds is not None:
            recipe = shortened(recipe, data=data, sounds=sounds, seconds=budget.seconds)
            wanted = self.recipe.classifier.num_steps
            budget.say(f"{recipe.classifier.num_steps} of {wanted} steps of the last stage")
        elif parent is None and recipe.vqvae.data.images != sounds.name:
            parent = of_photographs(recipe, data=data, out=self.shared)
        train(recipe, data=data, out=self.run, parent=parent, sounds=sounds)
        if set(checkpoint.describe(self.run).origin.sources) != {clip.source_id for clip in rows}:
            raise DataError(
                f"{self.run}: learnt from other recordings than there are now; remove it, and it is trained anew"
            )
        # epochs of the last stage
        budget.num_planned, budget.num_wanted = (
            round(each.classifier.num_steps * each.classifier.batch_size / len(clips)) for each in (recipe, self.recipe)
        )


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
    """The recipe on the sounds and pictures of a protocol, with nothing held out: the schedule is settled."""
    recipe = ABLATED[name].recipe() if name in ABLATED else preset(PRESETS[name])
    loop = recipe.loop.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"loop": loop}).with_data(
        sounds=protocol.folds[0].train.name,
        images=protocol.images,
        window_s=protocol.window_s,
        held_out_folds=(),
        validation_fraction=0.0,
    )


def of_photographs(recipe: Recipe, *, data: Path, out: Path) -> Path:
    """The run of pictures of a recipe, trained once for all methods and folds that have the same."""
    # photographs are the same whatever is said of the sounds
    data_section = DataSection(images=recipe.vqvae.data.images)
    config = recipe.run("vqvae")
    config = config.model_copy(update={"stage": config.stage.model_copy(update={"data": data_section})})
    digest = config_sha256(config.model_copy(update={"preset": ""}))[:12]
    return train_run(config, data=data, out=out / f"vqvae-{digest}")


def config_sha256(config: BaseModel) -> str:
    """Hash of all settings: whether answers were given by a recipe like this one."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
