"""A judge of imagined pictures: a small network that names the scene of a code map, trained on real photographs.

It sees code vectors (B, D, 16, 16), all that a drawn picture is made of, so it can judge thousands of pictures without
drawing one. Its own accuracy on photographs it never saw is the most that imagined pictures can be expected to reach.

Shapes: B batch, M pictures, D code dimension, S scenes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from avgan.data.loading import ImageStore
from avgan.networks.classifier import ClassifierConfig, build_classifier
from avgan.networks.vqvae import VQVAE
from avgan.training.schedule import generator_of, indices_at, rate_factor

BATCH = 128
NUM_EPOCHS = 14
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


def train_judge(
    train: tuple[Tensor, np.ndarray],
    test: tuple[Tensor, np.ndarray],
    scenes: tuple[str, ...],
    *,
    seed: int = 0,
) -> Judge:
    """Train on (vectors (M, V, D, 16, 16) in V views, scene numbers (M,)) and measure on the same kind of pair."""
    vectors, targets = train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = ClassifierConfig(widths=(32, 64, 128, 256), dropout=0.3)
        network = build_classifier(config, vectors.shape[2], len(scenes))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.05)
        num_steps = NUM_EPOCHS * len(targets) // BATCH
        for step in range(num_steps):
            items = indices_at(
                step, num_items=len(targets), batch_size=BATCH, seed=seed, stage="judge"
            )
            views = generator_of(seed, "judge", step).integers(vectors.shape[1], size=BATCH)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate_factor(
                "one_cycle", step, num_steps
            )
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(vectors[items, views].float())
            loss = F.cross_entropy(
                logits.float(), torch.from_numpy(targets[items]), label_smoothing=0.1
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    judge = Judge(network.eval(), scenes, float("nan"))
    answers = judge.probabilities(test[0][:, 0].float()).argmax(1)
    return Judge(network, scenes, float((answers == test[1]).mean()))


def save_judge(judge: Judge, path: Path) -> None:
    """Keep a judge as safetensors with its scenes and accuracy in the file's metadata."""
    from safetensors.torch import save_file

    metadata = {"scenes": ",".join(judge.scenes), "accuracy": str(judge.accuracy)}
    weights = {name: value.contiguous() for name, value in judge.network.state_dict().items()}
    save_file(weights, path, metadata)
