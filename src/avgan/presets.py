"""The presets: functions that return a whole recipe each. A variant calls another and changes two fields."""

from collections.abc import Callable
from dataclasses import dataclass

from avgan.config import (
    ClassifierSection,
    DataSection,
    ImaginationSection,
    LoopSection,
    Recipe,
    RoundsSection,
    SamplerSection,
    VQVAESection,
    override,
)
from avgan.errors import ConfigError
from avgan.features import FrontEndConfig
from avgan.networks.classifier import ClassifierConfig
from avgan.networks.critic import CriticConfig
from avgan.networks.flow import FlowConfig
from avgan.networks.generator import GeneratorConfig
from avgan.networks.patch_critic import PatchCriticConfig
from avgan.networks.perceptual import PerceptualConfig
from avgan.networks.residual import SMALL, ResidualConfig
from avgan.networks.trunks.conv8 import Conv8Config
from avgan.networks.trunks.mn04 import MN04Config
from avgan.networks.vqvae import VQVAEConfig


def paper_dcase() -> Recipe:
    """The paper's sizes and schedule for 10 s clips (Sec. 3 and 4): videos, then TAU, the generator frozen.

    Cost: the authors report 9,000 epochs in 223 hours on four GPUs; `num_steps` here is for a day on one, raise it
    with the machine at hand. Score: not measured, AV-10 was never released.
    """
    data = DataSection(window_s=10.0)
    return Recipe(
        preset="paper_dcase",
        vqvae=VQVAESection(data=data, num_steps=20_000),
        imagination=ImaginationSection(data=data, num_steps=20_000),
        classifier=ClassifierSection(data=data, num_steps=10_000),
        # A critic of slope 1 that tells two sets by a tenth of their spread hardly tells them, and half of the real
        # variety is no collapse; both are watched because either alone can be had cheaply.
        rounds=RoundsSection(num=3, largest_gap=0.1, least_diversity=0.5),
        loop=LoopSection(precision="bf16-mixed", channels_last=True),
    )


def paper_esc50() -> Recipe:
    """The paper's sizes and schedule for 5 s clips. Cost and score: docs/results.md."""
    return paper_dcase().changed(preset="paper_esc50").with_data(window_s=5.0)


SMALL_VQVAE = VQVAESection(
    network=VQVAEConfig(width=64, num_residual_blocks=2),
    batch_size=32,
    learning_rate=8e-4,
    schedule="linear",
    l1_weight=0.5,
    flip=True,
)
SMALL_IMAGINATION = ImaginationSection(critic=CriticConfig(width=32), learning_rate=2e-4, critic_steps=2, flip=True)
LINEAR_CLASSIFIER = ClassifierSection(
    network=ClassifierConfig(kind="linear", dropout=0.2),
    learning_rate=2e-3,
    betas=(0.9, 0.999),
    weight_decay=0.02,
    schedule="one_cycle",
    clip_norm=5.0,
    label_smoothing=0.05,
    anchor=0.1,
    mixup=0.3,
)
"""What the stages of `compact` and `transfer` have in common."""
SAMPLER = SamplerSection(
    num_steps=9_000,
    batch_size=256,
    betas=(0.9, 0.99),
    weight_decay=0.01,
    schedule="one_cycle",
    clip_norm=1.0,
    precision="auto",
)
SMALL_SAMPLER = SAMPLER.changed(network=FlowConfig(width=192, depth=6, guidance=6.0), num_steps=6_000, batch_size=64)
"""Forty minutes of two cores; more steps would still help. So short a flow hardly keeps to the sound: guidance 6 shows
the scene in 35 % of the pictures of `places` where 2 shows it in 12, as varied and nearly as like photographs."""


def compact() -> Recipe:
    """The paper's method from scratch, at sizes that two cores train within the hour, with twice its time steps.

    Cost on one core of the two: pictures 5 minutes, imagination 3, classifier 22. Score: see docs/results.md.
    """
    return Recipe(
        preset="compact",
        vqvae=SMALL_VQVAE.changed(num_steps=2_000),
        imagination=SMALL_IMAGINATION.changed(
            trunk=Conv8Config(widths=(32, 64, 128, 256), front_end=FrontEndConfig(num_time_steps=128)),
            num_steps=150,
            batch_size=32,
            ema_decay=0.98,
        ),
        classifier=LINEAR_CLASSIFIER.changed(
            mode="joint",
            num_steps=4_000,
            batch_size=32,
            trunk_learning_rate=2e-3,
            roll=True,
            gain_db=6.0,
            time_mask=0.2,
            band_mask=0.2,
        ),
        loop=LoopSection(precision="bf16-mixed", channels_last=True),
    )


def transfer() -> Recipe:
    """What mn04 and its blocks say; the paper's generator, critic and losses; then head and classifier learn together.

    Cost on two cores and score: see docs/results.md.
    """
    return Recipe(
        preset="transfer",
        # the weights that come with the package: a VQ-VAE of one's own photographs would cost an hour
        vqvae=VQVAESection(network=ResidualConfig(**SMALL, pretrained=True), num_steps=0),
        imagination=SMALL_IMAGINATION.changed(
            trunk=MN04Config(blocks=True),
            generator=GeneratorConfig(dropout=0.3),
            num_steps=300,
            batch_size=64,
            gamma_on="features",
            real="encoded",
            num_views=2,
            ema_decay=0.99,
            precision="auto",
        ),
        # The trunk stays as AudioSet taught it: fine-tuned for 600 steps (`joint`) it named 92.2 % of ESC-50's fold 1,
        # this way 93.0, and a linear probe on it 92.8: nothing is won for the work. Of 0.03, 0.1 and 0.3 the middle is
        # the best `teacher_c` in parts of folds 2 to 5: 93.3, 93.8 and 93.6 %.
        classifier=LINEAR_CLASSIFIER.changed(mode="head", teacher_c=0.1, num_views=3, num_steps=1_500, batch_size=64),
        loop=LoopSection(precision="32-true", channels_last=True),
    )


def places() -> Recipe:
    """Names scenes of field recordings: `transfer` on windows of 10 s, its teacher held tighter.

    Cost on two cores and score: see docs/results.md.
    """
    recipe = transfer().with_data(sounds="places", images="photographs", window_s=10.0)
    return recipe.changed(
        preset="places",
        # a field recording hardly differs from itself shifted: one view, and one more, are enough
        imagination=recipe.imagination.changed(num_views=1),
        classifier=recipe.classifier.changed(
            # by recording and by collection 0.0007 to 0.003 lie within two points; 0.01 is 4 to 6 worse
            teacher_c=0.001,
            num_views=2,
            noise=0.3,
            mixup=1.0,
            label_smoothing=0.0,
            num_steps=500,
            batch_size=128,
        ),
    )


def with_sampler(recipe: Recipe, sampler: SamplerSection = SMALL_SAMPLER) -> Recipe:
    """The recipe with a fourth stage, which samples pictures one wants to look at."""
    data = recipe.classifier.data.changed(images="photographs")
    return recipe.changed(sampler=sampler.changed(data=data))


def with_pictures(recipe: Recipe, *, small: bool = False) -> Recipe:
    """The recipe with a sampler, and a sharp stage 1 that is taught all photographs first.

    `small` is for two CPU cores: half the widths, nothing computed at 128 px, fewer and smaller steps. What either
    costs stands in docs/results.md.
    """
    vqvae = VQVAESection(
        data=DataSection(images="photographs"),
        network=ResidualConfig(),
        num_steps=6_000,
        batch_size=64,
        learning_rate=5e-4,
        betas=(0.5, 0.99),
        schedule="one_cycle",
        l1_weight=1.0,
        # Measured in shares of the pictures' deviation, 0.27, as Eq. 1 is of their variance, a quarter of the
        # perceptual term beside an absolute error in pixels is about 1, and a fiftieth of a verdict 0.08.
        perceptual_weight=1.0,
        patch_weight=0.08,
        flip=True,
        # later than this a code that is moved finds no time to become sharp
        revive_until=0.6,
        ema_decay=0.999,
        precision="auto",
    )
    if small:
        vqvae = vqvae.changed(
            network=ResidualConfig(**SMALL),
            perceptual=PerceptualConfig(widths=(16, 32, 64, 96, 128), num_steps=1_200),
            patch_critic=PatchCriticConfig(width=32),
            num_steps=1_500,
            ema_decay=0.995,
        )
    return with_sampler(recipe, SMALL_SAMPLER if small else SAMPLER).changed(vqvae=vqvae)


def pictures() -> Recipe:
    """`transfer` with pictures one wants to look at, for a GPU. With videos of one's own set data.images=auto."""
    return with_pictures(transfer().with_data(images="photographs").changed(preset="pictures"))


def pictures_small() -> Recipe:
    """`pictures` for two CPU cores."""
    return with_pictures(pictures().changed(preset="pictures_small"), small=True)


PRESETS: dict[str, Callable[[], Recipe]] = {
    function.__name__: function
    for function in (paper_dcase, paper_esc50, compact, transfer, places, pictures, pictures_small)
}


def preset(name: str) -> Recipe:
    """The recipe of that name. Raises ConfigError naming those there are."""
    if name not in PRESETS:
        raise ConfigError(f"no preset is called {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()


@dataclass(frozen=True)
class Ablation:
    """A recipe with other settings, and the question that they answer."""

    asks: str
    settings: dict[str, str]
    base: str = "transfer"

    def recipe(self) -> Recipe:
        """The whole recipe."""
        return override(preset(self.base), self.settings)


ABLATIONS: dict[str, Ablation] = {
    "frozen": Ablation(
        "is the label to be had from features that were only taught to imagine (the paper's third stage)?",
        {"classifier.mode": "frozen", "classifier.mixup": "0"},
    ),
    "no-imagination": Ablation("does it help to imagine before naming?", {"imagination.num_steps": "0"}),
    "shuffled-pairs": Ablation("is it the right pictures that help, or any?", {"imagination.data.pairs": "shuffled"}),
    "strong-pairs": Ablation(
        "are pictures of a place worth showing where the sound says little of it?", {"imagination.data.pairs": "strong"}
    ),
    "no-critic": Ablation("what does the critic add to the reconstruction?", {"imagination.adversarial_weight": "0"}),
    "gamma-0": Ablation("what does the reconstruction add to the critic?", {"imagination.gamma": "0"}),
    "no-minibatch": Ablation(
        "is minibatch discrimination needed against collapse?", {"imagination.critic.num_kernels": "0"}
    ),
    "codes-8": Ablation("how many codes?", {"vqvae.network.num_codes": "8"}, base="compact"),
    "codes-64": Ablation("how many codes?", {"vqvae.network.num_codes": "64"}, base="compact"),
    "codes-512": Ablation("how many codes?", {"vqvae.network.num_codes": "512"}, base="compact"),
    "code-dim-4": Ablation("how many numbers a code?", {"vqvae.network.code_dim": "4"}, base="compact"),
    "code-dim-16": Ablation("how many numbers a code?", {"vqvae.network.code_dim": "16"}, base="compact"),
}
"""By name. `compact` has the paper's 16 codes of one number; it also tells what the trunk is worth, and `cnn9`, which
takes the log-mel itself, what imagining is."""
