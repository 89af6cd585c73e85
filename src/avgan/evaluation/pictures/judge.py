"""A judge of imagined pictures: a small network that names the scene of a code map, trained on real photographs.

It sees code vectors (B, D, 16, 16), all that a drawn picture is made of, so it can judge thousands of pictures without
drawing one. Its own accuracy on photographs it never saw is the most that imagined pictures can be expected to reach.

Shapes: B batch, M pictures, D code dimension, S scenes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan.data.loading import ImageStore
from avgan.data.manifest import Manifest
from avgan.model import AVGAN
from avgan.networks.classifier import ClassifierConfig, build_classifier
from avgan.networks.vqvae import VQVAE
from avgan.training.schedule import generator_of, indices_at, rate_factor

NUM_EPOCHS = 14
SIZES = ClassifierConfig(widths=(32, 64, 128, 256), dropout=0.3)
BATCH = 128
LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class Judge:
    """A scene classifier over code vectors, with its accuracy on pictures it never saw."""

    network: nn.Module
    scenes: tuple[str, ...]
    accuracy: float

    @torch.no_grad()
    def probabilities(self, vectors: Tensor) -> np.ndarray:
        """vectors (M, D, 16, 16) -> (M, S)."""
        self.network.eval()
        parts = [torch.softmax(self.network(part).float(), 1) for part in vectors.split(256)]
        return torch.cat(parts).cpu().numpy()


@torch.no_grad()
def code_vectors(vqvae: VQVAE, images: ImageStore, indices: np.ndarray, *, mirror: bool) -> Tensor:
    """Code vectors of pictures, (M, D, 16, 16) float."""
    parts = []
    for start in range(0, len(indices), 64):
        pixels = images.get(indices[start : start + 64])
        image = torch.from_numpy(pixels).float() / 255.0
        image = image.flip(3) if mirror else image
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(vqvae.real_features(image).vectors.float())
    return torch.cat(parts)


def code_side(
    networks: AVGAN, images: Manifest, scenes: tuple[str, ...], *, mirror: bool
) -> tuple[Tensor, np.ndarray]:
    """Code vectors (P, V, D, 16, 16) of the photographs of these scenes, V views, with their scene numbers (P,)."""
    kept = images.select(lambda clip: clip.label in scenes)
    store = ImageStore(kept, cache_bytes=0)
    everything = np.arange(len(kept.clips))
    views = (False, True) if mirror else (False,)
    vectors = [code_vectors(networks.vqvae, store, everything, mirror=view) for view in views]
    targets = np.array([scenes.index(clip.label) for clip in kept.clips])
    return torch.stack(vectors, 1).half(), targets


def ranks(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How many scenes are likelier than the right one, (M,): scores (M, S), targets (M,)."""
    above: np.ndarray = (scores > scores[np.arange(len(targets)), targets][:, None]).sum(1)
    return above


def train_judge(
    train: tuple[Tensor, np.ndarray],
    test: tuple[Tensor, np.ndarray],
    scenes: tuple[str, ...],
    *,
    seed: int = 0,
) -> Judge:
    """Train on (vectors (M, V, D, 16, 16) in V views, scene numbers (M,)) and measure on the same kind of pair."""
    vectors, targets = train
    network = train_reader(
        vectors, targets, num_scenes=len(scenes), num_epochs=NUM_EPOCHS, seed=seed
    )
    judge = Judge(network, scenes, float("nan"))
    answers = judge.probabilities(test[0][:, 0].float()).argmax(1)
    return Judge(network, scenes, float((answers == test[1]).mean()))


def train_reader(
    features: Tensor, targets: np.ndarray, *, num_scenes: int, num_epochs: float, seed: int
) -> nn.Module:
    """A network with `forward(features (B, D, 16, 16)) -> logits (B, S)`, in evaluation mode.

    features (M, V, D, 16, 16), any float type; targets (M,) scene numbers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_classifier(SIZES, features.shape[2], num_scenes)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.05)
        num_steps = int(num_epochs * len(targets) / BATCH)
        for step in range(num_steps):
            items = indices_at(
                step, num_items=len(targets), batch_size=BATCH, seed=seed, stage="reader"
            )
            views = generator_of(seed, "reader", step).integers(features.shape[1], size=BATCH)
            factor = rate_factor("one_cycle", step, num_steps)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * factor
            batch = features[items, views].float()
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(batch + 0.05 * torch.randn_like(batch))
            loss = F.cross_entropy(
                logits.float(), torch.from_numpy(targets[items]), label_smoothing=0.1
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return network.eval()
