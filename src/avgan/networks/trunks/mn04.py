"""mn04, pretrained: MobileNetV3-Large at 0.4 of its width, taught 527 sounds of AudioSet (EfficientAT, mn04_as).

    log_mel (B, 1, 128, T) -> (B, 896): 384 numbers averaged over the grid, then the 512 of its hidden layer
                           -> (B, 1904) with `blocks`: then mean and spread over time of what each block says

The network and its weights are Schmid, Koutini and Widmer's (MIT); the code is ours. They trained it at 32 kHz. Here it
gets 16 kHz: a transform of half the length has the same bins, so that nothing is resampled up, and the bands above
8 kHz say silence, as they do for any sound that was brought from 16 to 32 kHz.
"""

from importlib import resources
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from safetensors.torch import load
from torch import Tensor, nn

from avgan.features import FrontEndConfig
from avgan.networks.trunks.trunk import Pretrained, TrunkConfig

WEIGHTS = "mn04.safetensors"
LABELS = "audioset_527.txt"
"""The display names of the 527 classes, a line each, in the order of the outputs (AudioSet, CC BY 4.0)."""

POOLED, HIDDEN, NUM_TAGS = 384, 512, 527
STEP_FRAMES = 32
"""Of which the five strides of 2 leave one step."""
LEAST_VARIANCE = 1e-4
"""Added to variances over time: below it the difference of two sums is rounding."""

# kernel, expanded channels, channels out, squeeze and excite, activation, stride: MobileNetV3-Large times 0.4
BLOCKS = (
    (3, 8, 8, False, nn.ReLU, 1),
    (3, 24, 16, False, nn.ReLU, 2),
    (3, 32, 16, False, nn.ReLU, 1),
    (5, 32, 16, True, nn.ReLU, 2),
    (5, 48, 16, True, nn.ReLU, 1),
    (5, 48, 16, True, nn.ReLU, 1),
    (3, 96, 32, False, nn.Hardswish, 2),
    (3, 80, 32, False, nn.Hardswish, 1),
    (3, 72, 32, False, nn.Hardswish, 1),
    (3, 72, 32, False, nn.Hardswish, 1),
    (3, 192, 48, True, nn.Hardswish, 1),
    (3, 272, 48, True, nn.Hardswish, 1),
    (5, 272, 64, True, nn.Hardswish, 2),
    (5, 384, 64, True, nn.Hardswish, 1),
    (5, 384, 64, True, nn.Hardswish, 1),
)


LEVEL_DB = -25.0
"""The one level at which probes of places were made; no other was tried."""


def mn04_front_end(level_db: float | None = None) -> FrontEndConfig:
    """The network's own front end, at 16 kHz instead of 32; with a level that each sound is brought to first."""
    return FrontEndConfig(
        level_db=level_db,
        n_fft=512,
        window_length=400,  # 25 ms
        hop_length=160,  # 10 ms
        symmetric_window=True,
        padding="reflect",
        num_mels=128,
        f_max_hz=15_000.0,
        mel_scale="htk",
        native_rate_hz=32_000,
        pre_emphasis=0.97,
        compression="log",
        floor=1e-5,
        offset=4.5,
        scale=0.2,
    )


class MN04Config(TrunkConfig):
    """The trunk mn04; its size is fixed, and its front end but for the level."""

    kind: Literal["mn04"] = "mn04"
    front_end: FrontEndConfig = mn04_front_end(LEVEL_DB)
    num_fixed: int = Field(0, ge=0, le=len(BLOCKS) + 2)
    """Leading layers that are never trained: the first convolution, then the blocks, then the last convolution."""

    blocks: bool = False
    """Also what the 15 blocks say, from texture to sound: a linear probe of places gains 1.5 to 3 points by it."""

    pretrained: ClassVar[Pretrained | None] = Pretrained(
        name="EfficientAT mn04, trained on AudioSet",
        licence="MIT (Copyright (c) 2022 Florian Schmid).",
        address="https://github.com/fschmid56/EfficientAT",
    )
    min_time_steps: ClassVar[int] = STEP_FRAMES
    step_frames: ClassVar[int | None] = STEP_FRAMES

    @model_validator(mode="after")
    def _own_front_end(self) -> "MN04Config":
        if self.front_end != mn04_front_end(self.front_end.level_db):
            raise ValueError("mn04 has a front end of its own: leave all of front_end but level_db as it is")
        return self

    @property
    def vector_size(self) -> int:
        return POOLED + HIDDEN + (2 * sum(block[2] for block in BLOCKS) if self.blocks else 0)

    def build(self) -> "MN04":
        network = MN04(self.num_fixed, self.blocks)
        network.load_state_dict(load(weights()))
        return network


def weights() -> bytes:
    """The file of weights that comes with the package."""
    return resources.files(__package__).joinpath(WEIGHTS).read_bytes()


def tag_names() -> tuple[str, ...]:
    """The names of the 527 sounds that `MN04.tag` tells."""
    text = resources.files(__package__).joinpath(LABELS).read_text(encoding="utf-8")
    return tuple(text.splitlines())


def convolution(num_in: int, num_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution without bias and its batch norm; the grid stays, or is halved by a stride of 2."""
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(num_out, eps=1e-3),
    )


class SqueezeExcite(nn.Module):
    """Scales each channel of (B, C, F, T) by what all channels are on average."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        # a quarter of the channels in eighths, at least 90 % of it: MobileNet's rounding
        quarter = num_channels // 4
        num_squeezed = max(8, (quarter + 4) // 8 * 8)
        num_squeezed += 8 if num_squeezed < 0.9 * quarter else 0
        self.fc1 = nn.Linear(num_channels, num_squeezed)
        self.fc2 = nn.Linear(num_squeezed, num_channels)

    def forward(self, hidden: Tensor) -> Tensor:
        scale = self.fc2(torch.relu(self.fc1(hidden.mean((2, 3))))).sigmoid()
        return hidden * scale[:, :, None, None]


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, squeeze and excite, project; added to its input where sizes agree."""

    def __init__(self, num_in: int, block: tuple[int, int, int, bool, type[nn.Module], int]) -> None:
        super().__init__()
        kernel, expanded, num_out, excites, activation, stride = block
        layers: list[nn.Module] = []
        if expanded != num_in:
            layers += [convolution(num_in, expanded, 1), activation()]
        layers += [convolution(expanded, expanded, kernel, stride=stride, groups=expanded), activation()]
        if excites:
            layers.append(SqueezeExcite(expanded))
        layers.append(convolution(expanded, num_out, 1))
        self.body = nn.Sequential(*layers)
        self.stride = stride
        self.adds = stride == 1 and num_in == num_out

    def forward(self, hidden: Tensor) -> Tensor:
        changed: Tensor = self.body(hidden)
        return hidden + changed if self.adds else changed


def to_steps(rows: Tensor, span: int) -> tuple[Tensor, Tensor]:
    """rows (B, C, T) -> mean and mean square (B, C, S) over every `span` of the time axis, whose end is held."""
    held = nn.functional.pad(rows, (0, span - 1), mode="replicate")
    return nn.functional.avg_pool1d(held, span), nn.functional.avg_pool1d(held.square(), span)


class MN04(nn.Module):
    """log_mel (B, 1, 128, T) as `mn04_front_end` makes it -> (B, 896 or 1904); `tag` turns that into 527 logits.

    Batch norms keep the statistics of AudioSet in training too: those of a few recordings would forget them.
    """

    def __init__(self, num_fixed: int = 0, blocks: bool = False) -> None:
        super().__init__()
        self.blocks = blocks
        widths = [8, *(block[2] for block in BLOCKS)]
        self.features = nn.Sequential(
            nn.Sequential(convolution(1, 8, 3, stride=2), nn.Hardswish()),
            *(InvertedResidual(num_in, block) for num_in, block in zip(widths, BLOCKS, strict=False)),
            nn.Sequential(convolution(widths[-1], POOLED, 1), nn.Hardswish()),
        )
        self.hidden = nn.Linear(POOLED, HIDDEN)
        self.tags = nn.Linear(HIDDEN, NUM_TAGS)
        self.features[:num_fixed].requires_grad_(False)
        self.tags.requires_grad_(False)

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.summarize(self.steps(log_mel))

    def steps(self, log_mel: Tensor) -> Tensor:
        """log_mel (B, 1, 128, T) -> (B, K, S): what is said of each 32 frames, S = T / 32 rounded up."""
        pairs = []
        grid, span = log_mel, STEP_FRAMES // 2  # the first convolution's stride
        for layer in self.features:
            grid = layer(grid)
            span //= getattr(layer, "stride", 1)
            if self.blocks and isinstance(layer, InvertedResidual):
                pairs.append(to_steps(grid.float().mean(2), span))
        means, squares = ([pair[index] for pair in pairs] for index in (0, 1))
        return torch.cat((grid.float().mean(2), *means, *squares), 1)

    def summarize(self, steps: Tensor) -> Tensor:
        """steps (B, K, S) of any stretch -> its vector (B, 896 or 1904)."""
        mean = steps.mean(2)
        pooled = mean[:, :POOLED]
        hidden = nn.functional.hardswish(self.hidden(pooled).float())
        if not self.blocks:
            return torch.cat((pooled, hidden), 1)
        means, squares = mean[:, POOLED:].chunk(2, 1)
        variance = (squares - means.square()).clamp(min=0)
        return torch.cat((pooled, hidden, means, (variance + LEAST_VARIANCE).sqrt()), 1)

    def tag(self, vector: Tensor) -> Tensor:
        """vector (B, 896) or longer -> logits (B, 527)."""
        logits: Tensor = self.tags(vector[:, POOLED : POOLED + HIDDEN])
        return logits

    def train(self, mode: bool = True) -> "MN04":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(False)
        return self
