"""SoundNet (Aytar et al. 2016): one-dimensional convolutions straight on the waveform, eight or five layers deep.

The authors taught it to agree with picture networks on two million videos and put a linear support vector machine on
its inner vectors (74.2 and 66.1 % on ESC-50); taught on ESC-50 alone it reached 51.1 and 65.0 %. Both are here. The
first needs the published weights, which nobody may ship: a file that a user has, see `load_weights`.

Shapes: M clips, B batch, L samples, C channels, T time steps, N labels. Waveforms go through as pictures of height 1.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import softmax
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from avgan.baselines import fitting, probes
from avgan.baselines.fitting import Recipe, cost_of, one_cycle
from avgan.baselines.method import Budget, Card, Clips, Cost
from avgan.baselines.network import NetworkRival
from avgan.baselines.spectra import int16_samples
from avgan.data.loading import INT16_PEAK
from avgan.weights import fill, find_weights, read_arrays

RATE_HZ = 22_050
FULL_SCALE = 256.0
"""Of the samples: 32 bits times 2^-23."""
TRANSFER_SCALE = 512.0
"""The authors' script for ESC-50 takes 2^-22."""
ENDINGS = ("safetensors", "npz", "pth")


@dataclass(frozen=True)
class Layer:
    """A convolution of stride 2 padded by half its kernel, batch norm, ReLU, and a maximum over `pool` steps."""

    width: int
    kernel: int
    pool: int = 1


@dataclass(frozen=True)
class Shape:
    """What one of the two networks looks like."""

    layers: tuple[Layer, ...]
    head_kernel: int
    head_stride: int
    head_padding: int
    num_transferred: int
    """Layers below the vectors that a linear classifier is given."""
    shortest_s: float
    """Shorter clips are repeated, else the head has nothing left to look at."""


EIGHT = Shape(
    (Layer(16, 64, 8), Layer(32, 32, 8), Layer(64, 16), Layer(128, 8), Layer(256, 4, 4), Layer(512, 4), Layer(1024, 4)),
    8,
    2,
    0,
    5,
    10.0,
)
FIVE = Shape((Layer(32, 64, 8), Layer(64, 32, 8), Layer(128, 16, 8), Layer(256, 8)), 16, 12, 4, 4, 5.0)


class SoundNet(nn.Module):
    """Waveform (B, 1, 1, L) int16 -> logits (B, N), the mean over the time steps of the head."""

    def __init__(self, shape: Shape, num_labels: int, full_scale: float = FULL_SCALE) -> None:
        super().__init__()
        self.factor = full_scale / INT16_PEAK
        self.layers = nn.ModuleList()
        num_in = 1
        for layer in shape.layers:
            self.layers.append(_block(num_in, layer))
            num_in = layer.width
        self.head = nn.Conv2d(
            num_in, num_labels, (1, shape.head_kernel), stride=(1, shape.head_stride), padding=(0, shape.head_padding)
        )
        self.apply(_initialise)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.head(self.features(waveform, len(self.layers))).mean((2, 3))

    def features(self, waveform: Tensor, num_layers: int) -> Tensor:
        """Vectors (B, C, 1, T) after the first layers."""
        hidden = waveform.float() * self.factor
        for layer in self.layers[:num_layers]:
            hidden = layer(hidden)
        return hidden

    def load_weights(self, path: Path, num_layers: int) -> None:
        """Fill the first layers from a file that `weights.read_arrays` reads; what else it holds is left alone.

        Names count from 1: `conv1.weight` (width, width before, kernel), `conv1.bias`, `norm1.weight`, `norm1.bias`,
        `norm1.running_mean`, `norm1.running_var`, and so on. Further axes of length 1 are ignored.

        Raises DataError where something is missing, has another shape, or the file could run code (a pickle).
        """
        fill(self.layers[:num_layers], read_arrays(path), path, name_of=published_name)


def published_name(name: str) -> str:
    """`0.1.weight` of the layers -> `norm1.weight`; in a layer 0 is the convolution, 1 the norm."""
    layer, part, key = name.split(".")
    return f"{('conv', 'norm')[int(part)]}{int(layer) + 1}.{key}"


def _block(num_in: int, layer: Layer) -> nn.Sequential:
    kernel, padding = (1, layer.kernel), (0, layer.kernel // 2)
    return nn.Sequential(
        nn.Conv2d(num_in, layer.width, kernel, stride=(1, 2), padding=padding),
        nn.BatchNorm2d(layer.width),
        # the original has ReLU first: the same numbers, and a third slower
        nn.MaxPool2d((1, layer.pool)) if layer.pool > 1 else nn.Identity(),
        nn.ReLU(),
    )


def _initialise(module: nn.Module) -> None:
    """As the original begins: small random weights, scales about 1."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.01)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def waveforms(clips: Clips, shape: Shape) -> np.ndarray:
    """(M, 1, 1, L) int16; clips shorter than the network needs are repeated, over and over again."""
    samples = int16_samples(clips, RATE_HZ)
    num_samples = round(shape.shortest_s * RATE_HZ)
    if samples.shape[1] < num_samples:
        samples = np.tile(samples, (1, -(-num_samples // samples.shape[1])))[:, :num_samples]
    return samples[:, None, None]


def from_scratch(card: Card, shape: Shape) -> NetworkRival:
    """All layers, taught on the training clips alone; each clip begins at a random moment each time."""
    recipe = Recipe(
        num_epochs=100,
        batch_size=32,
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        schedule=one_cycle,
        rolls=True,
    )
    return NetworkRival(card, partial(waveforms, shape=shape), partial(SoundNet, shape), recipe, standardises=False)


class Transferred:
    """The published weights, and a linear support vector machine on what an inner layer makes of one second."""

    def __init__(self, card: Card, shape: Shape, filename: str) -> None:
        self.card = card
        self._shape = shape
        self._filename = filename

    def fit(self, clips: Clips, *, budget: Budget, rng: np.random.Generator) -> None:
        """Load the weights and learn from the windows of all clips. Raises DataError where there are no weights."""
        num_layers = self._shape.num_transferred
        self._network = SoundNet(self._shape, len(clips.labels), TRANSFER_SCALE).eval()
        names = [f"{self._filename}.{end}" for end in ENDINGS]
        path = find_weights(clips.folder, names, ADVICE, below=("soundnet", "weights"))
        self._network.load_weights(path, num_layers)
        self._network.to(fitting.device())
        windows = self._windows(clips)
        num_windows = windows.shape[1]
        machine = LinearSVC(C=0.01, random_state=int(rng.integers(2**31)))
        self._machine = make_pipeline(machine).fit(
            windows.reshape(-1, windows.shape[2]), np.repeat(clips.targets, num_windows)
        )
        used = nn.Sequential(*self._network.layers[:num_layers])
        example = torch.from_numpy(waveforms(clips.select(np.array([0])), self._shape)).float()
        self._cost = cost_of(used, example) + probes.cost_of(self._machine).times(num_windows)

    def predict(self, clips: Clips) -> np.ndarray:
        """Probabilities (M, N) from the mean of the windows' decision values."""
        windows = self._windows(clips)
        values = probes.decisions(self._machine, windows.reshape(-1, windows.shape[2]))
        means = values.reshape(*windows.shape[:2], -1).mean(1)
        return probes.spread(softmax(means, axis=1), self._machine.classes_, len(clips.labels))

    def cost(self) -> Cost:
        """Of the layers that are used, and of the machine on all windows of a clip."""
        return self._cost

    def _windows(self, clips: Clips) -> np.ndarray:
        """(M, windows, C * steps of one second): windows of a tenth of the clip, one step apart."""
        samples = waveforms(clips, self._shape)

        def features(batch: Tensor) -> Tensor:
            return self._network.features(batch, self._shape.num_transferred)[:, :, 0]

        steps = fitting.embed(features, torch.from_numpy(samples).split(fitting.BATCH))
        second = -(-steps.shape[2] * RATE_HZ // samples.shape[-1])
        windows = sliding_window_view(steps, second, axis=2)
        return windows.transpose(0, 2, 1, 3).reshape(len(steps), windows.shape[2], -1)


SOURCE = "Aytar, Vondrick, Torralba: SoundNet, Learning Sound Representations from Unlabeled Video, NIPS 2016"
FOLLOWS = ("22.05 kHz waveform, layers, batch norm, first weights from N(0, 0.01)", "Adam 0.001")
DIFFERS = (
    "100 epochs in batches of 32, a rate that rises and falls, clips that begin at a random moment, the mean over the "
    "steps of the head for two million videos; of training on ESC-50 the authors publish a recipe for fine-tuning "
    "only: 50 epochs in batches of 256, a constant rate, a new head of kernel 4 that sees the 5 s at once",
    "convolutions in bfloat16 where the processor has it",
)


def eight() -> NetworkRival:
    """Eight layers, taught on the training clips alone."""
    card = Card(
        name="soundnet-8",
        title="SoundNet, 8 layers, from scratch",
        source=SOURCE,
        published=51.1,
        follows=FOLLOWS,
        differs=(*DIFFERS, "clips of 5 s are repeated to 10 s"),
    )
    return from_scratch(card, EIGHT)


def five() -> NetworkRival:
    """Five layers, taught on the training clips alone."""
    card = Card(
        name="soundnet-5",
        title="SoundNet, 5 layers, from scratch",
        source=SOURCE,
        published=65.0,
        follows=FOLLOWS,
        differs=DIFFERS,
    )
    return from_scratch(card, FIVE)


ADVICE = (
    "its authors' weights may not be passed on: convert a copy of your own, names conv1.weight, norm1.running_mean "
    "and so on"
)
TRANSFER_FOLLOWS = (
    "the authors' weights, which a user brings; clips repeated to 10 s",
    "linear support vector machine, C 0.01, on windows of 1 s; a clip's score is the mean of its windows'",
)


def eight_transferred() -> Transferred:
    """Eight layers with the published weights."""
    card = Card(
        name="soundnet-8-transfer",
        title="SoundNet, 8 layers, transferred",
        source=SOURCE,
        published=74.2,
        pretrained_on="two million Flickr videos",
        follows=TRANSFER_FOLLOWS,
    )
    return Transferred(card, EIGHT, "soundnet8")


def five_transferred() -> Transferred:
    """Five layers with the published weights."""
    card = Card(
        name="soundnet-5-transfer",
        title="SoundNet, 5 layers, transferred",
        source=SOURCE,
        published=66.1,
        pretrained_on="two million Flickr videos",
        follows=TRANSFER_FOLLOWS,
        differs=("which layer is not published for this depth: here the fourth, the last before the head",),
    )
    return Transferred(card, replace(FIVE, shortest_s=10.0), "soundnet5")
