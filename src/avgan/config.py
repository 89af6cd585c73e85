"""What is trained: a run is one stage on one data set, a recipe is a chain of runs.

A variant is a recipe plus the fields it changes:

    recipe = override(preset("transfer"), {"imagination.gamma": "0"})
"""

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from avgan.errors import ConfigError
from avgan.networks.classifier import ClassifierConfig
from avgan.networks.critic import CriticConfig
from avgan.networks.flow import FlowConfig
from avgan.networks.generator import GeneratorConfig
from avgan.networks.patch_critic import PatchCriticConfig
from avgan.networks.perceptual import PerceptualConfig
from avgan.networks.residual import ResidualConfig
from avgan.networks.trunks import AnyTrunk
from avgan.networks.trunks.conv8 import Conv8Config
from avgan.networks.vqvae import VQVAEConfig

STAGES = ("vqvae", "imagination", "classifier")
"""The kinds of stages, in the order of the paper's schedule."""
SAMPLER = "sampler"
"""The kind of a fourth stage, which a recipe may have."""

Precision = Literal["32-true", "bf16-mixed", "auto"]
"""`auto`: mixed with bf16 where that is fast, on a GPU or a CPU with units for it (AMX, AVX-512 BF16), else
single."""


class Section(BaseModel):
    """Base of the sections below: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def changed(self, **fields: Any) -> Self:
        """A copy with other values, which are not checked."""
        return self.model_copy(update=fields)


class DataSection(Section):
    """Which sounds and pictures a stage learns from, how they are paired and which of them are kept away."""

    sounds: str = "auto"
    """Data set of the sounds; `auto` takes what it finds: ESC-50, a TAU set, a curated one, a folder for each label."""
    images: str = "auto"
    """Data set of the pictures; `auto`: the sounds' own where they have some, as videos do, else MiniPlaces."""
    pairs: Literal["matching", "strong", "shuffled"] = "matching"
    """`strong` shows sounds that say little of the place any picture; `shuffled` shows each sound what belongs to
    another scene: the control that tells what pictures are worth."""
    window_s: float = Field(5.0, gt=0)
    """Length of sound the generator takes."""
    held_out_folds: tuple[str, ...] = ()
    """Folds the stage may not learn from: what the run is scored on later."""
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    """Share of the training sources that only validate; 0 when the recipe is settled."""
    cache_gb: float = Field(4.0, ge=0)
    """Memory for decoded sounds and pictures; what does not fit is decoded again, ahead of the step that needs it."""


class StageSection(Section):
    """What every stage has: its data and how long and how fast it learns."""

    kind: str
    data: DataSection = DataSection()
    num_steps: int = Field(2_000, ge=0)
    batch_size: int = Field(16, gt=0)
    """Over all processes together."""
    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "linear", "cosine", "one_cycle"] = "constant"
    clip_norm: float = Field(0.0, ge=0)
    """Largest norm of the gradient over all parameters; 0: not clipped."""
    precision: Precision | None = None
    """Of this stage where it is not the loop's; recordings are embedded in single precision whatever it is."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Of the moving average of what the stage trains (of stage 1 the decoder), which is what is kept; 0: none."""


class VQVAESection(StageSection):
    """Stage 1: encoder, codebook and decoder on pictures alone (Eq. 1), and what may stand beside Eq. 1."""

    kind: Literal["vqvae"] = "vqvae"
    network: Annotated[VQVAEConfig | ResidualConfig, Field(discriminator="kind")] = VQVAEConfig()
    beta: float = Field(1.0, ge=0)
    """Weight of the commitment term."""
    l1_weight: float = Field(0.0, ge=0)
    """Weight of an absolute-error term beside Eq. 1, as a share of the pictures' standard deviation."""
    perceptual_weight: float = Field(0.0, ge=0)
    """Weight of how differently a network that knows scenes sees picture and reconstruction; 0 leaves it out."""
    perceptual: PerceptualConfig = PerceptualConfig()
    """The network that sees: taught by the same photographs before the first step, which must name their scenes."""
    patch_weight: float = Field(0.0, ge=0)
    """Weight of the patch critic's verdict; 0 leaves it out."""
    patch_critic: PatchCriticConfig = PatchCriticConfig()
    patch_from: float = Field(1 / 3, ge=0, le=1)
    """Share of the steps after which the patch critic speaks: before, everything is too blurred to tell."""
    flip: bool = False
    """Mirror half of the pictures."""
    revive_every: int = Field(100, gt=0)
    """Steps between looks for dead codes."""
    revive_until: float = Field(2 / 3, ge=0, le=1)
    """Share of the steps after which codes rest where they are."""


class ImaginationSection(StageSection):
    """Stage 2: generator against critic (Eq. 2). `learning_rate` and `betas` are both networks'."""

    kind: Literal["imagination"] = "imagination"
    trunk: AnyTrunk = Conv8Config()
    generator: GeneratorConfig = GeneratorConfig()
    critic: CriticConfig = CriticConfig()
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
    """Compare decoded pictures, as Eq. 2 does, or feature maps, which needs no decoder and costs a tenth."""
    real: Literal["quantized", "encoded"] = "quantized"
    """Real features as the paper has them, or as they leave the encoder: continuous, like imagined ones."""
    adversarial_weight: float = Field(1.0, ge=0)
    """Weight of the critic's verdict in the generator's loss; 0 leaves the critic out."""
    flip: bool = False
    """Mirror half of the pictures."""
    num_views: int = Field(0, ge=0)
    """Embed each recording this many times beforehand, shifted, with the trunk fixed; 0: anew every step."""


class ClassifierSection(StageSection):
    """Stage 3: classifier on imagined features; the generator is frozen (the paper's) or trained along."""

    kind: Literal["classifier"] = "classifier"
    network: ClassifierConfig = ClassifierConfig()
    mode: Literal["frozen", "head", "joint"] = "frozen"
    """`head` trains the generator's head along, `joint` its trunk too."""
    num_views: int = Field(1, gt=0)
    """Shifted copies of each recording that are embedded beforehand where the trunk is fixed; 1: as recorded."""
    teacher_c: float = Field(0.0, ge=0)
    """Learn what a logistic regression on the embeddings says, of this inverse strength of its penalty, in place of the
    labels themselves: a deep head overfits few recordings (`training.teacher`); 0: labels."""
    noise: float = Field(0.0, ge=0)
    """Added to embeddings where the trunk is fixed, as a share of the standard deviation of each of their numbers."""
    trunk_learning_rate: float = Field(3e-4, gt=0)
    """Of the trunk in `joint`; head and classifier use `learning_rate`."""
    anchor: float = Field(0.0, ge=0)
    """Weight that holds the features near those of stage 2 where the generator learns, so that the pictures stay."""
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

    @model_validator(mode="after")
    def _consistent(self) -> "ClassifierSection":
        if (self.teacher_c or self.noise) and self.mode == "joint":
            raise ValueError("teacher_c and noise work on embeddings kept beforehand: set both to 0, or mode=head")
        return self


class SamplerSection(StageSection):
    """Stage 4: one of the many maps that imagined features may stand for is sampled from them and noise.

    Everything before it is fixed: the label is what it was, and only the picture changes.
    """

    kind: Literal["sampler"] = "sampler"
    network: FlowConfig = FlowConfig()
    num_views: int = Field(3, gt=0)
    """Imagine each recording this many times beforehand, shifted."""
    condition_noise: float = Field(0.1, ge=0)
    """Noise on the imagined features, as a share of their spread: recordings are few."""
    flip: bool = True
    """Mirror half of the pictures."""
    ema_decay: float = Field(0.999, ge=0, lt=1)


Stage = Annotated[VQVAESection | ImaginationSection | ClassifierSection | SamplerSection, Field(discriminator="kind")]


class LoopSection(Section):
    """What the loop needs beside the stage."""

    seed: int = 0
    precision: Precision = "32-true"
    channels_last: bool = False
    log_every: int = Field(20, gt=0)
    validate_every: int = Field(500, gt=0)
    checkpoint_every: int = Field(250, gt=0)


class RunConfig(Section):
    """A run: one stage on one data set. Stored in its folder and, with those of its ancestors, in each checkpoint."""

    preset: str
    stage: Stage
    loop: LoopSection = LoopSection()


class RoundsSection(Section):
    """How often stages 1 and 2 are repeated (Sec. 3): a later round goes on with the networks of the one before."""

    num: int = Field(1, gt=0)
    """At most so many."""
    largest_gap: float | None = None
    """Stop after a round whose critic tells real features from imagined ones by less than this, as a share of the mean
    distance between two real feature maps; None: after `num` rounds only."""
    least_diversity: float = Field(0.0, ge=0)
    """The same round's imagined features must differ at least this much, as a share of how much real ones do."""


class Recipe(Section):
    """A chain of runs: pictures, imagination (both repeated in rounds), classifier, and a sampler where it has one."""

    preset: str
    vqvae: VQVAESection = VQVAESection()
    imagination: ImaginationSection = ImaginationSection()
    classifier: ClassifierSection = ClassifierSection()
    sampler: SamplerSection | None = None
    rounds: RoundsSection = RoundsSection()
    loop: LoopSection = LoopSection()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its stages, in their order."""
        return STAGES if self.sampler is None else (*STAGES, SAMPLER)

    def run(self, kind: str) -> RunConfig:
        """The run of one stage. Raises ConfigError where the recipe has none of that kind."""
        if kind not in self.kinds:
            raise ConfigError(f"the preset {self.preset} has no stage {kind}: its stages are {', '.join(self.kinds)}")
        return RunConfig(preset=self.preset, stage=getattr(self, kind), loop=self.loop)

    def with_data(self, kinds: tuple[str, ...] = (), **changes: Any) -> "Recipe":
        """A copy whose stages of these kinds, or all, have other data settings."""
        recipe = self
        for kind in kinds or self.kinds:
            stage = getattr(self, kind)
            recipe = recipe.changed(**{kind: stage.changed(data=stage.data.changed(**changes))})
        return recipe


def override(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """A copy with fields changed: {"imagination.gamma": "0"}. Values are read as JSON, else taken as text.

    `data.window_s` is that of all stages. Another `kind`, as of a trunk, brings that kind's defaults with it.

    Raises ConfigError naming the field when it does not exist or the value does not fit.
    """
    kinds = {path: text for path, text in settings.items() if path.endswith(".kind")}
    recipe = _changed(recipe, kinds)
    return _changed(recipe, {path: settings[path] for path in settings if path not in kinds})


def _changed(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    tree: dict[str, Any] = recipe.model_dump(mode="json")
    for path, text in settings.items():
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        of_all_stages = path.startswith("data.")
        for place in [f"{kind}.{path}" for kind in recipe.kinds] if of_all_stages else [path]:
            _set(tree, place, value, recipe)
    return parse(Recipe, tree)


def _set(tree: dict[str, Any], path: str, value: Any, recipe: Recipe) -> None:
    *parents, last = path.split(".")
    node: Any = tree
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        raise ConfigError(f"no setting is called {path!r}: {_nearest(path, recipe)}")
    if isinstance(node[last], dict) and not isinstance(value, dict):
        raise ConfigError(f"{path} is a group of settings: name one of them, such as {path}.{next(iter(node[last]))}")
    if last == "kind" and node["kind"] != value:
        node.clear()
    node[last] = value


def _nearest(path: str, recipe: Recipe) -> str:
    """What to write instead of a setting that does not exist."""
    names: list[str] = []

    def visit(node: Mapping[str, Any], prefix: str) -> None:
        for name, value in node.items():
            if isinstance(value, dict):
                visit(value, f"{prefix}{name}.")
            else:
                names.append(prefix + name)

    visit(recipe.model_dump(mode="json"), "")
    same_end = [name for name in names if name.split(".")[-1] == path]
    meant = (same_end or difflib.get_close_matches(path, names))[:3]
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    return f"its first word must be one of {', '.join(dict.fromkeys(n.split('.')[0] for n in names))}"


Model = TypeVar("Model", bound=BaseModel)


def parse(kind: type[Model], tree: Mapping[str, Any]) -> Model:
    """A recipe or a run's configuration from its JSON object. Raises ConfigError with the field at fault."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        given = first.get("input")
        # a rule between settings is given a whole section, which is no help in a message of one line
        got = "" if isinstance(given, Mapping) else f" (got {given!r})"
        raise ConfigError(f"{place}: {first['msg'].removeprefix('Value error, ')}{got}") from None
