"""What a run is: one complete configuration, and the presets, each a function that returns one.

A variant is a preset plus the fields it changes:

    config = transfer()
    config = override(config, {"imagination.gamma": "0"})
"""

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from avgan.errors import ConfigError
from avgan.features import FrontEndConfig, yamnet_front_end
from avgan.networks.classifier import ClassifierConfig
from avgan.networks.critic import CriticConfig
from avgan.networks.generator import GeneratorConfig
from avgan.networks.trunks import TrunkConfig
from avgan.networks.vqvae import VQVAEConfig


class Section(BaseModel):
    """Base of the sections below: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(Section):
    """Which sounds and pictures, how they are paired and which of them are kept away."""

    sounds: str = "auto"
    """Data set of the sounds; `auto` takes what it finds: ESC-50, a TAU set, a curated one, a folder for each label."""
    images: str = "miniplaces"
    """Data set of the pictures; the same as `sounds` where one data set has both, as videos do."""
    pairs: Literal["matching", "strong", "shuffled"] = "matching"
    """`strong` shows sounds that say little of the place any picture; `shuffled` shows each sound what belongs to
    another one: the control that tells what pictures are worth."""
    window_s: float = Field(5.0, gt=0)
    """Length of sound the generator hears."""
    held_out_folds: tuple[str, ...] = ()
    """Folds no stage may hear: what the run is scored on later."""
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of the training sources kept aside to watch training with; 0 when the recipe is settled."""
    cache_gb: float = Field(4.0, ge=0)
    """Memory for decoded sounds and pictures; what does not fit is decoded again."""


class StageSection(Section):
    """What every stage has."""

    num_steps: int = Field(2_000, ge=0)
    batch_size: int = Field(16, gt=0)
    """Over all processes together."""
    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "linear", "cosine", "one_cycle"] = "constant"
    clip_norm: float = Field(0.0, ge=0)
    """Largest norm of the gradient over all parameters; 0: not clipped."""


class VQVAESection(StageSection):
    """Stage 1: encoder, codebook and decoder on pictures alone (Eq. 1)."""

    beta: float = Field(1.0, ge=0)
    """Weight of the commitment term."""
    l1_weight: float = Field(0.0, ge=0)
    """Weight of an absolute-error term beside Eq. 1, as a share of the pictures' standard deviation."""
    flip: bool = True
    """Mirror half of the pictures."""
    revive_every: int = Field(100, gt=0)
    """Steps between looks for dead codes, during the first two thirds of the stage."""


class ImaginationSection(StageSection):
    """Stage 2: generator against critic (Eq. 2). `learning_rate` and `betas` are both networks'."""

    betas: tuple[float, float] = (0.5, 0.9)
    critic_steps: int = Field(5, gt=0)
    """Critic steps before each generator step."""
    penalty_weight: float = Field(10.0, ge=0)
    """Lambda, the weight of the gradient penalty."""
    penalty_every: int = Field(1, gt=0)
    """Compute the penalty on every n-th critic step, with n times its weight."""
    gamma: float = Field(1.0, ge=0)
    """Weight of the reconstruction term."""
    gamma_on: Literal["pixels", "features"] = "pixels"
    """Compare drawn pictures, as Eq. 2 does, or feature maps, which needs no decoder and costs a tenth."""
    real: Literal["quantized", "encoded"] = "quantized"
    """Real features as the paper has them, or as they leave the encoder: continuous, like imagined ones."""
    mismatch_weight: float = Field(0.0, ge=0, le=1)
    """Share of real pictures shown with another scene's sound among the critic's counterexamples."""
    typical: float = Field(1.0, gt=0, le=1)
    """Share of each scene's pictures that are learnt from, the most typical ones (see `training.looks`)."""
    num_looks: int = Field(0, ge=0)
    """Looks a label has: like sounds keep to like pictures, instead of any picture of the scene; 0: any."""
    adversarial_weight: float = Field(1.0, ge=0)
    """Weight of the critic's verdict in the generator's loss; 0 leaves the critic out."""
    num_views: int = Field(0, ge=0)
    """Hear each recording this many times beforehand, shifted, with the trunk fixed; 0: hear anew every step."""
    ema_decay: float = Field(0.999, ge=0, lt=1)
    """Of the moving average of the generator's weights, which is what is kept."""

    @model_validator(mode="after")
    def _consistent(self) -> "ImaginationSection":
        if (self.typical < 1 or self.num_looks) and not self.num_views:
            raise ValueError("typical and num_looks sort what was heard beforehand: set num_views")
        return self


class ClassifierSection(StageSection):
    """Stage 3: classifier on imagined features, generator frozen (the paper's) or trained along (`joint`)."""

    mode: Literal["frozen", "joint"] = "frozen"
    trunk_learning_rate: float = Field(3e-4, gt=0)
    """Of the trunk in `joint`; heads and classifier use `learning_rate`."""
    anchor: float = Field(0.0, ge=0)
    """Weight that holds the features of `joint` near those of stage 2, so that the pictures stay."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    mixup: float = Field(0.0, ge=0)
    """Alpha of the Beta distribution two recordings are mixed with; 0: not mixed."""
    roll: bool = False
    """Shift recordings in time, around the end."""
    gain_db: float = Field(0.0, ge=0)
    """Loudness changes by up to this much either way."""
    time_mask: float = Field(0.0, ge=0, lt=1)
    """Longest masked span, as a share of the time steps."""
    band_mask: float = Field(0.0, ge=0, lt=1)
    """Widest masked group of mel bands, as a share of them."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Of the moving average of the weights that is kept; 0 keeps the last weights."""


class NetworksSection(Section):
    """Sizes of the five networks and the trunk; the defaults are the paper's."""

    vqvae: VQVAEConfig = VQVAEConfig()
    trunk: TrunkConfig = TrunkConfig()
    generator: GeneratorConfig = GeneratorConfig()
    critic: CriticConfig = CriticConfig()
    classifier: ClassifierConfig = ClassifierConfig()


class LoopSection(Section):
    """What the loop needs beside the stages."""

    seed: int = 0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    channels_last: bool = False
    log_every: int = Field(20, gt=0)
    validate_every: int = Field(500, gt=0)
    checkpoint_every: int = Field(250, gt=0)


class RunConfig(Section):
    """All of a run; stored in the run folder and in each checkpoint."""

    preset: str
    data: DataSection = DataSection()
    front_end: FrontEndConfig = FrontEndConfig()
    networks: NetworksSection = NetworksSection()
    vqvae: VQVAESection = VQVAESection()
    imagination: ImaginationSection = ImaginationSection()
    classifier: ClassifierSection = ClassifierSection()
    loop: LoopSection = LoopSection()

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        if self.imagination.mismatch_weight and not self.networks.critic.hears:
            raise ValueError(
                "imagination.mismatch_weight shows the critic the wrong sound: set networks.critic.hears=true"
            )
        return self


def paper_dcase() -> RunConfig:
    """The paper's sizes for 10 s clips (Sec. 3 and 4).

    Cost: the authors report 9,000 epochs in 223 hours on four GPUs; `num_steps` here is for a day on one, raise it
    with the machine at hand. Score: not measured, AV-10 was never released.
    """
    return RunConfig(
        preset="paper_dcase",
        data=DataSection(sounds="tau2019", window_s=10.0),
        front_end=FrontEndConfig(num_time_steps=64),
        vqvae=VQVAESection(num_steps=20_000),
        imagination=ImaginationSection(num_steps=20_000),
        classifier=ClassifierSection(num_steps=10_000),
        loop=LoopSection(precision="bf16-mixed", channels_last=True),
    )


def paper_esc50() -> RunConfig:
    """The paper's sizes for 5 s clips. Cost: days on two cores, hours on a GPU. Score: not measured to the end."""
    base = paper_dcase()
    return base.model_copy(
        update={"preset": "paper_esc50", "data": DataSection(sounds="esc50", window_s=5.0)}
    )


def compact() -> RunConfig:
    """The paper's method from scratch, at sizes that two cores train within the hour, with twice its time steps.

    Cost on one core of the two: pictures 5 minutes, imagination 3, classifier 22. Score: see docs/results.md.
    """
    return RunConfig(
        preset="compact",
        front_end=FrontEndConfig(num_time_steps=128),
        networks=NetworksSection(
            vqvae=VQVAEConfig(width=64, num_residual_blocks=2),
            trunk=TrunkConfig(widths=(32, 64, 128, 256)),
            critic=CriticConfig(width=32),
            classifier=ClassifierConfig(kind="linear", dropout=0.2),
        ),
        vqvae=VQVAESection(
            num_steps=2_000, batch_size=32, learning_rate=8e-4, schedule="linear", l1_weight=0.5
        ),
        imagination=ImaginationSection(
            num_steps=150, batch_size=32, learning_rate=2e-4, critic_steps=2, ema_decay=0.98
        ),
        classifier=_augmented_joint(num_steps=4_000, learning_rate=2e-3, trunk_learning_rate=2e-3),
        loop=LoopSection(precision="bf16-mixed", channels_last=True),
    )


def transfer() -> RunConfig:
    """YAMNet hears; the paper's generator, critic and losses; classifier and generator trained jointly.

    Cost on two cores: pictures 16 minutes, then 12 for imagination and classifier. Score: see docs/results.md.
    """
    return RunConfig(
        preset="transfer",
        front_end=yamnet_front_end(),
        networks=NetworksSection(
            vqvae=VQVAEConfig(width=64, num_residual_blocks=2, code_dim=4, num_codes=256),
            trunk=TrunkConfig(kind="yamnet", num_fixed=7),
            critic=CriticConfig(width=32),
            classifier=ClassifierConfig(kind="linear", dropout=0.2),
        ),
        vqvae=VQVAESection(
            num_steps=6_000,
            batch_size=32,
            learning_rate=8e-4,
            betas=(0.9, 0.99),
            schedule="linear",
            l1_weight=0.5,
        ),
        imagination=ImaginationSection(
            num_steps=300,
            batch_size=64,
            learning_rate=2e-4,
            critic_steps=2,
            gamma_on="features",
            real="encoded",
            num_views=2,
            ema_decay=0.99,
        ),
        classifier=_augmented_joint(num_steps=1_800, learning_rate=2e-3, trunk_learning_rate=3e-4),
        loop=LoopSection(precision="bf16-mixed", channels_last=True),
    )


def shipped() -> RunConfig:
    """The shipped model: `transfer`, started from a `transfer` run, with pictures one can recognise.

    The generator learns from typical pictures only, like sounds keep to like pictures, and the critic hears the sound
    (docs/decisions.md shows what each does). Cost on two cores: 6 minutes more. Score: see docs/results.md.
    """
    base = transfer()
    networks = base.networks.model_copy(update={"critic": CriticConfig(width=32, hears=True)})
    imagination = base.imagination.model_copy(
        update={
            "num_steps": 800,
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "critic_steps": 1,
            "penalty_every": 2,
            "mismatch_weight": 0.5,
            "gamma": 100.0,
            "typical": 0.25,
            "num_looks": 2,
            "num_views": 4,
        }
    )
    classifier = base.classifier.model_copy(
        update={"num_steps": 500, "trunk_learning_rate": 1e-4, "anchor": 30.0}
    )
    return base.model_copy(
        update={
            "preset": "shipped",
            "networks": networks,
            "imagination": imagination,
            "classifier": classifier,
        }
    )


def _augmented_joint(
    *, num_steps: int, learning_rate: float, trunk_learning_rate: float
) -> ClassifierSection:
    """The joint classifier stage with every augmentation on."""
    return ClassifierSection(
        mode="joint",
        num_steps=num_steps,
        batch_size=32,
        learning_rate=learning_rate,
        trunk_learning_rate=trunk_learning_rate,
        betas=(0.9, 0.999),
        weight_decay=0.02,
        schedule="one_cycle",
        clip_norm=5.0,
        label_smoothing=0.05,
        anchor=0.1,
        mixup=0.3,
        roll=True,
        gain_db=6.0,
        time_mask=0.2,
        band_mask=0.2,
    )


PRESETS: dict[str, Callable[[], RunConfig]] = {
    function.__name__: function
    for function in (paper_dcase, paper_esc50, compact, transfer, shipped)
}


def preset(name: str) -> RunConfig:
    """The configuration of that name. Raises ConfigError naming those there are."""
    if name not in PRESETS:
        raise ConfigError(f"no preset is called {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()


def override(config: RunConfig, settings: Mapping[str, str]) -> RunConfig:
    """A copy with fields changed: {"imagination.gamma": "0"}. Values are read as JSON, else taken as text.

    Raises ConfigError naming the field when it does not exist or the value does not fit.
    """
    tree: dict[str, Any] = config.model_dump(mode="json")
    for path, text in settings.items():
        *parents, last = path.split(".")
        node: Any = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise ConfigError(f"no setting is called {path!r}: {_nearest(path, config)}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        if isinstance(node[last], dict) and not isinstance(value, dict):
            raise ConfigError(
                f"{path} is a group of settings: name one of them, such as {path}.{next(iter(node[last]))}"
            )
        node[last] = value
    return from_tree(tree)


def _nearest(path: str, config: RunConfig) -> str:
    """What to write instead of a setting that does not exist."""
    names: list[str] = []

    def visit(node: Mapping[str, Any], prefix: str) -> None:
        for name, value in node.items():
            if isinstance(value, dict):
                visit(value, f"{prefix}{name}.")
            else:
                names.append(prefix + name)

    visit(config.model_dump(mode="json"), "")
    same_end = [name for name in names if name.split(".")[-1] == path]
    meant = (same_end or difflib.get_close_matches(path, names))[:3]
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    return (
        f"its first word must be one of {', '.join(dict.fromkeys(n.split('.')[0] for n in names))}"
    )


def from_tree(tree: Mapping[str, Any]) -> RunConfig:
    """A configuration from the JSON object of a run folder. Raises ConfigError with the field at fault."""
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        given = first.get("input")
        # a rule between settings is given a whole section, which is no help in a message of one line
        got = "" if isinstance(given, Mapping) else f" (got {given!r})"
        raise ConfigError(f"{place}: {first['msg'].removeprefix('Value error, ')}{got}") from None
